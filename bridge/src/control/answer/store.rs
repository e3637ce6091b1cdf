use std::{
    collections::BTreeMap,
    time::{Duration, UNIX_EPOCH},
};

use ior_broker::store::{Inventory, KeptSession, Totals};
use serde::{Deserialize, Serialize};

use crate::control::Bridge;

/// What the store holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreContents {
    /// Bytes of the database's file.
    pub database_bytes: u64,
    /// Bytes of its write-ahead log, as large as it ever had to be.
    pub log_bytes: u64,
    /// Bytes of the database that hold nothing: new messages go there first.
    pub free_bytes: u64,
    /// Retained messages.
    pub retained: Waiting,
    /// Every session.
    pub sessions: Vec<SessionContents>,
}

/// Messages and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Waiting {
    /// Messages.
    pub messages: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What waits for a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionContents {
    /// The user name of its device.
    pub user_name: String,
    /// The Client Identifier.
    pub client_id: String,
    /// When its connection ended, RFC 3339; nothing while it has one.
    pub offline_since: Option<String>,
    /// Subscriptions.
    pub subscriptions: u64,
    /// Messages by flow: `<user>/<connection>/<code of who sends>`.
    pub flows: BTreeMap<String, Waiting>,
}

pub(super) async fn contents(bridge: &Bridge) -> Result<StoreContents, String> {
    match bridge.broker.inventory().await {
        Ok(Some(inventory)) => Ok(inventory.into()),
        Ok(None) => Err("durability is \"memory\" in server.json: nothing is kept on disk".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

impl From<Inventory> for StoreContents {
    fn from(found: Inventory) -> Self {
        Self {
            database_bytes: found.database_bytes,
            log_bytes: found.log_bytes,
            free_bytes: found.free_pages * found.page_bytes,
            retained: found.retained.into(),
            sessions: found.sessions.into_iter().map(SessionContents::from).collect(),
        }
    }
}

impl From<Totals> for Waiting {
    fn from(Totals { messages, bytes }: Totals) -> Self {
        Self { messages, bytes }
    }
}

impl From<KeptSession> for SessionContents {
    fn from(session: KeptSession) -> Self {
        let time = |ms| humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(ms)).to_string();
        Self {
            user_name: session.name,
            client_id: session.client_id,
            offline_since: session.left_at.map(time),
            subscriptions: session.subscriptions,
            flows: session.waiting.into_iter().map(|(flow, totals)| (flow, totals.into())).collect(),
        }
    }
}
