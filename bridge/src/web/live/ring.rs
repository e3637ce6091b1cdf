//! The last events, in memory.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde::{Serialize, Serializer};
use tokio::time::{Instant, sleep_until};

use crate::{
    control::Bridge,
    report::{Event, Happenings},
};

/// How many events are kept.
const KEPT: usize = 1000;
/// How many events pages are told at once; the newest, if there are more.
const BATCH: usize = 50;
/// Longest text of an event, in bytes: what is wrong with a configuration may be long.
const MAX_TEXT: usize = 4096;
/// How many events are taken in a window of time; those that come faster are missing, and are counted.
const AT_ONCE: usize = 250;
const WINDOW: Duration = Duration::from_millis(250);

/// An event in its place. Cheap to clone.
#[derive(Debug, Clone, Serialize)]
pub(in crate::web) struct Numbered {
    /// Ascends by one.
    number: u64,
    #[serde(flatten, serialize_with = "write_event")]
    event: Arc<Event>,
}

/// The last events.
#[derive(Debug)]
pub(in crate::web) struct Ring(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    /// Oldest first, without gaps.
    events: VecDeque<Numbered>,
    next: u64,
    /// The first that pages were not told.
    untold: u64,
}

impl Ring {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Kept { events: VecDeque::new(), next: 1, untold: 1 }))
    }

    /// Takes what happens from now on, as fast as it should.
    pub(super) async fn follow(&self, bridge: &Arc<Bridge>) {
        let mut happenings = Happenings::of(bridge);
        loop {
            let window = Instant::now() + WINDOW;
            for _ in 0..AT_ONCE {
                match happenings.next().await {
                    Some(event) => self.push(event),
                    None => return,
                }
            }
            sleep_until(window).await;
        }
    }

    /// At most so many, newest first.
    pub(in crate::web) fn newest(&self, limit: usize, is_wanted: impl Fn(&Event) -> bool) -> Vec<Numbered> {
        let all: Vec<_> = self.0.lock().events.iter().cloned().collect();
        all.into_iter().rev().filter(|numbered| is_wanted(&numbered.event)).take(limit).collect()
    }

    fn push(&self, mut event: Event) {
        if event.text.len() > MAX_TEXT {
            event.text.truncate(event.text.floor_char_boundary(MAX_TEXT));
            event.text.push('…');
        }
        let mut kept = self.0.lock();
        let number = kept.next;
        kept.next += 1;
        if kept.events.len() == KEPT {
            kept.events.pop_front();
        }
        kept.events.push_back(Numbered { number, event: Arc::new(event) });
    }

    /// What has happened since the last call, oldest first. If that is a lot, only the newest, behind one that says how many
    /// are left out.
    pub(super) fn take_untold(&self) -> Vec<Numbered> {
        let (all, batch) = {
            let kept = &mut *self.0.lock();
            let all = (kept.next - std::mem::replace(&mut kept.untold, kept.next)) as usize;
            let newest = kept.events.len().saturating_sub(all.min(BATCH));
            (all, kept.events.range(newest..).cloned().collect::<Vec<_>>())
        };
        let left_out = (all - batch.len()) as u64;
        if left_out == 0 {
            return batch;
        }
        let first = batch.first().map_or(0, |first| first.number);
        // In the place of the last one that it stands for.
        let event = Arc::new(Event::left_out(left_out));
        let missed = Numbered { number: first.saturating_sub(1), event };
        std::iter::once(missed).chain(batch).collect()
    }
}

fn write_event<S: Serializer>(event: &Arc<Event>, serializer: S) -> Result<S::Ok, S::Error> {
    event.serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(events: &[Numbered]) -> Vec<u64> {
        events.iter().map(|event| event.number).collect()
    }

    fn push(ring: &Ring, count: usize) {
        for _ in 0..count {
            ring.push(Event::missed(1));
        }
    }

    #[test]
    fn the_last_ones_are_kept_newest_first() {
        let ring = Ring::new();
        push(&ring, KEPT + 10);
        let all = ring.newest(usize::MAX, |_| true);
        assert_eq!((all.len(), all[0].number, all[KEPT - 1].number), (KEPT, 1010, 11));
        assert_eq!(numbers(&ring.newest(2, |_| true)), [1010, 1009]);
        assert!(ring.newest(2, |event| event.count != Some(1)).is_empty());
    }

    #[test]
    fn pages_are_told_each_event_once() {
        let ring = Ring::new();
        assert!(ring.take_untold().is_empty());
        push(&ring, 3);
        assert_eq!(numbers(&ring.take_untold()), [1, 2, 3]);
        assert!(ring.take_untold().is_empty());
        push(&ring, BATCH);
        assert_eq!(ring.take_untold().len(), BATCH);
    }

    #[test]
    fn of_a_flood_pages_are_told_the_newest_and_how_many_are_left_out() {
        for flood in [BATCH + 1, 2 * BATCH, 3 * KEPT] {
            let ring = Ring::new();
            push(&ring, flood);
            let told = ring.take_untold();
            assert_eq!(told.len(), BATCH + 1);
            assert_eq!(told[0].event.count, Some((flood - BATCH) as u64));
            let expected: Vec<_> = ((flood - BATCH) as u64..=flood as u64).collect();
            assert_eq!(numbers(&told), expected, "without gaps");
        }
    }

    #[test]
    fn texts_have_a_bound() {
        let ring = Ring::new();
        ring.push(Event::of_reload(&Err("ä".repeat(MAX_TEXT))));
        let text = ring.newest(1, |_| true)[0].event.text.clone();
        assert!(text.len() <= MAX_TEXT + '…'.len_utf8() && text.ends_with("ä…"), "{}", text.len());
    }
}
