//! What can be asked for below `/api/v1/`, and beside it: one file for each thing.

mod events;
mod history;
mod live;
mod status;

use std::sync::Arc;

use axum::Router;

use super::Web;

/// All of it.
pub(super) fn routes() -> Router<Arc<Web>> {
    Router::new()
        .merge(events::routes())
        .merge(history::routes())
        .merge(live::routes())
        .merge(status::routes())
}
