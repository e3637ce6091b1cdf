//! What a request brings along, as JSON.

use axum::{
    Json,
    extract::{FromRequest, Request, rejection::JsonRejection},
    http::StatusCode,
};
use serde::de::DeserializeOwned;

use super::Problem;

/// An argument of a handler: the body of a request, which has to be JSON of this form, and to say that it is JSON.
///
/// Pages of other sites can send a form, but not this content type without asking the bridge first.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let rejected = match Json::from_request(request, state).await {
            Ok(Json(body)) => return Ok(Self(body)),
            Err(rejected) => rejected,
        };
        let status = rejected.status();
        Err(Problem::new(
            status,
            match &rejected {
                JsonRejection::MissingJsonContentType(_) => {
                    "send JSON, with the header Content-Type: application/json".to_owned()
                }
                _ if status == StatusCode::PAYLOAD_TOO_LARGE => "this is longer than any request".to_owned(),
                // It says where and why, and repeats no value.
                _ => rejected.body_text(),
            },
        ))
    }
}
