use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use ior_broker::{
    access::{Access, Flow, Grant, Login, Permit, Refusal},
    codec::ReasonCode,
    transport::Channel,
};

use super::{Account, Admitted, Policy};
use crate::rotation::Rotations;

/// Before the name of a device that the self-test plays, so that no session of the device is touched. No user name holds
/// a slash.
const SELF_TEST: &str = "self-test/";

/// User name of the watchdog, and its name, which no device can have for the same reason.
pub const WATCHDOG: &str = "watchdog/";

/// It may publish and hear what is below this, and nothing else. No user name begins with a dollar sign.
pub const WATCHDOG_TOPIC: &str = "$watchdog";

/// The policy that holds now. It, and every grant that it ever gave, answer by the newest one, so replacing it concerns
/// all devices at once.
#[derive(Clone)]
pub struct LivePolicy(Arc<Shared>);

struct Shared {
    policy: ArcSwap<Policy>,
    rotations: Arc<Rotations>,
    self_test: ArcSwapOption<String>,
}

impl LivePolicy {
    /// The policy to begin with, and who remembers the use of previous passwords.
    pub fn new(policy: Policy, rotations: Arc<Rotations>) -> Self {
        Self(Arc::new(Shared {
            policy: ArcSwap::from_pointee(policy),
            rotations,
            self_test: ArcSwapOption::empty(),
        }))
    }

    /// From now on this one.
    pub fn replace(&self, policy: Policy) {
        self.0.policy.store(Arc::new(policy));
    }

    /// From now on who logs in with this Client Identifier is the self-test: it has a device's rights under another
    /// name, and a wrong password of it is refused with [`ReasonCode::Banned`]. `None` ends that.
    pub fn set_self_test(&self, client_id: Option<String>) {
        self.0.self_test.store(client_id.map(Arc::new));
    }

    fn held(&self, name: String) -> Arc<dyn Grant> {
        let device = if name.starts_with(SELF_TEST) { SELF_TEST.len() } else { 0 };
        Arc::new(Held { live: self.clone(), name, device })
    }

    fn is_self_test(&self, login: &Login<'_>) -> bool {
        let client_id = self.0.self_test.load();
        client_id.as_ref().is_some_and(|client_id| **client_id == login.client_id)
    }

    fn tell_previous(&self, admitted: &Admitted<'_>) {
        let Some(previous) = admitted.previous else { return };
        let account = admitted.account;
        if self.0.rotations.note_use(account.rights.name(), previous.version) {
            tracing::warn!(
                "{} still uses the password of version {}, accepted until {}: hand it its new credential files before then",
                account.label,
                previous.version,
                humantime::format_rfc3339_seconds(previous.until)
            );
        }
    }
}

impl Access for LivePolicy {
    fn login(&self, login: &Login<'_>) -> Result<Arc<dyn Grant>, Refusal> {
        if login.channel == Channel::Inside {
            return Ok(Arc::new(Watchdog));
        }
        let policy = self.0.policy.load();
        if self.is_self_test(login) {
            // On the loopback interface there is nobody whom TLS would keep from reading.
            let admitted = policy.login(&Login { channel: Channel::Tls, ..*login }).map_err(not_a_guess)?;
            return Ok(self.held(format!("{SELF_TEST}{}", admitted.account.rights.name())));
        }
        let admitted = policy.login(login)?;
        self.tell_previous(&admitted);
        Ok(self.held(admitted.account.rights.name().to_owned()))
    }

    fn grant(&self, name: &str) -> Option<Arc<dyn Grant>> {
        if name == WATCHDOG {
            return Some(Arc::new(Watchdog));
        }
        let device = match name.strip_prefix(SELF_TEST) {
            Some(device) => Some(device).filter(|_| self.0.self_test.load().is_some())?,
            None => name,
        };
        self.0.policy.load().account(device)?;
        Some(self.held(name.to_owned()))
    }

    fn flow(&self, topic: &str) -> Option<Flow> {
        self.0.policy.load().flow(topic)
    }

    fn has_flow(&self, name: &str) -> bool {
        self.0.policy.load().has_flow(name)
    }
}

/// The self-test's wrong password is refused like any other, under a reason that does not count as an attempt to guess: else
/// the devices would have one failed login less.
fn not_a_guess(refusal: Refusal) -> Refusal {
    match refusal.reason {
        ReasonCode::BadUserNameOrPassword => Refusal { reason: ReasonCode::Banned, ..refusal },
        _ => refusal,
    }
}

/// What the watchdog may do.
struct Watchdog;

impl Grant for Watchdog {
    fn name(&self) -> &str {
        WATCHDOG
    }

    fn is_inside(&self) -> bool {
        true
    }

    fn may_publish(&self, topic: &str) -> bool {
        topic.strip_prefix(WATCHDOG_TOPIC).is_some_and(|rest| rest.starts_with('/'))
    }

    fn may_subscribe(&self, filter: &str) -> bool {
        self.may_publish(filter)
    }
}

/// What a device may do, by the policy of the moment in which it is asked.
struct Held {
    live: LivePolicy,
    /// The authenticated name.
    name: String,
    /// Where the device's user name begins in it.
    device: usize,
}

impl Grant for Held {
    fn name(&self) -> &str {
        &self.name
    }

    fn may_publish(&self, topic: &str) -> bool {
        self.ask(|account| account.rights.may_publish(topic))
    }

    fn permit(&self, topic: &str) -> Permit {
        let permit = self.ask(|account| {
            let (at, _) = account.rights.own_connection(topic).ok()?;
            Some(account.flows.get(at).map_or(Permit::Allowed, |flow| Permit::InFlow(flow.clone())))
        });
        match permit {
            // What the self-test says does not count for the devices that it plays: its flow is none of the policy.
            Some(Permit::InFlow(flow)) if self.device > 0 => {
                Permit::InFlow(Flow { name: SELF_TEST.into(), ..flow })
            }
            permit => permit.unwrap_or(Permit::Refused),
        }
    }

    fn may_subscribe(&self, filter: &str) -> bool {
        self.ask(|account| account.rights.may_subscribe(filter))
    }

    fn may_hear(&self, flow: &str) -> bool {
        self.ask(|account| account.rights.may_hear(flow))
    }
}

impl Held {
    /// Of nobody, the default.
    fn ask<T: Default>(&self, question: impl FnOnce(&Account) -> T) -> T {
        let policy = self.live.0.policy.load();
        policy.account(&self.name[self.device..]).map(question).unwrap_or_default()
    }
}
