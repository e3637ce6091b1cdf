//! What the devices of a connection tell each other, while somebody has it shown.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body as Stream,
    extract::State,
    http::{
        HeaderName, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::IntoResponse,
    routing::get,
};
use futures_util::stream::unfold;
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
) -> Result<impl IntoResponse, Problem> {
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
    let told = unfold(reader, async |mut reader| {
        reader.next().await.map(|told| (Ok::<_, Infallible>(told), reader))
    });
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
        // Else a proxy may keep what is told to itself until there is more of it.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Stream::from_stream(told)))
}
