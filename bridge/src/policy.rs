//! What the configuration means: who may log in, and what they may publish and subscribe to. One function decides, for
//! the broker and for `explain` alike.

mod verdict;

#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use ior_broker::{
    access::{Access, Flow, Grant, Login, Refusal},
    codec::ReasonCode,
    limits::{FlowLimits, QueueLimits, WhenFull},
};
use subtle::{Choice, ConstantTimeEq};
pub use verdict::{Action, Refused, Rule, Verdict};

use crate::{
    registry::{Device, End, Registry},
    rotation::Rotation,
    secrets::Secrets,
    settings::Limits,
};

/// Longest part of what a stranger sent that is repeated in the log, in characters.
const MAX_ECHO: usize = 64;

/// The compiled configuration.
pub struct Policy {
    secrets: Secrets,
    clock: fn() -> SystemTime,
    /// By MQTT user name.
    accounts: HashMap<String, Account>,
    /// By the first three levels of the topics that count for them.
    flows: HashMap<Arc<str>, Flow>,
}

struct Account {
    rights: Arc<Rights>,
    disabled: bool,
    version: u32,
    /// A version whose password is accepted too, and until when.
    previous: Option<(u32, SystemTime)>,
}

/// What one device may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    name: String,
    user: Arc<str>,
    code: Arc<str>,
    /// Sorted by id.
    connections: Vec<(ConnectionId, PeerCode)>,
}

type ConnectionId = Arc<str>;
type PeerCode = Arc<str>;

impl Policy {
    /// Compiles a registry. The limits say how long previous passwords are accepted, and what a connection leaves open
    /// about its queues.
    pub fn new(registry: &Registry, secrets: Secrets, rotation: &Rotation, limits: &Limits) -> Self {
        let account = |rights: Rights, device: &Device| Account {
            disabled: device.disabled,
            version: device.secret_version,
            previous: rotation.previous(&rights.name, limits.rotation_window),
            rights: Arc::new(rights),
        };
        let accounts = Rights::of_all(registry)
            .into_iter()
            .zip(registry.devices())
            .map(|(rights, device)| (rights.name.clone(), account(rights, device)))
            .collect();
        Self { secrets, clock: SystemTime::now, accounts, flows: flows(registry, limits) }
    }

    /// Whether the password is right. Takes as long for an unknown user as for a known one: it always derives and
    /// compares two passwords.
    fn password_matches(&self, account: Option<&Account>, password: &[u8]) -> bool {
        let (user, code) = match account {
            Some(account) => (&*account.rights.user, &*account.rights.code),
            None => ("", ""),
        };
        let version = account.map_or(0, |account| account.version);
        let previous =
            account.and_then(|account| account.previous).filter(|(_, until)| (self.clock)() < *until);
        let same = |version: u32| -> Choice {
            self.secrets.password(user, code, version).as_bytes().ct_eq(password)
        };
        let current = same(version);
        let earlier = same(previous.map_or(version, |(version, _)| version));
        let known = Choice::from(u8::from(account.is_some()));
        (known & (current | earlier)).into()
    }
}

impl Access for Policy {
    fn login(&self, login: &Login<'_>) -> Result<Arc<dyn Grant>, Refusal> {
        let refuse = |reason, detail| Err(Refusal { reason, detail });
        let Some(user_name) = login.user_name else {
            let detail = "no user name: devices log in with the username of their credential file".to_owned();
            return refuse(ReasonCode::BadUserNameOrPassword, detail);
        };
        let account = self.accounts.get(user_name);
        let password = login.password.unwrap_or_default();
        let matches = self.password_matches(account, password);
        match account {
            None => {
                let echo: String = user_name.chars().take(MAX_ECHO).collect();
                refuse(ReasonCode::BadUserNameOrPassword, format!("no device has the user name {echo:?}"))
            }
            Some(account) if !matches => refuse(
                ReasonCode::BadUserNameOrPassword,
                format!("wrong password for {}", account.rights.name),
            ),
            Some(account) if account.disabled => refuse(
                ReasonCode::NotAuthorized,
                format!("{} is disabled in devices.json", account.rights.name),
            ),
            Some(account) => Ok(Arc::clone(&account.rights) as Arc<dyn Grant>),
        }
    }

    fn grant(&self, name: &str) -> Option<Arc<dyn Grant>> {
        let account = self.accounts.get(name).filter(|account| !account.disabled)?;
        Some(Arc::clone(&account.rights) as Arc<dyn Grant>)
    }

    fn flow(&self, topic: &str) -> Option<Flow> {
        let end = topic.match_indices('/').nth(2).map_or(topic.len(), |(end, _)| end);
        self.flows.get(&topic[..end]).cloned()
    }
}

/// The last level of the flow of a connection's presence messages. No device has this code.
const PRESENCE: &str = "presence";

/// So much of a connection's presence waits for a device at most: the newest say it all.
const PRESENCE_LIMITS: FlowLimits = FlowLimits {
    queue: QueueLimits { messages: 16, bytes: 64 * 1024 },
    max_age: None,
    when_full: WhenFull::DropOldest,
};

/// One flow for each direction of each connection: what the device `a` publishes in `u/c`, under the name `u/c/a`; and one
/// for its presence messages, `u/c/presence`.
fn flows(registry: &Registry, limits: &Limits) -> HashMap<Arc<str>, Flow> {
    let mut flows = HashMap::with_capacity(3 * registry.connections().len());
    for connection in registry.connections() {
        for end in End::BOTH {
            let code = &registry.end(connection, end).code;
            let name: Arc<str> = format!("{}/{}/{code}", connection.user, connection.id).into();
            let flow = Flow { name: Arc::clone(&name), limits: limits.flow(&connection.queue) };
            flows.insert(name, flow);
        }
        let name: Arc<str> = format!("{}/{}/{PRESENCE}", connection.user, connection.id).into();
        flows.insert(Arc::clone(&name), Flow { name, limits: PRESENCE_LIMITS });
    }
    flows
}

impl Rights {
    /// Of every device of a registry, in its order.
    pub fn of_all(registry: &Registry) -> Vec<Self> {
        let mut by_name: HashMap<String, Vec<(ConnectionId, PeerCode)>> = HashMap::new();
        for connection in registry.connections() {
            for end in End::BOTH {
                let peer = registry.end(connection, end.peer()).code.as_str().into();
                let own = registry.end(connection, end).user_name();
                by_name.entry(own).or_default().push((Arc::clone(&connection.id), peer));
            }
        }
        let rights = |device: &Device| {
            let name = device.user_name();
            let mut connections = by_name.remove(&name).unwrap_or_default();
            connections.sort();
            Self { name, user: Arc::clone(&device.user), code: device.code.as_str().into(), connections }
        };
        registry.devices().iter().map(rights).collect()
    }

    /// The MQTT user name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The ids of the device's connections with the codes of its peers, sorted by id.
    pub fn connections(&self) -> impl Iterator<Item = (&str, &str)> {
        self.connections.iter().map(|(id, peer)| (&**id, &**peer))
    }

    /// May the device publish to this Topic Name, or subscribe to this Topic Filter?
    pub fn decide(&self, action: Action, topic: &str) -> Verdict<'_> {
        match action {
            Action::Publish => self.decide_publish(topic),
            Action::Subscribe => self.decide_subscribe(topic),
        }
    }

    fn decide_publish(&self, topic: &str) -> Verdict<'_> {
        if topic.is_empty() || topic.contains(['+', '#', '\0']) {
            return Verdict::Refused(Refused::NotATopic);
        }
        let mut levels = topic.splitn(4, '/');
        match self.connection(&mut levels) {
            Err(refused) => Verdict::Refused(refused),
            Ok((connection, peer)) => match levels.next() {
                Some(code) if code == &*self.code => Verdict::Allowed(Rule::OwnTopic { connection }),
                _ => Verdict::Refused(Refused::NotOwnTopic { connection, peer }),
            },
        }
    }

    fn decide_subscribe(&self, filter: &str) -> Verdict<'_> {
        if !valid_filter(filter) {
            return Verdict::Refused(Refused::NotAFilter);
        }
        if filter.split('/').take(3).any(|level| level == "+" || level == "#") {
            return Verdict::Refused(Refused::TooWide);
        }
        let mut levels = filter.splitn(4, '/');
        match self.connection(&mut levels) {
            Err(refused) => Verdict::Refused(refused),
            Ok((connection, peer)) => match (levels.next(), levels.next()) {
                (Some(code), _) if code == peer => Verdict::Allowed(Rule::PeerTopic { connection }),
                (Some(PRESENCE), Some(code)) if code == peer => {
                    Verdict::Allowed(Rule::PeerPresence { connection })
                }
                _ => Verdict::Refused(Refused::NotPeerTopic { connection, peer }),
            },
        }
    }

    /// The device's connection that the first two levels name, and the peer's code.
    fn connection<'l>(
        &self,
        levels: &mut impl Iterator<Item = &'l str>,
    ) -> Result<(&str, &str), Refused<'_>> {
        if levels.next() != Some(&*self.user) {
            return Err(Refused::NotOwnUser);
        }
        let id = levels.next().unwrap_or_default();
        let found = self.connections.binary_search_by(|(other, _)| (**other).cmp(id)).ok();
        let (id, peer) = found.and_then(|at| self.connections.get(at)).ok_or(Refused::NotConnected)?;
        Ok((&**id, &**peer))
    }
}

impl Grant for Rights {
    fn name(&self) -> &str {
        &self.name
    }

    fn may_publish(&self, topic: &str) -> bool {
        matches!(self.decide(Action::Publish, topic), Verdict::Allowed(_))
    }

    fn may_subscribe(&self, filter: &str) -> bool {
        matches!(self.decide(Action::Subscribe, filter), Verdict::Allowed(_))
    }

    /// The name of a flow is a topic of what a device publishes, or that of a connection's presence messages.
    fn may_hear(&self, flow: &str) -> bool {
        let mut levels = flow.splitn(4, '/');
        match self.connection(&mut levels) {
            Ok((_, peer)) => levels.next().is_some_and(|last| last == peer || last == PRESENCE),
            Err(_) => false,
        }
    }
}

/// Whether it is a Topic Filter: `#` only as the last level, wildcards only as whole levels `[MQTT-4.7.1-1]`.
fn valid_filter(filter: &str) -> bool {
    let mut levels = filter.split('/').peekable();
    let mut valid = !filter.is_empty() && !filter.contains('\0');
    while let Some(level) = levels.next() {
        valid &= match level {
            "+" => true,
            "#" => levels.peek().is_none(),
            _ => !level.contains(['+', '#']),
        };
    }
    valid
}
