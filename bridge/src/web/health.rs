//! Whether the bridge does its job, for whoever starts it again or sends others to it. Nobody has to log in for that, so it
//! tells nothing that others should not know.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use ior_broker::store::Health;
use serde_json::json;

use super::{Problem, Web};
use crate::control::Bridge;

const NOT_ALIVE: &str =
    "messages do not come through the broker; if that lasts, the bridge ends and is started again";
const STOPPING: &str = "the bridge is stopping";
const NO_LISTENERS: &str = "no listener for devices is open; see ior-bridge status";
const STORE_FAILS: &str = "the store cannot keep messages; see ior-bridge status for the reason";

/// `/healthz` and `/readyz`.
pub(super) fn routes() -> Router<Arc<Web>> {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz))
}

/// Whether the process does what it is there for. If not, it has to be started again.
async fn healthz(State(web): State<Arc<Web>>) -> Response {
    answer(is_alive(&web.bridge).err().into_iter().collect())
}

/// Whether devices are served and what they send is kept.
async fn readyz(State(web): State<Arc<Web>>) -> Response {
    let bridge = &web.bridge;
    let fails = bridge.broker.store().is_some_and(|store| matches!(store.health, Health::Failing(_)));
    let reasons = [
        (*bridge.stopping.borrow(), STOPPING),
        (bridge.addresses.load().iter().next().is_none(), NO_LISTENERS),
        (fails, STORE_FAILS),
    ];
    let reasons = reasons.into_iter().filter_map(|(applies, reason)| applies.then_some(reason));
    answer(is_alive(bridge).err().into_iter().chain(reasons).collect())
}

fn is_alive(bridge: &Bridge) -> Result<(), &'static str> {
    if bridge.pulse.is_felt() { Ok(()) } else { Err(NOT_ALIVE) }
}

fn answer(reasons: Vec<&str>) -> Response {
    if reasons.is_empty() {
        return Json(json!({ "status": "ok" })).into_response();
    }
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, reasons.join("; ")).with("reasons", reasons).into_response()
}
