use serde::{Deserialize, Serialize};

use crate::report::Filter;

/// What a running bridge is asked. One file below `control/answer/` answers each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Which bridge this is: version and process id.
    Hello,
    /// What it does: listeners, devices, connections, store and totals.
    Status,
    /// What happens from now on: a line per event until whoever asks goes.
    Watch(Filter),
    /// Take up the configuration as it is in the files now; answered once that has happened, or with why it could not.
    Reload,
}
