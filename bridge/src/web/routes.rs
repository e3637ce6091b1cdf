//! Who answers what, and the headers that every answer has.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{
        HeaderName, HeaderValue, StatusCode, Uri,
        header::{self, HOST},
        uri::Authority,
    },
    middleware::{from_fn, map_response},
    response::{IntoResponse, Redirect, Response},
};

use super::{Problem, Web, api, auth::refuse_other_sites, health, metrics, page};

/// Longest body of a request, in bytes.
const MAX_BODY: usize = 64 << 10;

/// What a browser may do with an answer: nothing that does not come from here, and no frame around it.
const SECURITY: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Everything.
pub(super) fn all(web: Arc<Web>) -> Router {
    page::routes()
        .merge(api::routes())
        .merge(health::routes())
        .merge(metrics::routes())
        .with_state(web)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn(refuse_other_sites))
        .layer(map_response(secure))
}

/// For whoever speaks HTTP without TLS to a listener with it: leads to the same place with TLS. No browser keeps that: at
/// another time the listener may have no TLS.
pub(super) fn moved_to_tls() -> Router {
    let moved = async |uri: Uri, request: Request| {
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let host = host.and_then(|host| host.parse::<Authority>().ok());
        let place = uri.path_and_query().map_or("/", |place| place.as_str());
        match host.filter(|host| !host.as_str().contains('@')) {
            Some(host) if place.starts_with('/') => {
                Redirect::temporary(&format!("https://{host}{place}")).into_response()
            }
            _ => Problem::new(StatusCode::BAD_REQUEST, "this port speaks HTTPS: begin with https://")
                .into_response(),
        }
    };
    Router::new().fallback(moved).layer(map_response(secure))
}

async fn secure(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    for (name, value) in SECURITY {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    answer
}
