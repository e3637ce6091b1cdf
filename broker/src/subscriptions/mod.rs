//! The index of subscriptions: which sessions want a topic. Both lanes ask it for every PUBLISH. It knows no grants.

pub mod filter;
mod index;

pub use index::{Match, SubscriptionOptions, Subscriptions};
