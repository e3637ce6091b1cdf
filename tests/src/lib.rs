//! The harness of the end-to-end tests: real processes in temporary worlds, clients that others wrote, and a raw packet
//! client that shares no code with the product.
//!
//! - [`Broker`]: the library's example, where every client may do everything.
//! - [`Bridge`]: the real binary on directories of its own.
//! - [`Audience`]: all of its devices, and what they hear.
//! - [`browser`]: MQTT.js in a page of a real browser.
//! - [`Channel`]: TCP, TLS and WebSocket for clients that know only TCP.
//! - [`clients`]: mosquitto's clients, paho-mqtt and rumqttc, for both versions.
//! - [`documents`]: the programs and commands of the documents.
//! - [`Manager`]: stands in for the service manager.
//! - [`Peer`]: a client with a session, which remembers what it must from one connection to the next.
//! - [`faults`]: full disks, failing writes and syncs, clocks that jump.
//! - [`python`]: what others wrote to read OpenMetrics, and to compare JSON with its schema.
//! - [`http`]: a client for the page and its API.
//! - [`raw`]: packets of MQTT 3.1.1 and 5, right or deliberately wrong, and what the server answers.
//! - [`tables`]: the documents that name tests.
//! - [`tls`]: TLS for those clients, and certificates.
//! - [`visitor`]: whoever looks at the bridge's page, in a real browser.
//!
//! Environment: `IOR_OPEN_BIN` and `IOR_BRIDGE_BIN` name the binaries (otherwise cargo builds them), `IOR_PYTHON` a
//! Python with the packages of `tests/requirements.txt`, `IOR_MQTT_JS` the bundle of MQTT.js for browsers, `IOR_TEST_BROKER` another broker to run the protocol tests against (`host:port`, or
//! `mosquitto` to start one for every test).
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod audience;
mod bridge;
mod broker;
pub mod browser;
mod channel;
pub mod clients;
pub mod documents;
pub mod faults;
pub mod http;
mod manager;
mod peer;
pub mod process;
mod python;
mod random;
pub mod raw;
pub mod tables;
pub mod tls;
pub mod visitor;

pub use audience::{Audience, Heard};
pub use bridge::{Bridge, Credentials, End, World, binary};
pub use broker::{Broker, ON_BOTH_VERSIONS};
pub use channel::{Channel, Way};
pub use manager::Manager;
pub use peer::{Happened, Peer};
pub use python::python;
pub use random::Random;

use std::time::Duration;

/// How long anything that must happen may take, unless a test says otherwise.
pub const DEADLINE: Duration = Duration::from_secs(5);
