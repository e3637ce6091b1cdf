//! The files that a browser loads. They lie in `bridge/page/` and are part of the program.

use std::sync::Arc;

use axum::{
    Router,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
    },
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use sha2::{Digest, Sha256};

use super::{Problem, Web};

/// A file of the page.
struct File {
    /// Where it is.
    path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

/// The places of the page that its script fills: each of them is the same file.
const PLACES: [&str; 8] = [
    "/",
    "/login",
    "/devices",
    "/devices/{username}",
    "/connections",
    "/connections/{user}/{id}",
    "/live",
    "/account",
];

const INDEX: File = File { path: "/", content_type: HTML, bytes: include_bytes!("../../page/index.html") };

const FILES: &[File] = &[
    File { path: "/style.css", content_type: CSS, bytes: include_bytes!("../../page/style.css") },
    File { path: "/views.css", content_type: CSS, bytes: include_bytes!("../../page/views.css") },
    File { path: "/connections.css", content_type: CSS, bytes: include_bytes!("../../page/connections.css") },
    File { path: "/icon.svg", content_type: SVG, bytes: include_bytes!("../../page/icon.svg") },
    script("/js/add-device.js", include_bytes!("../../page/js/add-device.js")),
    script("/js/api.js", include_bytes!("../../page/js/api.js")),
    script("/js/app.js", include_bytes!("../../page/js/app.js")),
    script("/js/changes.js", include_bytes!("../../page/js/changes.js")),
    script("/js/chart.js", include_bytes!("../../page/js/chart.js")),
    script("/js/connection-card.js", include_bytes!("../../page/js/connection-card.js")),
    script("/js/connections.js", include_bytes!("../../page/js/connections.js")),
    script("/js/create-connection.js", include_bytes!("../../page/js/create-connection.js")),
    script("/js/credentials.js", include_bytes!("../../page/js/credentials.js")),
    script("/js/delete-connection.js", include_bytes!("../../page/js/delete-connection.js")),
    script("/js/device-actions.js", include_bytes!("../../page/js/device-actions.js")),
    script("/js/device-picker.js", include_bytes!("../../page/js/device-picker.js")),
    script("/js/device-row.js", include_bytes!("../../page/js/device-row.js")),
    script("/js/dialog.js", include_bytes!("../../page/js/dialog.js")),
    script("/js/dom.js", include_bytes!("../../page/js/dom.js")),
    script("/js/event-list.js", include_bytes!("../../page/js/event-list.js")),
    script("/js/events.js", include_bytes!("../../page/js/events.js")),
    script("/js/format.js", include_bytes!("../../page/js/format.js")),
    script("/js/icons.js", include_bytes!("../../page/js/icons.js")),
    script("/js/message-list.js", include_bytes!("../../page/js/message-list.js")),
    script("/js/message-view.js", include_bytes!("../../page/js/message-view.js")),
    script("/js/parts.js", include_bytes!("../../page/js/parts.js")),
    script("/js/payload.js", include_bytes!("../../page/js/payload.js")),
    script("/js/rates.js", include_bytes!("../../page/js/rates.js")),
    script("/js/router.js", include_bytes!("../../page/js/router.js")),
    script("/js/scale.js", include_bytes!("../../page/js/scale.js")),
    script("/js/session.js", include_bytes!("../../page/js/session.js")),
    script("/js/shell.js", include_bytes!("../../page/js/shell.js")),
    script("/js/shown-mark.js", include_bytes!("../../page/js/shown-mark.js")),
    script("/js/state.js", include_bytes!("../../page/js/state.js")),
    script("/js/tabs.js", include_bytes!("../../page/js/tabs.js")),
    script("/js/theme.js", include_bytes!("../../page/js/theme.js")),
    script("/js/visible.js", include_bytes!("../../page/js/visible.js")),
    script("/js/views/account.js", include_bytes!("../../page/js/views/account.js")),
    script("/js/views/connection.js", include_bytes!("../../page/js/views/connection.js")),
    script("/js/views/connections.js", include_bytes!("../../page/js/views/connections.js")),
    script("/js/views/device.js", include_bytes!("../../page/js/views/device.js")),
    script("/js/views/devices.js", include_bytes!("../../page/js/views/devices.js")),
    script("/js/views/live.js", include_bytes!("../../page/js/views/live.js")),
    script("/js/views/login.js", include_bytes!("../../page/js/views/login.js")),
    script("/js/views/overview.js", include_bytes!("../../page/js/views/overview.js")),
];

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";

const fn script(path: &'static str, bytes: &'static [u8]) -> File {
    File { path, content_type: "text/javascript; charset=utf-8", bytes }
}

/// The files; everything else is not found.
pub(super) fn routes() -> Router<Arc<Web>> {
    let mut routes = Router::new();
    for place in PLACES {
        routes = routes.route(place, INDEX.route());
    }
    for file in FILES {
        routes = routes.route(file.path, file.route());
    }
    routes.fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "there is nothing here") })
}

impl File {
    fn route(&'static self) -> MethodRouter<Arc<Web>> {
        let tag = tag_of(self.bytes);
        get(async move |request: HeaderMap| self.answer(&request, &tag))
    }

    fn answer(&self, request: &HeaderMap, tag: &str) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        // Asked for again each time: after an update the page is the new one.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.extend(HeaderValue::from_str(tag).ok().map(|tag| (ETAG, tag)));
        if is_known(request, tag) {
            headers.remove(CONTENT_TYPE);
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        (headers, self.bytes).into_response()
    }
}

/// Tells these bytes from those of any other version.
fn tag_of(bytes: &[u8]) -> String {
    let sum = Sha256::digest(bytes);
    let digits: String = sum.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{digits}\"")
}

/// Whether the browser has it already, as it is now.
fn is_known(request: &HeaderMap, tag: &str) -> bool {
    let known = request.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    known
        .flat_map(|tags| tags.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.trim_start_matches("W/") == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(if_none_match: &[&'static str]) -> HeaderMap {
        if_none_match.iter().map(|value| (IF_NONE_MATCH, HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_file_is_known_by_its_tag() {
        let tag = tag_of(b"");
        assert_eq!(tag, "\"e3b0c44298fc1c149afbf4c8\"");
        assert_ne!(tag_of(b"other"), tag);
        for known in [r#""e3b0c44298fc1c149afbf4c8""#, r#""old", W/"e3b0c44298fc1c149afbf4c8""#, "*"] {
            assert!(is_known(&request(&[known]), &tag), "{known}");
        }
        assert!(is_known(&request(&[r#""old""#, r#""e3b0c44298fc1c149afbf4c8""#]), &tag));
        for other in [r#""old""#, "e3b0c44298fc1c149afbf4c8", ""] {
            assert!(!is_known(&request(&[other]), &tag), "{other}");
        }
        assert!(!is_known(&request(&[]), &tag));
    }
}
