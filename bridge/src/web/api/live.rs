//! What happens, while it does: server-sent events.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{
        HeaderName, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::IntoResponse,
    routing::get,
};
use futures_util::stream::unfold;

use crate::web::{Problem, Web, auth::Read};

/// `GET /api/v1/live`.
pub(super) fn routes() -> Router<Arc<Web>> {
    Router::new().route("/api/v1/live", get(live))
}

async fn live(
    Read(visitor): Read,
    State(web): State<Arc<Web>>,
) -> Result<impl IntoResponse + use<>, Problem> {
    let ends = {
        let web = Arc::clone(&web);
        async move { visitor.until_over(&web).await }
    };
    let page = web.live.open(ends).ok_or_else(|| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many pages are open already: close one of them")
    })?;
    let told = unfold(page, async |mut page| page.next().await.map(|told| (Ok::<_, Infallible>(told), page)));
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
        // Else a proxy may keep what is told to itself until there is more of it.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(told)))
}
