//! The bridge: turns `config/*.json` into ACL-restricted topic pairs on an embedded MQTT broker.
#![forbid(unsafe_code)]

pub mod credentials;
pub mod document;
pub mod registry;
pub mod secrets;
