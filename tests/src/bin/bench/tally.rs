//! What one subscriber received of its publisher's numbered messages.

/// Sequence numbers seen so far; tells loss, duplicates and disorder apart within the last 64 messages.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    /// One more than the highest number seen.
    next: u64,
    /// Bit `n`: whether number `next - 1 - n` was seen.
    seen: u64,
    /// Different messages received.
    pub(crate) delivered: u64,
    /// Messages received again.
    pub(crate) duplicates: u64,
    /// Messages received after a later one.
    pub(crate) disordered: u64,
}

impl Tally {
    pub(crate) fn record(&mut self, sequence: u64) {
        if sequence >= self.next {
            self.skip_to(sequence);
            self.seen = (self.seen << 1) | 1;
            self.next = sequence + 1;
            self.delivered += 1;
            return;
        }
        let bit = u32::try_from(self.next - 1 - sequence).ok().and_then(|back| 1u64.checked_shl(back));
        match bit {
            Some(bit) if self.seen & bit == 0 => {
                self.seen |= bit;
                self.delivered += 1;
                self.disordered += 1;
            }
            _ => self.duplicates += 1,
        }
    }

    /// One more than the highest number seen or given up.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Gives up what is below `sequence`; what still comes counts as disordered.
    pub(crate) fn skip_to(&mut self, sequence: u64) {
        if let Some(gap) = sequence.checked_sub(self.next) {
            self.seen = u32::try_from(gap).ok().and_then(|gap| self.seen.checked_shl(gap)).unwrap_or(0);
            self.next = sequence;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(sequences: &[u64]) -> (u64, u64, u64) {
        let mut tally = Tally::default();
        sequences.iter().for_each(|&sequence| tally.record(sequence));
        (tally.delivered, tally.duplicates, tally.disordered)
    }

    #[test]
    fn loss_duplicates_and_disorder_are_told_apart() {
        assert_eq!(tally(&[0, 1, 2, 3]), (4, 0, 0));
        assert_eq!(tally(&[0, 3]), (2, 0, 0), "1 and 2 are lost");
        assert_eq!(tally(&[0, 1, 1, 0]), (2, 2, 0));
        assert_eq!(tally(&[1, 0, 2]), (3, 0, 1));
        assert_eq!(tally(&[0, 64, 1]), (3, 0, 1), "63 numbers back is within the window");
        assert_eq!(tally(&[0, 200, 1]), (2, 1, 0), "further back nobody can tell");
    }

    #[test]
    fn what_was_given_up_may_still_come() {
        let mut tally = Tally::default();
        tally.record(0);
        tally.skip_to(3);
        assert_eq!(tally.next(), 3);
        tally.record(1);
        tally.record(3);
        assert_eq!((tally.delivered, tally.duplicates, tally.disordered), (3, 0, 1));
    }
}
