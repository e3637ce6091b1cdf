//! What goes to a client: messages with their headers, and control frames between them.

use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// The longest payload of a message in bytes.
pub const MAX_MESSAGE: usize = u16::MAX as usize;

/// The first byte of a frame that is a whole message.
const FINAL: u8 = 0x80;

/// Where the writing stands. Holds no bytes of messages.
#[derive(Default)]
pub struct Outgoing {
    /// Of the message that is being written.
    header: [u8; 4],
    header_left: u8,
    left: u16,
    /// A control frame that is being written.
    control: Vec<u8>,
    control_written: usize,
}

impl Outgoing {
    /// Whether a message has begun and is not written to its end: nothing else may come between.
    pub fn is_within_message(&self) -> bool {
        self.header_left > 0 || self.left > 0
    }

    /// Begins a message with the next bytes, as many of these as fit.
    pub fn begin_message(&mut self, bytes: usize) {
        self.left = u16::try_from(bytes).unwrap_or(u16::MAX);
        let first = FINAL | u8::from(OpCode::Data(Data::Binary));
        match u8::try_from(self.left) {
            Ok(length @ ..=125) => {
                self.header[2..].copy_from_slice(&[first, length]);
                self.header_left = 2;
            }
            _ => {
                let [high, low] = self.left.to_be_bytes();
                self.header = [first, 126, high, low];
                self.header_left = 4;
            }
        }
    }

    /// What is to be written next: the rest of the header, and how many bytes of the message.
    pub fn next(&self) -> (&[u8], usize) {
        (&self.header[self.header.len() - usize::from(self.header_left)..], self.left.into())
    }

    /// So many bytes were written: header first. Gives how many of them were the message's.
    pub fn wrote(&mut self, bytes: usize) -> usize {
        let of_header = bytes.min(self.header_left.into());
        self.header_left -= of_header as u8;
        let of_message = (bytes - of_header).min(self.left.into());
        self.left -= of_message as u16;
        of_message
    }

    /// Has a pong written.
    pub fn pong(&mut self, payload: &[u8]) {
        self.begin_control(Control::Pong, payload);
    }

    /// Has a close frame written.
    pub fn close(&mut self, code: CloseCode) {
        self.begin_control(Control::Close, &u16::from(code).to_be_bytes());
    }

    /// What is left of a control frame; empty if there is none.
    pub fn control(&self) -> &[u8] {
        &self.control[self.control_written..]
    }

    /// So many bytes of the control frame were written.
    pub fn wrote_control(&mut self, bytes: usize) {
        self.control_written += bytes;
        if self.control_written >= self.control.len() {
            self.control = Vec::new();
            self.control_written = 0;
        }
    }

    /// The payload has at most 125 bytes, as that of the ping that is answered had.
    fn begin_control(&mut self, kind: Control, payload: &[u8]) {
        self.control.extend([FINAL | u8::from(OpCode::Control(kind)), payload.len() as u8]);
        self.control.extend_from_slice(payload);
    }
}
