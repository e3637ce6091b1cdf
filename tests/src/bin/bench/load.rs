//! What throughput is measured with.

use crate::args::Args;
use crate::fleet::{Subscribers, Traffic};

/// Quality of service and sessions of a measurement of throughput.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// QoS 0 to clean sessions.
    Qos0,
    /// QoS 1 to clean sessions.
    Qos1,
    /// QoS 1 to persistent sessions whose devices are online.
    Online,
    /// QoS 1 to persistent sessions whose devices are away.
    Away,
}

impl Load {
    pub(crate) const ALL: [Self; 4] = [Self::Qos0, Self::Qos1, Self::Online, Self::Away];

    /// What the keys of its rows begin with.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Qos0 => "throughput.qos0",
            Self::Qos1 => "throughput.qos1",
            Self::Online => "durable.online",
            Self::Away => "durable.away",
        }
    }

    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Qos0 => "QoS 0",
            Self::Qos1 => "QoS 1",
            Self::Online => "QoS 1 to persistent sessions online",
            Self::Away => "QoS 1 to persistent sessions away",
        }
    }

    /// What it sends.
    pub(crate) fn traffic(self, args: &Args) -> Traffic {
        let (qos, subscribers) = match self {
            Self::Qos0 => (0, Subscribers::Clean),
            Self::Qos1 => (1, Subscribers::Clean),
            Self::Online => (1, Subscribers::Persistent),
            Self::Away => (1, Subscribers::Away),
        };
        Traffic { version: args.mqtt, qos, size: args.size as usize, subscribers }
    }
}
