//! One non-blocking connection with what is read and written in batches.

use std::io::{ErrorKind, Read, Write};

use mio::net::TcpStream;

use crate::Result;
use crate::wire::{self, Packet, Version};

/// A logged-in connection.
pub(crate) struct Line {
    pub(crate) stream: TcpStream,
    /// What is to be written; its capacity is kept.
    pub(crate) out: Vec<u8>,
    written: usize,
    /// The beginning of a packet whose end has not arrived.
    partial: Vec<u8>,
}

impl Line {
    pub(crate) fn new(stream: std::net::TcpStream) -> Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream: TcpStream::from_std(stream),
            out: Vec::with_capacity(4096),
            written: 0,
            partial: Vec::with_capacity(256),
        })
    }

    /// Reads what has arrived and hands on every whole packet, with the output to answer to.
    /// `scratch` is shared by all lines: a line that waits holds no buffer.
    pub(crate) fn read(
        &mut self,
        scratch: &mut [u8],
        version: Version,
        mut on_packet: impl FnMut(&mut Vec<u8>, Packet<'_>) -> Result<()>,
    ) -> Result<()> {
        loop {
            let kept = self.partial.len();
            scratch[..kept].copy_from_slice(&self.partial);
            let room = scratch.len() - kept;
            let read = match self.stream.read(&mut scratch[kept..]) {
                Ok(0) => return Err("the relay closed a connection".into()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let mut bytes = &scratch[..kept + read];
            while let Some((packet, consumed)) = wire::read(bytes, version)? {
                on_packet(&mut self.out, packet)?;
                bytes = &bytes[consumed..];
            }
            self.partial.clear();
            self.partial.extend_from_slice(bytes);
            if self.partial.len() == scratch.len() {
                return Err("the relay sent a packet that is too large".into());
            }
            // A short read of a stream socket has emptied it: the next bytes raise a new event (epoll(7)).
            if read < room {
                return Ok(());
            }
        }
    }

    /// Writes what is waiting, as far as the socket takes it; a writable event calls again.
    pub(crate) fn flush(&mut self) -> Result<()> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(0) => return Err("the relay closed a connection".into()),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }
}
