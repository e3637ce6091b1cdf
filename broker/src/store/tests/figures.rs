//! What a store costs: `STORE_FIGURES=full cargo test -p ior-broker --release --lib figures -- --nocapture --test-threads 1`
//! prints figures. Without the variable a few messages show that it works. `STORE_FIGURES_DIR` names a directory on the device to
//! be measured, `STORE_FIGURES_STAT` the file in which the system counts what that device was given.

use std::time::Instant;

use super::*;

/// How many of a thing: few, unless figures are wanted.
pub fn many(few: u64, full: u64) -> u64 {
    if std::env::var_os("STORE_FIGURES").is_some() { full } else { few }
}

fn directory() -> TempDir {
    match std::env::var_os("STORE_FIGURES_DIR") {
        Some(directory) => tempfile::tempdir_in(directory).unwrap(),
        None => tempfile::tempdir().unwrap(),
    }
}

fn hundred_bytes(sequence: Sequence) -> Change {
    Change::Enqueue { slot: 1, message: queued(sequence, &[b'x'; 100]) }
}

/// Bytes that the device of the directory was given so far, of a loop device that nobody else uses.
fn written_to_device() -> Option<u64> {
    let stat = std::env::var_os("STORE_FIGURES_STAT")?;
    let stat = std::fs::read_to_string(stat).ok()?;
    Some(stat.split_whitespace().nth(6)?.parse::<u64>().ok()? * 512)
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn figures_of_a_million_messages() {
    let million = many(2_000, 1_000_000);
    let directory = directory();
    let (store, _) = open(directory.path()).unwrap();
    submit(&store, vec![session(1)]).unwrap();
    let before = resident_kib();
    let begun = Instant::now();
    for first in (1..=million).step_by(1_000) {
        submit(&store, (first..first + 1_000).map(hundred_bytes).collect()).unwrap();
    }
    let statistics = store.statistics();
    println!(
        "filled in {:?}, {} MB on disk, {} KiB more resident",
        begun.elapsed(),
        statistics.bytes / 1_000_000,
        resident_kib().saturating_sub(before)
    );
    let begun = Instant::now();
    store.close();
    println!("closed in {:?}", begun.elapsed());
    let begun = Instant::now();
    let (store, contents) = open(directory.path()).unwrap();
    println!("opened in {:?}: {:?}", begun.elapsed(), contents.sessions[0].totals);
    let begun = Instant::now();
    let mut from = 1;
    while from <= million {
        let request = LoadRequest { from, messages: 128, ..everything(1) };
        let loaded = wait(|done| store.load(request, move |loaded| done.send(loaded).unwrap())).unwrap();
        from += loaded.messages.len() as u64;
    }
    assert_eq!(from, million + 1, "every message is there");
    println!(
        "loaded 128 at a time in {:?}, {} KiB more resident",
        begun.elapsed(),
        resident_kib().saturating_sub(before)
    );
    let begun = Instant::now();
    submit(&store, (1..=1_000).map(|sequence| Change::Forget { slot: 1, sequence }).collect()).unwrap();
    println!("forgot 1,000 in {:?}", begun.elapsed());
    let begun = Instant::now();
    submit(&store, vec![Change::EndSession(1)]).unwrap();
    println!("ended the session in {:?}", begun.elapsed());
    store.close();
}

#[test]
fn figures_of_lone_messages() {
    let messages = many(100, 2_000);
    let directory = directory();
    let (store, _) = open(directory.path()).unwrap();
    submit(&store, vec![session(1)]).unwrap();
    for (round, batch) in (1..).zip([1, 1, 1, 1, 10, 100]) {
        let before = written_to_device();
        let commits = store.statistics().commits;
        let begun = Instant::now();
        let mut sequence = round * 10_000_000;
        while sequence < round * 10_000_000 + messages {
            submit(&store, (sequence..sequence + batch).map(hundred_bytes).collect()).unwrap();
            sequence += batch;
        }
        let written = before.zip(written_to_device()).map(|(before, after)| (after - before) / messages);
        println!(
            "{batch} a commit: {:?} per commit, {written:?} bytes to the device per message",
            begun.elapsed() / (store.statistics().commits - commits) as u32
        );
    }
    store.close();
}

#[test]
fn figures_of_one_message_a_second() {
    let messages = many(1, 30);
    let directory = directory();
    let (store, _) = open(directory.path()).unwrap();
    submit(&store, vec![session(1)]).unwrap();
    let before = written_to_device();
    for sequence in 1..=messages {
        std::thread::park_timeout(std::time::Duration::from_secs(1));
        submit(&store, vec![hundred_bytes(sequence)]).unwrap();
    }
    let written = before.zip(written_to_device()).map(|(before, after)| (after - before) / messages);
    println!("one a second: {written:?} bytes to the device per message");
    store.close();
}
