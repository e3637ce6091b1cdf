//! Errors as RFC 9457 has them (`application/problem+json`).

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value};

/// Why something was not done. `type` is left out, which means `about:blank`: the title is the status in words.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    #[serde(serialize_with = "write_status")]
    status: StatusCode,
    title: &'static str,
    /// For people: what is wrong, and what to do.
    detail: String,
    /// Members that only some problems have.
    #[serde(flatten)]
    more: Map<String, Value>,
    #[serde(skip)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// With this status; `detail` says what is wrong and what to do.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self { status, title, detail: detail.into(), more: Map::new(), headers: Vec::new() }
    }

    /// With a member of its own.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// With a header.
    pub fn header(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // Only maps with keys that are no texts could fail, and there are none in it.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut answer = (self.status, body).into_response();
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        answer.headers_mut().extend(self.headers);
        answer
    }
}

fn write_status<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    status.as_u16().serialize(serializer)
}
