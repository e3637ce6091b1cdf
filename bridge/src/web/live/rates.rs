//! How fast counts grow.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::registry::Revision;

/// Over how long rates are taken, as near as the looks that there were allow.
const SPAN: Duration = Duration::from_secs(1);
/// Looks that follow each other faster tell nothing about rates.
const SHORTEST: Duration = Duration::from_millis(200);

/// Looks of the last second at the same counts.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Oldest first.
    looks: VecDeque<Look>,
    /// Of the configuration that says what is counted.
    revision: Option<Revision>,
}

#[derive(Debug)]
struct Look {
    at: Instant,
    counts: Vec<u64>,
}

impl Meter {
    /// What each count has grown by, per second, over about the last second; after a pause, over the pause.
    pub(super) fn rates(&mut self, now: Instant, counts: Vec<u64>) -> Vec<f64> {
        let age = |look: &Look| now.duration_since(look.at);
        let distance = |look: &&Look| age(look).abs_diff(SPAN);
        let base = self.looks.iter().filter(|look| age(look) >= SHORTEST).min_by_key(distance);
        let rates = match base {
            Some(base) => {
                let seconds = age(base).as_secs_f64();
                let grown = |(now, before): (&u64, &u64)| now.saturating_sub(*before) as f64;
                counts.iter().zip(&base.counts).map(|pair| rounded(grown(pair) / seconds)).collect()
            }
            None => vec![0.0; counts.len()],
        };
        while self.looks.get(1).is_some_and(|second| age(second) >= SPAN) {
            self.looks.pop_front();
        }
        if self.looks.back().is_none_or(|last| age(last) >= SHORTEST) {
            self.looks.push_back(Look { at: now, counts });
        }
        rates
    }

    /// What is counted from now on is by this configuration. If it was another one: where each count was before, or nothing if
    /// nobody knows.
    pub(super) fn arrange(
        &mut self,
        revision: Revision,
        places: impl FnOnce() -> Option<Vec<Option<usize>>>,
    ) {
        if self.revision.replace(revision) == Some(revision) {
            return;
        }
        match places() {
            Some(before) => self.rearrange(&before),
            None => self.looks.clear(),
        }
    }

    /// What is new has not been counted before.
    fn rearrange(&mut self, before: &[Option<usize>]) {
        for look in &mut self.looks {
            let count = |at: &Option<usize>| at.and_then(|at| look.counts.get(at)).copied().unwrap_or(0);
            look.counts = before.iter().map(count).collect();
        }
    }
}

/// To a tenth: nobody reads more, and what stays the same to the eye is not told again.
pub(super) fn rounded(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn rates_are_of_the_last_second() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        assert_eq!(meter.rates(start, vec![1000, 0]), [0.0, 0.0], "nothing is known of before");
        for tick in 1..=40 {
            let rates = meter.rates(start + ms(250 * tick), vec![1000 + 25 * tick, 0]);
            assert_eq!(rates, [100.0, 0.0]);
        }
        // It stops: after a second nothing is left of it.
        let rest: Vec<_> =
            (41..=45).map(|tick| meter.rates(start + ms(250 * tick), vec![2000, 0])[0]).collect();
        assert_eq!(rest, [75.0, 50.0, 25.0, 0.0, 0.0]);
        assert!(meter.looks.len() <= 6, "{}", meter.looks.len());
    }

    #[test]
    fn after_a_pause_the_rate_is_that_of_the_pause_and_then_of_the_moment() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        meter.rates(start, vec![0]);
        assert_eq!(meter.rates(start + ms(10_000), vec![1000]), [100.0]);
        assert_eq!(meter.rates(start + ms(10_250), vec![1001]), [4.0]);
        assert_eq!(meter.rates(start + ms(10_500), vec![1001]), [2.0]);
    }

    #[test]
    fn looks_in_haste_neither_add_up_nor_exaggerate() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        meter.rates(start, vec![0]);
        for tick in 1..=1000 {
            let rate = meter.rates(start + ms(tick), vec![tick])[0];
            assert!(rate <= 1000.0, "{rate}");
        }
        assert!(meter.looks.len() <= 6, "{}", meter.looks.len());
    }

    #[test]
    fn counts_that_begin_anew_give_no_rate() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        meter.rates(start, vec![1_000_000]);
        assert_eq!(meter.rates(start + ms(1000), vec![5]), [0.0]);
    }

    #[test]
    fn rates_stay_with_what_they_are_of() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        meter.rates(start, vec![10, 20, 30]);
        // The first one is gone, one came.
        meter.rearrange(&[Some(2), None, Some(1)]);
        assert_eq!(meter.rates(start + ms(1000), vec![31, 3, 22]), [1.0, 3.0, 2.0]);
    }
}
