use serde::{Deserialize, Serialize};

use crate::report::Filter;

/// What a running bridge is asked. One file below `control/answer/` answers each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Which bridge this is: version, process id and directories.
    Hello,
    /// What it does: listeners, devices, connections, store and totals.
    Status,
    /// What happens from now on: a line per event until whoever asks goes.
    Watch(Filter),
    /// Take up the configuration as it is in the files now; answered once that has happened, or with why it could not.
    Reload,
    /// A backup; the archive's bytes follow the answer. Only for root and the bridge's user: it holds the secret key.
    Backup,
    /// Stand still until the connection ends, then start again: meanwhile the files are replaced. For root and the bridge's
    /// user only.
    Restore,
    /// What the store holds.
    Store,
}

impl Request {
    /// Whether the group may not ask this.
    pub(super) fn is_for_owner(&self) -> bool {
        matches!(self, Self::Backup | Self::Restore)
    }
}
