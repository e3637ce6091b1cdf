//! `store stats`: what waits for each device, and how large the store is.

use serde_json::json;

use super::{
    data_dir::rounded,
    store::{Report, alone},
    table::{Column, grid},
    words::Style,
};
use crate::{
    control::{Client, Request, StoreContents, socket_path},
    instance::Instance,
    settings::Settings,
};

/// From the running bridge if there is one, else from the files.
pub(super) async fn report(settings: &Settings) -> Result<Report, String> {
    let (contents, is_running) = contents(settings).await?;
    let directory = settings.store_dir().display().to_string();
    let mut json = json!({ "ok": true, "directory": directory, "running": is_running });
    if let (Some(json), Ok(serde_json::Value::Object(fields))) =
        (json.as_object_mut(), serde_json::to_value(&contents))
    {
        json.extend(fields);
    }
    Ok(Report { text: to_text(&directory, &contents), json, failure: None })
}

/// What is in the store, and whether a bridge runs on it.
pub(super) async fn contents(settings: &Settings) -> Result<(StoreContents, bool), String> {
    let connected = Client::connect(&socket_path(settings)).await.map_err(|error| error.to_string())?;
    if let Some(mut client) = connected {
        let asked = client.ask(&Request::Store).await;
        return asked.map(|contents| (contents, true)).map_err(|error| error.to_string());
    }
    let found = alone(settings, Instance::claim_to_read, |store| {
        ior_broker::store::inventory(store).map_err(|error| error.to_string())
    })?;
    Ok((found.into(), false))
}

fn to_text(directory: &str, contents: &StoreContents) -> String {
    let StoreContents { database_bytes, log_bytes, free_bytes, retained, sessions } = contents;
    let mut text = format!(
        "{directory}: {}, {} of it free, and a log of {}\nRetained messages: {} ({})\n",
        rounded(*database_bytes),
        rounded(*free_bytes),
        rounded(*log_bytes),
        retained.messages,
        rounded(retained.bytes)
    );
    let waiting = sessions.iter().filter(|session| !session.flows.is_empty()).count();
    text.push_str(&format!("Sessions: {}, {waiting} of them with messages\n", sessions.len()));
    let rows: Vec<_> = sessions
        .iter()
        .flat_map(|session| session.flows.iter().map(move |(flow, waiting)| (session, flow, waiting)))
        .map(|(session, flow, waiting)| {
            [
                session.user_name.clone(),
                session.client_id.escape_debug().to_string(),
                flow.clone(),
                waiting.messages.to_string(),
                rounded(waiting.bytes),
            ]
        })
        .collect();
    if !rows.is_empty() {
        text.push('\n');
        let columns = [
            Column::keys("DEVICE"),
            Column::words("CLIENT"),
            Column::keys("FLOW"),
            Column::numbers("MESSAGES"),
            Column::numbers("BYTES"),
        ];
        text.extend(grid(columns, &rows, Style::of_stdout().width()).into_iter().map(|line| line + "\n"));
    }
    text
}
