//! Who may log in, and what they may do: asked of the embedder.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    codec::{ReasonCode, Version},
    limits::FlowLimits,
    transport::Channel,
};

/// Decides about logins. Implemented by the embedder; asked once per CONNECT. Must not block.
pub trait Access: Send + Sync + 'static {
    /// Turns what a CONNECT says into a grant, or refuses it.
    ///
    /// # Errors
    /// The refusal that the client is told in its CONNACK.
    fn login(&self, login: &Login<'_>) -> Result<Arc<dyn Grant>, Refusal>;

    /// What a name that logged in earlier may do now: asked when sessions, retained messages and Will Messages are
    /// taken over from an earlier run. `None` if it may not log in any more: then all that was kept of it goes.
    fn grant(&self, name: &str) -> Option<Arc<dyn Grant>>;

    /// Which flow the messages of a Topic Name count for, those of QoS 1 and 2 also in the queues of their receivers;
    /// `None` for the one that has no name and the [`crate::limits::Limits`]. All messages of a topic belong to the same
    /// flow. Asked for every message, unless [`Grant::permit`] told it, so it should be quick; must not block.
    ///
    /// There should be few flows that one client can publish in or hear: its session remembers each.
    fn flow(&self, topic: &str) -> Option<Flow> {
        let _ = topic;
        None
    }

    /// Whether there is a flow of this name ([`Flow::name`]) now. What was counted of one that is gone is forgotten.
    fn has_flow(&self, name: &str) -> bool {
        let _ = name;
        true
    }
}

/// Messages that share a place in every receiver's queue, with limits of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// What it is called in the store: unique, not empty, the same after a restart.
    pub name: Arc<str>,
    /// How much of it waits for each receiver.
    pub limits: FlowLimits,
}

/// Whether a client may publish to a Topic Name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permit {
    /// It may not.
    Refused,
    /// It may.
    Allowed,
    /// It may, and the message counts for this flow.
    InFlow(Flow),
}

/// What a client says about itself in CONNECT.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// Where it connects from.
    pub peer: SocketAddr,
    /// What carries its bytes.
    pub channel: Channel,
    /// The protocol it speaks.
    pub version: Version,
    /// As sent; empty if the server shall give one.
    pub client_id: &'a str,
    /// User Name.
    pub user_name: Option<&'a str>,
    /// Password.
    pub password: Option<&'a [u8]>,
}

/// What a logged-in client may do. Asked for every PUBLISH, Will and Topic Filter, so it should be quick; must not
/// block. Whoever holds it may ask long after the login: where rights change while the broker runs, it answers by the new
/// ones, and [`crate::Broker::reconsider`] is called then.
pub trait Grant: Send + Sync + 'static {
    /// The authenticated name. Together with the Client Identifier it identifies the session, so that clients of
    /// different names can never reach each other's.
    fn name(&self) -> &str;

    /// Whether this is a client of the embedder's own, connected with [`crate::Broker::connect_inside`]: then nobody is told
    /// of it, it is not counted, and it is never held back.
    fn is_inside(&self) -> bool {
        false
    }

    /// May the client publish to this Topic Name, retained messages and its Will included?
    fn may_publish(&self, topic: &str) -> bool;

    /// The same for a PUBLISH, with the flow that the message counts for. Where deciding finds the flow anyway it is told
    /// here, the same one as by [`Access::flow`]; that is asked if it is not.
    fn permit(&self, topic: &str) -> Permit {
        if self.may_publish(topic) { Permit::Allowed } else { Permit::Refused }
    }

    /// May the client subscribe to this Topic Filter, that is: may it hear every topic that the filter can match?
    fn may_subscribe(&self, filter: &str) -> bool;

    /// May the client hear the topics of the flow of this name ([`Flow::name`])? What is kept of a flow that it may not
    /// hear is removed, without looking at its topics: the answer has to be the one for all of them.
    fn may_hear(&self, flow: &str) -> bool {
        let _ = flow;
        true
    }
}

/// Why a login was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What the client is told. Mapped to a return code for 3.1.1. Bad User Name or Password says that the client may be
    /// guessing: then [`crate::limits::Limits::failed_logins`] holds, and nothing must tell whether the name exists.
    pub reason: ReasonCode,
    /// What the operator is told: never contains a secret.
    pub detail: String,
}
