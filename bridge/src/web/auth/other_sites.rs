//! Keeps pages of other sites from changing anything through the browser of somebody who is logged in here.

use axum::{
    extract::Request,
    http::{
        HeaderMap, StatusCode, Uri,
        header::{HOST, ORIGIN},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::super::Problem;

/// How a browser says where a request comes from.
const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Lets only through what does not come from the page of another site, or only looks.
pub(in crate::web) async fn refuse_other_sites(request: Request, next: Next) -> Response {
    if !request.method().is_safe() && is_of_other_site(request.headers()) {
        let detail =
            "this comes from a page of another site: only the bridge's own page may change something";
        return Problem::new(StatusCode::FORBIDDEN, detail).into_response();
    }
    next.run(request).await
}

/// Programs that are no browsers send neither header.
fn is_of_other_site(headers: &HeaderMap) -> bool {
    let site = headers.get(SEC_FETCH_SITE).map(|site| site.as_bytes());
    if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        return true;
    }
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    let origin = origin.as_ref().and_then(Uri::authority);
    match (origin, host) {
        (Some(origin), Some(host)) => !origin.as_str().eq_ignore_ascii_case(host),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn of(headers: &[(&'static str, &'static str)]) -> bool {
        let header = |(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        is_of_other_site(&headers.iter().copied().map(header).collect())
    }

    #[test]
    fn only_the_same_origin_passes() {
        const HERE: (&str, &str) = ("host", "pi.local:8080");
        for own in [
            &[HERE][..],
            &[HERE, ("origin", "https://pi.local:8080")],
            &[HERE, ("origin", "http://PI.local:8080")],
            &[HERE, ("sec-fetch-site", "same-origin")],
            &[HERE, ("sec-fetch-site", "none")],
            &[],
        ] {
            assert!(!of(own), "{own:?}");
        }
        for other in [
            &[HERE, ("origin", "https://pi.local")][..],
            &[HERE, ("origin", "https://pi.local:8081")],
            &[HERE, ("origin", "https://evil.example")],
            &[HERE, ("origin", "https://pi.local:8080.evil.example")],
            &[HERE, ("origin", "null")],
            &[HERE, ("origin", "")],
            &[("origin", "https://pi.local:8080")],
            &[HERE, ("sec-fetch-site", "same-site")],
            &[HERE, ("sec-fetch-site", "cross-site"), ("origin", "https://pi.local:8080")],
        ] {
            assert!(of(other), "{other:?}");
        }
    }
}
