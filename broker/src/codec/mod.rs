//! MQTT 3.1.1 and 5 packets from bytes and back: strict, borrowing, with every limit checked before anything is
//! allocated. Holds no state.
//!
//! A connection asks [`packet_length`] until it has a whole packet, gives the first one to [`decode_connect`] and all
//! others to [`decode`]; what the server answers is a [`ServerPacket`]. Statement numbers (`[MQTT-3.3.5-2]`) are those
//! of MQTT 5 where the two standards count differently.

mod decode;
mod encode;
mod error;
mod frame;
mod packet;
mod primitives;
mod properties;
mod reason;
mod text;

pub use decode::{connect_has_will, decode, decode_connect};
pub use error::{ConnectError, DecodeError};
pub use frame::{begins_connect, begins_publish, packet_length};
pub use packet::*;
pub(crate) use properties::content_type;
pub use reason::ReasonCode;
pub use text::{is_valid_topic_filter, is_valid_topic_name};
