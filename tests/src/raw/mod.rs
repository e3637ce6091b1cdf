//! MQTT packets as bytes, written from the OASIS standards and nothing else: the second opinion about the product's
//! codec. What is sent may be as wrong as a test wants it; what is received is checked strictly.

mod client;
mod property;
mod receive;
mod send;

pub use client::Client;
pub use property::Property;
pub use receive::{Ack, Codes, ConnAck, Message, Packet};
pub use send::{
    AckPacket, Connect, Disconnect, Encode, Kind, PingReq, Publish, Subscribe, Unsubscribe, Will, frame,
    string,
};

/// The protocol version of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.
    V5,
}

impl Version {
    /// The protocol level byte of CONNECT.
    pub fn level(self) -> u8 {
        match self {
            Version::V311 => 4,
            Version::V5 => 5,
        }
    }
}
