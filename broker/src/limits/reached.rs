//! How often each limit acted.

use std::sync::atomic::{AtomicU64, Ordering};

/// Defines [`Limit`] and the names that belong to it.
macro_rules! limits {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A limit that counts how often it acts. Each is one of [`super::Limits`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Limit {
            $($(#[$doc])* $variant,)*
        }

        impl Limit {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// What it is called: as in [`super::Limits`], where a limit of messages and bytes has two names.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

limits! {
    /// A client that logged in found no place.
    Connections = "connections",
    /// A connection was closed at once because its address has too many.
    ConnectionsPerAddress = "connections_per_address",
    /// A connection that had not logged in yet gave way to a newer one.
    Logins = "logins",
    /// No CONNECT arrived in time.
    ConnectTimeout = "connect_timeout",
    /// The answer to a failed login was delayed.
    FailedLogins = "failed_logins",
    /// It was delayed by the longest delay there is.
    FailedLoginDelayMax = "failed_login_delay_max",
    /// A CONNECT was too large without its Will.
    MaxConnectSize = "max_connect_size",
    /// The Will of a CONNECT was too large.
    MaxWillSize = "max_will_size",
    /// A packet was too large.
    MaxPacketSize = "max_packet_size",
    /// A Topic Name or Topic Filter was too long.
    MaxTopicLength = "max_topic_length",
    /// A Topic Name or Topic Filter had too many levels.
    MaxTopicLevels = "max_topic_levels",
    /// A packet had too many User Properties.
    UserProperties = "user_properties",
    /// A Keep Alive was shortened.
    KeepAliveMax = "keep_alive_max",
    /// A client had too many publications in flight.
    ReceiveMaximum = "receive_maximum",
    /// A client got nothing more until it acknowledged something.
    MaxInflight = "max_inflight",
    /// A Topic Alias was too high.
    TopicAliasMaximum = "topic_alias_maximum",
    /// A session gave way to another one of its name.
    SessionsPerName = "sessions_per_name",
    /// A Session Expiry Interval was shortened.
    SessionExpiryMax = "session_expiry_max",
    /// A Topic Filter was refused.
    SubscriptionsPerSession = "subscriptions_per_session",
    /// A connection was not read from because its name published too many messages.
    PublishRate = "publish_rate",
    /// A connection was not read from because its name published too many bytes.
    PublishBandwidth = "publish_bandwidth",
    /// A QoS 0 message gave way because too many waited.
    LiveQueueMessages = "live_queue_messages",
    /// A QoS 0 message gave way because too many bytes waited.
    LiveQueueBytes = "live_queue_bytes",
    /// A QoS 1 or 2 message was refused, or gave way, because too many waited.
    QueueMessages = "queue_messages",
    /// A QoS 1 or 2 message was refused, or gave way, because too many bytes waited.
    QueueBytes = "queue_bytes",
    /// A QoS 1 or 2 message had waited for too long. What is found in the store only when room is needed counts also if it
    /// had waited for longer than its publisher wished.
    QueueMaxAge = "queue_max_age",
    /// A message was not retained because too many are.
    RetainedMessages = "retained_messages",
    /// A message was not retained because too many bytes are.
    RetainedBytes = "retained_bytes",
    /// A message was not retained because too many of its publisher's name are.
    RetainedPerName = "retained_per_name",
}

const COUNT: usize = Limit::ALL.len();

/// Counts how often each limit acts.
#[derive(Debug)]
pub struct LimitCounters([AtomicU64; COUNT]);

/// Notes how often limits acted where no counters are at hand. Nearly always empty, and then it costs nothing.
#[derive(Debug, Default)]
pub struct LimitTally(Vec<(Limit, u64)>);

/// How often each limit has acted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitCounts([u64; COUNT]);

impl LimitCounters {
    /// It acted once more.
    pub fn count(&self, limit: Limit) {
        self.add(limit, 1);
    }

    /// It acted so many times more.
    pub fn add(&self, limit: Limit, times: u64) {
        self.0[limit as usize].fetch_add(times, Ordering::Relaxed);
    }

    /// They acted as often as was noted.
    pub fn add_all(&self, noted: &LimitTally) {
        for (limit, times) in noted.iter() {
            self.add(limit, times);
        }
    }

    /// None has acted.
    pub fn forget(&self) {
        self.0.iter().for_each(|counter| counter.store(0, Ordering::Relaxed));
    }

    /// How often each has acted so far. Each is read on its own: two of them need not be of the same instant.
    pub fn read(&self) -> LimitCounts {
        LimitCounts(std::array::from_fn(|index| self.0[index].load(Ordering::Relaxed)))
    }
}

impl Default for LimitCounters {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl LimitTally {
    /// It acted once more.
    pub fn note(&mut self, limit: Limit) {
        self.note_all(limit, 1);
    }

    /// It acted so many times more.
    pub fn note_all(&mut self, limit: Limit, times: u64) {
        match self.0.iter_mut().find(|(noted, _)| *noted == limit) {
            Some((_, noted)) => *noted += times,
            None if times > 0 => self.0.push((limit, times)),
            None => {}
        }
    }

    /// What was noted in the other one was noted here.
    pub fn append(&mut self, other: &Self) {
        for (limit, times) in other.iter() {
            self.note_all(limit, times);
        }
    }

    /// What was noted.
    pub fn iter(&self) -> impl Iterator<Item = (Limit, u64)> {
        self.0.iter().copied()
    }
}

impl LimitCounts {
    /// The same with what is counted elsewhere.
    #[must_use]
    pub(crate) fn with(mut self, limit: Limit, times: u64) -> Self {
        self.0[limit as usize] = times;
        self
    }

    /// How often it has acted.
    pub fn of(&self, limit: Limit) -> u64 {
        self.0[limit as usize]
    }

    /// All, each with how often it has acted.
    pub fn iter(&self) -> impl Iterator<Item = (Limit, u64)> {
        Limit::ALL.iter().map(|limit| (*limit, self.of(*limit)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_counts_for_itself_under_a_name_of_its_own() {
        for limit in Limit::ALL {
            let counters = LimitCounters::default();
            counters.count(*limit);
            counters.add(*limit, 2);
            let counted: Vec<_> = counters.read().iter().filter(|(_, count)| *count > 0).collect();
            assert_eq!(counted, [(*limit, 3)]);
            assert_eq!(Limit::ALL.iter().filter(|other| other.name() == limit.name()).count(), 1);
        }
    }
}
