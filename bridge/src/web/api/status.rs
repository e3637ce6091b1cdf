//! How everything is now.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use tokio::task::block_in_place;

use crate::{
    registry::Revision,
    web::{Problem, Web, auth::Read, input::Place, live::Moment},
};

/// Everything, or devices and connections alone, all or one of them.
pub(super) fn routes() -> Router<Arc<Web>> {
    Router::new()
        .route("/api/v1/status", get(status))
        .route("/api/v1/devices", get(devices))
        .route("/api/v1/devices/{username}", get(device))
        .route("/api/v1/connections", get(connections))
        .route("/api/v1/connections/{user}/{id}", get(connection))
}

/// Something, by a configuration.
#[derive(Serialize)]
struct By<T> {
    revision: Revision,
    #[serde(flatten)]
    what: T,
}

async fn status(_: Read, State(web): State<Arc<Web>>) -> Response {
    json(&web.live.moment().state)
}

async fn devices(_: Read, State(web): State<Arc<Web>>) -> Response {
    #[derive(Serialize)]
    struct Devices<T> {
        devices: T,
    }
    let moment = web.live.moment();
    by(&moment, Devices { devices: &moment.state.devices })
}

async fn device(
    _: Read,
    State(web): State<Arc<Web>>,
    Place(username): Place<String>,
) -> Result<Response, Problem> {
    let moment = web.live.moment();
    let device = moment.state.device(&username).ok_or_else(|| no("device", &username))?;
    Ok(by(&moment, device))
}

async fn connections(_: Read, State(web): State<Arc<Web>>) -> Response {
    #[derive(Serialize)]
    struct Connections<T> {
        connections: T,
    }
    let moment = web.live.moment();
    by(&moment, Connections { connections: &moment.state.connections })
}

async fn connection(
    _: Read,
    State(web): State<Arc<Web>>,
    Place((user, id)): Place<(String, String)>,
) -> Result<Response, Problem> {
    let moment = web.live.moment();
    let key = format!("{user}/{id}");
    let connection = moment.state.connection(&key).ok_or_else(|| no("connection", &key))?;
    Ok(by(&moment, connection))
}

/// There is none.
pub(super) fn no(what: &str, key: &str) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        format!("there is no {what} {key:?}: /api/v1/{what}s has all of them"),
    )
}

fn by(moment: &Moment, what: impl Serialize) -> Response {
    json(&By { revision: moment.state.revision, what })
}

/// Blocks, since it may be large.
fn json(what: &impl Serialize) -> Response {
    match block_in_place(|| serde_json::to_vec(what)) {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], Body::from(text)).into_response(),
        Err(error) => {
            let detail = format!("the answer cannot be written: {error}");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response()
        }
    }
}
