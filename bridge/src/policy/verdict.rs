use super::Rights;

/// What a device wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Publish to a Topic Name, retained messages and its Will included.
    Publish,
    /// Subscribe to a Topic Filter.
    Subscribe,
}

/// A decision and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'r> {
    /// Yes, by this rule.
    Allowed(Rule<'r>),
    /// No, because of this.
    Refused(Refused<'r>),
}

/// The rule that allows something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule<'r> {
    /// It is the device's own topic in the connection, or below it.
    OwnTopic {
        /// The connection's id.
        connection: &'r str,
    },
    /// It can match only the peer's topic in the connection and what is below it.
    PeerTopic {
        /// The connection's id.
        connection: &'r str,
    },
    /// It is the peer's presence.
    PeerPresence {
        /// The connection's id.
        connection: &'r str,
    },
}

/// Why something is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused<'r> {
    /// It is not a Topic Name.
    NotATopic,
    /// It is not a Topic Filter.
    NotAFilter,
    /// A wildcard in the first three levels: it could match what others publish.
    TooWide,
    /// The first level is not the device's user.
    NotOwnUser,
    /// The second level is not a connection of the device.
    NotConnected,
    /// The third level is not the device's code.
    NotOwnTopic {
        /// The connection's id.
        connection: &'r str,
        /// The other device's code.
        peer: &'r str,
    },
    /// It is neither the peer's topic nor the peer's presence.
    NotPeerTopic {
        /// The connection's id.
        connection: &'r str,
        /// The other device's code.
        peer: &'r str,
    },
}

impl Verdict<'_> {
    /// Whether it is a yes.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }

    /// The rule that decided, in a sentence.
    pub fn reason(&self, rights: &Rights) -> String {
        let (user, code) = (&rights.user, &rights.code);
        match *self {
            Self::Allowed(Rule::OwnTopic { connection }) => {
                format!("a device may publish to its own topic {user}/{connection}/{code} and below it")
            }
            Self::Allowed(Rule::PeerTopic { connection }) => {
                format!("a device may subscribe to what its peer in the connection {connection} publishes")
            }
            Self::Allowed(Rule::PeerPresence { connection }) => {
                format!("a device may subscribe to the presence of its peer in the connection {connection}")
            }
            Self::Refused(Refused::NotATopic) => {
                "this is not a topic to publish to: it is empty or contains + or #".to_owned()
            }
            Self::Refused(Refused::NotAFilter) => {
                "this is not a topic filter: + and # must be whole levels, and # the last one".to_owned()
            }
            Self::Refused(Refused::TooWide) => {
                "the first three levels must be without + and #, else the filter could match what others publish"
                    .to_owned()
            }
            Self::Refused(Refused::NotOwnUser) => {
                format!("the first level is not {user:?}, the device's user")
            }
            Self::Refused(Refused::NotConnected) => {
                format!("the second level is not a connection of {}", rights.name)
            }
            Self::Refused(Refused::NotOwnTopic { connection, peer }) => {
                format!("in the connection {connection} with {peer}, the third level must be {code}, its own code")
            }
            Self::Refused(Refused::NotPeerTopic { connection, peer }) => {
                format!("in the connection {connection}, only what {peer} publishes and its presence can be heard")
            }
        }
    }
}

impl Rights {
    /// Everything that the device may publish or subscribe to, as topics and filters.
    pub fn allowed(&self, action: Action) -> Vec<String> {
        let (user, code) = (&self.user, &self.code);
        let of_connection = |(id, peer): (&str, &str)| match action {
            Action::Publish => vec![format!("{user}/{id}/{code}"), format!("{user}/{id}/{code}/…")],
            Action::Subscribe => {
                vec![format!("{user}/{id}/{peer}/#"), format!("{user}/{id}/presence/{peer}")]
            }
        };
        self.connections().flat_map(of_connection).collect()
    }
}
