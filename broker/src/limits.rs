//! Every limit of the broker, with its default. None can be raised by a client.

mod reached;

use std::{num::NonZeroU16, time::Duration};

pub use reached::{Limit, LimitCounters, LimitCounts, LimitTally};

/// The limits of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Clients at once that are logged in. Beyond it a CONNECT is answered Server busy.
    pub connections: usize,
    /// Network connections at once of one IPv4 address or one IPv6 /64, logged in or not. Beyond it a new one is closed at
    /// once. 0 allows any number.
    pub connections_per_address: usize,
    /// Network connections at once that have not logged in yet. Beyond it one is closed: of those whose failed login is
    /// to be answered later the one that waits for longest, or else of all.
    pub logins: usize,
    /// From accept to CONNECT.
    pub connect_timeout: Duration,
    /// Logins that may fail, of one address (as for `connections_per_address`) or with one User Name, before the answer to
    /// each further one that fails is delayed: by 1, 2, 4 … seconds. Forgotten 15 minutes after the last one.
    pub failed_logins: u32,
    /// Longest such delay; zero delays nothing.
    pub failed_login_delay_max: Duration,
    /// Largest CONNECT in bytes, its Will not counted.
    pub max_connect_size: u32,
    /// Largest Will in bytes: properties, topic and payload as they are in the CONNECT. 0 allows none.
    pub max_will_size: u32,
    /// Largest packet in bytes after the login; announced as Maximum Packet Size.
    pub max_packet_size: u32,
    /// Longest Topic Name and Topic Filter in bytes.
    pub max_topic_length: usize,
    /// Most levels of a Topic Name and a Topic Filter.
    pub max_topic_levels: usize,
    /// Most User Properties of one packet, those of a Will counted for themselves.
    pub user_properties: usize,
    /// Longest Keep Alive in seconds; 0 allows any, and none. MQTT 5 clients are told; 3.1.1 has no way to tell, so
    /// their own value stands.
    pub keep_alive_max: u16,
    /// QoS 1 and 2 publications that a client may have in flight to the broker; announced as Receive Maximum.
    pub receive_maximum: NonZeroU16,
    /// QoS 1 and 2 publications in flight to a client, unless its own Receive Maximum is lower.
    pub max_inflight: NonZeroU16,
    /// Topic Aliases that a client may set, and that the broker sets at most.
    pub topic_alias_maximum: u16,
    /// Sessions of one authenticated name; beyond it the one that is offline for longest gives way,
    /// or if all are online the one that was heard from least recently.
    pub sessions_per_name: usize,
    /// Longest Session Expiry Interval in seconds, and that of persistent 3.1.1 sessions, which cannot ask for one.
    pub session_expiry_max: u32,
    /// Subscriptions of one session.
    pub subscriptions_per_session: usize,
    /// PUBLISH packets that clients of one authenticated name may send per second, all of them together; 0 is no limit.
    /// Beyond it their connections are read from later.
    pub publish_rate: u32,
    /// The same for bytes of PUBLISH packets per second; 0 is no limit.
    pub publish_bandwidth: u64,
    /// QoS 0 messages that wait for one connected client; when it is full the oldest goes.
    pub live_queue: QueueLimits,
    /// QoS 1 and 2 messages that wait for one session, those in flight not counted, unless their flow has its own limits
    /// ([`crate::access::Access::flow`]).
    pub flow: FlowLimits,
    /// Retained messages of all topics.
    pub retained: QueueLimits,
    /// Retained messages that clients of one authenticated name have published.
    pub retained_per_name: usize,
}

impl Limits {
    /// Whether a Topic Name or Topic Filter is neither too long nor too deep.
    ///
    /// # Errors
    /// The limit that it exceeds.
    pub fn check_topic(&self, topic: &str) -> Result<(), Limit> {
        if topic.len() > self.max_topic_length {
            Err(Limit::MaxTopicLength)
        } else if topic.bytes().filter(|byte| *byte == b'/').count() >= self.max_topic_levels {
            Err(Limit::MaxTopicLevels)
        } else {
            Ok(())
        }
    }

    /// Whether a packet, or a Will, may have so many User Properties.
    ///
    /// # Errors
    /// [`Limit::UserProperties`].
    pub fn check_user_properties(&self, count: usize) -> Result<(), Limit> {
        if count <= self.user_properties { Ok(()) } else { Err(Limit::UserProperties) }
    }

    /// Largest CONNECT in bytes, its Will included.
    pub fn max_connect_size_with_will(&self) -> u32 {
        self.max_connect_size.saturating_add(self.max_will_size)
    }
}

/// How much waits at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Messages.
    pub messages: usize,
    /// Bytes: topics, properties and payloads with their bookkeeping.
    pub bytes: usize,
}

/// How many QoS 1 and 2 messages of a flow wait for each receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowLimits {
    /// How much.
    pub queue: QueueLimits,
    /// How long; `None` for as long as the session lasts. A message that has been sent once is not concerned.
    pub max_age: Option<Duration>,
    /// What happens to a message for a session where the flow has no more room.
    pub when_full: WhenFull,
}

/// What happens to a message for a full queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// The publisher is told (Quota exceeded; a 3.1.1 client is disconnected) and nobody gets the message.
    Reject,
    /// The oldest waiting message makes room.
    DropOldest,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        Self {
            connections: 10_000,
            connections_per_address: 1_000,
            logins: 512,
            connect_timeout: Duration::from_secs(10),
            failed_logins: 5,
            failed_login_delay_max: Duration::from_secs(30),
            max_connect_size: 4 * 1024,
            max_will_size: 8 * 1024,
            max_packet_size: MIB as u32,
            max_topic_length: 1_024,
            max_topic_levels: 64,
            user_properties: 64,
            keep_alive_max: 0,
            receive_maximum: NonZeroU16::MIN.saturating_add(1023),
            max_inflight: NonZeroU16::MIN.saturating_add(127),
            topic_alias_maximum: 64,
            sessions_per_name: 4,
            session_expiry_max: 30 * 24 * 60 * 60,
            subscriptions_per_session: 100,
            publish_rate: 0,
            publish_bandwidth: 0,
            live_queue: QueueLimits { messages: 1_000, bytes: MIB },
            flow: FlowLimits {
                queue: QueueLimits { messages: 100_000, bytes: 64 * MIB },
                max_age: None,
                when_full: WhenFull::Reject,
            },
            retained: QueueLimits { messages: 10_000, bytes: 64 * MIB },
            retained_per_name: 1_000,
        }
    }
}
