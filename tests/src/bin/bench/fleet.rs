//! Pairs of connected devices on one thread, driven by readiness: the load generator itself.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::Result;
use crate::client::{self, DevicePair};
use crate::line::Line;
use crate::tally::Tally;
use crate::wire::{self, Packet, PublishTemplate, Session, Stamp, Version};

const TIMER: Token = Token(usize::MAX);
const SCRATCH: usize = 64 * 1024;

/// What every message of a measurement has in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Traffic {
    pub(crate) version: Version,
    pub(crate) qos: u8,
    /// Payload size in bytes.
    pub(crate) size: usize,
    pub(crate) subscribers: Subscribers,
}

/// Who the messages are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subscribers {
    /// They are online, with sessions that end with their connections.
    Clean,
    /// They are online, with sessions that outlast their connections.
    Persistent,
    /// They are away until [`Fleet::recall`]; messages wait in their sessions, and each is over when its publisher is
    /// acknowledged.
    Away,
}

/// A publisher and its subscriber.
pub(crate) struct Pair {
    number: u32,
    publisher: Line,
    /// `None` while it is away.
    subscriber: Option<Line>,
    devices: DevicePair,
    template: PublishTemplate,
    qos: u8,
    sent: u64,
    acknowledged: u64,
    tally: Tally,
    /// Is in [`Fleet::touched`].
    touched: bool,
}

/// What became of all messages.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Totals {
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    pub(crate) duplicates: u64,
    pub(crate) disordered: u64,
}

/// All pairs of one thread.
pub(crate) struct Fleet {
    address: SocketAddr,
    traffic: Traffic,
    poll: Poll,
    events: Events,
    scratch: Vec<u8>,
    pairs: Vec<Pair>,
    /// Pairs at which something happened in this turn.
    touched: Vec<usize>,
    /// Messages that reached their end so far, whatever their number: a subscriber, or the session of one that is away.
    arrived: u64,
}

impl Fleet {
    /// Logs in and subscribes all `devices`; their messages carry numbers from `first` on.
    pub(crate) fn connect(
        address: SocketAddr,
        devices: &[DevicePair],
        first: usize,
        traffic: Traffic,
    ) -> Result<Self> {
        let Traffic { version, qos, size, subscribers } = traffic;
        let poll = Poll::new()?;
        let mut pairs = Vec::with_capacity(devices.len());
        for (index, devices) in devices.iter().enumerate() {
            let number = u32::try_from(first + index)?;
            let mut subscriber = client::connect(address, version, &devices.to.login, subscribers.session())?;
            client::subscribe(&mut subscriber, version, &devices.to, qos)?;
            let subscriber = if subscribers == Subscribers::Away {
                client::disconnect(&mut subscriber);
                None
            } else {
                Some(listen(&poll, subscriber, Token(2 * index + 1))?)
            };
            let publisher = client::connect(address, version, &devices.from.login, Session::Clean)?;
            pairs.push(Pair {
                number,
                publisher: listen(&poll, publisher, Token(2 * index))?,
                subscriber,
                devices: devices.clone(),
                template: PublishTemplate::new(version, &devices.from.publish, qos, number, size),
                qos,
                sent: 0,
                acknowledged: 0,
                tally: Tally::default(),
                touched: false,
            });
        }
        Ok(Self {
            address,
            traffic,
            poll,
            events: Events::with_capacity(1024),
            scratch: vec![0; SCRATCH],
            touched: Vec::with_capacity(pairs.len()),
            pairs,
            arrived: 0,
        })
    }

    /// Gives every publisher a new connection, to a relay that was started again.
    pub(crate) fn reconnect_publishers(&mut self) -> Result<()> {
        for (index, pair) in self.pairs.iter_mut().enumerate() {
            let (login, version) = (&pair.devices.from.login, self.traffic.version);
            let stream = client::connect(self.address, version, login, Session::Clean)?;
            pair.publisher = listen(&self.poll, stream, Token(2 * index))?;
        }
        Ok(())
    }

    /// Brings back the subscribers that are away; what waits for them arrives from now on.
    pub(crate) fn recall(&mut self) -> Result<()> {
        for (index, pair) in self.pairs.iter_mut().enumerate() {
            if pair.subscriber.is_none() {
                let (login, version) = (&pair.devices.to.login, self.traffic.version);
                let stream = client::connect(self.address, version, login, Session::Persistent)?;
                pair.subscriber = Some(listen(&self.poll, stream, Token(2 * index + 1))?);
            }
        }
        Ok(())
    }

    /// A timer whose expiry ends [`Fleet::turn`] with `true`.
    pub(crate) fn watch(&self, timer: &OwnedFd) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)
    }

    /// Waits for events and takes in what arrived. Nothing is written before [`Fleet::flush`].
    pub(crate) fn turn(&mut self, timeout: Duration, mut on_message: impl FnMut(Stamp)) -> Result<bool> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
            other => other?,
        }
        let mut timer = false;
        for event in &self.events {
            let Token(token) = event.token();
            let Some(pair) = self.pairs.get_mut(token / 2) else {
                timer = true;
                continue;
            };
            if !pair.touched {
                pair.touched = true;
                self.touched.push(token / 2);
            }
            if !event.is_readable() {
                continue;
            }
            let version = self.traffic.version;
            let read = if token % 2 == 0 {
                let away = pair.subscriber.is_none();
                pair.read_acknowledgements(&mut self.scratch, version, || self.arrived += u64::from(away))
            } else {
                pair.read_messages(&mut self.scratch, version, |stamp| {
                    self.arrived += 1;
                    on_message(stamp);
                })
            };
            read.map_err(|error| format!("pair {}: {error}", pair.number))?;
        }
        Ok(timer)
    }

    /// Fills up the pairs at which something happened to `in_flight` messages each.
    pub(crate) fn refill(&mut self, in_flight: u64) {
        for &index in &self.touched {
            let pair = &mut self.pairs[index];
            while pair.outstanding() < in_flight {
                pair.publish(0);
            }
        }
    }

    /// Sends one message of the pair `index` (modulo the number of pairs), due at `due`.
    pub(crate) fn publish(&mut self, index: u64, due: u64) {
        let index = (index % self.pairs()) as usize;
        self.pairs[index].publish(due);
        self.touch(index);
    }

    /// Writes what is waiting at the touched pairs and ends the turn.
    pub(crate) fn flush(&mut self) -> Result<()> {
        for index in self.touched.drain(..) {
            let pair = &mut self.pairs[index];
            pair.touched = false;
            pair.publisher.flush()?;
            if let Some(subscriber) = &mut pair.subscriber {
                subscriber.flush()?;
            }
        }
        Ok(())
    }

    /// Lets the next [`Fleet::refill`] and [`Fleet::flush`] look at every pair.
    pub(crate) fn touch_all(&mut self) {
        (0..self.pairs.len()).for_each(|index| self.touch(index));
    }

    /// Gives up all messages that are outstanding, so that a closed loop goes on after a loss.
    pub(crate) fn write_off(&mut self) {
        for pair in &mut self.pairs {
            pair.tally.skip_to(pair.sent);
            pair.acknowledged = pair.sent;
        }
    }

    /// Messages that were neither received (and acknowledged) nor given up; while subscribers are away, those that were
    /// not acknowledged.
    pub(crate) fn outstanding(&self) -> u64 {
        self.pairs.iter().map(Pair::outstanding).sum()
    }

    /// Who the messages are for.
    pub(crate) fn subscribers(&self) -> Subscribers {
        self.traffic.subscribers
    }

    /// The number of pairs.
    pub(crate) fn pairs(&self) -> u64 {
        self.pairs.len() as u64
    }

    /// Messages received so far; while subscribers are away, acknowledged.
    pub(crate) fn arrived(&self) -> u64 {
        self.arrived
    }

    /// What became of all messages so far.
    pub(crate) fn totals(&self) -> Totals {
        self.pairs.iter().fold(Totals::default(), |mut totals, pair| {
            totals.add(Totals {
                sent: pair.sent,
                delivered: pair.tally.delivered,
                duplicates: pair.tally.duplicates,
                disordered: pair.tally.disordered,
            });
            totals
        })
    }

    /// Disconnects all devices and ends their sessions.
    pub(crate) fn disconnect(mut self) -> Result<()> {
        for pair in &mut self.pairs {
            client::disconnect(&mut pair.publisher.stream);
            if let Some(subscriber) = &mut pair.subscriber {
                client::disconnect(&mut subscriber.stream);
            }
        }
        if self.traffic.subscribers.session() == Session::Persistent {
            for pair in &self.pairs {
                client::end_session(self.address, self.traffic.version, &pair.devices.to.login)?;
            }
        }
        Ok(())
    }

    fn touch(&mut self, index: usize) {
        if !self.pairs[index].touched {
            self.pairs[index].touched = true;
            self.touched.push(index);
        }
    }
}

impl Subscribers {
    fn session(self) -> Session {
        match self {
            Self::Clean => Session::Clean,
            Self::Persistent | Self::Away => Session::Persistent,
        }
    }
}

impl Totals {
    pub(crate) fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.delivered += other.delivered;
        self.duplicates += other.duplicates;
        self.disordered += other.disordered;
    }

    /// Messages that never arrived.
    pub(crate) fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.delivered)
    }
}

impl Pair {
    fn outstanding(&self) -> u64 {
        let received = if self.subscriber.is_some() { self.tally.next() } else { self.sent };
        let settled = if self.qos > 0 { received.min(self.acknowledged) } else { received };
        self.sent.saturating_sub(settled)
    }

    fn publish(&mut self, due: u64) {
        self.template.write(&mut self.publisher.out, self.sent, due);
        self.sent += 1;
    }

    fn read_acknowledgements(
        &mut self,
        scratch: &mut [u8],
        version: Version,
        mut on_acknowledged: impl FnMut(),
    ) -> Result<()> {
        self.publisher.read(scratch, version, |_, packet| match packet {
            Packet::PubAck { code } if code < 0x80 => {
                self.acknowledged += 1;
                on_acknowledged();
                Ok(())
            }
            other => Err(format!("the publisher received {other:?}").into()),
        })
    }

    fn read_messages(
        &mut self,
        scratch: &mut [u8],
        version: Version,
        mut on_message: impl FnMut(Stamp),
    ) -> Result<()> {
        let Some(subscriber) = &mut self.subscriber else { return Ok(()) };
        subscriber.read(scratch, version, |out, packet| {
            let Packet::Publish { packet_id, payload } = packet else {
                return Err(format!("the subscriber received {packet:?}").into());
            };
            let stamp = Stamp::read(payload)?;
            if stamp.pair != self.number {
                return Err(format!("the subscriber received a message of pair {}", stamp.pair).into());
            }
            self.tally.record(stamp.sequence);
            if let Some(packet_id) = packet_id {
                wire::puback(out, packet_id);
            }
            on_message(stamp);
            Ok(())
        })
    }
}

/// Makes the logged-in `stream` part of what `poll` watches.
fn listen(poll: &Poll, stream: TcpStream, token: Token) -> Result<Line> {
    let mut line = Line::new(stream)?;
    poll.registry().register(&mut line.stream, token, Interest::READABLE | Interest::WRITABLE)?;
    Ok(line)
}
