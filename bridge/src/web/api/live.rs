//! What happens, while it does: server-sent events.

use std::sync::Arc;

use axum::{Router, extract::State, http::StatusCode, response::Response, routing::get};

use super::event_stream::event_stream;
use crate::web::{Problem, Web, auth::Read};

/// `GET /api/v1/live`.
pub(super) fn routes() -> Router<Arc<Web>> {
    Router::new().route("/api/v1/live", get(live))
}

async fn live(Read(visitor): Read, State(web): State<Arc<Web>>) -> Result<Response, Problem> {
    let ends = {
        let web = Arc::clone(&web);
        async move { visitor.until_over(&web).await }
    };
    let page = web.live.open(ends).ok_or_else(|| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many pages are open already: close one of them")
    })?;
    Ok(event_stream(page, async |mut page| Some((page.next().await?, page))))
}
