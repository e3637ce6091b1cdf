//! Takes the messages of one connection from the broker, and writes them for all who read.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use ior_broker::{Tap, TappedMessage};
use serde::Serialize;
use tokio::{
    sync::{broadcast::error::RecvError, watch},
    time::{Instant, sleep_until},
};

use super::{AT_ONCE, Ended, Messages, Pair};
use crate::{configuration::Configuration, report::Time};

/// What is told is at least so far apart.
const PAUSE: Duration = Duration::from_millis(250);

/// A view at work.
pub(super) struct Pump {
    messages: Arc<Messages>,
    key: String,
    number: u64,
    pair: Pair,
    tap: Tap,
    deadlines: watch::Receiver<Instant>,
    /// By which the connection was looked up last.
    configuration: Option<Arc<Configuration>>,
}

/// A message as it is told.
#[derive(Serialize)]
struct Message<'m> {
    time: Time,
    from: &'m str,
    to: &'m str,
    topic: &'m str,
    qos: u8,
    retain: bool,
    size: usize,
    payload: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'m str>,
}

impl Pump {
    /// Copies are taken from now on.
    pub(super) fn new(
        messages: Arc<Messages>,
        key: &str,
        number: u64,
        pair: Pair,
        deadlines: watch::Receiver<Instant>,
    ) -> Self {
        let tap = messages.bridge.broker.tap(pair.flows.clone(), AT_ONCE);
        Self { messages, key: key.to_owned(), number, pair, tap, deadlines, configuration: None }
    }

    /// Until the view ends.
    pub(super) async fn run(mut self) {
        if let Some(why) = self.pass_on().await {
            self.messages.end(&self.key, Some(self.number), &why.to_string());
        }
    }

    /// Until there is a reason to end; nothing if that was found elsewhere.
    async fn pass_on(&mut self) -> Option<Ended> {
        let bridge = Arc::clone(&self.messages.bridge);
        let mut reloads = bridge.reload.outcomes();
        let mut stopping = bridge.stopping.subscribe();
        let mut due = Instant::now();
        loop {
            let deadline = *self.deadlines.borrow_and_update();
            let tap = &mut self.tap;
            let first = tokio::select! {
                biased;
                // An error says that nobody can tell any more, which happens at the end only.
                _ = stopping.wait_for(|stops| *stops) => return Some(Ended::Stopping),
                changed = self.deadlines.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return None,
                },
                () = sleep_until(deadline) => return Some(Ended::Time),
                Some(()) = async { (!matches!(reloads.recv().await, Err(RecvError::Closed))).then_some(()) } => None,
                first = async { sleep_until(due).await; tap.recv().await } => match first {
                    Some(first) => Some(first),
                    None => return Some(Ended::Stopping),
                },
            };
            // After they were taken: so none is of devices that it joins only since.
            let batch = first.map(|first| self.take_all(first));
            if !self.is_as_it_was() {
                return Some(Ended::Gone);
            }
            if let Some((text, shown, left_out)) = batch {
                self.messages.give(&self.key, self.number, text, shown, left_out);
                due = Instant::now() + PAUSE;
            }
        }
    }

    /// What there is by now as server-sent events, how many those are, and how many more there were.
    fn take_all(&mut self, first: TappedMessage) -> (Bytes, u64, u64) {
        let (mut text, mut shown) = (Vec::new(), 0);
        let mut next = Some(first);
        while let Some(message) = next {
            self.write(&message, &mut text);
            shown += 1;
            next = if shown < AT_ONCE as u64 { self.tap.try_recv() } else { None };
        }
        (text.into(), shown, self.tap.take_missed())
    }

    fn write(&self, message: &TappedMessage, text: &mut Vec<u8>) {
        let message = Message {
            time: Time::from_unix_ms(message.received_at),
            from: &message.publisher,
            to: self.pair.peer_of(&message.publisher),
            topic: &message.topic,
            qos: message.qos as u8,
            retain: message.retain,
            size: message.size,
            payload: STANDARD.encode(&message.payload),
            content_type: message.content_type.as_deref(),
        };
        text.extend_from_slice(b"event: message\ndata: ");
        // Only maps with keys that are no texts could fail, and there are none in it. JSON has no line breaks.
        let _ = serde_json::to_writer(&mut *text, &message);
        text.extend_from_slice(b"\n\n");
    }

    /// Whether the connection still joins the same devices.
    fn is_as_it_was(&mut self) -> bool {
        let configuration = self.messages.bridge.configuration.load_full();
        if self.configuration.as_ref().is_some_and(|known| Arc::ptr_eq(known, &configuration)) {
            return true;
        }
        let registry = &configuration.registry;
        let found = registry.connections().iter().find(|connection| connection.full_id() == self.key);
        let is_it = found.is_some_and(|found| Pair::of(registry, found).joins_the_same(&self.pair));
        self.configuration = Some(configuration);
        is_it
    }
}
