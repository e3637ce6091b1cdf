use std::{
    fs,
    io::{Read, Write},
    time::{Duration, Instant},
};

use super::{figures::many, *};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn enqueue(sequence: Sequence) -> Change {
    Change::Enqueue { slot: 1, message: queued(sequence, &[b'x'; 100]) }
}

/// Puts a copy into a directory of its own, as a restore does.
fn restored(snapshot: &mut Snapshot) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut bytes = Vec::new();
    snapshot.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, snapshot.length());
    fs::File::create(directory.path().join("store.db")).unwrap().write_all(&bytes).unwrap();
    directory
}

#[test]
fn a_copy_holds_what_was_committed_before_and_nothing_later() {
    let bench = Bench::new();
    bench.keep(vec![session(1)]);
    bench.keep((1..=100).map(enqueue).collect());
    let mut snapshot = block_on(bench.store.snapshot()).unwrap();
    // More than what moves the log at other times.
    for first in (101..=9_000).step_by(100) {
        bench.keep((first..first + 100).map(enqueue).collect());
    }
    let copy = restored(&mut snapshot);
    drop(snapshot);
    assert!(adopt(copy.path()).unwrap().is_whole());
    let (store, contents) = open(copy.path()).unwrap();
    assert_eq!(contents.sessions[0].totals[0].1.messages, 100);
    assert!(contents.starts > 1_700_000_000, "no number is given again: {}", contents.starts);
    store.close();
    // Afterwards all goes on as before.
    bench.keep(vec![enqueue(9_500)]);
    let bench = bench.restart();
    assert_eq!(bench.contents.sessions[0].totals[0].1.messages, 9_001);
    bench.store.close();
}

#[test]
fn the_log_is_moved_again_once_the_copy_is_made() {
    let bench = Bench::new();
    bench.keep(vec![session(1)]);
    let size = |bench: &Bench| fs::metadata(bench.directory.path().join("store.db")).unwrap().len();
    let snapshot = block_on(bench.store.snapshot()).unwrap();
    let before = size(&bench);
    let mut sequences = 1..;
    let mut fill = || bench.keep(sequences.by_ref().take(1_000).map(enqueue).collect());
    for _ in 0..20 {
        fill();
    }
    assert_eq!((size(&bench), snapshot.length()), (before, before));
    drop(snapshot);
    for _ in 0..20 {
        fill();
    }
    assert!(size(&bench) > before);
    bench.store.close();
}

#[test]
fn a_copy_that_is_overtaken_by_the_end_of_the_store_fails() {
    let bench = Bench::new();
    bench.keep(vec![session(1), enqueue(1)]);
    let mut snapshot = block_on(bench.store.snapshot()).unwrap();
    bench.store.close();
    let error = snapshot.read(&mut [0; 10]).unwrap_err();
    assert!(error.to_string().contains("try again"), "{error}");
    drop(snapshot);
    assert_eq!(block_on(bench.store.snapshot()).unwrap_err(), StoreError::Closed);
}

#[test]
fn a_copy_that_is_not_whole_is_not_taken() {
    let bench = Bench::new();
    bench.keep(vec![session(1)]);
    bench.keep((1..=1_000).map(enqueue).collect());
    let copy = restored(&mut block_on(bench.store.snapshot()).unwrap());
    bench.store.close();
    let path = copy.path().join("store.db");
    let whole = fs::read(&path).unwrap();
    for (at, length) in [(20 * 1024 + 500, whole.len()), (0, 0), (0, 5_000), (3, whole.len())] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        bytes.truncate(length);
        fs::write(&path, bytes).unwrap();
        assert!(adopt(copy.path()).is_err(), "byte {at}, {length} bytes");
    }
}

#[test]
fn what_it_holds_is_counted_by_session_and_flow() {
    let bench = Bench::new();
    bench.keep(vec![session(1), session(2)]);
    bench.keep((1..=10).map(enqueue).collect());
    bench.keep(vec![Change::Retain { message: message("a/b/c", b"x"), owner: "somebody".into() }]);
    let found = block_on(bench.store.inventory()).unwrap();
    let waiting: Vec<_> = found.sessions.iter().map(|session| session.waiting.clone()).collect();
    assert_eq!((waiting[0][0].0.as_str(), waiting[0][0].1.messages), ("a/b", 10));
    assert_eq!((waiting[1].len(), found.retained.messages), (0, 1));
    assert_eq!(found.sessions[1].client_id, "client 2");
    assert!(found.log_bytes > 0 && found.pages * found.page_bytes > 10_000, "{found:?}");
    bench.store.close();
    let closed = inventory(bench.directory.path()).unwrap();
    assert_eq!((closed.sessions, closed.retained), (found.sessions, found.retained));
}

#[test]
fn figures_of_a_copy_while_commits_go_on() {
    let messages = many(2_000, 100_000);
    let bench = Bench::new();
    bench.keep(vec![session(1)]);
    for first in (1..=messages).step_by(1_000) {
        bench.keep((first..first + 1_000).map(enqueue).collect());
    }
    let mut sequence = messages + 1_000;
    let mut longest = |until: &dyn Fn() -> bool| {
        let mut longest = Duration::ZERO;
        while !until() {
            sequence += 1;
            let begun = Instant::now();
            bench.keep(vec![enqueue(sequence)]);
            longest = longest.max(begun.elapsed());
        }
        longest
    };
    let begun = Instant::now();
    let before = longest(&|| begun.elapsed() > Duration::from_millis(many(10, 2_000)));
    let store = bench.store.clone();
    let copying = std::thread::spawn(move || {
        let begun = Instant::now();
        let mut snapshot = block_on(store.snapshot()).unwrap();
        let held = begun.elapsed();
        let bytes = std::io::copy(&mut snapshot, &mut tempfile::tempfile().unwrap()).unwrap();
        (held, begun.elapsed(), bytes)
    });
    let during = longest(&|| copying.is_finished());
    let (held, took, bytes) = copying.join().unwrap();
    println!(
        "{messages} messages, {bytes} bytes: held after {held:?}, copied after {took:?}; longest commit {before:?} before, \
         {during:?} meanwhile"
    );
    bench.store.close();
}
