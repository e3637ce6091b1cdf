//! What a device needs to connect: as a file, as a QR code, and ready to be pasted.

use std::{fs, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use clap::ValueEnum;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::{
    super::{
        Problem, Web,
        auth::{Visitor, Write},
        input::Place,
    },
    connections_change::find,
};
use crate::{
    credentials::{self, CredentialFile, Format, qr_code, to_text},
    registry::End,
    report::Event,
};

pub(super) fn routes() -> Router<Arc<Web>> {
    Router::new()
        .route("/api/v1/connections/{user}/{id}/{end}/credentials", get(file))
        .route("/api/v1/connections/{user}/{id}/{end}/qr", get(qr))
        .route("/api/v1/connections/{user}/{id}/{end}/snippets", get(snippets))
}

/// Who wants which.
struct Asked {
    web: Arc<Web>,
    visitor: Visitor,
    place: (String, String, String),
}

async fn file(
    State(web): State<Arc<Web>>,
    Write(visitor): Write,
    Place(place): Place<(String, String, String)>,
) -> Result<Response, Problem> {
    let (file, end) = Asked { web, visitor, place }.fetch("credentials")?;
    // The id is made of A-Z a-z 0-9 _ - only.
    let name = format!("attachment; filename=\"{}-{}.json\"", file.connection, end.name());
    let name = HeaderValue::try_from(name).map_err(|_| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "this connection cannot be a file's name")
    })?;
    let json = HeaderValue::from_static("application/json");
    Ok(([(CONTENT_TYPE, json), (CONTENT_DISPOSITION, name)], to_text(&file)).into_response())
}

async fn qr(
    State(web): State<Arc<Web>>,
    Write(visitor): Write,
    Place(place): Place<(String, String, String)>,
) -> Result<Response, Problem> {
    let (file, _) = Asked { web, visitor, place }.fetch("the QR code with the credentials")?;
    let svg = block_in_place(|| qr_code(&file)).ok_or_else(|| {
        let detail = "these credentials are too long for a QR code: download the file instead";
        Problem::new(StatusCode::CONFLICT, detail)
    })?;
    Ok(([(CONTENT_TYPE, HeaderValue::from_static("image/svg+xml"))], svg).into_response())
}

async fn snippets(
    State(web): State<Arc<Web>>,
    Write(visitor): Write,
    Place(place): Place<(String, String, String)>,
) -> Result<Json<Value>, Problem> {
    let (file, _) = Asked { web, visitor, place }.fetch("snippets with the credentials")?;
    let snippet = |format: &Format| {
        let name = format.to_possible_value()?;
        let (title, text) = (format.title(), format.render(&file));
        Some(json!({ "format": name.get_name(), "title": title, "text": text }))
    };
    let formats = Format::value_variants().iter().filter(|format| **format != Format::Json);
    Ok(Json(json!({ "snippets": formats.filter_map(snippet).collect::<Vec<_>>() })))
}

impl Asked {
    /// Reads the file that the bridge has written, and notes who got `what` of it.
    fn fetch(self, what: &str) -> Result<(CredentialFile, End), Problem> {
        let Self { web, visitor, place: (user, id, end) } = self;
        let configuration = web.bridge.configuration.load();
        let registry = &configuration.registry;
        let connection = find(registry, &user, &id)?;
        let end = End::BOTH.into_iter().find(|known| known.name() == end);
        let end = end.ok_or_else(|| {
            Problem::new(StatusCode::NOT_FOUND, "a connection has the ends \"from\" and \"to\"")
        })?;
        let path = credentials::path(&configuration.settings.data_dir, connection, end);
        let read = block_in_place(|| fs::read(&path)).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        let file = read.map_err(|error| {
            let detail = format!(
                "{} cannot be read: {error}; `ior-bridge credentials` writes it again",
                path.display()
            );
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
        })?;
        let device = registry.end(connection, end);
        let full_id = connection.full_id();
        let text = visitor.did(&format!("{what} of {} for {full_id} were fetched", device.label()));
        web.note(Event::of_page(text).about(device).in_connection(full_id));
        Ok((file, end))
    }
}
