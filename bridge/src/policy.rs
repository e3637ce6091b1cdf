//! What the configuration means: who may log in, and what they may publish and subscribe to. One function decides, for
//! the broker and for `explain` alike.

mod live;
mod verdict;

#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use ior_broker::{
    access::{Flow, Login, Refusal},
    codec::ReasonCode,
    limits::{FlowLimits, QueueLimits, WhenFull},
};
pub use live::{LivePolicy, WATCHDOG, WATCHDOG_TOPIC};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
pub use verdict::{Action, Refused, Rule, Verdict};

use crate::{
    registry::{Device, End, Registry},
    rotation::{MAX_PREVIOUS, Previous, Rotation},
    secrets::{Secrets, looks_like_a_password},
    settings::{Limits, OwnQueue, Settings, TlsUse},
};

/// Longest part of what a stranger sent that is repeated in the log, in characters.
const MAX_ECHO: usize = 64;

/// Presence messages that wait for a device: only the newest matter.
const PRESENCE: FlowLimits = FlowLimits {
    queue: QueueLimits { messages: 16, bytes: 16 << 10 },
    max_age: None,
    when_full: WhenFull::DropOldest,
};

/// The compiled configuration.
pub struct Policy {
    secrets: Secrets,
    clock: fn() -> SystemTime,
    tls: TlsUse,
    /// By MQTT user name.
    accounts: HashMap<String, Account>,
    /// By the first three levels of the topics that count for them.
    flows: HashMap<Arc<str>, Flow>,
    /// Of topics that are in no connection.
    unknown_flow: FlowLimits,
}

struct Account {
    rights: Rights,
    /// What it publishes counts for, in the order of the connections of its rights.
    flows: Vec<Flow>,
    /// For people: "Master 1 (4569)".
    label: String,
    disabled: bool,
    version: u32,
    /// Versions whose passwords are accepted too, and until when.
    previous: Vec<Previous>,
}

/// A login with the right password.
struct Admitted<'p> {
    account: &'p Account,
    /// The earlier version whose password it was, if it was not the current one's.
    previous: Option<&'p Previous>,
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
    /// Compiles a registry. The settings say how long previous passwords are accepted, what a connection leaves open about
    /// its queues, and whether devices may log in without TLS.
    pub fn new(registry: &Registry, secrets: Secrets, rotation: &Rotation, settings: &Settings) -> Self {
        let limits = &settings.limits;
        let flows = flows(registry, limits);
        let account = |rights: Rights, device: &Device| Account {
            label: device.label(),
            disabled: device.disabled,
            version: device.secret_version,
            previous: rotation.previous(&rights.name, limits.rotation_window).collect(),
            // There is one for each.
            flows: rights.own_topics().filter_map(|topic| flows.get(&*topic).cloned()).collect(),
            rights,
        };
        let accounts = Rights::of_all(registry)
            .into_iter()
            .zip(registry.devices())
            .map(|(rights, device)| (rights.name.clone(), account(rights, device)))
            .collect();
        Self {
            secrets,
            clock: SystemTime::now,
            tls: settings.tls,
            accounts,
            flows,
            unknown_flow: limits.flow(&OwnQueue::default()),
        }
    }

    /// The device of a user name; `None` if there is no such device or it is disabled.
    fn account(&self, name: &str) -> Option<&Account> {
        self.accounts.get(name).filter(|account| !account.disabled)
    }

    fn login(&self, login: &Login<'_>) -> Result<Admitted<'_>, Refusal> {
        let refuse = |reason, detail| Err(Refusal { reason, detail });
        // Whether the password is right is not told to whoever may listen.
        if self.tls == TlsUse::Required && !login.channel.is_encrypted() {
            let echo = echo(login.user_name.unwrap_or_default());
            return refuse(
                ReasonCode::NotAuthorized,
                format!(
                    "{echo} logs in without TLS, which \"tls\": \"required\" in server.json forbids: give the device its \
                     new credential file, which names the port and the CA for TLS"
                ),
            );
        }
        let Some(user_name) = login.user_name else {
            let detail = "no user name: devices log in with the username of their credential file".to_owned();
            return refuse(ReasonCode::BadUserNameOrPassword, detail);
        };
        let account = self.accounts.get(user_name);
        let version = self.version_of(account, login.password.unwrap_or_default());
        match (account, version) {
            (None, _) => {
                let echo = echo(user_name);
                let hint = match self.meant(user_name) {
                    Some(meant) => format!("did you mean {meant:?}?"),
                    None if looks_like_a_password(user_name) => {
                        "are user name and password the wrong way round?".to_owned()
                    }
                    None => "devices log in with the username of their credential file".to_owned(),
                };
                refuse(
                    ReasonCode::BadUserNameOrPassword,
                    format!("no device has the user name {echo}: {hint}"),
                )
            }
            (Some(account), None) => refuse(
                ReasonCode::BadUserNameOrPassword,
                format!(
                    "wrong password for {0}: give it the one of its credential file; `ior-bridge credentials {0}` shows it",
                    account.rights.name
                ),
            ),
            (Some(account), _) if account.disabled => refuse(
                ReasonCode::NotAuthorized,
                format!(
                    "{} is disabled in devices.json: take \"disabled\" out there to let it in, or stop it",
                    account.rights.name
                ),
            ),
            (Some(account), Some(version)) => {
                let previous = account.previous.iter().find(|previous| previous.version == version);
                Ok(Admitted { account, previous })
            }
        }
    }

    /// The user name that was meant: often it is a device code alone, or in other letters.
    fn meant(&self, wrong: &str) -> Option<&str> {
        let is_meant = |name: &&str| {
            let code = name.split_once('.').map_or(*name, |(_, code)| code);
            name.eq_ignore_ascii_case(wrong) || code.eq_ignore_ascii_case(wrong)
        };
        self.accounts.keys().map(String::as_str).find(is_meant)
    }

    /// The version whose password this is, of those that are accepted now. Takes as long for an unknown user as for a
    /// known one, whatever was rotated: it always derives and compares as many passwords.
    fn version_of(&self, account: Option<&Account>, password: &[u8]) -> Option<u32> {
        let (user, code) = match account {
            Some(account) => (&*account.rights.user, &*account.rights.code),
            None => ("", ""),
        };
        let current = account.map_or(0, |account| account.version);
        let mut versions = [current; MAX_PREVIOUS + 1];
        let now = (self.clock)();
        let earlier = account.into_iter().flat_map(|account| &account.previous);
        for (slot, previous) in versions[1..].iter_mut().zip(earlier.filter(|previous| now < previous.until))
        {
            *slot = previous.version;
        }
        let (mut found, mut matching) = (Choice::from(0), current);
        for version in versions {
            let same = self.secrets.password(user, code, version).as_bytes().ct_eq(password);
            matching.conditional_assign(&version, same & !found);
            found |= same;
        }
        let known = Choice::from(u8::from(account.is_some()));
        bool::from(found & known).then_some(matching)
    }

    /// Whether there is a flow of this name.
    fn has_flow(&self, name: &str) -> bool {
        self.flows.contains_key(name)
    }

    fn flow(&self, topic: &str) -> Option<Flow> {
        let end = topic.match_indices('/').nth(2).map_or(topic.len(), |(end, _)| end);
        let name = &topic[..end];
        // Who was asked before a connection was removed may publish in it after that: a flow that nobody may hear.
        let unknown = || Flow { name: name.into(), limits: self.unknown_flow };
        (!name.is_empty()).then(|| self.flows.get(name).cloned().unwrap_or_else(unknown))
    }
}

/// A user name as the log tells it: not too long, and never a password that was sent in its place.
fn echo(user_name: &str) -> String {
    if looks_like_a_password(user_name) {
        return "[a password]".to_owned();
    }
    let beginning: String = user_name.chars().take(MAX_ECHO).collect();
    format!("{beginning:?}")
}

/// One flow for each direction of each connection: what the device `a` publishes in `u/c`, under the name `u/c/a`. And one
/// for its presence messages, `u/c/presence`: no device has that code.
fn flows(registry: &Registry, limits: &Limits) -> HashMap<Arc<str>, Flow> {
    let mut flows = HashMap::with_capacity(3 * registry.connections().len());
    let mut add = |name: Arc<str>, limits: FlowLimits| {
        flows.insert(Arc::clone(&name), Flow { name, limits });
    };
    for connection in registry.connections() {
        let base = format!("{}/{}", connection.user, connection.id);
        for end in End::BOTH {
            let code = &registry.end(connection, end).code;
            add(format!("{base}/{code}").into(), limits.flow(&connection.queue));
        }
        add(format!("{base}/presence").into(), PRESENCE);
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

    /// May the device publish to this Topic Name?
    pub fn may_publish(&self, topic: &str) -> bool {
        self.own_connection(topic).is_ok()
    }

    /// May the device subscribe to this Topic Filter?
    pub fn may_subscribe(&self, filter: &str) -> bool {
        self.decide(Action::Subscribe, filter).is_allowed()
    }

    /// May the device hear the topics of a flow of the policy?
    pub fn may_hear(&self, flow: &str) -> bool {
        let mut levels = flow.split('/');
        let Ok((_, _, peer)) = self.connection(&mut levels) else { return false };
        let level = levels.next();
        (level == Some(peer) || level == Some("presence")) && levels.next().is_none()
    }

    /// May the device publish to this Topic Name, or subscribe to this Topic Filter?
    pub fn decide(&self, action: Action, topic: &str) -> Verdict<'_> {
        match action {
            Action::Publish => self.decide_publish(topic),
            Action::Subscribe => self.decide_subscribe(topic),
        }
    }

    fn decide_publish(&self, topic: &str) -> Verdict<'_> {
        match self.own_connection(topic) {
            Ok((_, connection)) => Verdict::Allowed(Rule::OwnTopic { connection }),
            Err(refused) => Verdict::Refused(refused),
        }
    }

    /// The connection in which the device may publish to this Topic Name: its position and its id.
    fn own_connection(&self, topic: &str) -> Result<(usize, &str), Refused<'_>> {
        if topic.is_empty() || topic.bytes().any(|byte| matches!(byte, b'+' | b'#' | 0)) {
            return Err(Refused::NotATopic);
        }
        let mut levels = topic.splitn(4, '/');
        let (at, connection, peer) = self.connection(&mut levels)?;
        match levels.next() {
            Some(code) if code == &*self.code => Ok((at, connection)),
            _ => Err(Refused::NotOwnTopic { connection, peer }),
        }
    }

    /// Its own topic in each of its connections.
    fn own_topics(&self) -> impl Iterator<Item = String> {
        self.connections.iter().map(|(id, _)| format!("{}/{id}/{}", self.user, self.code))
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
            Ok((_, connection, peer)) => match (levels.next(), levels.next()) {
                (Some(code), _) if code == peer => Verdict::Allowed(Rule::PeerTopic { connection }),
                (Some("presence"), Some(code)) if code == peer => {
                    Verdict::Allowed(Rule::PeerPresence { connection })
                }
                _ => Verdict::Refused(Refused::NotPeerTopic { connection, peer }),
            },
        }
    }

    /// The device's connection that the first two levels name: its position, its id and the peer's code.
    fn connection<'l>(
        &self,
        levels: &mut impl Iterator<Item = &'l str>,
    ) -> Result<(usize, &str, &str), Refused<'_>> {
        if levels.next() != Some(&*self.user) {
            return Err(Refused::NotOwnUser);
        }
        let id = levels.next().unwrap_or_default();
        let found = self.connections.binary_search_by(|(other, _)| (**other).cmp(id));
        let at = found.map_err(|_| Refused::NotConnected)?;
        let (id, peer) = self.connections.get(at).ok_or(Refused::NotConnected)?;
        Ok((at, &**id, &**peer))
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
