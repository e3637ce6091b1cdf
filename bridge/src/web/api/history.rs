//! The last hour.

use std::sync::Arc;

use axum::{Json, Router, extract::State, routing::get};

use super::status::no;
use crate::web::{
    Problem, Web,
    auth::Read,
    input::Place,
    live::{ConnectionHistory, DeviceHistory, TotalsHistory},
};

/// Of all together, of a device, of a connection.
pub(super) fn routes() -> Router<Arc<Web>> {
    Router::new()
        .route("/api/v1/history", get(totals))
        .route("/api/v1/devices/{username}/history", get(device))
        .route("/api/v1/connections/{user}/{id}/history", get(connection))
}

async fn totals(_: Read, State(web): State<Arc<Web>>) -> Json<TotalsHistory> {
    Json(web.live.history(|history| history.totals()))
}

async fn device(
    _: Read,
    State(web): State<Arc<Web>>,
    Place(username): Place<String>,
) -> Result<Json<DeviceHistory>, Problem> {
    web.live.moment().state.device(&username).ok_or_else(|| no("device", &username))?;
    Ok(Json(web.live.history(|history| history.device(&username))))
}

async fn connection(
    _: Read,
    State(web): State<Arc<Web>>,
    Place((user, id)): Place<(String, String)>,
) -> Result<Json<ConnectionHistory>, Problem> {
    let key = format!("{user}/{id}");
    web.live.moment().state.connection(&key).ok_or_else(|| no("connection", &key))?;
    Ok(Json(web.live.history(|history| history.connection(&key))))
}
