//! What the service manager is told, systemd as a rule: when the bridge is ready, how it is, that it reloads or stops, and that
//! it is alive. Without one (no `NOTIFY_SOCKET`) nothing is told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use ior_broker::{Broker, events::Event};
use sd_notify::NotifyState;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::sleep,
};

use crate::configuration::Configuration;

/// The status is told at most that often.
const CALM: Duration = Duration::from_secs(2);

/// How long a backup may take to be restored.
const PAUSE: Duration = Duration::from_secs(30 * 60);

/// Tells the service manager.
#[derive(Clone)]
pub struct ServiceManager(Arc<Told>);

struct Told {
    broker: Arc<Broker>,
    configuration: Arc<ArcSwap<Configuration>>,
    /// Why messages cannot be kept now.
    failing: ArcSwapOption<String>,
    status: ArcSwap<String>,
    has_failed: AtomicBool,
}

impl ServiceManager {
    /// Of a bridge with this configuration.
    pub fn new(broker: Arc<Broker>, configuration: Arc<ArcSwap<Configuration>>) -> Self {
        Self(Arc::new(Told {
            broker,
            configuration,
            failing: ArcSwapOption::empty(),
            status: ArcSwap::default(),
            has_failed: AtomicBool::new(false),
        }))
    }

    /// The bridge can be used, or can be used again after [`ServiceManager::reloading`].
    pub fn ready(&self) {
        let status = self.status();
        let mut states = vec![NotifyState::Ready, NotifyState::Status(&status)];
        // As it was before a pause.
        states.extend(Self::watchdog_time().map(|time| NotifyState::WatchdogUsec(microseconds(time))));
        self.tell(&states);
        self.0.status.store(Arc::new(status));
    }

    /// The configuration is being taken up.
    pub fn reloading(&self) {
        let mut states = vec![NotifyState::Reloading];
        states.extend(NotifyState::monotonic_usec_now());
        self.tell(&states);
    }

    /// The bridge does nothing while a backup is restored, and starts again in the same process then.
    pub fn pausing(&self) {
        let mut states = vec![NotifyState::Reloading];
        states.extend(NotifyState::monotonic_usec_now());
        states.push(NotifyState::ExtendTimeoutUsec(microseconds(PAUSE)));
        states.extend(Self::watchdog_time().map(|_| NotifyState::WatchdogUsec(microseconds(PAUSE))));
        states.push(NotifyState::Status("a backup is being restored"));
        self.tell(&states);
    }

    /// The bridge stops.
    pub fn stopping(&self) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    }

    /// The bridge does its job.
    pub fn alive(&self) {
        self.tell(&[NotifyState::Watchdog]);
    }

    /// How long it waits to hear that the bridge is alive before it ends it; `None` if it does not.
    pub fn watchdog_time() -> Option<Duration> {
        sd_notify::watchdog_enabled().filter(|time| !time.is_zero())
    }

    /// Tells the status whenever it has changed, for as long as there are events.
    pub async fn follow(self, mut events: Receiver<Event>) {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return;
        }
        loop {
            let event = events.recv().await;
            if let Err(RecvError::Closed) = event {
                return;
            }
            let concerns = self.note(event);
            if !concerns {
                continue;
            }
            sleep(CALM).await;
            while let Some(event) = next(&mut events) {
                self.note(event);
            }
            let status = self.status();
            if **self.0.status.load() != status {
                self.tell(&[NotifyState::Status(&status)]);
                self.0.status.store(Arc::new(status));
            }
        }
    }

    /// Whether the status may be another now.
    fn note(&self, event: Result<Event, RecvError>) -> bool {
        match event {
            Ok(Event::StoreFailing { detail }) => self.0.failing.store(Some(Arc::new(detail.to_string()))),
            Ok(Event::StoreRecovered) => self.0.failing.store(None),
            Ok(Event::Connected { .. } | Event::Disconnected { .. }) | Err(_) => {}
            Ok(_) => return false,
        }
        true
    }

    fn status(&self) -> String {
        let configuration = self.0.configuration.load();
        let devices = configuration.registry.devices();
        let online = devices.iter().filter(|device| self.0.broker.is_online(&device.user_name())).count();
        let total = devices.len();
        let s = if total == 1 { "" } else { "s" };
        match &*self.0.failing.load() {
            None => format!("{online} of {total} device{s} online"),
            Some(why) => format!("{online} of {total} device{s} online; messages cannot be kept: {why}"),
        }
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(states)
            && !self.0.has_failed.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                "the service manager cannot be told how the bridge is, and may end it: {error}; NOTIFY_SOCKET has to name a \
                 socket that the bridge may write to"
            );
        }
    }
}

fn microseconds(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

/// What has happened already.
fn next(events: &mut Receiver<Event>) -> Option<Result<Event, RecvError>> {
    use tokio::sync::broadcast::error::TryRecvError;
    match events.try_recv() {
        Ok(event) => Some(Ok(event)),
        Err(TryRecvError::Lagged(missed)) => Some(Err(RecvError::Lagged(missed))),
        Err(TryRecvError::Empty | TryRecvError::Closed) => None,
    }
}
