//! What came of orders, and telling it.

use std::panic::{self, AssertUnwindSafe};

use tracing::error;

use super::{Change, Loaded, RevokeRequest, StoreError, Totals, intake::Order, keys};

/// What came of an order.
pub enum Answer {
    /// It is in effect.
    Applied,
    /// This was read.
    Loaded(Loaded),
    /// This was removed.
    Trimmed(Totals),
    /// This is still to be removed.
    Unfinished(RevokeRequest),
}

/// Takes those out that no store could carry out.
pub fn take_out_of_range(orders: &mut Vec<Order>) -> Vec<Order> {
    orders.extract_if(.., |order| !is_in_range(order)).collect()
}

/// Tells whoever handed it over what came of it.
pub fn tell(order: Order, answer: Answer) {
    contain(|| match (order, answer) {
        (Order::Apply(_, Some(done)) | Order::Revoke(_, Some(done)), Answer::Applied) => done(Ok(())),
        (Order::Load(_, done), Answer::Loaded(loaded)) => done(Ok(loaded)),
        (Order::Trim(_, done), Answer::Trimmed(removed)) => done(Ok(removed)),
        _ => {}
    });
}

/// Tells whoever handed it over that it came to nothing.
pub fn refuse(order: Order, error: &StoreError) {
    let error = error.clone();
    contain(|| match order {
        Order::Apply(_, None) | Order::Revoke(_, None) => {}
        Order::Apply(_, Some(done)) | Order::Revoke(_, Some(done)) => done(Err(error)),
        Order::Load(_, done) => done(Err(error)),
        Order::Trim(_, done) => done(Err(error)),
        Order::Count(done) => done(Err(error)),
        Order::Hold(done) => done(Err(error)),
    });
}

/// Calls somebody else's code, which must not end the thread that all depend on.
pub fn contain(call: impl FnOnce()) {
    if panic::catch_unwind(AssertUnwindSafe(call)).is_err() {
        error!("a defect: whoever was told by the store panicked");
    }
}

fn is_in_range(order: &Order) -> bool {
    match order {
        Order::Apply(changes, _) => changes.iter().all(|change| match change {
            Change::PutSession(session) => keys::is_slot(session.slot),
            Change::EndSession(slot)
            | Change::ForgetWill(slot)
            | Change::Subscribe { slot, .. }
            | Change::Unsubscribe { slot, .. }
            | Change::Accept { slot, .. }
            | Change::Complete { slot, .. } => keys::is_slot(*slot),
            Change::Enqueue { slot, message } => keys::is_place(*slot, message.sequence),
            Change::Forget { slot, sequence } | Change::Release { slot, sequence } => {
                keys::is_place(*slot, *sequence)
            }
            Change::Retain { .. } | Change::Unretain { .. } => true,
        }),
        Order::Load(request, _) => keys::is_slot(request.slot),
        Order::Trim(request, _) => keys::is_slot(request.slot),
        Order::Revoke(request, _) => keys::is_slot(request.slot),
        Order::Count(_) | Order::Hold(_) => true,
    }
}
