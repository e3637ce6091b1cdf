//! The watchdog: messages that travel through the broker as those of devices do, on both lanes. As long as they come back the
//! service manager is told that the bridge is alive; once they do not, the process ends, so that it is started again.
//!
//! A thread of its own asks and waits, so that it notices also when nothing else runs any more. It counts what was tried, not
//! the time that has passed: a machine that stands still for a while, or is suspended, stands still for the watchdog too. The
//! messages belong to a session that ends with its connection, so a store that fails does not matter to them.

mod walker;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use ior_broker::Broker;
use tokio::{sync::watch, task::AbortHandle};

use self::walker::walk;
use crate::service_manager::ServiceManager;

/// How often it is to be heard of where no service manager says so.
const UNASKED: Duration = Duration::from_secs(30);

/// So many tries in a row have to fail. At a thirtieth of the watchdog's time each, after a third of it without, that is
/// before the service manager ends the process, who does not know why.
const TRIES: u32 = 15;

/// After so many in a row the bridge is not healthy any more for whoever asks. One may get lost where there is much to do.
const WORRYING: u32 = 3;

/// A busy machine gets so much time for every try, however short the watchdog's time is.
const SHORTEST_TRY: Duration = Duration::from_secs(1);

/// Messages that came back and were not looked at; further ones are as good as lost.
const UNHEARD: usize = 64;

/// How long it may take to write the last line.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A way through the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    /// Two, since the live lane has up to two links, and neighbouring topics take different ones.
    Live0,
    Live1,
    Assured,
}

/// What the thread hears.
enum Heard {
    /// A message of this round came back.
    Back(u64, Lane),
    Stop,
}

/// What the watchdog knows while it asks, for whoever wants to know earlier than by the end of the process.
#[derive(Debug, Default)]
pub struct Pulse {
    /// Tries in a row without all messages back.
    silent: AtomicU32,
}

/// A running watchdog. Stops when this is dropped.
pub struct Watchdog {
    thread: mpsc::SyncSender<Heard>,
    walker: AbortHandle,
}

/// When it asks, and how long it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pace {
    between_rounds: Duration,
    of_a_try: Duration,
}

struct Asker {
    pace: Pace,
    round: watch::Sender<u64>,
    heard: mpsc::Receiver<Heard>,
    pulse: Arc<Pulse>,
}

/// How a round ended.
enum Outcome {
    Alive,
    Silent(Vec<Lane>),
    Stopped,
}

impl Watchdog {
    /// Watches a broker whose policy knows [`crate::policy::WATCHDOG`], and ends the process when it has to.
    ///
    /// # Errors
    /// The system has no more threads.
    pub fn start(broker: Arc<Broker>, manager: ServiceManager, pulse: Arc<Pulse>) -> io::Result<Self> {
        let pace = Pace::of(ServiceManager::watchdog_time().unwrap_or(UNASKED));
        Self::start_with(broker, pace, pulse, move || manager.alive(), |why| end(&why))
    }

    fn start_with(
        broker: Arc<Broker>,
        pace: Pace,
        pulse: Arc<Pulse>,
        alive: impl Fn() + Send + 'static,
        dead: impl FnOnce(String) + Send + 'static,
    ) -> io::Result<Self> {
        let (round, rounds) = watch::channel(0);
        let (sender, heard) = mpsc::sync_channel(UNHEARD);
        let asker = Asker { pace, round, heard, pulse };
        thread::Builder::new().name("watchdog".to_owned()).spawn(move || asker.run(alive, dead))?;
        let walker = tokio::spawn(walk(broker, rounds, sender.clone())).abort_handle();
        Ok(Self { thread: sender, walker })
    }
}

impl Pulse {
    /// Whether messages travel through the broker, as far as the watchdog knows.
    pub fn is_felt(&self) -> bool {
        self.silent.load(Ordering::Relaxed) < WORRYING
    }

    fn missed(&self) {
        self.silent.fetch_add(1, Ordering::Relaxed);
    }

    fn felt(&self) {
        self.silent.store(0, Ordering::Relaxed);
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // An error says that it has ended already, or has much to hear before it hears that nobody speaks any more.
        let _ = self.thread.try_send(Heard::Stop);
        self.walker.abort();
    }
}

impl Pace {
    fn of(watchdog: Duration) -> Self {
        Self { between_rounds: watchdog / 3, of_a_try: (watchdog / 30).max(SHORTEST_TRY) }
    }
}

impl Asker {
    fn run(self, alive: impl Fn(), dead: impl FnOnce(String)) {
        loop {
            match self.ask() {
                Outcome::Alive => alive(),
                Outcome::Silent(lanes) => return dead(self.why(&lanes)),
                Outcome::Stopped => return,
            }
            let next = Instant::now() + self.pace.between_rounds;
            while let Some(heard) = self.hear(next) {
                if let Heard::Stop = heard {
                    return;
                }
            }
        }
    }

    /// Sends messages on every lane until one of each is back. QoS 0 may get lost where there is much to do, so they are sent
    /// anew for every try.
    fn ask(&self) -> Outcome {
        let first = *self.round.borrow() + 1;
        let mut silent = vec![Lane::Live0, Lane::Live1, Lane::Assured];
        for _ in 0..TRIES {
            self.round.send_modify(|round| *round += 1);
            let until = Instant::now() + self.pace.of_a_try;
            while let Some(heard) = self.hear(until) {
                match heard {
                    Heard::Back(round, lane) if round >= first => silent.retain(|other| *other != lane),
                    Heard::Back(..) => {}
                    Heard::Stop => return Outcome::Stopped,
                }
                if silent.is_empty() {
                    self.pulse.felt();
                    return Outcome::Alive;
                }
            }
            self.pulse.missed();
        }
        Outcome::Silent(silent)
    }

    /// `None` when the time is over.
    fn hear(&self, until: Instant) -> Option<Heard> {
        match self.heard.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(heard) => Some(heard),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            // Nobody is left who could say more.
            Err(mpsc::RecvTimeoutError::Disconnected) => Some(Heard::Stop),
        }
    }

    fn why(&self, silent: &[Lane]) -> String {
        let seconds = (self.pace.of_a_try * TRIES).as_secs_f32();
        let what = match silent {
            [Lane::Live0 | Lane::Live1, ..] if !silent.contains(&Lane::Assured) => {
                "no QoS 0 message came through the live lane"
            }
            [Lane::Assured] => "no QoS 1 message came through the assured lane",
            _ => "no message came through the broker on either lane",
        };
        format!(
            "the watchdog: {what} for {seconds:.0} s, so devices cannot talk. The bridge ends with status 1, to be started \
             again. Please report this with the log before it; if it comes again, look whether the machine has enough memory \
             and time (`free`, `top`)"
        )
    }
}

/// Ends the process, also if nobody takes its last words.
#[expect(clippy::disallowed_methods, reason = "whatever would end it properly may hang")]
fn end(why: &str) {
    let (said, done) = mpsc::sync_channel::<()>(0);
    let why = why.to_owned();
    thread::spawn(move || {
        tracing::error!(reason = "watchdog", "{why}");
        drop(said);
    });
    let _ = done.recv_timeout(LAST_WORDS);
    std::process::exit(1);
}

#[cfg(test)]
mod tests;
