//! What can be asked for below `/api/v1/`, and beside it: one file for each thing.

mod connections_change;
mod credentials;
mod devices_change;
mod event_stream;
mod events;
mod history;
mod live;
mod messages;
mod openapi;
mod reload;
mod session;
mod status;
mod tokens;

use std::sync::Arc;

use axum::Router;

use super::Web;

/// All of it.
pub(super) fn routes() -> Router<Arc<Web>> {
    Router::new()
        .merge(session::routes())
        .merge(tokens::routes())
        .merge(devices_change::routes())
        .merge(connections_change::routes())
        .merge(credentials::routes())
        .merge(reload::routes())
        .merge(events::routes())
        .merge(history::routes())
        .merge(live::routes())
        .merge(messages::routes())
        .merge(status::routes())
        .merge(openapi::routes())
}
