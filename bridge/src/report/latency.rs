use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long the last 16 messages of QoS 1 and 2 took, from their arrival at the bridge until the other end acknowledged them, as far
/// as it was connected all that time. In JSON in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// The last one.
    #[serde(with = "milliseconds")]
    pub last: Duration,
    /// On average.
    #[serde(with = "milliseconds")]
    pub mean: Duration,
    /// The longest.
    #[serde(with = "milliseconds")]
    pub max: Duration,
}

impl From<ior_broker::Latency> for Latency {
    fn from(latency: ior_broker::Latency) -> Self {
        Self { last: latency.last, mean: latency.mean, max: latency.max }
    }
}

/// To the microsecond.
mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(time.as_micros() as f64 / 1e3)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let micros = (f64::deserialize(deserializer)? * 1e3).round();
        if !(0.0..1e15).contains(&micros) {
            return Err(D::Error::custom("not a time in milliseconds"));
        }
        Ok(Duration::from_micros(micros as u64))
    }
}
