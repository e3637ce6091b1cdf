//! The page, its API, metrics and health: HTTP, from the one process.
//!
//! `site` has the sockets, `routes` says who answers what, `auth` who may ask, `api/` has one file for each thing that can be
//! asked for, `live/` what pages are shown while it happens, `page` the files that a browser loads. `changes` makes what is
//! changed here the same as what is changed in the files, `refusal` says why it was not.

mod api;
pub(crate) mod auth;
mod body;
mod changes;
mod health;
mod input;
mod live;
mod page;
mod problem;
mod refusal;
mod routes;
mod site;

use std::{path::PathBuf, sync::Arc, time::Duration};

use auth::{Auth, Visitor};
use changes::Changes;
use live::Live;
use problem::Problem;
pub use site::{Site, WebTls};

use crate::{control::Bridge, report::Event};

/// What all answers are made from.
pub struct Web {
    bridge: Arc<Bridge>,
    auth: Arc<Auth>,
    live: Live,
    changes: Changes,
}

impl Web {
    /// Of a running bridge.
    pub fn new(bridge: Arc<Bridge>) -> Arc<Self> {
        let auth = Auth::new(&bridge.configuration.load().settings.data_dir);
        Arc::new(Self { auth, live: Live::new(), changes: Changes::new(), bridge })
    }

    /// Tells whoever watches, and the log, what somebody has done here: "removed the device Master 1 (4569)".
    fn note(&self, visitor: &Visitor, what: &str) {
        self.note_at(&visitor.name, what);
    }

    fn note_at(&self, who: &str, what: &str) {
        self.record(Event::of_page(format!("{who} {what}")));
    }

    /// Tells whoever watches, and the log.
    fn record(&self, event: Event) {
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
