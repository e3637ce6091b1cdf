//! A client's frames, taken apart where they lie.

use std::io::Cursor;

use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{CloseCode, Control, Data, OpCode},
};

use crate::transport::Violation;

/// A header at its longest: with an eight byte length and a mask.
const MAX_HEADER: usize = 14;

/// The longest payload of a control frame (RFC 6455, section 5.5).
const MAX_CONTROL: u64 = 125;

/// Takes frames apart that arrive in pieces. A state machine without sockets: of the bytes that pass through it holds only
/// an unfinished header and the payload of a control frame.
#[derive(Default)]
pub struct Incoming {
    /// What has arrived of a header that is not whole.
    header: [u8; MAX_HEADER],
    header_len: usize,
    frame: Option<Frame>,
    /// Whether the message goes on in another frame.
    unfinished: bool,
    /// What has arrived of a control frame's payload.
    control: Vec<u8>,
    ping: Option<Vec<u8>>,
    end: Option<End>,
}

/// Why nothing more is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// What the client is told.
    pub code: CloseCode,
    /// What it did wrong; `None` if it closed.
    pub violation: Option<Violation>,
}

/// A frame whose payload arrives.
struct Frame {
    opcode: OpCode,
    left: u64,
    /// The key of the next four bytes.
    mask: [u8; 4],
}

impl Incoming {
    /// Takes what has arrived, and gives the number of bytes of MQTT that were in it: they are the first of `bytes` then.
    /// After the end everything is ignored.
    pub fn handle(&mut self, bytes: &mut [u8]) -> usize {
        let (mut handled, mut kept) = (0, 0);
        while handled < bytes.len() && self.end.is_none() {
            let rest = &mut bytes[handled..];
            let Some(frame) = &mut self.frame else {
                match self.handle_header(rest) {
                    Ok(taken) => handled += taken,
                    Err(end) => self.end = Some(end),
                }
                continue;
            };
            let taken = usize::try_from(frame.left).unwrap_or(usize::MAX).min(rest.len());
            let payload = &mut rest[..taken];
            unmask(payload, &mut frame.mask);
            frame.left -= taken as u64;
            if matches!(frame.opcode, OpCode::Data(_)) {
                bytes.copy_within(handled..handled + taken, kept);
                kept += taken;
            } else {
                self.control.extend_from_slice(payload);
            }
            handled += taken;
            self.finish_frame();
        }
        kept
    }

    /// The payload of the last ping that has not been answered: only that one wants an answer (RFC 6455, section 5.5.3).
    pub fn take_ping(&mut self) -> Option<Vec<u8>> {
        self.ping.take()
    }

    /// Why nothing more is read, if so.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Reads nothing more.
    pub fn stop(&mut self) {
        self.end.get_or_insert(End { code: CloseCode::Normal, violation: None });
    }

    /// Begins a frame if its header is whole, and gives the number of bytes taken.
    fn handle_header(&mut self, bytes: &[u8]) -> Result<usize, End> {
        let had = self.header_len;
        let more = bytes.len().min(MAX_HEADER - had);
        self.header[had..had + more].copy_from_slice(&bytes[..more]);
        let mut cursor = Cursor::new(&self.header[..had + more]);
        let parsed = FrameHeader::parse(&mut cursor)
            .map_err(|_| broken("the client sent a WebSocket frame of an unknown kind"))?;
        let Some((header, length)) = parsed else {
            self.header_len = had + more;
            return Ok(more);
        };
        let taken = cursor.position() as usize - had;
        self.header_len = 0;
        self.begin_frame(&header, length)?;
        self.finish_frame();
        Ok(taken)
    }

    fn begin_frame(&mut self, header: &FrameHeader, length: u64) -> Result<(), End> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            let what = "the client used a WebSocket extension, such as compression: none is offered";
            return Err(broken(what));
        }
        let Some(mask) = header.mask else {
            return Err(broken("the client sent a WebSocket frame without a mask"));
        };
        if !is_shortest(self.header[1] & 0x7F, length) {
            return Err(broken("the client sent a WebSocket frame with a malformed length"));
        }
        match header.opcode {
            OpCode::Control(_) if !header.is_final || length > MAX_CONTROL => {
                return Err(broken("the client sent a control frame of WebSocket in parts, or too large"));
            }
            OpCode::Control(_) => {}
            OpCode::Data(Data::Text) => {
                let what = "the client sent a text message of WebSocket: MQTT goes in binary ones";
                return Err(End { code: CloseCode::Unsupported, violation: Some(Violation(what)) });
            }
            OpCode::Data(kind) => {
                if (kind == Data::Continue) != self.unfinished {
                    return Err(broken("the client mixed up the parts of its WebSocket messages"));
                }
                self.unfinished = !header.is_final;
            }
        }
        self.frame = Some(Frame { opcode: header.opcode, left: length, mask });
        Ok(())
    }

    fn finish_frame(&mut self) {
        let Some(frame) = self.frame.take_if(|frame| frame.left == 0) else { return };
        match frame.opcode {
            OpCode::Control(Control::Ping) => self.ping = Some(std::mem::take(&mut self.control)),
            OpCode::Control(Control::Close) => self.end = Some(closed(&std::mem::take(&mut self.control))),
            OpCode::Control(_) => self.control = Vec::new(),
            OpCode::Data(_) => {}
        }
    }
}

/// The end that the payload of a close frame asks for: its code is returned to the sender.
fn closed(payload: &[u8]) -> End {
    let code = match payload {
        [] => Some(CloseCode::Normal),
        [high, low, reason @ ..] => Some(CloseCode::from(u16::from_be_bytes([*high, *low])))
            .filter(|code| code.is_allowed() && std::str::from_utf8(reason).is_ok()),
        _ => None,
    };
    End { code: code.unwrap_or(CloseCode::Protocol), violation: None }
}

fn broken(what: &'static str) -> End {
    End { code: CloseCode::Protocol, violation: Some(Violation(what)) }
}

/// Whether a length is written in as few bytes as it can be, and is one (RFC 6455, section 5.2).
fn is_shortest(written: u8, length: u64) -> bool {
    match written {
        126 => length > 125,
        127 => length > u64::from(u16::MAX) && i64::try_from(length).is_ok(),
        _ => true,
    }
}

/// Removes the mask, and turns it to where the next bytes go on.
fn unmask(bytes: &mut [u8], mask: &mut [u8; 4]) {
    let [a, b, c, d] = *mask;
    let key = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut blocks = bytes.chunks_exact_mut(8);
    for block in &mut blocks {
        for (byte, key) in block.iter_mut().zip(key.to_ne_bytes()) {
            *byte ^= key;
        }
    }
    for (byte, key) in blocks.into_remainder().iter_mut().zip(key.to_ne_bytes()) {
        *byte ^= key;
    }
    mask.rotate_left(bytes.len() % 4);
}
