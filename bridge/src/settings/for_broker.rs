//! The limits in the broker's terms.

use std::num::NonZeroU16;

use ior_broker::limits::{
    FlowLimits, Limit, Limits as BrokerLimits, QueueLimits, WhenFull as BrokerWhenFull,
};

use super::{Limits, OwnQueue, WhenFull};

impl Limits {
    /// What the broker is started with. Values were checked to be in range when they were read.
    pub fn for_broker(&self) -> BrokerLimits {
        BrokerLimits {
            connections: self.connections,
            connections_per_address: self.connections_per_address,
            logins: self.logins,
            connect_timeout: self.connect_timeout,
            failed_logins: self.failed_logins,
            failed_login_delay_max: self.failed_login_delay_max,
            max_connect_size: size(self.max_connect_size),
            max_will_size: size(self.max_will_size),
            max_packet_size: size(self.max_packet_size),
            max_topic_length: self.max_topic_length,
            max_topic_levels: self.max_topic_levels,
            user_properties: self.user_properties,
            keep_alive_max: self.keep_alive_max,
            receive_maximum: at_least_one(self.receive_maximum),
            max_inflight: at_least_one(self.max_inflight),
            topic_alias_maximum: self.topic_alias_maximum,
            sessions_per_name: self.sessions_per_device,
            session_expiry_max: self.session_expiry_max,
            subscriptions_per_session: self.subscriptions_per_session,
            publish_rate: self.publish_rate,
            publish_bandwidth: self.publish_bandwidth,
            live_queue: QueueLimits { messages: self.live_queue_messages, bytes: self.live_queue_bytes },
            flow: self.flow(&OwnQueue::default()),
            retained: QueueLimits { messages: self.retained_messages, bytes: self.retained_bytes },
            retained_per_name: self.retained_per_device,
        }
    }

    /// The limits of one direction of a connection.
    pub fn flow(&self, own: &OwnQueue) -> FlowLimits {
        let max_age = own.max_age.unwrap_or(self.queue_max_age);
        FlowLimits {
            queue: QueueLimits {
                messages: own.max_messages.unwrap_or(self.queue_messages),
                bytes: own.max_bytes.unwrap_or(self.queue_bytes),
            },
            max_age: (!max_age.is_zero()).then_some(max_age),
            when_full: match own.when_full.unwrap_or(self.when_full) {
                WhenFull::Reject => BrokerWhenFull::Reject,
                WhenFull::DropOldest => BrokerWhenFull::DropOldest,
            },
        }
    }
}

/// What a limit of the broker is called in `server.json`, without `limits.`: there are users with devices, and here
/// authenticated names.
pub fn key_of(limit: Limit) -> &'static str {
    match limit {
        Limit::SessionsPerName => "sessions_per_device",
        Limit::RetainedPerName => "retained_per_device",
        other => other.name(),
    }
}

fn size(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn at_least_one(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).unwrap_or(NonZeroU16::MIN)
}
