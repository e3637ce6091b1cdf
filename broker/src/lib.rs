//! An MQTT 3.1.1 and 5 broker as a library: strict at the wire, bounded everywhere, access decided by the embedder.
//!
//! It knows nothing of devices, connections or configuration files: who may log in and what they may do is asked of
//! the [`access::Access`] that the embedder implements.
#![forbid(unsafe_code)]

pub mod access;
pub mod codec;
pub mod live;
pub mod message;
pub mod retained;
pub mod subscriptions;
