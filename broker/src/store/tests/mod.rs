#![allow(clippy::unwrap_used)]

mod damage;
mod disk;
mod faults;
mod figures;
mod keeping;
mod power_cut;
mod revoking;
mod snapshot;

use std::{
    path::Path,
    sync::{Arc, mpsc},
};

use tempfile::TempDir;

use super::*;
use crate::{
    codec::{ForwardedProperties, QoS},
    message::{Message, MessageParts},
};

/// A store in a directory of its own, and what it kept.
struct Bench {
    directory: TempDir,
    store: Store,
    contents: Contents,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, contents) = open(directory.path()).unwrap();
        Self { directory, store, contents }
    }

    /// Closes and opens.
    fn restart(self) -> Self {
        self.store.close();
        let (store, contents) = open(self.directory.path()).unwrap();
        Self { directory: self.directory, store, contents }
    }

    fn keep(&self, changes: Vec<Change>) {
        submit(&self.store, changes).unwrap();
    }

    fn load(&self, request: LoadRequest) -> Loaded {
        wait(|done| self.store.load(request, move |loaded| done.send(loaded).unwrap())).unwrap()
    }

    fn load_all(&self, slot: Slot) -> Vec<StoredMessage> {
        self.load(everything(slot)).messages
    }

    fn trim(&self, slot: Slot, from: Sequence, what: Trim) -> Totals {
        let request = TrimRequest { slot, flow: flow(), from, what };
        wait(|done| self.store.trim(request, move |removed| done.send(removed).unwrap())).unwrap()
    }

    /// Closes, and asks the database.
    fn query(&self, sql: &str) -> i64 {
        self.store.close();
        rusqlite::Connection::open(self.directory.path().join("store.db"))
            .unwrap()
            .query_row(sql, [], |row| row.get(0))
            .unwrap()
    }
}

fn open(directory: &Path) -> Result<(Store, Contents), OpenError> {
    Store::open(&StoreSettings { directory: directory.to_owned(), durability: Durability::Fsync }, |_| {})
}

fn submit(store: &Store, changes: Vec<Change>) -> Result<(), StoreError> {
    wait(|done| store.submit(changes, Some(Box::new(move |kept| done.send(kept).unwrap()))))
}

fn wait<T>(start: impl FnOnce(mpsc::SyncSender<T>)) -> T {
    let (done, answer) = mpsc::sync_channel(1);
    start(done);
    answer.recv().unwrap()
}

fn flow() -> Arc<str> {
    "a/b".into()
}

fn everything(slot: Slot) -> LoadRequest {
    LoadRequest { slot, from: 0, below: Sequence::MAX, messages: usize::MAX, bytes: usize::MAX }
}

fn message(topic: &str, payload: &[u8]) -> Message {
    Message::new(&MessageParts {
        publisher: 7,
        topic,
        qos: QoS::ExactlyOnce,
        retain: true,
        received_at: 1_000,
        expiry: Some(60),
        forwarded: ForwardedProperties::default(),
        payload,
    })
}

fn session(slot: Slot) -> Change {
    Change::PutSession(SessionRecord {
        slot,
        name: "somebody".into(),
        client_id: format!("client {slot}").into(),
        expiry: 60,
        left_at: None,
        sent_below: 0,
        will: None,
    })
}

fn queued(sequence: Sequence, payload: &[u8]) -> QueuedMessage {
    QueuedMessage {
        sequence,
        flow: flow(),
        expires_at: u64::MAX,
        delivery: Delivery {
            message: message("a/topic", payload),
            qos: QoS::AtLeastOnce,
            retain: false,
            subscription_ids: Vec::new(),
        },
    }
}

fn enqueue(slot: Slot, sequence: Sequence) -> Change {
    Change::Enqueue { slot, message: queued(sequence, format!("message {sequence}").as_bytes()) }
}

fn sequences(messages: &[StoredMessage]) -> Vec<Sequence> {
    messages.iter().map(StoredMessage::sequence).collect()
}
