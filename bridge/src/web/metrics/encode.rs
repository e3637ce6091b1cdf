//! Series as Prometheus names them. The name says it all: what ends in `_total` is a counter, in `_info` an info, everything
//! else a gauge; before that stands the unit.

use std::fmt;

use prometheus_client::{
    encoding::{
        CounterValueEncoder, DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, GaugeValueEncoder,
        MetricEncoder,
    },
    metrics::{MetricType, exemplar::Exemplar},
    registry::Unit,
};

use crate::report::Time;

/// A number as it was counted or measured.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Whole(u64),
    Real(f64),
}

/// One name, for everything of a kind.
pub(super) struct Family<T> {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    /// `None` if it is not known.
    pub(super) value: fn(&T) -> Option<Number>,
}

/// Labels of a series.
pub(super) type Labels<'l> = &'l [(&'static str, &'l str)];

impl<T> Family<T> {
    /// Writes a series for each of these, with its labels.
    pub(super) fn encode<'t>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        all: impl Iterator<Item = (Labels<'t>, &'t T)>,
    ) -> fmt::Result
    where
        T: 't,
    {
        let name = Name::of(self.name);
        let mut family = encoder.encode_descriptor(name.stem, self.help, name.unit.as_ref(), name.kind)?;
        for (labels, one) in all {
            if let Some(number) = (self.value)(one) {
                number.encode(family.encode_family(&labels)?, name.kind)?;
            }
        }
        Ok(())
    }
}

/// Writes an info for each of these labels.
pub(super) fn encode_info<'l>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&'static str, &str),
    all: impl Iterator<Item = Labels<'l>>,
) -> fmt::Result {
    let name = Name::of(name);
    let mut family = encoder.encode_descriptor(name.stem, help, None, name.kind)?;
    all.into_iter().try_for_each(|labels| family.encode_info(&labels))
}

impl Number {
    fn encode(self, mut encoder: MetricEncoder<'_>, kind: MetricType) -> fmt::Result {
        const NO_EXEMPLAR: Option<&Exemplar<Labels<'_>, u64>> = None;
        match kind {
            MetricType::Counter => encoder.encode_counter(&self, NO_EXEMPLAR),
            _ => encoder.encode_gauge(&self),
        }
    }
}

impl EncodeCounterValue for Number {
    fn encode(&self, encoder: &mut CounterValueEncoder<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => EncodeCounterValue::encode(number, encoder),
            Self::Real(number) => EncodeCounterValue::encode(number, encoder),
        }
    }
}

impl EncodeGaugeValue for Number {
    fn encode(&self, encoder: &mut GaugeValueEncoder<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => EncodeGaugeValue::encode(number, encoder),
            Self::Real(number) => EncodeGaugeValue::encode(number, encoder),
        }
    }
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<usize> for Number {
    fn from(number: usize) -> Self {
        Self::Whole(number as u64)
    }
}

impl From<bool> for Number {
    fn from(is: bool) -> Self {
        Self::Whole(is.into())
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

/// Seconds since 1970 began.
impl From<Time> for Number {
    fn from(time: Time) -> Self {
        Self::Real(time.0.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs_f64())
    }
}

/// A name taken apart as the encoder wants it.
struct Name {
    stem: &'static str,
    unit: Option<Unit>,
    kind: MetricType,
}

impl Name {
    fn of(name: &'static str) -> Self {
        let (stem, kind) = if let Some(stem) = name.strip_suffix("_total") {
            (stem, MetricType::Counter)
        } else if let Some(stem) = name.strip_suffix("_info") {
            (stem, MetricType::Info)
        } else {
            (name, MetricType::Gauge)
        };
        let (stem, unit) = if let Some(stem) = stem.strip_suffix("_bytes") {
            (stem, Some(Unit::Bytes))
        } else if let Some(stem) = stem.strip_suffix("_seconds") {
            (stem, Some(Unit::Seconds))
        } else {
            (stem, None)
        };
        Self { stem, unit, kind }
    }
}
