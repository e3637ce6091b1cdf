//! The last events.

use std::sync::Arc;

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::{
    report::{Filter, Kind, Names, Wanted},
    web::{Problem, Web, auth::Read, input::Options, live::Numbered},
};

/// How many there are in an answer, unless that is asked for.
const SOME: usize = 100;

/// `GET /api/v1/events`.
pub(super) fn routes() -> Router<Arc<Web>> {
    Router::new().route("/api/v1/events", get(events))
}

/// Which ones.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    device: Option<String>,
    connection: Option<String>,
    /// One kind, or several with commas between them.
    kind: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Events {
    /// Newest first.
    events: Vec<Numbered>,
}

async fn events(
    _: Read,
    State(web): State<Arc<Web>>,
    Options(asked): Options<Asked>,
) -> Result<Json<Events>, Problem> {
    let configuration = web.bridge.configuration.load_full();
    let filter = Filter { device: asked.device, connection: asked.connection, kinds: kinds(asked.kind)? };
    let wanted = Wanted::new(filter, &configuration)
        .map_err(|error| Problem::new(StatusCode::NOT_FOUND, error.to_string()))?;
    let names = Names::new(configuration);
    let limit = asked.limit.unwrap_or(SOME);
    Ok(Json(Events { events: web.live.events().newest(limit, |event| names.wants(&wanted, event)) }))
}

fn kinds(asked: Option<String>) -> Result<Vec<Kind>, Problem> {
    let asked = asked.unwrap_or_default();
    let kinds = asked.split(',').filter(|kind| !kind.is_empty());
    let kind = |kind| {
        Kind::from_str(kind, false).map_err(|_| {
            let known = Kind::value_variants().iter().filter_map(Kind::to_possible_value);
            let known: Vec<_> = known.map(|kind| kind.get_name().to_owned()).collect();
            invalid(format!("there are no events of the kind {kind:?}, but {}", known.join(", ")))
        })
    };
    kinds.map(kind).collect()
}

fn invalid(detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
}
