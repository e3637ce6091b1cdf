//! The bridge: turns `config/*.json` into ACL-restricted topic pairs on an embedded MQTT broker.
#![forbid(unsafe_code)]

pub mod commands;
pub mod credentials;
