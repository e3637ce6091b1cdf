use std::sync::Arc;

use ior_broker::events::Event as BrokerEvent;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{Event, Names};
use crate::{control::Bridge, reload::Outcome};

/// All that happens in a running bridge, as events, from when this was made. Whoever takes them slowly misses some and is
/// told how many.
pub(crate) struct Happenings {
    bridge: Arc<Bridge>,
    broker: Receiver<BrokerEvent>,
    reloads: Receiver<Outcome>,
    notices: Receiver<Event>,
    names: Arc<Names>,
}

impl Happenings {
    /// From now on.
    pub fn of(bridge: &Arc<Bridge>) -> Self {
        Self {
            broker: bridge.broker.events(),
            reloads: bridge.reload.outcomes(),
            notices: bridge.notices.subscribe(),
            names: Arc::new(Names::new(bridge.configuration.load_full())),
            bridge: Arc::clone(bridge),
        }
    }

    /// The next event; `None` if nothing happens any more. Nothing is lost if this is given up.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            let event = tokio::select! {
                biased;
                outcome = self.reloads.recv() => told(outcome, |outcome| Event::of_reload(&outcome)),
                notice = self.notices.recv() => told(notice, |event| event),
                event = self.broker.recv() => match event {
                    Err(RecvError::Closed) => return None,
                    event => told(event, |event| self.names().event(&event)),
                },
            };
            if event.is_some() {
                return event;
            }
        }
    }

    /// What names stand for by the configuration that runs.
    pub fn names(&mut self) -> &Arc<Names> {
        let configuration = self.bridge.configuration.load();
        if !self.names.is_of(&configuration) {
            self.names = Arc::new(Names::new(Arc::clone(&configuration)));
        }
        &self.names
    }
}

/// What was received as an event, or how many were missed.
fn told<T>(received: Result<T, RecvError>, event: impl FnOnce(T) -> Event) -> Option<Event> {
    match received {
        Ok(received) => Some(event(received)),
        Err(RecvError::Lagged(missed)) => Some(Event::missed(missed)),
        Err(RecvError::Closed) => None,
    }
}
