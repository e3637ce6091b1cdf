//! What the devices of a connection tell each other, for an administrator to look at: off until it is turned on for one
//! connection, for a limited time, and told to everybody who watches. Nothing is kept, neither of messages nor of what was on.
//!
//! A `pump` takes the copies of one connection's messages from the broker and writes them once for all readers; a `reader` is
//! what one page is sent.

mod pump;
mod reader;

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, broadcast, watch},
    time::{Instant, timeout},
};

use self::pump::Pump;
pub(super) use self::reader::Reader;
use super::auth::Visitor;
use crate::{
    control::Bridge,
    registry::{Connection, End, Registry},
    report::{Event, Time},
};

/// Connections whose messages are shown at once.
const VIEWS: usize = 16;
/// Pages that messages are shown on at once, over all connections.
const READERS: usize = 50;
/// Messages that are told at once; how often that is says [`pump`]. All others are counted only.
const AT_ONCE: usize = 50;
/// How many times a page that reads slowly may not take what is told before it misses some of it.
const BEHIND: usize = 4;
/// How long a stop waits for pages to be told.
const STOPPING_TIME: Duration = Duration::from_millis(500);

/// The views that are on.
pub(super) struct Messages {
    bridge: Arc<Bridge>,
    views: Mutex<Views>,
    /// One for each page that may be told messages.
    places: Arc<Semaphore>,
}

#[derive(Default)]
struct Views {
    /// By `<user>/<id>`.
    by_key: HashMap<String, View>,
    /// How many there were.
    begun: u64,
}

/// The messages of one connection are shown. It ends when this is dropped.
struct View {
    /// No other one has it.
    number: u64,
    pair: Pair,
    until: Time,
    deadline: watch::Sender<Instant>,
    sender: broadcast::Sender<Told>,
    /// Messages that there were, those that were left out included.
    messages: u64,
}

/// What is told at once.
#[derive(Debug, Clone)]
struct Told {
    /// Whole server-sent events.
    text: Bytes,
    /// Messages in it.
    shown: u64,
    /// Messages that there were with those in it.
    messages: u64,
}

/// Why messages are shown no more, other than that somebody turned it off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// The time is over.
    Time,
    /// The connection is gone, or joins other devices.
    Gone,
    /// The bridge stops.
    Stopping,
}

/// Why nobody is shown anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unshown {
    /// It is not turned on.
    Off,
    /// There are too many readers.
    TooMany,
}

impl Messages {
    /// Nothing is shown.
    pub(super) fn new(bridge: Arc<Bridge>) -> Arc<Self> {
        Arc::new(Self { bridge, views: Mutex::default(), places: Arc::new(Semaphore::new(READERS)) })
    }

    /// Shows the messages of a connection from now on, for so long, and says so. If they are shown already, it is until another
    /// time. `pair` are the devices that it joins. `None` if those of too many connections are shown.
    pub(super) fn turn_on(
        self: &Arc<Self>,
        key: &str,
        pair: Pair,
        time: Duration,
        visitor: &Visitor,
    ) -> Option<Time> {
        let until = self.show(key, pair, time)?;
        let clock = humantime::format_rfc3339_seconds(until.0);
        self.tell(key, visitor.did(&format!("the messages of {key} are shown on the page until {clock},")));
        Some(until)
    }

    /// Shows them no more.
    pub(super) fn turn_off(&self, key: &str, visitor: &Visitor) {
        self.end(key, None, &visitor.did("turned off"));
    }

    /// Until when the messages of a connection are shown, if they are.
    pub(super) fn shown_until(&self, key: &str) -> Option<Time> {
        self.views.lock().by_key.get(key).map(|view| view.until)
    }

    /// What a page is to be told from now on. It ends with `ends`.
    ///
    /// # Errors
    /// They are not shown, or on too many pages.
    pub(super) fn open(
        &self,
        key: &str,
        ends: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Reader, Unshown> {
        let views = self.views.lock();
        let view = views.by_key.get(key).ok_or(Unshown::Off)?;
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Unshown::TooMany)?;
        Ok(Reader::new(view, place, ends))
    }

    /// Waits a moment until pages were told that the bridge stops, which the views have seen by themselves.
    pub(super) async fn stop(&self) {
        // An error says that one of them reads slowly, and is cut off.
        let _ = timeout(STOPPING_TIME, self.places.acquire_many(READERS as u32)).await;
    }

    fn show(self: &Arc<Self>, key: &str, pair: Pair, time: Duration) -> Option<Time> {
        let (until, deadline) = (Time(Time::now().0 + time), Instant::now() + time);
        let mut views = self.views.lock();
        let Views { by_key, begun } = &mut *views;
        if let Some(view) = by_key.get_mut(key).filter(|view| view.pair.joins_the_same(&pair)) {
            view.until = until;
            view.deadline.send_replace(deadline);
        } else if by_key.len() >= VIEWS && !by_key.contains_key(key) {
            return None;
        } else {
            *begun += 1;
            let (number, sender) = (*begun, broadcast::Sender::new(BEHIND));
            let (deadline, deadlines) = watch::channel(deadline);
            let view = View { number, pair: pair.clone(), until, deadline, sender, messages: 0 };
            by_key.insert(key.to_owned(), view);
            tokio::spawn(Pump::new(Arc::clone(self), key, number, pair, deadlines).run());
        }
        Some(until)
    }

    /// Ends a view, if it is still there, and says so. `number` is which one, if another one may have taken its place.
    fn end(&self, key: &str, number: Option<u64>, why: &str) {
        {
            let mut views = self.views.lock();
            let is_it = |view: &View| number.is_none_or(|number| view.number == number);
            if !views.by_key.get(key).is_some_and(is_it) {
                return;
            }
            views.by_key.remove(key);
        }
        self.tell(key, format!("the messages of {key} are not shown any more: {why}"));
    }

    /// Gives readers what a view has to tell, unless it has ended meanwhile.
    fn give(&self, key: &str, number: u64, text: Bytes, shown: u64, left_out: u64) {
        let mut views = self.views.lock();
        if let Some(view) = views.by_key.get_mut(key).filter(|view| view.number == number) {
            view.messages += shown + left_out;
            // An error says that nobody reads.
            let _ = view.sender.send(Told { text, shown, messages: view.messages });
        }
    }

    /// For the log and whoever watches.
    fn tell(&self, key: &str, text: String) {
        tracing::info!("{text}");
        // An error says that nobody watches.
        let _ = self.bridge.notices.send(Event::of_page(text).in_connection(key.to_owned()));
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time => f.write_str("the time is over"),
            Self::Gone => f.write_str("the connection is gone, or joins other devices"),
            Self::Stopping => f.write_str("the bridge stops"),
        }
    }
}

/// The devices that a connection joins: MQTT user names, and the names of the flows of what each says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    devices: [String; 2],
    flows: [Arc<str>; 2],
}

impl Pair {
    /// Of a connection, by its devices.
    pub(super) fn of(registry: &Registry, connection: &Connection) -> Self {
        let devices = End::BOTH.map(|end| registry.end(connection, end));
        Self {
            flows: devices.map(|device| format!("{}/{}", connection.full_id(), device.code).into()),
            devices: devices.map(|device| device.user_name()),
        }
    }

    /// The other one.
    fn peer_of(&self, device: &str) -> &str {
        let [from, to] = &self.devices;
        if device == from { to } else { from }
    }

    /// Whether they are the same devices: which end is which means nothing.
    fn joins_the_same(&self, other: &Self) -> bool {
        let [a, b] = &other.devices;
        self.devices.contains(a) && self.devices.contains(b)
    }
}

#[cfg(test)]
mod tests;
