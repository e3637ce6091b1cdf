//! What a handler has among its arguments to be reached only by whoever may.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
};

use super::super::{Problem, Web};

/// Who asks: "the administrator", or the token "grafana".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::web) struct Visitor {
    /// For people.
    pub(in crate::web) name: String,
}

/// May look: a session, or a token with the scope `read` or `write`.
pub(in crate::web) struct Read(pub(in crate::web) Visitor);

/// May change things and fetch credentials: a session with its CSRF token, or a token with the scope `write`.
pub(in crate::web) struct Write(pub(in crate::web) Visitor);

/// May fetch metrics: a session, or a token of any scope.
pub(in crate::web) struct Metrics(pub(in crate::web) Visitor);

/// May change who may ask: a session with its CSRF token, no program.
pub(in crate::web) struct Admin(pub(in crate::web) Visitor);

macro_rules! guard {
    ($($guard:ident),*) => {$(
        impl FromRequestParts<Arc<Web>> for $guard {
            type Rejection = Problem;

            async fn from_request_parts(_parts: &mut Parts, _web: &Arc<Web>) -> Result<Self, Problem> {
                Err(Problem::new(StatusCode::UNAUTHORIZED, "log in first"))
            }
        }
    )*};
}

guard!(Read, Write, Metrics, Admin);
