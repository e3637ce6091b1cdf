//! `/api/v1/tokens`: which programs may ask without logging in.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderValue, StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
    routing::{delete, get},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::super::{
    Problem, Web,
    auth::{
        Admin,
        tokens::{self, Scope, Token, TokenError},
    },
    input::{Body, Place},
};
use crate::report::{Event, Time};

pub(super) fn routes() -> Router<Arc<Web>> {
    Router::new().route("/api/v1/tokens", get(list).post(create)).route("/api/v1/tokens/{id}", delete(revoke))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewToken {
    name: String,
    scope: Scope,
}

/// A token as it is shown.
#[derive(Serialize)]
struct Shown {
    id: String,
    name: String,
    scope: Scope,
    created: Time,
    /// Since the bridge was started.
    last_used: Option<Time>,
    /// What it is: once, when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

async fn list(State(web): State<Arc<Web>>, Admin(_): Admin) -> Result<Json<Value>, Problem> {
    let tokens = web.auth.tokens.list()?;
    let shown: Vec<_> = tokens.into_iter().map(|(token, last_used)| Shown::new(token, last_used)).collect();
    Ok(Json(json!({ "tokens": shown })))
}

async fn create(
    State(web): State<Arc<Web>>,
    Admin(visitor): Admin,
    Body(NewToken { name, scope }): Body<NewToken>,
) -> Result<Response, Problem> {
    let data_dir = web.data_dir();
    let (token, text) = in_background(move || tokens::create(&data_dir, &name, scope)).await?;
    let scope = scope.name();
    let what = format!("the token {} with the scope {scope} was made", token.name);
    web.note(Event::of_page(visitor.did(&what)));
    let place = HeaderValue::from_str(&format!("/api/v1/tokens/{}", token.id));
    let shown = Shown { token: Some(text.to_string()), ..Shown::new(token, None) };
    let mut answer = (StatusCode::CREATED, Json(shown)).into_response();
    // Identifiers are base64url.
    place.into_iter().for_each(|place| drop(answer.headers_mut().insert(LOCATION, place)));
    Ok(answer)
}

async fn revoke(
    State(web): State<Arc<Web>>,
    Admin(visitor): Admin,
    Place(id): Place<String>,
) -> Result<StatusCode, Problem> {
    let data_dir = web.data_dir();
    let token = in_background(move || tokens::revoke(&data_dir, &id)).await?;
    web.note(Event::of_page(visitor.did(&format!("the token {} was revoked", token.name))));
    Ok(StatusCode::NO_CONTENT)
}

/// Files are changed where that may take its time.
async fn in_background<T: Send + 'static>(
    change: impl FnOnce() -> Result<T, TokenError> + Send + 'static,
) -> Result<T, Problem> {
    let changed = spawn_blocking(change).await;
    let ended = |_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the bridge is stopping");
    Ok(changed.map_err(ended)??)
}

impl Shown {
    fn new(token: Token, last_used: Option<Time>) -> Self {
        let Token { id, name, scope, created, .. } = token;
        Self { id, name, scope, created, last_used, token: None }
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        let status = match error {
            TokenError::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            TokenError::Unknown(_) => StatusCode::NOT_FOUND,
            TokenError::File(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}
