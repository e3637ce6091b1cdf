//! One network connection: reads, decodes, hands to the session, and writes what the session wants written.

mod answers;
mod hold;
mod keep_alive;
mod login;
mod packets;
mod wire;

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::yield_now,
    time::{Instant, Sleep, sleep, sleep_until, timeout},
};

use self::{
    answers::Answers,
    keep_alive::KeepAlive,
    login::{LoggedIn, NotLoggedIn, log_in},
    wire::{READ_SIZE, WRITE_AHEAD, Wire},
};
use crate::{
    access::Grant,
    addresses::AddressPlace,
    admission::Waiting,
    allowance::Allowance,
    clock,
    codec::{
        ClientPacket, DecodeError, ReasonCode, ServerPacket, Version, begins_publish, decode, packet_length,
    },
    events::{Counters, DisconnectCause, Event, excerpt},
    limits::{Limit, Limits},
    message::Message,
    report::ConnectionInfo,
    session::Session,
    shared::{Matches, Shared},
    store::Sequence,
    transport::{Channel, Violation},
};

/// How long a client has to read the last packet.
const CLOSING_TIME: Duration = Duration::from_secs(2);

/// After so many packets of one client the others have a turn.
const PACKETS_AT_A_TIME: usize = 256;

/// How long a client has, once, up to twice that, to acknowledge a QoS 1 message before it is written to the store. Long
/// enough for nearly every client that is there and well, so that what they get is never written.
const WRITE_GRACE: Duration = Duration::from_millis(50);

/// So many bytes of QoS 0 messages go to the live lane at once.
const LIVE_BATCH: usize = 256 * 1024;

/// A network connection as it arrived.
pub struct Arrival {
    /// Where from.
    pub peer: SocketAddr,
    /// What carries it.
    pub channel: Channel,
    /// When its CONNECT has to be here, handshakes below MQTT included.
    pub due: Instant,
    /// Its place among the connections of its address, taken as long as this is kept.
    pub place: Arc<AddressPlace>,
}

/// Serves one client, which waits in line to log in, from its first byte to its last.
pub async fn serve<S>(shared: Arc<Shared>, waiting: Waiting, stream: S, arrival: Arrival)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut wire = Wire::new(stream);
    let outcome = tokio::select! {
        outcome = log_in(&shared, &mut wire, &arrival) => outcome,
        () = waiting.must_give_way() => {
            // It is not in line any more, so nothing of it may stay.
            drop(wire);
            let gone = NotLoggedIn::silent("it sent no CONNECT while others wanted to log in");
            return tell_refused(&shared, &arrival, &gone);
        }
    };
    match outcome {
        Ok(client) => {
            drop(waiting);
            serve_client(&shared, wire, &arrival, client).await;
        }
        Err(refused) => {
            if !refused.delay.is_zero() {
                waiting.give_way_first();
                // Else who hangs up, or is closed for others, could guess again at once.
                arrival.place.keep_until(Instant::now() + refused.delay);
            }
            tell_refused(&shared, &arrival, &refused);
            tokio::select! {
                () = answer_refused(wire, &refused) => {}
                () = waiting.must_give_way() => {}
            }
        }
    }
}

/// Ends a connection that does not get as far as MQTT with an answer in the protocol below it.
pub async fn turn_away<S>(waiting: &Waiting, stream: S, answer: Vec<u8>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut wire = Wire::new(stream);
    wire.output = answer;
    tokio::select! {
        () = close(wire) => {}
        () = waiting.must_give_way() => {}
    }
}

fn tell_refused(shared: &Shared, arrival: &Arrival, refused: &NotLoggedIn) {
    shared.tell_refused(arrival.peer, refused.user_name.as_deref(), refused.reason, &refused.detail);
}

async fn answer_refused<S>(mut wire: Wire<S>, refused: &NotLoggedIn)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if !refused.delay.is_zero() {
        sleep(refused.delay).await;
    }
    refused.write_connack(&mut wire.output);
    close(wire).await;
}

async fn refuse<S>(shared: &Shared, wire: Wire<S>, arrival: &Arrival, refused: &NotLoggedIn)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    tell_refused(shared, arrival, refused);
    answer_refused(wire, refused).await;
}

async fn serve_client<S>(shared: &Arc<Shared>, mut wire: Wire<S>, arrival: &Arrival, client: LoggedIn)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let connections = shared.limits.load().connections;
    let place = (!client.grant.is_inside()).then(|| shared.admission.take_place(connections));
    if let Some(None) = place {
        shared.counters.limits.count(Limit::Connections);
        let refused = client.turned_away(ReasonCode::ServerBusy, "limits.connections clients are logged in");
        return refuse(shared, wire, arrival, &refused).await;
    }
    let outlives = client.session_expiry > 0;
    loop {
        let Some(session) = shared.open_session(client.grant.name(), &client.client_id, outlives).await
        else {
            let refused = client.turned_away(ReasonCode::QuotaExceeded, "no more sessions can be kept");
            return refuse(shared, wire, arrival, &refused).await;
        };
        let attachment = session.attach(ReasonCode::SessionTakenOver).await;
        if session.has_ended() {
            continue;
        }
        if outlives && !shared.can_outlive(&session) {
            // Made at the same time for another CONNECT, which asked for less.
            shared.end_session(&session, attachment).await;
            continue;
        }
        if client.clean_start && session.has_begun() {
            session.stop_afterlife();
            shared.end_session(&session, attachment).await;
            if session.slot.is_some() {
                // Else it could be back after a power cut, although the client was told that it is gone.
                shared.until_committed().await;
            }
            continue;
        }
        let will = client.will.clone();
        let session_present = shared.begin_session(&session, &client.grant, will, client.session_expiry);
        if session_present {
            shared.put_session(&session, None);
        } else if !shared.begin_keeping(&session).await {
            session.lifetime.lock().will = None;
            shared.end_session(&session, attachment).await;
            let detail = "its session cannot be kept: the store fails (a clean session would do without)";
            return refuse(shared, wire, arrival, &client.turned_away(ReasonCode::QuotaExceeded, detail))
                .await;
        }
        if !client.write_connack(&client.limits, session_present, &mut wire.output) {
            shared.leave_session(&session, attachment, false, client.session_expiry).await;
            let refused = NotLoggedIn::silent("even its CONNACK exceeds its Maximum Packet Size");
            return refuse(shared, wire, arrival, &refused).await;
        }
        session.handle_connect(client.client);
        if shared.stopping.load(Ordering::SeqCst) {
            session.outbound.lock().request_close(ReasonCode::ServerShuttingDown);
        }
        if !shared.is_known(&session.name) {
            // It logged in before the name was revoked, and whoever ends its sessions may not have seen this one.
            session.outbound.lock().request_close(ReasonCode::AdministrativeAction);
        }
        session.lifetime.lock().connection = Some(ConnectionInfo {
            peer: arrival.peer,
            channel: arrival.channel,
            version: client.client.version,
            since: clock::unix_ms(),
            keep_alive: client.keep_alive,
        });
        emit_connected(shared, &session, arrival, client.client.version, session_present);

        let mut connection = Connection::new(shared, &session, wire, client);
        let ending = connection.run().await;
        connection.write_disconnect(&ending);
        let Connection { wire, session_expiry, .. } = connection;

        shared.leave_session(&session, attachment, ending.publishes_will(), session_expiry).await;
        emit_disconnected(shared, &session, arrival, ending.0);
        drop(place);
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
    limits: Arc<Limits>,
    version: Version,
    maximum_packet_size: Option<u32>,
    wire: Wire<S>,
    keep_alive: Option<KeepAlive>,
    timer: Option<Pin<Box<Sleep>>>,
    /// What the client's name may publish, if that is limited.
    allowance: Option<Arc<Mutex<Allowance>>>,
    /// Until when nothing more is read from the client because its name published too much.
    hold: Option<Pin<Box<Sleep>>>,
    session_expiry: u32,
    asked_to_stay: bool,
    /// QoS 0 messages that go to the live lane together, and their bytes.
    live: Vec<Message>,
    live_bytes: usize,
    matches: Matches,
    /// What the client is answered once it is kept.
    answers: Answers,
    /// When which messages to the client are written to the store unless it acknowledges them before.
    write: Option<(Pin<Box<Sleep>>, Sequence)>,
    /// When the packets that are being handled were read, in milliseconds since the Unix epoch.
    now: u64,
    /// The same by a clock that nobody sets.
    read_at: Instant,
}

/// Why a connection ends.
struct Ending(DisconnectCause);

impl Ending {
    /// Every end but the client's own DISCONNECT with Success lets the Will Message go out `[MQTT-3.14.4-3]`.
    fn publishes_will(&self) -> bool {
        self.0 != DisconnectCause::Client(ReasonCode::Success)
    }

    /// The stream has ended, or failed.
    fn of_stream(error: Option<&io::Error>) -> Self {
        Self(match error.and_then(Violation::of) {
            Some(Violation(what)) => DisconnectCause::Violation { reason: ReasonCode::ProtocolError, what },
            None => DisconnectCause::Closed,
        })
    }
}

impl From<DecodeError> for Ending {
    fn from(error: DecodeError) -> Self {
        Self(DisconnectCause::Violation { reason: error.reason, what: error.what })
    }
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Connection<'a, S> {
    fn new(shared: &'a Arc<Shared>, session: &'a Arc<Session>, wire: Wire<S>, client: LoggedIn) -> Self {
        let now = Instant::now();
        let keep_alive = KeepAlive::new(client.keep_alive, now);
        let is_limited = Allowance::is_limited(&client.limits) && !client.grant.is_inside();
        let allowance = is_limited.then(|| shared.allowances.of(&session.name, now));
        Self {
            shared,
            session,
            grant: client.grant,
            limits: client.limits,
            version: client.client.version,
            maximum_packet_size: client.client.maximum_packet_size,
            wire,
            timer: keep_alive.map(|keep_alive| Box::pin(sleep_until(keep_alive.poll_timeout()))),
            keep_alive,
            allowance,
            hold: None,
            session_expiry: client.session_expiry,
            asked_to_stay: client.asked_to_stay,
            live: Vec::new(),
            live_bytes: 0,
            matches: Matches::new(),
            answers: Answers::default(),
            write: None,
            now: clock::unix_ms(),
            read_at: now,
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

    /// Handles all whole packets that have been read, unless the client is held back.
    async fn handle_input(&mut self) -> Result<(), Ending> {
        self.now = clock::unix_ms();
        self.session.heard(self.now);
        let read_at = Instant::now();
        self.read_at = read_at;
        let input = std::mem::take(&mut self.wire.input);
        let mut handled = 0;
        let mut packets = 0;
        let outcome = loop {
            if begins_publish(&input[handled..]) && self.is_held(read_at) {
                break Ok(());
            }
            match self.handle_next(&input[handled..], read_at) {
                Ok(Some(length)) => handled += length,
                Ok(None) => break Ok(()),
                Err(ending) => break Err(ending),
            }
            packets += 1;
            if self.live_bytes >= LIVE_BATCH {
                self.publish_live().await;
            }
            if packets % PACKETS_AT_A_TIME == 0 {
                self.publish_live().await;
                yield_now().await;
            }
            if self.shared.is_crowded() && !self.grant.is_inside() {
                self.publish_live().await;
                self.shared.until_room().await;
            }
        };
        self.wire.input = input;
        self.wire.consume(handled);
        self.publish_live().await;
        outcome
    }

    /// Handles the packet that the bytes begin with, and gives its length; `None` if it is not whole yet.
    fn handle_next(&mut self, bytes: &[u8], read_at: Instant) -> Result<Option<usize>, Ending> {
        let length = packet_length(bytes, self.limits.max_packet_size);
        if length.is_err_and(|error| error.reason == ReasonCode::PacketTooLarge) {
            self.shared.counters.limits.count(Limit::MaxPacketSize);
        }
        let Some(length) = length? else { return Ok(None) };
        let Some(packet) = bytes.get(..length) else { return Ok(None) };
        if let Some(keep_alive) = &mut self.keep_alive {
            keep_alive.heard(read_at);
        }
        let packet = decode(packet, self.version)?;
        if let (Some(allowance), ClientPacket::Publish(_)) = (&self.allowance, &packet) {
            allowance.lock().charge(&self.limits, length, read_at);
        }
        self.handle_packet(packet)?;
        Ok(Some(length))
    }

    async fn publish_live(&mut self) {
        const KEPT_CAPACITY: usize = 16;
        if self.live.is_empty() {
            return;
        }
        self.shared.live.publish(&mut self.live).await;
        self.live_bytes = 0;
        if self.live.capacity() > KEPT_CAPACITY {
            self.live = Vec::new();
        }
    }

    /// Writes what there is to write, and is ready when something was read.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ending>> {
        self.poll_output(cx)?;
        self.poll_unwritten(cx);
        if self.hold.is_some() {
            return self.poll_hold(cx).map(Ok);
        }
        if self.wire.backlog() < WRITE_AHEAD && !self.answers.are_many() {
            match self.wire.poll_read(cx, READ_SIZE) {
                Poll::Ready(Ok(read)) if read > 0 => return Poll::Ready(Ok(())),
                Poll::Ready(read) => return Poll::Ready(Err(Ending::of_stream(read.err().as_ref()))),
                Poll::Pending => {}
            }
        }
        self.poll_keep_alive(cx)
    }

    /// Takes from the session and writes until the session has nothing more or the client takes nothing more.
    fn poll_output(&mut self, cx: &mut Context<'_>) -> Result<(), Ending> {
        loop {
            self.write_answers(cx)?;
            {
                let _inside = self.shared.grace.enter();
                let work = {
                    let mut outbound = self.session.outbound.lock();
                    if let Some(reason) = outbound.close_request() {
                        return Err(Ending(DisconnectCause::Server(reason)));
                    }
                    if self.wire.backlog() < WRITE_AHEAD && !self.answers.include_suback() {
                        outbound.poll_transmit(clock::unix_ms(), WRITE_AHEAD, &mut self.wire.output);
                    }
                    outbound.register(cx.waker());
                    outbound.take_work()
                };
                self.shared.perform(self.session, work);
            }
            if self.wire.is_written() {
                return Ok(());
            }
            match self.wire.poll_write(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Err(Ending(DisconnectCause::Closed)),
                Poll::Pending => return Ok(()),
            }
        }
    }

    /// Has messages written that the client has not acknowledged for a moment.
    fn poll_unwritten(&mut self, cx: &mut Context<'_>) {
        if self.session.slot.is_none() {
            return;
        }
        loop {
            if let Some((timer, below)) = &mut self.write {
                if timer.as_mut().poll(cx).is_pending() {
                    return;
                }
                let below = *below;
                self.shared.with_outbound(self.session, |outbound| outbound.write_below(below));
            }
            let unwritten = self.session.outbound.lock().unwritten_below();
            self.write = unwritten.map(|below| (Box::pin(sleep(WRITE_GRACE)), below));
            if self.write.is_none() {
                return;
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

    /// Appends a packet.
    ///
    /// # Errors
    /// The connection has to end because the packet exceeds the client's Maximum Packet Size `[MQTT-3.1.2-24]`.
    fn write(&mut self, packet: ServerPacket<'_>) -> Result<(), Ending> {
        if let Some(maximum) = self.maximum_packet_size
            && packet.encoded_len(self.version) > maximum as usize
        {
            let what = "the answer to its packet exceeds its Maximum Packet Size";
            return Err(Ending(DisconnectCause::Violation { reason: ReasonCode::PacketTooLarge, what }));
        }
        packet.encode(self.version, &mut self.wire.output);
        Ok(())
    }

    /// Tells a MQTT 5 client why, where it was not the one to end the connection.
    fn write_disconnect(&mut self, ending: &Ending) {
        let (reason, what) = match &ending.0 {
            DisconnectCause::Client(_) | DisconnectCause::Closed => return,
            DisconnectCause::KeepAlive => (ReasonCode::KeepAliveTimeout, None),
            DisconnectCause::Violation { reason, what } => (*reason, Some(*what)),
            DisconnectCause::Server(reason) => (*reason, None),
        };
        // Without the text it may fit; if not even so, closing says enough.
        let _ = self
            .write(ServerPacket::Disconnect { reason, reason_string: what })
            .or_else(|_| self.write(ServerPacket::Disconnect { reason, reason_string: None }));
    }
}

fn emit_connected(
    shared: &Shared,
    session: &Session,
    arrival: &Arrival,
    version: Version,
    session_present: bool,
) {
    if arrival.channel == Channel::Inside {
        return;
    }
    Counters::add(&shared.counters.connected, 1);
    shared.events.emit(|| Event::Connected {
        name: Arc::clone(&session.name),
        client_id: excerpt(&session.client_id),
        peer: arrival.peer,
        channel: arrival.channel,
        version,
        session_present,
    });
}

fn emit_disconnected(shared: &Shared, session: &Session, arrival: &Arrival, cause: DisconnectCause) {
    if arrival.channel == Channel::Inside {
        return;
    }
    Counters::subtract(&shared.counters.connected, 1);
    shared.events.emit(|| Event::Disconnected {
        name: Arc::clone(&session.name),
        client_id: excerpt(&session.client_id),
        cause,
    });
}
