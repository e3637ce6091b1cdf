//! Pairs of connected devices on one thread, driven by readiness: the load generator itself.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::Result;
use crate::client::{self, DevicePair};
use crate::line::Line;
use crate::tally::Tally;
use crate::wire::{self, Packet, PublishTemplate, Stamp, Version};

const TIMER: Token = Token(usize::MAX);
const SCRATCH: usize = 64 * 1024;

/// What every message of a measurement has in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Traffic {
    pub(crate) version: Version,
    pub(crate) qos: u8,
    /// Payload size in bytes.
    pub(crate) size: usize,
}

/// A publisher and its subscriber.
pub(crate) struct Pair {
    number: u32,
    publisher: Line,
    subscriber: Line,
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
    poll: Poll,
    events: Events,
    scratch: Vec<u8>,
    version: Version,
    pairs: Vec<Pair>,
    /// Pairs at which something happened in this turn.
    touched: Vec<usize>,
    /// Messages received so far, whatever their number.
    received: u64,
}

impl Fleet {
    /// Logs in and subscribes all `devices`; their messages carry numbers from `first` on.
    pub(crate) fn connect(
        address: SocketAddr,
        devices: &[DevicePair],
        first: usize,
        traffic: Traffic,
    ) -> Result<Self> {
        let Traffic { version, qos, size } = traffic;
        let poll = Poll::new()?;
        let mut pairs = Vec::with_capacity(devices.len());
        for (index, devices) in devices.iter().enumerate() {
            let number = u32::try_from(first + index)?;
            let mut subscriber = client::connect(address, version, &devices.to.login)?;
            client::subscribe(&mut subscriber, version, &devices.to, qos)?;
            let mut subscriber = Line::new(subscriber)?;
            let mut publisher = Line::new(client::connect(address, version, &devices.from.login)?)?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut publisher.stream, Token(2 * index), interest)?;
            poll.registry().register(&mut subscriber.stream, Token(2 * index + 1), interest)?;
            pairs.push(Pair {
                number,
                publisher,
                subscriber,
                template: PublishTemplate::new(version, &devices.from.publish, qos, number, size),
                qos,
                sent: 0,
                acknowledged: 0,
                tally: Tally::default(),
                touched: false,
            });
        }
        Ok(Self {
            poll,
            events: Events::with_capacity(1024),
            scratch: vec![0; SCRATCH],
            version,
            touched: Vec::with_capacity(pairs.len()),
            pairs,
            received: 0,
        })
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
            let read = if token % 2 == 0 {
                pair.read_acknowledgements(&mut self.scratch, self.version)
            } else {
                pair.read_messages(&mut self.scratch, self.version, |stamp| {
                    self.received += 1;
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
            pair.subscriber.flush()?;
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

    /// Messages that were neither received (and acknowledged) nor given up.
    pub(crate) fn outstanding(&self) -> u64 {
        self.pairs.iter().map(Pair::outstanding).sum()
    }

    /// The number of pairs.
    pub(crate) fn pairs(&self) -> u64 {
        self.pairs.len() as u64
    }

    /// Messages received so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
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

    /// Disconnects all devices.
    pub(crate) fn disconnect(mut self) {
        for pair in &mut self.pairs {
            client::disconnect(&mut pair.publisher.stream);
            client::disconnect(&mut pair.subscriber.stream);
        }
    }

    fn touch(&mut self, index: usize) {
        if !self.pairs[index].touched {
            self.pairs[index].touched = true;
            self.touched.push(index);
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
        let settled = if self.qos > 0 { self.tally.next().min(self.acknowledged) } else { self.tally.next() };
        self.sent.saturating_sub(settled)
    }

    fn publish(&mut self, due: u64) {
        self.template.write(&mut self.publisher.out, self.sent, due);
        self.sent += 1;
    }

    fn read_acknowledgements(&mut self, scratch: &mut [u8], version: Version) -> Result<()> {
        self.publisher.read(scratch, version, |_, packet| match packet {
            Packet::PubAck { code } if code < 0x80 => {
                self.acknowledged += 1;
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
        self.subscriber.read(scratch, version, |out, packet| {
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
