//! One network connection: reads, decodes, hands to the session, and writes what the session wants written.

mod keep_alive;
mod login;
mod packets;
mod wire;

use std::{
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, Sleep, sleep_until, timeout},
};

use self::{
    keep_alive::KeepAlive,
    login::{LoggedIn, NotLoggedIn, log_in},
    wire::{WRITE_AHEAD, Wire},
};
use crate::{
    access::Grant,
    clock,
    codec::{DecodeError, ReasonCode, ServerPacket, Version, decode, packet_length},
    events::{Counters, DisconnectCause, Event},
    message::Message,
    session::{PendingWill, Session},
    shared::{Matches, Shared},
};

/// How long a client has to read the last packet.
const CLOSING_TIME: Duration = Duration::from_secs(2);

/// How much one read takes at most.
const READ_SIZE: usize = 64 * 1024;

/// Serves one client from its first byte to its last.
///
/// `overloaded` answers its CONNECT with Server busy.
pub async fn serve<S>(shared: Arc<Shared>, stream: S, peer: SocketAddr, overloaded: bool)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut wire = Wire::new(stream);
    match log_in(&shared, &mut wire, peer, overloaded).await {
        Err(refused) => refuse(&shared, wire, peer, &refused).await,
        Ok(client) => serve_client(&shared, wire, peer, client).await,
    }
}

async fn refuse<S>(shared: &Shared, mut wire: Wire<S>, peer: SocketAddr, refused: &NotLoggedIn)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    shared.tell_refused(peer, refused.user_name.as_deref(), refused.reason, &refused.detail);
    refused.write_connack(&mut wire.output);
    close(wire).await;
}

async fn serve_client<S>(shared: &Arc<Shared>, mut wire: Wire<S>, peer: SocketAddr, client: LoggedIn)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let Ok(session) = shared.open_session(client.grant.name(), &client.client_id).await else {
            let refused = NotLoggedIn {
                version: Some(client.client.version),
                reason: ReasonCode::QuotaExceeded,
                user_name: Some(client.grant.name().to_owned()),
                detail: "it has as many sessions online as limits.sessions_per_device allows".into(),
            };
            return refuse(shared, wire, peer, &refused).await;
        };
        let attachment = session.attach().await;
        if session.has_ended() {
            continue;
        }
        let session_present = shared.begin_session(&session, &*client.grant, client.clean_start).await;
        client.write_connack(&shared.limits, session_present, &mut wire.output);
        session.handle_connect(client.client);
        if shared.stopping.load(Ordering::SeqCst) {
            session.outbound.lock().request_close(ReasonCode::ServerShuttingDown);
        }
        emit_connected(shared, &session, peer, client.client.version, session_present);

        let mut connection = Connection::new(shared, &session, wire, client);
        let ending = connection.run().await;
        connection.write_disconnect(&ending);
        let Connection { wire, will, session_expiry, .. } = connection;

        let will = will.filter(|_| ending.publishes_will());
        let expiry = Duration::from_secs(session_expiry.into());
        shared.leave_session(&session, attachment, will, expiry).await;
        emit_disconnected(shared, &session, ending.0);
        return close(wire).await;
    }
}

/// Writes what is left, so that the client can read why it was closed.
async fn close<S: AsyncRead + AsyncWrite + Unpin>(mut wire: Wire<S>) {
    let _ = timeout(CLOSING_TIME, async {
        if poll_fn(|cx| wire.poll_write(cx)).await.is_ok() {
            wire.close().await;
        }
    })
    .await;
}

/// A connection that is attached to its session.
struct Connection<'a, S> {
    shared: &'a Arc<Shared>,
    session: &'a Arc<Session>,
    grant: Arc<dyn Grant>,
    version: Version,
    maximum_packet_size: Option<u32>,
    wire: Wire<S>,
    keep_alive: Option<KeepAlive>,
    timer: Option<Pin<Box<Sleep>>>,
    session_expiry: u32,
    will: Option<PendingWill>,
    /// QoS 0 messages of one read: they go to the live lane together.
    live: Vec<Message>,
    matches: Matches,
    /// When the packets that are being handled were read, in milliseconds since the Unix epoch.
    now: u64,
}

/// Why a connection ends.
struct Ending(DisconnectCause);

impl Ending {
    /// Every end but the client's own DISCONNECT with Success lets the Will Message go out `[MQTT-3.14.4-3]`.
    fn publishes_will(&self) -> bool {
        self.0 != DisconnectCause::Client(ReasonCode::Success)
    }
}

impl From<DecodeError> for Ending {
    fn from(error: DecodeError) -> Self {
        Self(DisconnectCause::Violation { reason: error.reason, what: error.what })
    }
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Connection<'a, S> {
    fn new(shared: &'a Arc<Shared>, session: &'a Arc<Session>, wire: Wire<S>, client: LoggedIn) -> Self {
        let keep_alive = KeepAlive::new(client.keep_alive, Instant::now());
        Self {
            shared,
            session,
            grant: client.grant,
            version: client.client.version,
            maximum_packet_size: client.client.maximum_packet_size,
            wire,
            timer: keep_alive.map(|keep_alive| Box::pin(sleep_until(keep_alive.poll_timeout()))),
            keep_alive,
            session_expiry: client.session_expiry,
            will: client.will,
            live: Vec::new(),
            matches: Matches::new(),
            now: clock::unix_ms(),
        }
    }

    async fn run(&mut self) -> Ending {
        loop {
            if let Err(ending) = self.handle_input().await {
                return ending;
            }
            if let Err(ending) = poll_fn(|cx| self.poll_input(cx)).await {
                return ending;
            }
        }
    }

    /// Handles all whole packets that have been read.
    async fn handle_input(&mut self) -> Result<(), Ending> {
        self.now = clock::unix_ms();
        let input = std::mem::take(&mut self.wire.input);
        let mut handled = 0;
        let outcome = loop {
            let rest = &input[handled..];
            let length = match packet_length(rest, self.shared.limits.max_packet_size) {
                Err(error) => break Err(error.into()),
                Ok(Some(length)) if length <= rest.len() => length,
                Ok(_) => break Ok(()),
            };
            if let Some(keep_alive) = &mut self.keep_alive {
                keep_alive.heard(Instant::now());
            }
            let outcome = decode(&rest[..length], self.version)
                .map_err(Ending::from)
                .and_then(|packet| self.handle_packet(packet));
            if outcome.is_err() {
                break outcome;
            }
            handled += length;
        };
        self.wire.input = input;
        self.wire.consume(handled);
        if !self.live.is_empty() {
            self.shared.live.publish(&mut self.live).await;
        }
        outcome
    }

    /// Writes what there is to write, and is ready when something was read.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ending>> {
        self.poll_output(cx)?;
        if self.wire.backlog() < WRITE_AHEAD {
            match self.wire.poll_read(cx, READ_SIZE) {
                Poll::Ready(Ok(read)) if read > 0 => return Poll::Ready(Ok(())),
                Poll::Ready(_) => return Poll::Ready(Err(Ending(DisconnectCause::Closed))),
                Poll::Pending => {}
            }
        }
        self.poll_keep_alive(cx)
    }

    /// Takes from the session and writes until the session has nothing more or the client takes nothing more.
    fn poll_output(&mut self, cx: &mut Context<'_>) -> Result<(), Ending> {
        loop {
            {
                let mut outbound = self.session.outbound.lock();
                if let Some(reason) = outbound.close_request() {
                    return Err(Ending(DisconnectCause::Server(reason)));
                }
                if self.wire.backlog() < WRITE_AHEAD {
                    outbound.poll_transmit(clock::unix_ms(), WRITE_AHEAD, &mut self.wire.output);
                }
                outbound.register(cx.waker());
            }
            if self.wire.backlog() == 0 {
                return Ok(());
            }
            match self.wire.poll_write(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Err(Ending(DisconnectCause::Closed)),
                Poll::Pending => return Ok(()),
            }
        }
    }

    fn poll_keep_alive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ending>> {
        let (Some(keep_alive), Some(timer)) = (&self.keep_alive, &mut self.timer) else {
            return Poll::Pending;
        };
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= keep_alive.poll_timeout() {
                return Poll::Ready(Err(Ending(DisconnectCause::KeepAlive)));
            }
            timer.as_mut().reset(keep_alive.poll_timeout());
        }
        Poll::Pending
    }

    /// Tells a MQTT 5 client why, where it was not the one to end the connection.
    fn write_disconnect(&mut self, ending: &Ending) {
        let (reason, what) = match &ending.0 {
            DisconnectCause::Client(_) | DisconnectCause::Closed => return,
            DisconnectCause::KeepAlive => (ReasonCode::KeepAliveTimeout, None),
            DisconnectCause::Violation { reason, what } => (*reason, Some(*what)),
            DisconnectCause::Server(reason) => (*reason, None),
        };
        let maximum = self.maximum_packet_size.map_or(usize::MAX, |size| size as usize);
        let packet = ServerPacket::Disconnect { reason, reason_string: what };
        if packet.encoded_len(self.version) <= maximum {
            packet.encode(self.version, &mut self.wire.output);
        } else {
            ServerPacket::Disconnect { reason, reason_string: None }
                .encode(self.version, &mut self.wire.output);
        }
    }
}

fn emit_connected(
    shared: &Shared,
    session: &Session,
    peer: SocketAddr,
    version: Version,
    session_present: bool,
) {
    Counters::add(&shared.counters.connected, 1);
    shared.events.emit(|| Event::Connected {
        name: Arc::clone(&session.name),
        client_id: (*session.client_id).into(),
        peer,
        version,
        session_present,
    });
}

fn emit_disconnected(shared: &Shared, session: &Session, cause: DisconnectCause) {
    Counters::subtract(&shared.counters.connected, 1);
    shared.events.emit(|| Event::Disconnected {
        name: Arc::clone(&session.name),
        client_id: (*session.client_id).into(),
        cause,
    });
}
