//! What the devices of a connection tell each other, while somebody has it shown.

use std::{sync::Arc, time::Duration};

use axum::{Json, Router, extract::State, http::StatusCode, response::Response, routing::get};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    super::{
        Problem, Web,
        auth::Write,
        input::{Body, Place},
        messages::{Pair, Unshown},
    },
    connections_change::find,
    event_stream::event_stream,
};

/// For so many minutes messages may be shown.
const MINUTES: std::ops::RangeInclusive<u64> = 1..=30;

/// `/api/v1/connections/{user}/{id}/messages`.
pub(super) fn routes() -> Router<Arc<Web>> {
    Router::new().route("/api/v1/connections/{user}/{id}/messages", get(follow).post(show).delete(hide))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    minutes: u64,
}

async fn show(
    State(web): State<Arc<Web>>,
    Write(visitor): Write,
    Place((user, id)): Place<(String, String)>,
    Body(Wanted { minutes }): Body<Wanted>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    if !MINUTES.contains(&minutes) {
        let what = "messages are shown for 1 to 30 minutes";
        let hint = "write a whole number of minutes";
        let problems = json!([{ "field": "minutes", "what": what, "hint": hint }]);
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, what).with("problems", problems));
    }
    let configuration = web.bridge.configuration.load();
    let registry = &configuration.registry;
    let connection = find(registry, &user, &id)?;
    let (key, pair) = (connection.full_id(), Pair::of(registry, connection));
    let time = Duration::from_secs(60 * minutes);
    let until = web.messages.turn_on(&key, pair, time, &visitor);
    let until = until.ok_or_else(|| {
        let detail = "the messages of too many connections are shown already: stop showing those of another";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    })?;
    Ok((StatusCode::CREATED, Json(json!({ "until": until }))))
}

async fn hide(
    State(web): State<Arc<Web>>,
    Write(visitor): Write,
    Place((user, id)): Place<(String, String)>,
) -> Result<StatusCode, Problem> {
    let key = find(&web.bridge.configuration.load().registry, &user, &id)?.full_id();
    web.messages.turn_off(&key, &visitor);
    Ok(StatusCode::NO_CONTENT)
}

async fn follow(
    State(web): State<Arc<Web>>,
    Write(visitor): Write,
    Place((user, id)): Place<(String, String)>,
) -> Result<Response, Problem> {
    let key = find(&web.bridge.configuration.load().registry, &user, &id)?.full_id();
    let ends = {
        let web = Arc::clone(&web);
        async move { visitor.until_over(&web).await }
    };
    let reader = web.messages.open(&key, ends).map_err(|unshown| match unshown {
        Unshown::Off => {
            let detail =
                "the messages of this connection are not shown: POST {\"minutes\": 5} here to have them shown";
            Problem::new(StatusCode::CONFLICT, detail)
        }
        Unshown::TooMany => {
            let detail = "messages are shown on too many pages already: close one of them";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        }
    })?;
    Ok(event_stream(reader, async |mut reader| Some((reader.next().await?, reader))))
}
