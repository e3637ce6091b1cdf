//! The cookie that holds a session's identifier.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header::COOKIE};

const PLAIN: &str = "ior_session";
/// Browsers take a cookie of such a name only over TLS, for this host and all paths.
const SECURE: &str = "__Host-ior_session";

/// Has the browser keep an identifier for so long.
pub(in crate::web) fn set_cookie(id: &str, max_age: Duration, is_secure: bool) -> HeaderValue {
    let (name, secure) = if is_secure { (SECURE, "; Secure") } else { (PLAIN, "") };
    let age = max_age.as_secs();
    header(&format!("{name}={id}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}{secure}"))
}

/// Has the browser forget it.
pub(in crate::web) fn clear_cookie(is_secure: bool) -> HeaderValue {
    set_cookie("", Duration::ZERO, is_secure)
}

/// All identifiers in a request. There may be more than one: pages at other ports of this host can set cookies, too.
pub(super) fn session_ids(headers: &HeaderMap, is_secure: bool) -> impl Iterator<Item = &str> {
    let name = if is_secure { SECURE } else { PLAIN };
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(move |cookie| cookie.trim().strip_prefix(name)?.strip_prefix('='))
}

#[expect(clippy::expect_used, reason = "all of it is visible ASCII")]
fn header(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).expect("names, base64url and numbers")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn over_tls_the_cookie_is_for_this_host_alone() {
        let hour = Duration::from_secs(3600);
        assert_eq!(
            set_cookie("abc", hour, true),
            "__Host-ior_session=abc; Path=/; HttpOnly; SameSite=Strict; Max-Age=3600; Secure"
        );
        assert_eq!(
            set_cookie("abc", hour, false),
            "ior_session=abc; Path=/; HttpOnly; SameSite=Strict; Max-Age=3600"
        );
        assert!(clear_cookie(true).to_str().unwrap().contains("Max-Age=0"));
    }

    #[test]
    fn identifiers_are_found_among_other_cookies() {
        let mut headers = HeaderMap::new();
        headers
            .append(COOKIE, HeaderValue::from_static("a=b; ior_session=one;ior_session=; x_ior_session=no"));
        headers.append(
            COOKIE,
            HeaderValue::from_static("ior_session=two; ior_session_=no; __Host-ior_session=s"),
        );
        headers.append(COOKIE, HeaderValue::from_bytes(b"ior_session=\xFF").unwrap());
        assert_eq!(session_ids(&headers, false).collect::<Vec<_>>(), ["one", "", "two"]);
        assert_eq!(session_ids(&headers, true).collect::<Vec<_>>(), ["s"]);
    }
}
