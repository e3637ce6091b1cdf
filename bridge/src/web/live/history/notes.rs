use std::collections::HashMap;

/// How many notes are kept.
const KEPT: usize = 120;
/// Of how many there are notes at most: those that had something to say first.
const BUSY: usize = 1000;

/// How much was said by each of many who mostly say nothing: whoever has been silent for as long as notes are kept takes no
/// memory.
#[derive(Debug, Default)]
pub(super) struct Notes {
    busy: HashMap<String, Busy>,
    /// What was counted when notes were taken last; nothing of those of which nothing was.
    counted: HashMap<String, [u64; 2]>,
    /// How many notes were taken.
    taken: u64,
}

#[derive(Debug)]
struct Busy {
    /// A ring: the place of a note is its number modulo [`KEPT`].
    said: Box<[[u32; 2]; KEPT]>,
    /// The number of the last note with something in it.
    last: u64,
}

impl Notes {
    /// So much was counted before.
    pub(super) fn begin<'k>(&mut self, counts: impl Iterator<Item = (&'k str, [u64; 2])>) {
        let counted = counts.filter(|(_, counts)| *counts != [0; 2]);
        self.counted = counted.map(|(key, counts)| (key.to_owned(), counts)).collect();
    }

    /// Takes the next note, of all that are there, when so many have become due.
    pub(super) fn take<'k>(&mut self, due: u64, counts: impl Iterator<Item = (&'k str, [u64; 2])>) {
        let number = self.taken + due - 1;
        for busy in self.busy.values_mut() {
            for skipped in self.taken..=number.min(self.taken + KEPT as u64) {
                busy.said[place(skipped)] = [0; 2];
            }
        }
        self.taken += due;
        let mut counted = HashMap::with_capacity(self.counted.len());
        for (key, now) in counts.filter(|(_, counts)| *counts != [0; 2]) {
            let before = self.counted.get(key).copied().unwrap_or_default();
            let said = [0, 1].map(|at| grown(before[at], now[at]));
            if said != [0; 2] {
                self.write(key, number, said);
            }
            counted.insert(key.to_owned(), now);
        }
        self.counted = counted;
        self.busy.retain(|key, busy| {
            self.counted.contains_key(key) && number.saturating_sub(busy.last) < KEPT as u64
        });
    }

    /// What one has said, oldest first.
    pub(super) fn of(&self, key: &str) -> [Vec<u32>; 2] {
        let first = self.taken.saturating_sub(KEPT as u64);
        let busy = self.busy.get(key);
        [0, 1].map(|at| {
            (first..self.taken).map(|note| busy.map_or(0, |busy| busy.said[place(note)][at])).collect()
        })
    }

    fn write(&mut self, key: &str, number: u64, said: [u32; 2]) {
        if !self.busy.contains_key(key) && self.busy.len() < BUSY {
            self.busy.insert(key.to_owned(), Busy { said: Box::new([[0; 2]; KEPT]), last: number });
        }
        if let Some(busy) = self.busy.get_mut(key) {
            busy.said[place(number)] = said;
            busy.last = number;
        }
    }
}

fn place(note: u64) -> usize {
    (note % KEPT as u64) as usize
}

/// A count that is lower than before has begun anew.
fn grown(before: u64, now: u64) -> u32 {
    u32::try_from(now.checked_sub(before).unwrap_or(now)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(notes: &mut Notes, due: u64, counts: &[(&str, u64)]) {
        notes.take(due, counts.iter().map(|(key, count)| (*key, [*count, 0])));
    }

    fn said(notes: &Notes, key: &str) -> Vec<u32> {
        notes.of(key)[0].clone()
    }

    #[test]
    fn what_was_said_since_the_note_before_is_noted() {
        let mut notes = Notes::default();
        notes.begin([("a", [1000, 0]), ("b", [0, 0])].into_iter());
        assert!(said(&notes, "a").is_empty());
        take(&mut notes, 1, &[("a", 1000), ("b", 0)]);
        take(&mut notes, 1, &[("a", 1030), ("b", 5)]);
        take(&mut notes, 1, &[("a", 1030), ("b", 5)]);
        // The count of b begins anew, and two notes were missed.
        take(&mut notes, 3, &[("a", 1040), ("b", 2)]);
        assert_eq!(said(&notes, "a"), [0, 30, 0, 0, 0, 10]);
        assert_eq!(said(&notes, "b"), [0, 5, 0, 0, 0, 2]);
        assert_eq!(said(&notes, "nobody"), [0; 6]);
    }

    #[test]
    fn whoever_is_silent_takes_no_memory() {
        let mut notes = Notes::default();
        take(&mut notes, 1, &[("a", 0), ("b", 7), ("c", 7)]);
        assert_eq!((notes.busy.len(), notes.counted.len()), (2, 2));
        // b is gone.
        take(&mut notes, 1, &[("a", 0), ("c", 8)]);
        assert_eq!((notes.busy.len(), notes.counted.len()), (1, 1));
        for _ in 1..KEPT {
            take(&mut notes, 1, &[("a", 0), ("c", 8)]);
        }
        assert_eq!(said(&notes, "c")[0], 1);
        take(&mut notes, 1, &[("a", 0), ("c", 8)]);
        assert!(notes.busy.is_empty());
        assert_eq!(said(&notes, "c"), [0; KEPT]);
        take(&mut notes, 1, &[("c", 9)]);
        assert_eq!(said(&notes, "c")[KEPT - 1], 1);
    }

    #[test]
    fn what_is_older_than_the_ring_is_gone() {
        let mut notes = Notes::default();
        take(&mut notes, 1, &[("a", 7)]);
        for count in 8..500 {
            take(&mut notes, 1, &[("a", count)]);
        }
        assert_eq!(said(&notes, "a"), [1; KEPT]);
        take(&mut notes, 1_000_000_000, &[("a", 600)]);
        let mut expected = [0; KEPT];
        expected[KEPT - 1] = 101;
        assert_eq!(said(&notes, "a"), expected);
    }

    #[test]
    fn there_is_a_bound_to_how_many_are_busy() {
        let mut notes = Notes::default();
        let keys: Vec<_> = (0..2 * BUSY).map(|key| key.to_string()).collect();
        let counts: Vec<_> = keys.iter().map(|key| (key.as_str(), 1)).collect();
        take(&mut notes, 1, &counts);
        assert_eq!(notes.busy.len(), BUSY);
    }
}
