//! The subscriptions of all sessions, found by topic.

use std::{collections::HashMap, mem};

use parking_lot::RwLock;

use super::filter::{covers, is_reserved, split_level};
use crate::codec::QoS;

/// How a session wants the messages of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// Maximum QoS.
    pub qos: QoS,
    /// No Local: not what the session itself published.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Subscription Identifier.
    pub subscription_id: Option<u32>,
    /// How many changes of the retained messages there were when it began: what they were it has heard.
    pub since: u64,
}

/// A session that wants a message, once, however many of its subscriptions match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match<S> {
    /// The session.
    pub session: u64,
    /// Its handle.
    pub handle: S,
    /// The highest maximum QoS of the subscriptions that match `[MQTT-3.3.4-2]`.
    pub qos: QoS,
    /// Whether any of them asked for Retain As Published.
    pub retain_as_published: bool,
    /// The identifiers of all of them that have one, in no order, the same one as often as it was given
    /// `[MQTT-3.3.4-3, -4]`. Holds no memory if there are none.
    pub subscription_ids: Vec<u32>,
    /// The earliest [`SubscriptionOptions::since`] of them.
    pub since: u64,
}

/// Which sessions subscribed to which Topic Filters. `S` is the handle of a session, cheap to clone.
///
/// A trie by level that is as deep only as it must be: a node keeps the rest of a few filters as text, and divides
/// them among children by their first level once they become too many. So a filter costs little more than its own
/// bytes, and a lookup asks one small node after a few levels. Shared Subscriptions have no place here.
pub struct Subscriptions<S> {
    trie: RwLock<Trie<S>>,
}

impl<S: Clone> Subscriptions<S> {
    /// Without subscriptions.
    pub fn new() -> Self {
        Self { trie: RwLock::new(Trie { open: Node::new(), reserved: Node::new(), len: 0 }) }
    }

    /// Adds the subscription of a session to a valid Topic Filter. Returns true if it replaced the one that the session
    /// had to the same filter `[MQTT-3.8.4-3]`; its handle is replaced, too.
    pub fn insert(&self, filter: &str, session: u64, handle: &S, options: SubscriptionOptions) -> bool {
        let subscriber = Subscriber { session, handle: handle.clone(), options };
        // A handle is never dropped while the lock is held: whatever its drop does may come back here.
        let replaced = self.trie.write().insert(filter, subscriber);
        replaced.is_some()
    }

    /// Removes the subscription of a session to exactly this Topic Filter `[MQTT-3.10.4-1]`. Returns whether there was
    /// one.
    pub fn remove(&self, filter: &str, session: u64) -> bool {
        let removed = self.trie.write().remove(filter, session);
        removed.is_some()
    }

    /// Puts the sessions that want a message of this topic into `out`, which is cleared first: one entry per session.
    /// A No Local subscription does not count if its session is the publisher `[MQTT-3.8.3-3]`; the server itself
    /// publishes as 0.
    pub fn matching(&self, topic: &str, publisher: u64, out: &mut Vec<Match<S>>) {
        out.clear();
        self.trie.read().root(topic).collect(Some(topic), publisher, out);
        // What one filter added is in order and without repetition, and mostly there is but one.
        if !out.is_sorted_by(|one, next| one.session < next.session) {
            out.sort_unstable_by_key(|found| found.session);
            out.dedup_by(|next, kept| kept.absorb(next));
        }
    }
}

impl<S: Clone> Default for Subscriptions<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Match<S> {
    /// Takes in what another subscription of the same session asks for; false if it is another session's.
    fn absorb(&mut self, other: &mut Self) -> bool {
        if self.session != other.session {
            return false;
        }
        self.qos = self.qos.max(other.qos);
        self.retain_as_published |= other.retain_as_published;
        self.since = self.since.min(other.since);
        self.subscription_ids.append(&mut other.subscription_ids);
        true
    }
}

struct Trie<S> {
    /// Filters that do not start with `$`.
    open: Node<S>,
    /// Filters that start with `$`.
    reserved: Node<S>,
    len: usize,
}

impl<S: Clone> Trie<S> {
    fn insert(&mut self, filter: &str, subscriber: Subscriber<S>) -> Option<Subscriber<S>> {
        let replaced = self.root_mut(filter).insert(Some(filter), 0, subscriber);
        self.len += usize::from(replaced.is_none());
        replaced
    }

    fn remove(&mut self, filter: &str, session: u64) -> Option<Subscriber<S>> {
        let removed = self.root_mut(filter).remove(Some(filter), session);
        self.len -= usize::from(removed.is_some());
        removed
    }

    fn root(&self, name: &str) -> &Node<S> {
        if is_reserved(name) { &self.reserved } else { &self.open }
    }

    fn root_mut(&mut self, name: &str) -> &mut Node<S> {
        if is_reserved(name) { &mut self.reserved } else { &mut self.open }
    }
}

/// What the filters have in common that lead here is the path from the root; what differs is inside.
struct Node<S> {
    /// Filters that are not divided: any in a node without children, else those that end here or in `#`.
    leaves: Vec<Leaf<S>>,
    children: Option<Box<Children<S>>>,
}

struct Children<S> {
    /// By level.
    literal: HashMap<Box<str>, Node<S>>,
    /// For `+`.
    any: Node<S>,
}

struct Leaf<S> {
    /// The levels that are left of the filter; `None` if it ends here.
    rest: Option<Box<str>>,
    /// By session, ascending; never empty.
    subscribers: Vec<Subscriber<S>>,
}

struct Subscriber<S> {
    session: u64,
    handle: S,
    options: SubscriptionOptions,
}

/// A node with more leaves than this divides them among children.
const MAX_LEAVES: usize = 8;

/// Nodes this deep do not divide, so that a filter of 65,535 slashes costs neither a node for each nor the stack.
const MAX_DEPTH: usize = 64;

impl<S: Clone> Node<S> {
    fn new() -> Self {
        Self { leaves: Vec::new(), children: None }
    }

    fn is_empty(&self) -> bool {
        self.leaves.is_empty() && self.children.is_none()
    }

    fn insert(
        &mut self,
        rest: Option<&str>,
        depth: usize,
        subscriber: Subscriber<S>,
    ) -> Option<Subscriber<S>> {
        if let (Some(children), Some((level, below))) = (&mut self.children, divide(rest)) {
            return children.get_or_insert(level).insert(below, depth + 1, subscriber);
        }
        if let Some(leaf) = self.leaves.iter_mut().find(|leaf| leaf.rest.as_deref() == rest) {
            return leaf.insert(subscriber);
        }
        push_tightly(&mut self.leaves, Leaf { rest: rest.map(Into::into), subscribers: vec![subscriber] });
        self.divide_if_crowded(depth);
        None
    }

    fn divide_if_crowded(&mut self, depth: usize) {
        if self.leaves.len() <= MAX_LEAVES || depth >= MAX_DEPTH || self.children.is_some() {
            return;
        }
        let mut children = Box::new(Children { literal: HashMap::new(), any: Self::new() });
        for leaf in mem::take(&mut self.leaves) {
            match divide(leaf.rest.as_deref()) {
                Some((level, below)) => {
                    let below = Leaf { rest: below.map(Into::into), subscribers: leaf.subscribers };
                    push_tightly(&mut children.get_or_insert(level).leaves, below);
                }
                None => push_tightly(&mut self.leaves, leaf),
            }
        }
        for child in children.literal.values_mut().chain([&mut children.any]) {
            child.divide_if_crowded(depth + 1);
        }
        self.children = Some(children);
    }

    fn remove(&mut self, rest: Option<&str>, session: u64) -> Option<Subscriber<S>> {
        if let (Some(children), Some((level, below))) = (&mut self.children, divide(rest)) {
            let child = children.get_mut(level)?;
            let removed = child.remove(below, session)?;
            if child.is_empty() {
                children.forget(level);
                if children.is_empty() {
                    self.children = None;
                }
            }
            return Some(removed);
        }
        let at = self.leaves.iter().position(|leaf| leaf.rest.as_deref() == rest)?;
        let leaf = self.leaves.get_mut(at)?;
        let removed = leaf.remove(session)?;
        if leaf.subscribers.is_empty() {
            self.leaves.swap_remove(at);
            give_back(&mut self.leaves);
        }
        Some(removed)
    }

    fn collect(&self, rest: Option<&str>, publisher: u64, out: &mut Vec<Match<S>>) {
        for leaf in self.leaves.iter().filter(|leaf| covers(leaf.rest.as_deref(), rest)) {
            leaf.collect(publisher, out);
        }
        if let (Some(children), Some(rest)) = (&self.children, rest) {
            let (level, below) = split_level(rest);
            if let Some(child) = children.get(level) {
                child.collect(below, publisher, out);
            }
            children.any.collect(below, publisher, out);
        }
    }
}

impl<S: Clone> Children<S> {
    /// The child for a level of a topic.
    fn get(&self, level: &str) -> Option<&Node<S>> {
        if self.literal.len() == 1 {
            // Common where all topics begin alike, and much quicker than hashing.
            return self.literal.iter().find(|(name, _)| name.as_ref() == level).map(|(_, child)| child);
        }
        self.literal.get(level)
    }

    fn get_or_insert(&mut self, level: &str) -> &mut Node<S> {
        if level == "+" {
            return &mut self.any;
        }
        self.literal.entry(level.into()).or_insert_with(Node::new)
    }

    fn get_mut(&mut self, level: &str) -> Option<&mut Node<S>> {
        if level == "+" { Some(&mut self.any) } else { self.literal.get_mut(level) }
    }

    /// Gives back the memory of a child that is empty.
    fn forget(&mut self, level: &str) {
        self.literal.remove(level);
        if self.literal.len() < self.literal.capacity() / 4 {
            self.literal.shrink_to(self.literal.len() * 2);
        }
    }

    fn is_empty(&self) -> bool {
        self.literal.is_empty() && self.any.is_empty()
    }
}

impl<S: Clone> Leaf<S> {
    fn insert(&mut self, subscriber: Subscriber<S>) -> Option<Subscriber<S>> {
        match self.position(subscriber.session) {
            Ok(at) => self.subscribers.get_mut(at).map(|present| mem::replace(present, subscriber)),
            Err(at) => {
                self.subscribers.insert(at, subscriber);
                None
            }
        }
    }

    fn remove(&mut self, session: u64) -> Option<Subscriber<S>> {
        let at = self.position(session).ok()?;
        let removed = self.subscribers.remove(at);
        give_back(&mut self.subscribers);
        Some(removed)
    }

    fn position(&self, session: u64) -> Result<usize, usize> {
        self.subscribers.binary_search_by_key(&session, |subscriber| subscriber.session)
    }

    fn collect(&self, publisher: u64, out: &mut Vec<Match<S>>) {
        let wanting = self
            .subscribers
            .iter()
            .filter(|subscriber| !(subscriber.options.no_local && subscriber.session == publisher));
        out.extend(wanting.map(|subscriber| Match {
            session: subscriber.session,
            handle: subscriber.handle.clone(),
            qos: subscriber.options.qos,
            retain_as_published: subscriber.options.retain_as_published,
            subscription_ids: subscriber.options.subscription_id.into_iter().collect(),
            since: subscriber.options.since,
        }));
    }
}

/// The first level of a filter's rest, which decides about the child, and what follows it; `None` if the filter ends
/// here or in `#`.
fn divide(rest: Option<&str>) -> Option<(&str, Option<&str>)> {
    rest.filter(|rest| *rest != "#").map(split_level)
}

/// Pushes without reserving for more while the list is short: most stay at two or four.
fn push_tightly<T>(list: &mut Vec<T>, item: T) {
    if list.len() < MAX_LEAVES {
        list.reserve_exact(1);
    }
    list.push(item);
}

fn give_back<T>(list: &mut Vec<T>) {
    if list.len() <= list.capacity() / 4 {
        list.shrink_to_fit();
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
