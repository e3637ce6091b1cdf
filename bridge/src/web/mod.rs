//! The page, its API, metrics and health: HTTP, from the one process.
//!
//! `site` has the sockets, `routes` says who answers what, `auth` who may ask, `api/` has one file for each thing that can be
//! asked for, `live/` what pages are shown while it happens, `page` the files that a browser loads.

mod api;
pub(crate) mod auth;
mod changes;
mod health;
mod input;
mod live;
mod messages;
mod metrics;
mod page;
mod patience;
mod places;
mod problem;
mod refusal;
mod routes;
mod site;

use std::{path::PathBuf, sync::Arc, time::Duration};

use auth::Auth;
pub use auth::tokens::Scope;
use changes::Changes;
use live::Live;
use messages::Messages;
use problem::Problem;
pub(crate) use site::CONNECTIONS;
pub use site::{Site, WebTls};

use crate::{control::Bridge, report::Event};

/// What all answers are made from.
pub struct Web {
    bridge: Arc<Bridge>,
    auth: Arc<Auth>,
    live: Arc<Live>,
    messages: Arc<Messages>,
    changes: Changes,
}

impl Web {
    /// Of a running bridge.
    pub fn new(bridge: Arc<Bridge>) -> Arc<Self> {
        let auth = Auth::new(&bridge.configuration.load().settings.data_dir);
        let messages = Messages::new(Arc::clone(&bridge));
        let live = Live::start(Arc::clone(&bridge), Arc::clone(&messages));
        Arc::new(Self { auth, live, messages, changes: Changes::new(), bridge })
    }

    /// Tells whoever watches, and the log, what somebody has done here.
    fn note(&self, event: Event) {
        tracing::info!("{}", event.text);
        self.tell(event);
    }

    /// Tells whoever watches.
    fn tell(&self, event: Event) {
        // An error says that nobody does.
        let _ = self.bridge.notices.send(event);
    }

    /// How long a login lasts.
    fn session_max_age(&self) -> Duration {
        self.bridge.configuration.load().settings.web.session_max_age
    }

    fn data_dir(&self) -> PathBuf {
        self.bridge.configuration.load().settings.data_dir.clone()
    }
}
