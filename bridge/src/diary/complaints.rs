//! What repeats is written once, then counted; the count is told every ten minutes, and so is that it has stopped.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::Fields;

/// How long the same complaint is only counted before the count is told.
const QUIET: Duration = Duration::from_secs(10 * 60);

/// How many complaints of a kind are remembered at most.
const REMEMBERED: usize = 1_000;

/// Complaints that were written, and how often each was repeated since.
#[derive(Default)]
pub(super) struct Complaints {
    written: HashMap<String, Written>,
    /// When it was said that there are too many.
    overflowed: Option<Instant>,
}

struct Written {
    fields: Fields,
    since: Instant,
    /// Since then.
    repeated: u64,
    /// A count was told before.
    goes_on: bool,
}

/// What to do with a complaint.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    Write,
    /// It was written a short while ago.
    Hold,
    /// There are too many different ones, which is to be told.
    TooMany,
}

/// What is told of a complaint later.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Again(u64),
    Stopped,
}

impl Complaints {
    pub(super) fn complain(&mut self, complaint: String, fields: Fields) {
        let now = Instant::now();
        match self.due(&complaint, &fields, now) {
            Due::Write => fields.warn(&complaint),
            Due::Hold => {}
            Due::TooMany => tracing::warn!(
                "more than {REMEMBERED} such complaints within ten minutes: further new ones are held back. If these are \
                 strangers, keep them out with a firewall"
            ),
        }
    }

    /// Tells the counts that are due; all of them if the diary ends.
    pub(super) fn settle(&mut self, now: Instant, ends: bool) {
        for (complaint, fields, news) in self.news(now, ends) {
            match news {
                News::Again(times) => {
                    let s = if times == 1 { "" } else { "s" };
                    fields.warn(&format!("{complaint} ({times} more time{s} since that was last said)"));
                }
                News::Stopped => fields.info(&format!("not any more for ten minutes: {complaint}")),
            }
        }
    }

    fn due(&mut self, complaint: &str, fields: &Fields, now: Instant) -> Due {
        if let Some(written) = self.written.get_mut(complaint) {
            written.repeated += 1;
            return Due::Hold;
        }
        if self.written.len() >= REMEMBERED {
            let is_told = self.overflowed.is_some_and(|told| now.duration_since(told) < QUIET);
            if is_told {
                return Due::Hold;
            }
            self.overflowed = Some(now);
            return Due::TooMany;
        }
        let written = Written { fields: fields.clone(), since: now, repeated: 0, goes_on: false };
        self.written.insert(complaint.to_owned(), written);
        Due::Write
    }

    fn news(&mut self, now: Instant, ends: bool) -> Vec<(String, Fields, News)> {
        let mut news = Vec::new();
        self.written.retain(|complaint, written| {
            if now.duration_since(written.since) < QUIET && !ends {
                return true;
            }
            let said = match std::mem::take(&mut written.repeated) {
                0 if written.goes_on && !ends => Some(News::Stopped),
                0 => None,
                times => Some(News::Again(times)),
            };
            let repeated = matches!(said, Some(News::Again(_)));
            news.extend(said.map(|said| (complaint.clone(), written.fields.clone(), said)));
            (written.since, written.goes_on) = (now, true);
            repeated
        });
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Complaints {
        fn says(&mut self, complaint: &str, now: Instant) -> Due {
            self.due(complaint, &Fields::default(), now)
        }

        fn tells(&mut self, now: Instant, ends: bool) -> Vec<(String, News)> {
            let mut news: Vec<_> =
                self.news(now, ends).into_iter().map(|(what, _, news)| (what, news)).collect();
            news.sort_by(|(one, _), (other, _)| one.cmp(other));
            news
        }
    }

    #[test]
    fn a_complaint_is_written_once_then_counted_and_it_is_told_when_it_stops() {
        let mut complaints = Complaints::default();
        let start = Instant::now();
        assert_eq!(complaints.says("a", start), Due::Write);
        assert_eq!(complaints.says("a", start), Due::Hold);
        assert_eq!(complaints.says("b", start), Due::Write);
        assert_eq!(complaints.says("a", start), Due::Hold);
        assert!(complaints.tells(start + QUIET / 2, false).is_empty());
        assert_eq!(complaints.tells(start + QUIET, false), [("a".to_owned(), News::Again(2))]);
        assert_eq!(complaints.says("a", start + QUIET), Due::Hold);
        assert_eq!(complaints.says("b", start + QUIET), Due::Write, "it happened once, and is new again");
        assert_eq!(complaints.tells(start + 2 * QUIET, false), [("a".to_owned(), News::Again(1))]);
        assert_eq!(complaints.tells(start + 3 * QUIET, false), [("a".to_owned(), News::Stopped)]);
        assert!(complaints.written.is_empty());
    }

    #[test]
    fn what_was_only_counted_is_told_at_the_end() {
        let mut complaints = Complaints::default();
        let start = Instant::now();
        for complaint in ["a", "b", "b", "b"] {
            complaints.says(complaint, start);
        }
        assert_eq!(complaints.tells(start, true), [("b".to_owned(), News::Again(2))]);
    }

    #[test]
    fn a_flood_of_different_complaints_is_bounded() {
        let mut complaints = Complaints::default();
        let start = Instant::now();
        let written =
            (0..10 * REMEMBERED).filter(|i| complaints.says(&i.to_string(), start) == Due::Write).count();
        assert_eq!(written, REMEMBERED);
        assert_eq!(complaints.says("new", start), Due::Hold, "that there are too many was said");
        assert_eq!(complaints.written.len(), REMEMBERED);
        assert!(complaints.tells(start + QUIET, false).is_empty());
        assert_eq!(complaints.says("new", start + QUIET), Due::Write, "old ones make room");
    }
}
