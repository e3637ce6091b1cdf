//! Devices come, change and go.

use std::{sync::Arc, time::SystemTime};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
    routing::{patch, post},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{
    Problem, Web,
    auth::Write,
    changes::{Changes, with_revision},
    input::{Body, Options, Place, Seen},
};
use crate::{
    changes::{self, DeviceChange, Done, Draft, EditError, NewDevice, Removal},
    registry::{Device, Registry},
    report::{self, Event, Time},
    rotation::Rotation,
};

pub(super) fn routes() -> Router<Arc<Web>> {
    Router::new()
        .route("/api/v1/devices", post(add))
        .route("/api/v1/devices/{username}", patch(change).delete(remove))
        .route("/api/v1/devices/{username}/rotate", post(rotate))
}

/// A device as somebody wants it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    code: Option<Value>,
    name: Option<Value>,
    #[serde(rename = "type")]
    kind: Option<Value>,
    user: Option<Value>,
}

/// What is to become of one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    name: Option<Value>,
    #[serde(rename = "type")]
    kind: Option<Value>,
    disabled: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trying {
    /// Only to know whether it would be right.
    #[serde(default)]
    pub(super) dry_run: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Removing {
    /// The connections that it is in go, too.
    #[serde(default)]
    with_connections: bool,
}

async fn add(
    State(web): State<Arc<Web>>,
    Write(visitor): Write,
    Options(Trying { dry_run }): Options<Trying>,
    seen: Seen,
    Body(New { code, name, kind, user }): Body<New>,
) -> Result<Response, Problem> {
    let new = NewDevice { code, name, kind, user };
    let change = move |draft: &mut Draft| Ok(changes::add_device(draft, &new)?);
    if dry_run {
        Changes::try_out(&web, &seen, change)?;
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let (done, ()) = Changes::make(&web, visitor, seen, change, |visitor, done, ()| {
        let device = done.registry.devices().last()?;
        let text = visitor.did(&format!("device {} was added", device.label()));
        Some(Event::of_page(text).about(device))
    })
    .await?;
    let device = done.registry.devices().last().ok_or(EditError::Changed)?;
    let place = format!("/api/v1/devices/{}", device.user_name());
    Ok((StatusCode::CREATED, [(LOCATION, place)], Json(describe(device, &done))).into_response())
}

async fn change(
    State(web): State<Arc<Web>>,
    Write(visitor): Write,
    Place(username): Place<String>,
    seen: Seen,
    Body(Change { name, kind, disabled }): Body<Change>,
) -> Result<Json<Value>, Problem> {
    let wanted = DeviceChange { name, kind, disabled };
    let change = move |draft: &mut Draft| {
        let index = find(draft.registry(), &username)?;
        changes::change_device(draft, index, &wanted)?;
        Ok((index, draft.registry().devices()[index].clone()))
    };
    let (done, (index, _)) = Changes::make(&web, visitor, seen, change, |visitor, done, (index, before)| {
        let device = done.registry.devices().get(*index).filter(|device| *device != before)?;
        let text = visitor.did(&format!("device {} {}", before.label(), became(before, device)));
        Some(Event::of_page(text).about(device))
    })
    .await?;
    let device = done.registry.devices().get(index).ok_or(EditError::Changed)?;
    Ok(Json(describe(device, &done)))
}

async fn rotate(
    State(web): State<Arc<Web>>,
    Write(visitor): Write,
    Place(username): Place<String>,
    seen: Seen,
) -> Result<Json<Value>, Problem> {
    let change = move |draft: &mut Draft| {
        let index = find(draft.registry(), &username)?;
        changes::rotate_device(draft, index)?;
        Ok(index)
    };
    let (done, index) = Changes::make(&web, visitor, seen, change, |visitor, done, index| {
        let device = done.registry.devices().get(*index)?;
        let what = format!("device {} was given a new password", device.label());
        Some(Event::of_page(visitor.did(&what)).about(device))
    })
    .await?;
    let device = done.registry.devices().get(index).ok_or(EditError::Changed)?;
    Ok(Json(json!({
        "secret_version": device.secret_version,
        "previous": previous(device, &done)?,
        "revision": done.revision,
    })))
}

async fn remove(
    State(web): State<Arc<Web>>,
    Write(visitor): Write,
    Place(username): Place<String>,
    Options(Removing { with_connections }): Options<Removing>,
    seen: Seen,
) -> Result<Json<Value>, Problem> {
    let change = move |draft: &mut Draft| {
        let before = draft.registry().clone();
        let index = find(&before, &username)?;
        let removal = Removal::of_device(&before, index, with_connections)?;
        changes::remove(draft, &removal)?;
        Ok((before.devices()[index].clone(), removal.full_ids(&before)))
    };
    let (done, (device, connections)) =
        Changes::make(&web, visitor, seen, change, |visitor, _, (device, connections)| {
            let with = if connections.is_empty() {
                "was removed".to_owned()
            } else {
                format!("and its connections ({}) were removed", connections.join(", "))
            };
            let text = visitor.did(&format!("device {} {with}", device.label()));
            Some(Event::of_page(text).about(device))
        })
        .await?;
    Ok(Json(json!({
        "removed": { "device": device.user_name(), "connections": connections },
        "revision": done.revision,
    })))
}

/// The place of the device with exactly this MQTT user name.
fn find(registry: &Registry, username: &str) -> Result<usize, Problem> {
    let found = registry.devices().iter().position(|device| device.user_name() == username);
    found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "there is no such device (any more)"))
}

fn describe(device: &Device, done: &Done) -> Value {
    let told = report::Device::all(&done.registry, None);
    with_revision(told.into_iter().find(|told| told.username == device.user_name()), done)
}

/// What was changed of a device, as the end of a sentence.
fn became(before: &Device, after: &Device) -> String {
    let mut what = Vec::new();
    if before.name != after.name {
        what.push(format!("was renamed to {}", after.name));
    }
    if before.kind != after.kind {
        what.push(format!("was given the type {}", after.kind));
    }
    if before.disabled != after.disabled {
        what.push(if after.disabled { "was disabled" } else { "was enabled" }.to_owned());
    }
    what.join(" and ")
}

/// Earlier versions whose passwords are still accepted.
fn previous(device: &Device, done: &Done) -> Result<Value, Problem> {
    let rotation = tokio::task::block_in_place(|| Rotation::load(&done.settings.data_dir));
    let rotation = rotation.map_err(|error| {
        let detail = format!("{} has a new password, but {error}", device.label());
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    })?;
    let now = SystemTime::now();
    let name = device.user_name();
    let previous = rotation.previous(&name, done.settings.limits.rotation_window);
    let accepted = previous.filter(|previous| previous.until > now);
    Ok(accepted
        .map(|previous| json!({ "version": previous.version, "accepted_until": Time(previous.until) }))
        .collect())
}
