//! A byte stream over the binary messages of a WebSocket.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    incoming::Incoming,
    outgoing::{MAX_MESSAGE, Outgoing},
};

/// The server's end of a WebSocket as a byte stream. What is written at once becomes one message, up to 65,535 bytes; pings
/// are answered while it is read or written; shutting it down sends a close frame.
///
/// Reading and writing have to be done by one task, and a write that was taken in part has to go on where it stopped: the
/// length of its message is told already.
pub struct WebSocket<S> {
    stream: S,
    /// What the client sent together with its request.
    ahead: Vec<u8>,
    incoming: Incoming,
    outgoing: Outgoing,
    /// Whether the stream may still hold back a control frame that it took.
    unflushed: bool,
    /// Whether the reader knows of the end.
    ended: bool,
    closing: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// On a stream that has been upgraded, with what was read from it beyond the request.
    pub fn new(stream: S, ahead: Vec<u8>) -> Self {
        Self {
            stream,
            ahead,
            incoming: Incoming::default(),
            outgoing: Outgoing::default(),
            unflushed: false,
            ended: false,
            closing: false,
        }
    }

    /// Appends what has arrived, frames and all; nothing at the end.
    fn poll_frames(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let taken = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead[..taken]);
        if taken == self.ahead.len() {
            self.ahead = Vec::new();
        } else {
            self.ahead.drain(..taken);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes control frames unless a message is under way: ready when there is none, or when it has to wait for the
    /// message, after which it is written.
    fn poll_control(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.outgoing.is_within_message() {
            return Poll::Ready(Ok(()));
        }
        loop {
            while !self.outgoing.control().is_empty() {
                let stream = Pin::new(&mut self.stream);
                match ready!(stream.poll_write(cx, self.outgoing.control()))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    written => self.outgoing.wrote_control(written),
                }
                self.unflushed = true;
            }
            match self.incoming.take_ping() {
                Some(payload) if !self.closing => self.outgoing.pong(&payload),
                _ => break,
            }
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    /// Ends where the client's close frame comes. Reading on after the end, or after an error, drops what still comes.
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            // What cannot be written yet has registered for that, and reading goes on meanwhile.
            if let Poll::Ready(written) = this.poll_control(cx) {
                written?;
            }
            if let Some(end) = this.incoming.end()
                && !this.ended
            {
                this.ended = true;
                return Poll::Ready(match end.violation {
                    Some(violation) => Err(io::Error::new(io::ErrorKind::InvalidData, violation)),
                    None => Ok(()),
                });
            }
            let begin = buffer.filled().len();
            ready!(this.poll_frames(cx, buffer))?;
            let frames = &mut buffer.filled_mut()[begin..];
            if frames.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let read = this.incoming.handle(frames);
            buffer.set_filled(begin + read);
            if read > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(this.poll_control(cx))?;
        if !this.outgoing.is_within_message() {
            this.outgoing.begin_message(bytes.len().min(MAX_MESSAGE));
        }
        loop {
            let (header, left) = this.outgoing.next();
            let message = &bytes[..left.min(bytes.len())];
            let slices = [IoSlice::new(header), IoSlice::new(message)];
            let written = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, &slices))?;
            let of_message = this.outgoing.wrote(written);
            if written == 0 || of_message > 0 {
                return Poll::Ready(Ok(of_message));
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_control(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    /// Within a message there is no place for a close frame: then the stream just ends.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.closing {
            ready!(this.poll_control(cx))?;
            this.closing = true;
            this.ended = true;
            this.incoming.stop();
            if let Some(end) = this.incoming.end()
                && !this.outgoing.is_within_message()
            {
                this.outgoing.close(end.code);
            }
        }
        ready!(this.poll_control(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}
