//! What was counted of names and flows since the start, wherever the sessions are by now that counted it.
//!
//! Sessions count with plain numbers under locks that they hold anyway. What they have counted is taken over when somebody
//! asks and when they end.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use crate::{
    events::Counters,
    report::{FlowInfo, NameInfo},
    session::{Counts, Latencies, Session},
    shared::Shared,
};

/// The sums.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Taken before locks of sessions, never while one is held.
    books: Mutex<Books>,
    /// By name. Apart, since a refusal is counted while a session is locked.
    denied: Mutex<HashMap<Arc<str>, u64>>,
}

#[derive(Debug, Default)]
struct Books {
    names: HashMap<Arc<str>, NameInfo>,
    /// When names were seen in an earlier run, in milliseconds since the Unix epoch.
    seen_before: HashMap<Arc<str>, u64>,
    flows: HashMap<Arc<str>, FlowInfo>,
    /// Of flows.
    latencies: HashMap<Arc<str>, Latencies>,
}

impl Ledger {
    /// A grant of this name has refused something.
    pub fn count_denied(&self, name: &str) {
        let mut denied = self.denied.lock();
        match denied.get_mut(name) {
            Some(count) => *count += 1,
            None => drop(denied.insert(name.into(), 1)),
        }
    }

    /// Names were seen in an earlier run.
    pub fn restore_last_seen(&self, seen: impl Iterator<Item = (Arc<str>, u64)>) {
        self.books.lock().seen_before.extend(seen);
    }

    /// Nothing was counted.
    pub fn forget_counts(&self) {
        let mut books = self.books.lock();
        books.names.clear();
        books.flows.clear();
        books.latencies.clear();
        self.denied.lock().clear();
    }

    /// All names.
    pub fn names(&self) -> Vec<NameInfo> {
        let books = self.books.lock();
        let mut names = books.names.clone();
        for (name, seen) in &books.seen_before {
            let info = names.entry(Arc::clone(name)).or_insert_with(|| NameInfo::new(Arc::clone(name)));
            info.last_seen = info.last_seen.or(Some(*seen));
        }
        for (name, denied) in self.denied.lock().iter() {
            let info = names.entry(Arc::clone(name)).or_insert_with(|| NameInfo::new(Arc::clone(name)));
            info.denied = *denied;
        }
        names.into_values().collect()
    }

    /// All flows, by name, without what waits.
    pub fn flows(&self) -> HashMap<Arc<str>, FlowInfo> {
        let books = self.books.lock();
        let mut flows = books.flows.clone();
        for (name, latencies) in &books.latencies {
            entry(&mut flows, name, FlowInfo::new).latency = latencies.sum_up();
        }
        flows
    }

    /// Takes over what a session has counted. `take` is called where nobody can see the sums without it.
    fn add(&self, session: &Session, take: impl FnOnce() -> Counts) {
        let mut books = self.books.lock();
        let Counts { published, sent, dropped, dropped_of_flows, latencies } = take();
        let Books { names, flows, latencies: known, .. } = &mut *books;
        let name = entry(names, &session.name, NameInfo::new);
        name.received += published.total;
        name.sent += sent;
        name.dropped += dropped;
        name.last_seen = name.last_seen.max(session.last_heard());
        for of_flow in published.flows {
            let flow = entry(flows, &of_flow.name, FlowInfo::new);
            flow.published += of_flow.taken;
            flow.last = flow.last.max(of_flow.last);
            flow.refused += of_flow.refused;
        }
        for (name, dropped) in dropped_of_flows {
            entry(flows, &name, FlowInfo::new).dropped += dropped;
        }
        for (name, newer) in latencies {
            known.entry(name).or_default().append(newer);
        }
    }

    fn retain_names(&self, is_known: impl Fn(&str) -> bool) {
        let mut books = self.books.lock();
        books.names.retain(|name, _| is_known(name));
        books.seen_before.retain(|name, _| is_known(name));
        self.denied.lock().retain(|name, _| is_known(name));
    }

    fn retain_flows(&self, is_known: impl Fn(&str) -> bool) {
        let mut books = self.books.lock();
        books.flows.retain(|name, _| name.is_empty() || is_known(name));
        books.latencies.retain(|name, _| name.is_empty() || is_known(name));
    }
}

impl Shared {
    /// Adds what the session has counted, and how often its limits acted, to what the broker counts. One of the embedder's own
    /// does not count.
    pub fn take_counts(&self, session: &Session) {
        if session.is_inside() {
            return;
        }
        self.ledger.add(session, || {
            let published = session.inbound.lock().take_published();
            let (counts, acted) = {
                let mut outbound = session.outbound.lock();
                let counts = Counts {
                    published,
                    sent: outbound.take_sent(),
                    dropped: outbound.take_dropped().total(),
                    dropped_of_flows: outbound.take_dropped_of_flows(),
                    latencies: outbound.take_latencies(),
                };
                (counts, outbound.take_acted())
            };
            Counters::add(&self.counters.dropped, counts.dropped);
            self.counters.limits.add_all(&acted);
            counts
        });
    }

    /// Nothing is known any more of names that may not log in.
    pub fn forget_unknown_names(&self) {
        self.ledger.retain_names(|name| self.is_known(name));
    }

    /// Nor of flows that are gone.
    pub fn forget_unknown_flows(&self) {
        self.ledger.retain_flows(|name| self.access.has_flow(name));
    }
}

/// The one of a name; a new one if there is none.
fn entry<'m, T>(
    map: &'m mut HashMap<Arc<str>, T>,
    name: &Arc<str>,
    new: impl FnOnce(Arc<str>) -> T,
) -> &'m mut T {
    map.entry(Arc::clone(name)).or_insert_with(|| new(Arc::clone(name)))
}
