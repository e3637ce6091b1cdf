//! Looks at everything, and finds what is to be told of it.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use tokio::time::Instant;

use super::{Live, State, changes::Changes, history::History, machine::Gauges, rates::Meter};
use crate::configuration::Configuration;

/// How often is looked, at most.
const SHORTEST: Duration = Duration::from_millis(250);
/// Of the time, looking takes one part in so many.
const SHARE: u32 = 20;

/// A look, and how it is shown.
pub(in crate::web) struct Moment {
    pub(in crate::web) state: State,
    /// Made when it is needed first.
    frame: OnceLock<Bytes>,
}

/// What is known from one look to the next.
pub(super) struct Looker {
    gauges: Gauges,
    meter: Meter,
    changes: Changes,
    pub(super) history: History,
    /// Nothing while nobody asks: all devices are in it.
    last: Option<Last>,
    /// When one may look again.
    due: Instant,
}

struct Last {
    moment: Arc<Moment>,
    /// By which it was looked.
    configuration: Arc<Configuration>,
}

impl Moment {
    /// It as an event for pages.
    pub(super) fn frame(&self) -> Bytes {
        self.frame.get_or_init(|| frame("state", &self.state).into()).clone()
    }
}

impl Looker {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            gauges: Gauges::new(now),
            meter: Meter::default(),
            changes: Changes::default(),
            history: History::new(now),
            last: None,
            due: now,
        }
    }

    /// When is to be looked next.
    pub(super) fn next(&self, for_pages: bool) -> Instant {
        if for_pages { self.due } else { self.due.max(self.history.due()) }
    }

    /// Nobody asks any more.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }
}

impl Live {
    /// The last look, or a new one if it is time for that, or if the configuration is another one.
    pub(super) fn current(&self, looker: &mut Looker) -> Arc<Moment> {
        match &looker.last {
            Some(last)
                if Instant::now() < looker.due
                    && Arc::ptr_eq(&last.configuration, &self.bridge.configuration.load()) =>
            {
                Arc::clone(&last.moment)
            }
            _ => self.look(looker),
        }
    }

    /// Looks, notes it for the history, and tells all pages what has changed. Blocks.
    pub(super) fn look(&self, looker: &mut Looker) -> Arc<Moment> {
        let (now, before_look) = (Instant::now(), worked());
        let configuration = self.bridge.configuration.load_full();
        let Looker { gauges, meter, changes, history, last, due } = looker;
        let before = last.take().map(|last| last.moment);
        let mut state = State::look(
            &self.bridge,
            &configuration,
            before.as_ref().map(|before| &before.state),
            now,
            (gauges, meter),
        );
        for connection in &mut state.connections {
            connection.messages_shown_until = self.messages.shown_until(&connection.key);
        }
        history.record(now, &state);
        let moment = Arc::new(Moment { state, frame: OnceLock::new() });
        let events = self.events().take_untold();
        if self.has_pages() {
            let mut told = match before {
                Some(before) if before.state.revision == configuration.revision => {
                    let changes = changes.tell(&before.state, &moment.state);
                    changes.map(|changes| frame_of("changes", &changes)).unwrap_or_default()
                }
                _ => {
                    changes.clear();
                    moment.frame().into()
                }
            };
            if !events.is_empty() {
                told.extend_from_slice(&frame("events", &events));
            }
            if !told.is_empty() {
                // An error says that no page listens yet.
                let _ = self.sender.send(told.into());
            }
        } else {
            changes.clear();
        }
        *last = Some(Last { moment: Arc::clone(&moment), configuration });
        *due = now + SHORTEST.max(worked().saturating_sub(before_look) * SHARE);
        moment
    }
}

/// How long this thread has had a core: what looking costs, however busy the machine is with other things.
fn worked() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

fn frame(event: &str, data: &impl Serialize) -> Vec<u8> {
    // Only maps with keys that are no texts could fail, and there are none in it.
    frame_of(event, &serde_json::to_vec(data).unwrap_or_default())
}

/// JSON has no line breaks outside texts, and in them they are written as `\n`: so it is one line.
fn frame_of(event: &str, data: &[u8]) -> Vec<u8> {
    [b"event: ", event.as_bytes(), b"\ndata: ", data, b"\n\n"].concat()
}
