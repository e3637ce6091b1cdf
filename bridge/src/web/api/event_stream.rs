//! Answers that go on: server-sent events.

use std::convert::Infallible;

use axum::{
    body::Body,
    http::{
        HeaderName,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream::unfold;

/// Sends what `next` gives of the source, which is in the form of such events already, until that is nothing.
pub(super) fn event_stream<S: Send + 'static, F>(
    source: S,
    next: impl Fn(S) -> F + Send + 'static,
) -> Response
where
    F: Future<Output = Option<(Bytes, S)>> + Send + 'static,
{
    let told = unfold(source, move |source| {
        let next = next(source);
        async move { next.await.map(|(told, source)| (Ok::<_, Infallible>(told), source)) }
    });
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
        // Else a proxy may keep what is told to itself until there is more of it.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(told)).into_response()
}
