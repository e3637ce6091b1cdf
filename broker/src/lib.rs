//! An MQTT 3.1.1 and 5 broker as a library: strict at the wire, bounded everywhere, access decided by the embedder.
//!
//! It knows nothing of devices, connections or configuration files: who may log in and what they may do is asked of
//! the [`access::Access`] that the embedder implements. Start with [`Broker::start`]; `examples/open.rs` is a whole
//! program.
#![forbid(unsafe_code)]

pub mod access;
mod addresses;
mod admission;
mod allowance;
mod broker;
mod clock;
pub mod codec;
mod connection;
pub mod events;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod grace;
mod guessing;
mod handshake;
mod keeping;
mod ledger;
mod lifetimes;
pub mod limits;
mod listener;
pub mod live;
pub mod message;
mod queue;
mod report;
mod restoring;
mod retained;
mod revocation;
mod routing;
mod session;
mod shared;
pub mod store;
mod subscriptions;
mod tap;
pub mod transport;
mod unkept;
mod websocket;

pub use broker::{Broker, PublishError, Serving, StartError, Statistics};
pub use report::{ConnectionInfo, FlowInfo, NameInfo, SessionInfo, StoreInfo};
pub use revocation::Reconsidered;
pub use session::{Latency, Traffic};
pub use subscriptions::filter;
pub use tap::{Tap, TappedMessage};
