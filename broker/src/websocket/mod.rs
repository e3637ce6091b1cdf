//! MQTT over WebSocket: from an HTTP request to a byte stream over binary messages.
//!
//! Requests, frame headers and close codes are read with `tungstenite`. Its own stream is not used: it reserves what a
//! frame announces, holds a whole message before it gives any of it away, and keeps its buffers. MQTT does not care where
//! a message begins or ends `[MQTT-6.0.0-2]`, so here the bytes pass through as they come, and nothing of theirs is held.

mod incoming;
mod outgoing;
mod stream;
mod upgrade;

#[cfg(test)]
mod tests;

pub use self::{stream::WebSocket, upgrade::upgrade};
