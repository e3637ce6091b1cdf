//! Files that are not what they were.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use rusqlite::types::ValueRef;

use super::{super::pages::Pages, disk::Chance, *};
use crate::{codec::PacketId, subscriptions::SubscriptionOptions};

const SESSIONS: Slot = 20;
const MESSAGES: Sequence = 60;

fn store_db(directory: &Path) -> PathBuf {
    directory.join("store.db")
}

/// A closed store with some of everything, small and large.
fn filled() -> TempDir {
    let bench = Bench::new();
    let options = SubscriptionOptions {
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        subscription_id: None,
        since: 0,
    };
    for slot in 1..=SESSIONS {
        let mut changes = vec![
            session(slot),
            Change::Subscribe { slot, filter: format!("filter/{slot}").into(), options },
            Change::Accept { slot, packet_id: PacketId::MIN },
            Change::Retain { message: message(&format!("topic/{slot}"), &[9; 700]), owner: "o".into() },
        ];
        changes.extend((1..=MESSAGES).map(|sequence| enqueue(slot, sequence)));
        changes.push(Change::Enqueue { slot, message: queued(MESSAGES + 1, &vec![slot as u8; 5_000]) });
        changes.push(Change::Release { slot, sequence: 2 });
        bench.keep(changes);
    }
    // Empty pages, which must not come back.
    bench.keep((1..=MESSAGES / 2).map(|sequence| Change::Forget { slot: 7, sequence }).collect());
    bench.store.close();
    bench.directory
}

fn refused(directory: &Path) -> OpenProblem {
    open(directory).map(|_| ()).unwrap_err().problem
}

/// Copies a store, so that the other one stays as it is.
fn copy(directory: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(directory).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

#[test]
fn a_second_opener_is_refused_until_the_first_has_closed() {
    let bench = Bench::new();
    assert_eq!(refused(bench.directory.path()), OpenProblem::InUse);
    assert_eq!(verify(bench.directory.path()).unwrap_err().problem, OpenProblem::InUse);
    assert_eq!(salvage(bench.directory.path()).unwrap_err().problem, OpenProblem::InUse);
    // Also one that knows nothing of the lock file.
    let other = rusqlite::Connection::open(store_db(bench.directory.path())).unwrap();
    other.busy_timeout(std::time::Duration::ZERO).unwrap();
    assert!(other.query_row("SELECT count(*) FROM session", [], |_| Ok(())).is_err());
    bench.keep(vec![session(1)]);
    bench.restart();
}

#[test]
fn a_store_that_is_not_whole_is_never_taken_for_a_new_one() {
    let directory = filled();
    let bytes = fs::read(store_db(directory.path())).unwrap();
    let with = |bytes: &[u8]| {
        let copy = copy(directory.path());
        fs::write(store_db(copy.path()), bytes).unwrap();
        let error = open(copy.path()).map(|_| ()).unwrap_err();
        assert_eq!(fs::read(store_db(copy.path())).unwrap(), bytes, "it was changed");
        assert!(error.to_string().contains("store.db"), "{error}");
        error
    };
    let mut newer = bytes.clone();
    newer[63] = 2;
    let mut older = bytes.clone();
    older[63] = 0;
    let mut foreign = bytes.clone();
    foreign[68] = 0;
    let mut zero_pages = bytes.clone();
    zero_pages[1024..].fill(0);
    for (bytes, expected) in [
        (&[][..], "empty"),
        (&bytes[..50], "cut off"),
        (&bytes[..bytes.len() / 2], "cut off"),
        (&bytes[..bytes.len() - 1], "cut off"),
        (&vec![0; bytes.len()], "zeros"),
        (b"something else that is long enough to be read as the header of a database, but is none of that at all, sorry", "not a store"),
        (&foreign, "not a store"),
        (&newer, "newer version"),
        (&older, "older version"),
        (&zero_pages, "damaged"),
    ] {
        let error = with(bytes).to_string();
        assert!(error.contains(expected), "{error}");
        if ["empty", "cut off", "zeros", "damaged"].contains(&expected) {
            assert!(error.contains("ior-bridge store salvage"), "{error}");
        }
    }
}

#[test]
fn a_log_without_its_store_is_refused() {
    let directory = filled();
    fs::write(directory.path().join("store.db-wal"), [1; 100]).unwrap();
    fs::remove_file(store_db(directory.path())).unwrap();
    assert_eq!(refused(directory.path()), OpenProblem::LogWithoutStore);
    assert!(!store_db(directory.path()).exists());
}

#[test]
fn damaged_sessions_and_retained_messages_are_left_out_and_counted() {
    let directory = filled();
    let database = rusqlite::Connection::open(store_db(directory.path())).unwrap();
    database.execute("UPDATE session SET client_id = 'x' WHERE slot = 3", []).unwrap();
    database.execute("UPDATE retained SET owner = 'x' WHERE topic = 'topic/4'", []).unwrap();
    database.execute("UPDATE total SET messages = 1 WHERE key >> 32 = 5", []).unwrap();
    database.close().unwrap();
    let found = verify(directory.path()).unwrap();
    assert_eq!((found.damaged.sessions, found.damaged.retained, found.wrong_totals), (1, 1, 1));
    let (store, contents) = open(directory.path()).unwrap();
    assert_eq!(
        contents.damaged,
        Records { sessions: 1, messages: MESSAGES + 1, retained: 1, ..Records::default() }
    );
    assert_eq!(contents.sessions.len(), SESSIONS as usize - 1);
    assert_eq!(contents.retained.len(), SESSIONS as usize - 1);
    // Its number is another one's now, who must not get anything of it.
    submit(&store, vec![session(3)]).unwrap();
    let loaded = wait(|done| store.load(everything(3), move |loaded| done.send(loaded).unwrap()));
    assert!(loaded.unwrap().messages.is_empty());
    store.close();
    assert!(verify(directory.path()).unwrap().is_whole());
}

#[test]
fn damaged_messages_are_left_out_of_a_load_and_removed() {
    let directory = filled();
    let database = rusqlite::Connection::open(store_db(directory.path())).unwrap();
    database.execute("UPDATE message SET size = 1 WHERE key >> 43 = 1 AND key & 0xFF IN (5, 6)", []).unwrap();
    database.close().unwrap();
    let (store, _) = open(directory.path()).unwrap();
    let load = || wait(|done| store.load(everything(1), move |loaded| done.send(loaded).unwrap())).unwrap();
    let loaded = load();
    assert_eq!((loaded.damaged, loaded.messages.len()), (2, MESSAGES as usize - 1));
    assert_eq!(load().damaged, 0);
    store.close();
    assert!(verify(directory.path()).unwrap().is_whole());
}

/// A page that SQLite cannot read costs the session whose messages are on it, until somebody has to write there.
#[test]
fn a_damaged_page_is_told_and_does_not_stop_the_others() {
    let directory = filled();
    let path = store_db(directory.path());
    let damaged = keys::message(5, 30);
    let mut page_of = 0;
    Pages::open(&path, Path::new("/nonexistent"))
        .unwrap()
        .for_each_row(|page, row| {
            let mut columns = [ValueRef::Null; 9];
            let columns = row.columns(&mut columns).unwrap();
            if columns.len() == 8 && columns[0] == ValueRef::Integer(damaged) {
                page_of = page as usize;
            }
        })
        .unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[(page_of - 1) * 1024..page_of * 1024].fill(0);
    fs::write(&path, bytes).unwrap();

    let (store, _) = open(directory.path()).unwrap();
    let load = |slot| wait(|done| store.load(everything(slot), move |loaded| done.send(loaded).unwrap()));
    assert!(matches!(load(5), Err(StoreError::Damaged(_))));
    let Health::Failing(why) = store.health() else { panic!("it is not fine") };
    assert!(why.contains("ior-bridge store salvage"), "{why}");
    assert_eq!(load(6).unwrap().messages.len(), MESSAGES as usize + 1);
    submit(&store, vec![enqueue(6, 1_000)]).unwrap();

    let forgotten = submit(&store, vec![Change::Forget { slot: 5, sequence: 30 }]);
    assert!(matches!(forgotten, Err(StoreError::Damaged(_))), "{forgotten:?}");
    assert!(matches!(submit(&store, vec![session(9)]), Err(StoreError::Damaged(_))));
    assert!(matches!(store.health(), Health::Failing(_)));
    store.close();
    let salvaged = salvage(directory.path()).unwrap();
    assert_eq!(salvaged.kept.sessions, u64::from(SESSIONS));
    assert!((1..20).contains(&salvaged.missing_messages), "{salvaged:?}");
    assert_eq!(salvaged.unreadable_pages, 1);
}

#[test]
fn looking_changes_nothing() {
    let directory = filled();
    let before = fs::read(store_db(directory.path())).unwrap();
    let found = verify(directory.path()).unwrap();
    assert!(found.is_whole(), "{found:?}");
    assert_eq!((found.whole.sessions, found.whole.retained), (u64::from(SESSIONS), u64::from(SESSIONS)));
    assert_eq!(fs::read(store_db(directory.path())).unwrap(), before);
    // Also if the store was not closed, and only its log has all of it.
    let bench = Bench::new();
    bench.keep(vec![session(1), enqueue(1, 1)]);
    let killed = copy(bench.directory.path());
    let files = || ["store.db", "store.db-wal"].map(|name| fs::read(killed.path().join(name)).unwrap());
    let before = files();
    let found = verify(killed.path()).unwrap();
    assert!(found.is_whole() && found.whole.messages == 1, "{found:?}");
    assert!(files() == before);
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(verify(empty.path()).unwrap_err().problem, OpenProblem::Missing);
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);
}

#[test]
fn a_whole_store_is_salvaged_wholly() {
    let directory = filled();
    let (store, before) = open(directory.path()).unwrap();
    let queue = |store: &Store, slot| {
        wait(|done| store.load(everything(slot), move |loaded| done.send(loaded).unwrap())).unwrap()
    };
    let queues: Vec<_> = (1..=SESSIONS).map(|slot| queue(&store, slot)).collect();
    store.close();
    let salvaged = salvage(directory.path()).unwrap();
    assert_eq!(
        (salvaged.damaged, salvaged.unreadable_pages, salvaged.orphans, salvaged.missing_messages),
        (Records::default(), 0, 0, 0)
    );
    assert!(salvaged.moved.iter().all(|path| path.exists()) && !salvaged.moved.is_empty());
    assert!(verify(directory.path()).unwrap().is_whole());
    let (store, after) = open(directory.path()).unwrap();
    assert_eq!(after.sessions, before.sessions);
    assert_eq!(after.retained, before.retained);
    assert!(after.starts > before.starts);
    assert_eq!((1..=SESSIONS).map(|slot| queue(&store, slot)).collect::<Vec<_>>(), queues);
}

#[test]
fn what_is_only_in_the_log_is_salvaged_too() {
    let bench = Bench::new();
    bench.keep(vec![session(1)]);
    bench.keep((1..=500).map(|sequence| enqueue(1, sequence)).collect());
    let copy = copy(bench.directory.path());
    assert!(copy.path().join("store.db-wal").metadata().unwrap().len() > 30_000);
    fs::write(store_db(copy.path()), []).unwrap();
    let salvaged = salvage(copy.path()).unwrap();
    assert_eq!((salvaged.kept.sessions, salvaged.kept.messages), (1, 500));
    assert_eq!(salvaged.moved.len(), 2);
    let (_store, contents) = open(copy.path()).unwrap();
    assert_eq!(contents.sessions[0].totals[0].1.messages, 500);
}

#[test]
fn a_salvage_that_was_interrupted_is_finished_by_the_next() {
    let directory = filled();
    fs::copy(store_db(directory.path()), directory.path().join("store.db.salvaged")).unwrap();
    fs::write(directory.path().join("store.db-wal"), [1; 100]).unwrap();
    assert_eq!(refused(directory.path()), OpenProblem::SalvageUnfinished);
    let salvaged = salvage(directory.path()).unwrap();
    assert!(salvaged.was_unfinished);
    assert_eq!(salvaged.moved.len(), 2);
    let (_store, contents) = open(directory.path()).unwrap();
    assert_eq!(contents.sessions.len(), SESSIONS as usize);
}

/// Flips bytes all over the file. Whatever is lost, it is only what was on a page that was hit.
#[test]
fn salvage_keeps_every_record_whose_page_was_not_hit() {
    let directory = filled();
    let path = store_db(directory.path());
    let bytes = fs::read(&path).unwrap();
    let pages = rows_by_page(&path);
    let mut chance = Chance(0x5EED);
    for round in 0..60 {
        let copy = copy(directory.path());
        let mut damaged = bytes.clone();
        let mut hit = BTreeSet::new();
        for _ in 0..=round % 20 {
            let at = chance.below(damaged.len());
            damaged[at] ^= 1 << chance.below(8);
            hit.insert(at / 1024 + 1);
        }
        fs::write(store_db(copy.path()), &damaged).unwrap();
        // Neither looking nor opening may do worse than refuse.
        let found = verify(copy.path());
        drop(open(copy.path()).map(|(store, _)| store.close()));
        fs::write(store_db(copy.path()), &damaged).unwrap();
        let salvaged =
            salvage(copy.path()).unwrap_or_else(|error| panic!("round {round}: {error}, {found:?}"));
        let kept = keys_of(&store_db(copy.path()));
        let sessions_lost = pages
            .iter()
            .any(|(page, rows)| hit.contains(page) && rows.iter().any(|(columns, _)| *columns == 9));
        for (page, rows) in &pages {
            // The rows of a lost session go with it.
            if !hit.contains(page) && !sessions_lost {
                let lost: Vec<_> = rows.iter().filter(|row| !kept.contains(row)).collect();
                assert!(lost.is_empty(), "round {round}: page {page} of {hit:?} lost {lost:?}: {salvaged:?}");
            }
        }
        assert!(verify(copy.path()).unwrap().is_whole(), "round {round}");
    }
}

/// A message that looks like a page of the database, with a record for another session, stays a message; even if damage
/// makes the beginning of its page right.
#[test]
fn a_message_that_looks_like_a_page_is_not_read_as_one() {
    const LEAF: u8 = 13;
    const MESSAGES: u64 = 2_048;
    let other = Bench::new();
    other.keep(vec![session(1)]);
    other.keep((1..=4).map(|sequence| enqueue(1, sequence)).collect());
    other.store.close();
    let bytes = fs::read(store_db(other.directory.path())).unwrap();
    let is_forged = |page: &&[u8]| page[0] == LEAF && page.windows(9).any(|bytes| bytes == b"message 3");
    let forged = bytes.chunks(1024).find(is_forged).unwrap();
    let bench = Bench::new();
    bench.keep(vec![session(1), session(2)]);
    // At every distance from the beginning of a page.
    for offset in 0..MESSAGES {
        let mut payload = vec![0; 2_048 + 500 * (offset as usize % 2)];
        payload.extend_from_slice(&forged[4..]);
        payload.resize(payload.len() + 2_048 + offset as usize / 2, 0);
        bench.store.submit(vec![Change::Enqueue { slot: 2, message: queued(offset + 1, &payload) }], None);
    }
    bench.store.close();
    let path = store_db(bench.directory.path());
    let mut bytes = fs::read(&path).unwrap();
    let mut made_right = 0;
    for page in bytes.chunks_mut(1024).filter(|page| page[4..] == forged[4..]) {
        page[..4].copy_from_slice(&forged[..4]);
        made_right += 1;
    }
    assert!(made_right > 0);
    fs::write(&path, bytes).unwrap();
    let salvaged = salvage(bench.directory.path()).unwrap();
    let (_store, contents) = open(bench.directory.path()).unwrap();
    assert_eq!(contents.sessions[0].totals, []);
    assert_eq!(salvaged.kept.messages, MESSAGES - made_right);
}

/// The rows of each leaf, by number of columns and key: small ones only, which are on no other page.
fn rows_by_page(path: &Path) -> BTreeMap<usize, Vec<(usize, i64)>> {
    let mut rows: BTreeMap<usize, Vec<_>> = BTreeMap::new();
    Pages::open(path, Path::new("/nonexistent"))
        .unwrap()
        .for_each_row(|page, row| {
            let mut columns = [ValueRef::Null; 9];
            if let Some(columns) = row.columns(&mut columns)
                && [9, 8, 2].contains(&columns.len())
                && row.size() < 500
                && let ValueRef::Integer(key) = columns[0]
                && key > 2
            {
                rows.entry(page as usize).or_default().push((columns.len(), key));
            }
        })
        .unwrap();
    assert!(rows.len() > 80, "{} pages", rows.len());
    rows
}

fn keys_of(path: &Path) -> BTreeSet<(usize, i64)> {
    let database = rusqlite::Connection::open(path).unwrap();
    [("session", 9), ("message", 8), ("inbound", 2)]
        .into_iter()
        .flat_map(|(table, columns)| {
            database
                .prepare(&format!("SELECT rowid FROM {table}"))
                .unwrap()
                .query_map([], |row| Ok((columns, row.get(0)?)))
                .unwrap()
                .collect::<Result<Vec<_>, _>>()
                .unwrap()
        })
        .collect()
}
