//! The page, its API, metrics and health: HTTP, from the one process.
//!
//! `site` has the sockets, `routes` says who answers what, `auth` who may ask, `api/` has one file for each thing that can be
//! asked for, `live/` what pages are shown while it happens, `page` the files that a browser loads.

mod api;
mod auth;
mod changes;
mod health;
mod input;
mod live;
mod metrics;
mod page;
mod problem;
mod refusal;
mod routes;
mod site;

use std::sync::Arc;

use auth::Auth;
use changes::Changes;
use live::Live;
use problem::Problem;
pub use site::{Site, WebTls};

use crate::control::Bridge;

/// What all answers are made from.
pub struct Web {
    bridge: Arc<Bridge>,
    auth: Auth,
    live: Arc<Live>,
    changes: Changes,
}

impl Web {
    /// Of a running bridge.
    pub fn new(bridge: Arc<Bridge>) -> Arc<Self> {
        let live = Live::start(Arc::clone(&bridge));
        Arc::new(Self { auth: Auth::new(), live, changes: Changes::new(), bridge })
    }
}
