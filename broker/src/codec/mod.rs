//! MQTT 3.1.1 and 5 packets from bytes and back: strict, borrowing, with every limit checked before anything is
//! allocated. Holds no state.

mod packet;
mod reason;

pub use packet::*;
pub use reason::ReasonCode;
