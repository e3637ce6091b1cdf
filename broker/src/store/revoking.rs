//! Messages that are removed in parts, since they may be very many.

use std::collections::VecDeque;

use rusqlite::OptionalExtension;

use super::{
    Change, RevokeRequest, Slot, StoreError,
    answers::{Answer, contain, tell},
    batch::{Batch, Result},
    intake::Order,
    keys, records,
};

/// Places in the queue that one transaction looks at: some ten milliseconds of a small computer's time.
const PART: u64 = if cfg!(test) { 5 } else { 5_000 };

/// [`Order::Revoke`]s of which a part is still to be done.
#[derive(Default)]
pub struct Unfinished {
    orders: VecDeque<Order>,
}

impl Unfinished {
    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.orders.is_empty()
    }

    /// One more.
    pub fn push(&mut self, order: Order) {
        self.orders.push_back(order);
    }

    /// The next one.
    pub fn take(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// The store fails: whoever waits is told, and what is left is tried again when it is well.
    pub fn refuse(&mut self, error: &StoreError) {
        for order in &mut self.orders {
            if let Order::Revoke(_, done) = order
                && let Some(done) = done.take()
            {
                contain(|| done(Err(error.clone())));
            }
        }
    }

    /// Sessions that these orders end are over, and their numbers may be others': what is left of theirs goes with them.
    pub fn end_all(&mut self, orders: &[Order]) {
        if !self.is_empty() {
            ends(orders).for_each(|(_, slot)| self.end(slot));
        }
    }

    fn end(&mut self, slot: Slot) {
        let of_slot = |order: &Order| matches!(order, Order::Revoke(request, _) if request.slot == slot);
        let (ended, others): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.orders).into_iter().partition(of_slot);
        self.orders = others;
        for order in ended {
            tell(order, Answer::Applied);
        }
    }
}

/// Which sessions end within orders that are handled together, if anything is removed in parts there.
pub struct SessionEnds(Vec<(usize, Slot)>);

impl SessionEnds {
    /// Of these orders.
    pub fn within(orders: &[Order]) -> Self {
        let is_asked_for = orders.iter().any(|order| matches!(order, Order::Revoke(..)));
        Self(if is_asked_for { ends(orders).collect() } else { Vec::new() })
    }

    /// Whether one after the order `at` ends this session.
    pub fn follow(&self, at: usize, slot: Slot) -> bool {
        self.0.iter().any(|(end, ended)| *end > at && *ended == slot)
    }
}

fn ends(orders: &[Order]) -> impl Iterator<Item = (usize, Slot)> {
    let changes = orders.iter().enumerate().filter_map(|(at, order)| match order {
        Order::Apply(changes, _) => Some((at, changes)),
        _ => None,
    });
    changes.flat_map(|(at, changes)| {
        changes.iter().filter_map(move |change| match change {
            Change::EndSession(slot) => Some((at, *slot)),
            _ => None,
        })
    })
}

impl Batch<'_> {
    /// Removes a part of the messages; gives what is left to do.
    pub fn revoke(&mut self, request: &RevokeRequest) -> Result<Option<RevokeRequest>> {
        let Some(flow) = self.flow_number(&request.flow) else { return Ok(None) };
        let Some(first) = self.first_from(request)? else { return Ok(None) };
        let end = first.saturating_add(PART).min(request.below);
        for sequence in self.sent_of_qos_2(request, flow, first, end)? {
            self.release(request.slot, sequence)?;
        }
        self.remove_flow(request.slot, flow, first, end)?;
        Ok((end < request.below).then(|| RevokeRequest { from: end, ..request.clone() }))
    }

    fn first_from(&self, request: &RevokeRequest) -> Result<Option<u64>> {
        if request.from >= request.below {
            return Ok(None);
        }
        let first = self
            .statement("SELECT key FROM message WHERE key BETWEEN ?1 AND ?2 ORDER BY key LIMIT 1")?
            .query_row(
                [keys::message(request.slot, request.from), keys::message(request.slot, request.below - 1)],
                |row| row.get(0),
            )
            .optional()?;
        Ok(first.map(keys::sequence))
    }

    fn sent_of_qos_2(&self, request: &RevokeRequest, flow: u32, first: u64, end: u64) -> Result<Vec<u64>> {
        let end = end.min(request.sent_below);
        if first >= end {
            return Ok(Vec::new());
        }
        let mut select = self.statement(
            "SELECT key FROM message WHERE key BETWEEN ?1 AND ?2 AND flow = ?3 AND options & ?4 = ?5",
        )?;
        let rows = select.query_map(
            [
                keys::message(request.slot, first),
                keys::message(request.slot, end - 1),
                i64::from(flow),
                records::QOS_BITS,
                records::QOS_2,
            ],
            |row| row.get(0).map(keys::sequence),
        )?;
        rows.collect()
    }
}
