//! Bytes between a socket and the packets: what has been read and is not a whole packet yet, what is to be written.
//!
//! An idle connection holds next to nothing: both buffers are given back when they run empty.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much one read takes at most.
pub const READ_SIZE: usize = 64 * 1024;

/// How much is written ahead of a client that does not read: beyond it nothing more is made for it, and nothing more
/// is read from it.
pub const WRITE_AHEAD: usize = 64 * 1024;

/// Capacity that an empty buffer keeps.
const KEPT_CAPACITY: usize = 512;

thread_local! {
    /// All connections of a thread read into the same buffer, so that the ones that are idle need none.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_SIZE].into_boxed_slice());
}

/// A byte stream with its two buffers.
pub struct Wire<S> {
    stream: S,
    /// Read and not handled yet.
    pub input: Vec<u8>,
    /// To be written.
    pub output: Vec<u8>,
    written: usize,
    /// Whether the stream may still hold back what it took.
    unflushed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Buffers for a stream; allocates nothing yet.
    pub fn new(stream: S) -> Self {
        Self { stream, input: Vec::new(), output: Vec::new(), written: 0, unflushed: false }
    }

    /// Bytes that the client has not taken yet.
    pub fn backlog(&self) -> usize {
        self.output.len() - self.written
    }

    /// Whether everything is on its way to the client.
    pub fn is_written(&self) -> bool {
        self.backlog() == 0 && !self.unflushed
    }

    /// Reads what is there, once, at most `limit` bytes, and appends it to `input`. 0 is the end of the stream.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let size = limit.min(scratch.len());
            let mut buffer = ReadBuf::new(&mut scratch[..size]);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            self.input.extend_from_slice(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
    }

    /// Writes `output` as far as the stream takes it: ready when all is written.
    pub fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.output.len() {
            self.unflushed = true;
            match Pin::new(&mut self.stream).poll_write(cx, &self.output[self.written..])? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(written) => self.written += written,
                Poll::Pending => {
                    self.output.drain(..self.written);
                    self.written = 0;
                    return Poll::Pending;
                }
            }
        }
        self.written = 0;
        empty(&mut self.output);
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    /// The first `handled` bytes of `input` are done with.
    pub fn consume(&mut self, handled: usize) {
        if handled == self.input.len() {
            empty(&mut self.input);
        } else {
            self.input.drain(..handled);
        }
    }

    /// Ends the stream so that the client gets to read what was written last: closing a socket with unread bytes in it
    /// would reset the connection and take the last packet with it. Reads and drops what still comes.
    pub async fn close(mut self) {
        let stream = &mut self.stream;
        if std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_shutdown(cx)).await.is_err() {
            return;
        }
        loop {
            self.input.clear();
            match std::future::poll_fn(|cx| self.poll_read(cx, READ_SIZE)).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }
}

fn empty(buffer: &mut Vec<u8>) {
    if buffer.capacity() > KEPT_CAPACITY {
        *buffer = Vec::new();
    } else {
        buffer.clear();
    }
}
