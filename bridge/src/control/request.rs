use serde::{Deserialize, Serialize};

/// What a running bridge is asked. One file below `control/answer/` answers each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Which bridge this is: version, process id and directories.
    Hello,
    /// Take up the configuration as it is in the files now; answered once that has happened, or with why it could not.
    Reload,
}
