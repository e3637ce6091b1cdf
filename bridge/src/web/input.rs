//! What requests carry besides their path, with refusals as problems.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{
        HeaderMap, StatusCode,
        header::{CONTENT_TYPE, IF_MATCH},
        request::Parts,
    },
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::timeout;

use super::Problem;
use crate::registry::Revision;

/// How long a body may take to come: it is small, and holds one of the places for connections meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

/// What stands behind the question mark.
pub(super) struct Options<T>(pub(super) T);

/// What the path names. What cannot be a name is of nothing.
pub(super) struct Place<T>(pub(super) T);

/// The revision that whoever asks has seen, by `If-Match`; without it, any.
pub(super) struct Seen(Option<Vec<String>>);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        // A form of another site cannot have this type.
        let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = content_type.and_then(|value| value.split(';').next()).map(str::trim);
        if !essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "send JSON, with the header Content-Type: application/json",
            ));
        }
        let read = timeout(PATIENCE, Bytes::from_request(request, state)).await;
        let read = read.map_err(|_| {
            Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time: send it again")
        })?;
        let bytes = read.map_err(|rejection| {
            let detail = match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => "the body is too large",
                _ => "the body ended too early: send it again",
            };
            Problem::new(rejection.status(), detail)
        })?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| match error.is_data() {
            true => wrong(error.to_string()),
            false => Problem::new(StatusCode::BAD_REQUEST, format!("the body is no JSON: {error}")),
        })
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Options<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let options = Query::try_from_uri(&parts.uri);
        options.map(|Query(options)| Self(options)).map_err(|error| wrong(error.body_text()))
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Place<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let place = Path::from_request_parts(parts, state).await;
        place
            .map(|Path(place)| Self(place))
            .map_err(|_| Problem::new(StatusCode::NOT_FOUND, "there is nothing here"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Seen {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Self::of(&parts.headers)
    }
}

impl Seen {
    /// Whether a change of these files is wanted.
    pub(super) fn is(&self, revision: Revision) -> bool {
        let revision = revision.to_string();
        self.0.as_ref().is_none_or(|seen| seen.contains(&revision))
    }

    /// Whether any revision will do.
    pub(super) fn is_any(&self) -> bool {
        self.0.is_none()
    }

    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut seen = Vec::new();
        for value in headers.get_all(IF_MATCH) {
            for tag in value.to_str().unwrap_or_default().split(',').map(str::trim) {
                if tag == "*" {
                    return Ok(Self(None));
                }
                let tag = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
                seen.push(tag.ok_or_else(unquoted)?.to_owned());
            }
        }
        Ok(Self(headers.contains_key(IF_MATCH).then_some(seen)))
    }
}

fn unquoted() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "write the revision into If-Match in double quotes: If-Match: \"<revision>\"",
    )
}

/// Well-formed, and not what is wanted.
fn wrong(what: String) -> Problem {
    let problems = json!([{ "what": what }]);
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, what).with("problems", problems)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use axum::http::HeaderValue;

    use super::*;
    use crate::document::Source;

    #[test]
    fn what_was_seen_is_compared_exactly() {
        let revision = Revision::of(&Source::new("d", ""), &Source::new("c", ""));
        let is = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(IF_MATCH, HeaderValue::from_str(value).unwrap());
            }
            Seen::of(&headers).ok().map(|seen| seen.is(revision))
        };
        let quoted = format!("\"{revision}\"");
        let weak = format!("W/{quoted}");
        assert_eq!([is(&[]), is(&["*"]), is(&[&quoted])], [Some(true); 3]);
        assert_eq!(is(&["\"0000000000000000\"", &format!("\"x\" , {quoted}")]), Some(true));
        assert_eq!([is(&["\"\""]), is(&["\"0000000000000000\""])], [Some(false); 2]);
        assert_eq!([is(&[&revision.to_string()]), is(&[&weak]), is(&[""])], [None; 3]);
    }
}
