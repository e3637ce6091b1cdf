//! Connections come and go.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
    routing::{delete, post},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    super::{
        Problem, Web,
        auth::Write,
        changes::{Changes, with_revision},
        input::{Body, Options, Place, Seen},
    },
    devices_change::Trying,
};
use crate::{
    changes::{self, Done, Draft, EditError, NewConnection, Removal},
    registry::{Connection, End, Registry},
    report::{self, Event},
};

pub(super) fn routes() -> Router<Arc<Web>> {
    Router::new()
        .route("/api/v1/connections", post(add))
        .route("/api/v1/connections/{user}/{id}", delete(remove))
}

/// A connection as somebody wants it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    /// A device's code, `<user>.<code>`, or name.
    from: Code,
    to: Code,
    name: Option<Value>,
    id: Option<Value>,
    user: Option<String>,
}

/// A code may be written as a number.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a device's code as a number or a text")]
enum Code {
    Number(u64),
    Text(String),
}

async fn add(
    State(web): State<Arc<Web>>,
    Write(visitor): Write,
    Options(Trying { dry_run }): Options<Trying>,
    seen: Seen,
    Body(New { from, to, name, id, user }): Body<New>,
) -> Result<Response, Problem> {
    let new = NewConnection { from: from.into_text(), to: to.into_text(), name, id, user };
    let change = move |draft: &mut Draft| Ok(changes::add_connection(draft, &new)?);
    if dry_run {
        Changes::try_out(&web, &seen, change)?;
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let (done, ()) = Changes::make(&web, visitor, seen, change, |visitor, done, ()| {
        let connection = done.registry.connections().last()?;
        let [from, to] = End::BOTH.map(|end| done.registry.end(connection, end).label());
        let what = format!("connection {} was added between {from} and {to}", connection.full_id());
        Some(Event::of_page(visitor.did(&what)).in_connection(connection.full_id()))
    })
    .await?;
    let connection = done.registry.connections().last().ok_or(EditError::Changed)?;
    let place = format!("/api/v1/connections/{}", connection.full_id());
    Ok((StatusCode::CREATED, [(LOCATION, place)], Json(describe(connection, &done))).into_response())
}

async fn remove(
    State(web): State<Arc<Web>>,
    Write(visitor): Write,
    Place((user, id)): Place<(String, String)>,
    seen: Seen,
) -> Result<Json<Value>, Problem> {
    let change = move |draft: &mut Draft| {
        let registry = draft.registry();
        let index = registry.place_of_connection(find(registry, &user, &id)?).ok_or(EditError::Changed)?;
        let full_id = registry.connections()[index].full_id();
        changes::remove(draft, &Removal::of_connection(index))?;
        Ok(full_id)
    };
    let (done, full_id) = Changes::make(&web, visitor, seen, change, |visitor, _, full_id: &String| {
        let text = visitor.did(&format!("connection {full_id} was removed"));
        Some(Event::of_page(text).in_connection(full_id.clone()))
    })
    .await?;
    Ok(Json(json!({
        "removed": { "device": null, "connections": [full_id] },
        "revision": done.revision,
    })))
}

/// The connection with exactly this owner and id.
pub(super) fn find<'r>(registry: &'r Registry, user: &str, id: &str) -> Result<&'r Connection, Problem> {
    let found = registry.connections().iter().find(|found| *found.user == *user && *found.id == *id);
    found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "there is no such connection (any more)"))
}

fn describe(connection: &Connection, done: &Done) -> Value {
    let told = report::Connection::all(&done.registry, None).into_iter();
    let is_it = |told: &report::Connection| told.user == *connection.user && told.id == *connection.id;
    let mut told = with_revision(told.into_iter().find(is_it), done);
    told["key"] = json!(connection.full_id());
    told
}

impl Code {
    fn into_text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}
