//! What can be asked for below `/api/v1/`, and beside it: one file for each thing.

mod session;
mod tokens;

use std::sync::Arc;

use axum::Router;

use super::Web;

/// All of it.
pub(super) fn routes() -> Router<Arc<Web>> {
    Router::new().merge(session::routes()).merge(tokens::routes())
}
