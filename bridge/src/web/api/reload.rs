//! The configuration is taken up as it is in the files.

use std::sync::Arc;

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::super::{Problem, Web, auth::Write, refusal::invalid};
use crate::{configuration::Configuration, report::Event};

pub(super) fn routes() -> Router<Arc<Web>> {
    Router::new().route("/api/v1/reload", post(reload))
}

async fn reload(State(web): State<Arc<Web>>, Write(visitor): Write) -> Result<Json<Value>, Problem> {
    let text = visitor.did("a reload was asked for");
    web.note(Event::of_page(text));
    let bridge = &web.bridge;
    match bridge.reload.reload().await {
        Ok(changes) => Ok(Json(json!({ "changes": changes }))),
        Err(why) => {
            let dir = bridge.configuration.load().dir.clone();
            Err(match block_in_place(|| Configuration::load(&dir, &bridge.environment)) {
                Err(problems) => invalid(&problems),
                Ok(_) => Problem::new(StatusCode::CONFLICT, why),
            })
        }
    }
}
