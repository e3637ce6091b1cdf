//! The harness of the end-to-end tests: real processes in temporary worlds, and a raw packet client that shares no code
//! with the product.
//!
//! - [`Broker`]: the library's example, where every client may do everything.
//! - [`raw`]: packets of MQTT 3.1.1 and 5, right or deliberately wrong, and what the server answers.
//!
//! Environment: `IOR_OPEN_BIN` names the example's binary; `IOR_TEST_BROKER` another broker to run the protocol tests
//! against (`host:port`, or `mosquitto` to start one for every test).
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod broker;
pub mod process;
pub mod raw;

pub use broker::{Broker, ON_BOTH_VERSIONS};

use std::time::Duration;

/// How long anything that must happen may take, unless a test says otherwise.
pub const DEADLINE: Duration = Duration::from_secs(5);
