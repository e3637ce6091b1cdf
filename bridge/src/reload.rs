//! Takes up a changed configuration while the bridge runs: as a whole or not at all.
//!
//! What can fail comes first: the listeners, the certificate, the rotation file and the credential files, each of which
//! can be taken back. Then the policy is replaced at once, the broker takes away what it does not allow any more, and
//! everything else follows.

mod changes;
mod watch;

use std::{
    convert::Infallible,
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use ior_broker::{Broker, Reconsidered};
use tokio::{
    signal::unix::Signal,
    sync::{broadcast, mpsc, oneshot},
    task::block_in_place,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use watch::Watch;

use crate::{
    configuration::Configuration,
    credentials::{Issuer, Reach, Staged, Written},
    diary::Labels,
    listeners::Listeners,
    logging::Level,
    open_files,
    pairs::Pairs,
    policy::{LivePolicy, Policy},
    presence::PresenceTopics,
    registry::{CONNECTIONS_FILE, DEVICES_FILE, Registry, Revision},
    rotation::Rotations,
    secrets::Secrets,
    service_manager::ServiceManager,
    settings::{Environment, SERVER_FILE, Settings},
    storage::advice,
    tls::{Identity, Refreshed},
    web::Site,
};

/// When something is tried again that may have had a passing reason.
const AGAIN: Duration = Duration::from_secs(10);

/// How often certificates, their files, the clock, this machine's names and the configuration are looked at unasked. A
/// machine may learn the time, or its address, only after the bridge has started; and not every file system tells of
/// changes.
const LOOK: Duration = Duration::from_secs(60);

/// What is told of a reload that changes nothing.
pub(crate) const UNCHANGED: &str = "nothing has changed";

/// Settings that cannot change while the bridge runs.
const UNTIL_RESTART: [&str; 3] = ["data_dir", "durability", "log.format"];

/// The parts of a running bridge that follow the configuration.
pub struct Running {
    /// What they follow now.
    pub configuration: Configuration,
    /// The environment that the bridge was started in.
    pub environment: Environment,
    /// The secret key.
    pub secrets: Secrets,
    /// When secret versions changed.
    pub rotations: Arc<Rotations>,
    /// Who may do what.
    pub live: LivePolicy,
    /// The broker.
    pub broker: Arc<Broker>,
    /// What is shown to devices that use TLS.
    pub identity: Arc<Identity>,
    /// Where devices connect.
    pub listeners: Listeners,
    /// Where the page is.
    pub site: Site,
    /// Who is told to be online.
    pub presence: PresenceTopics,
    /// What devices are called in the log.
    pub labels: Labels,
    /// How much is logged.
    pub level: Level,
    /// Who is told of a reload.
    pub manager: ServiceManager,
    /// What they follow, for others to look at.
    pub current: Arc<ArcSwap<Configuration>>,
}

/// Has the configuration taken up when somebody asks for it, and tells whenever that was tried.
#[derive(Clone)]
pub struct ReloadHandle {
    requests: mpsc::Sender<Asked>,
    outcomes: broadcast::Sender<Outcome>,
}

/// What has changed, or why nothing was taken up.
pub type Outcome = Result<String, String>;

/// Where the answer goes.
type Asked = oneshot::Sender<Outcome>;

/// What is asked for through a [`ReloadHandle`].
pub struct ReloadRequests {
    requests: mpsc::Receiver<Asked>,
    outcomes: broadcast::Sender<Outcome>,
}

/// How many outcomes are remembered for whoever is slow.
const OUTCOMES: usize = 16;

/// Reloads one configuration after the other.
pub struct Reloader {
    running: Running,
    /// As it was read last and taken up, with what waits for a restart.
    loaded: Configuration,
    /// The listeners are not where it says.
    unmoved: bool,
    /// Since when there has been no `server.json`, where there was one.
    missed: Option<Instant>,
    /// Why nothing was taken up, as it was told last.
    told: Option<String>,
    watch: Watch,
    requests: mpsc::Receiver<Asked>,
    outcomes: broadcast::Sender<Outcome>,
}

/// What was made ready before anything changes.
struct Prepared {
    /// The new policy without the connections that get another end, if there are any.
    without_changed: Option<Policy>,
    policy: Policy,
    written: Written,
}

/// Whether a reload is to be tried again unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Wait,
    Again,
}

impl ReloadHandle {
    /// One, and where its requests arrive: for the [`Reloader`].
    pub fn new() -> (Self, ReloadRequests) {
        let (sender, requests) = mpsc::channel(16);
        let outcomes = broadcast::Sender::new(OUTCOMES);
        (Self { requests: sender, outcomes: outcomes.clone() }, ReloadRequests { requests, outcomes })
    }
}

impl Reloader {
    /// Watches the files of what runs.
    pub fn new(running: Running, requests: ReloadRequests) -> Self {
        let loaded = running.configuration.clone();
        let mut watch = Watch::new();
        watch.set(&files(&loaded));
        let ReloadRequests { requests, outcomes } = requests;
        Self { running, loaded, unmoved: false, missed: None, told: None, watch, requests, outcomes }
    }

    /// Reloads on every SIGHUP, on every request, and whenever a file has changed, one after the other.
    pub async fn run(&mut self, mut hangup: Signal) -> Infallible {
        // At once for the first time: something may have changed between the start and the watch.
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut again = None;
        loop {
            let mut request = None;
            let mut asked = tokio::select! {
                Some(()) = hangup.recv() => true,
                Some(asked) = self.requests.recv() => {
                    request = Some(asked);
                    true
                }
                () = self.watch.change() => false,
                _ = look.tick() => false,
                () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => false,
            };
            if !asked {
                // Whoever asks has written all that shall be taken up.
                tokio::select! {
                    () = self.watch.settle() => {}
                    Some(waiting) = self.requests.recv() => {
                        request = Some(waiting);
                        asked = true;
                    }
                }
            }
            // Before it is read: what changes afterwards is noticed, wherever a file leads by now.
            self.watch.set(&files(&self.running.configuration));
            let (next, outcome) = self.reload(asked).await;
            let Running { site, configuration, .. } = &mut self.running;
            site.follow(&configuration.settings).await;
            again = match next {
                Next::Again => Some(Instant::now() + AGAIN),
                Next::Wait => None,
            };
            self.watch.set(&files(&self.running.configuration));
            if let Some(request) = request {
                // Whoever asked may have gone.
                let _ = request.send(outcome);
            }
        }
    }

    /// When nothing is to be taken up any more: the page is closed.
    pub async fn stop(self) {
        self.running.site.stop().await;
    }

    /// `asked` is whether somebody waits for an answer: what has changed, or why nothing was taken up.
    async fn reload(&mut self, asked: bool) -> (Next, Outcome) {
        let Running { configuration, environment, .. } = &self.running;
        let new = match block_in_place(|| Configuration::load(&configuration.dir, environment)) {
            Ok(new) => new,
            Err(problems) => {
                let may_pass = problems.iter().any(|problem| problem.may_pass());
                let why = self.refuse(asked, problems.render(false));
                return (if may_pass { Next::Again } else { Next::Wait }, Err(why));
            }
        };
        // An editor may be about to write it anew, and without it everything would have its default.
        if self.loaded.settings.has_file && !new.settings.has_file && !asked {
            let missed = *self.missed.get_or_insert_with(Instant::now);
            if missed.elapsed() < AGAIN {
                return (Next::Again, Ok(UNCHANGED.to_owned()));
            }
        }
        self.missed = None;
        if new.means(&self.loaded) && !(self.unmoved && asked) {
            self.note_revision(new.revision);
            self.refresh_identity();
            let is_news = self.told.take().is_some() || asked;
            return (Next::Wait, Ok(self.reloaded(vec![UNCHANGED.to_owned()], is_news)));
        }
        self.running.manager.reloading();
        let taken_up = self.take_up(new).await;
        self.running.manager.ready();
        match taken_up {
            Ok(changes) => (Next::Wait, Ok(changes)),
            Err(error) => (Next::Again, Err(self.refuse(asked, error))),
        }
    }

    /// The files mean what they meant, and may be written otherwise.
    fn note_revision(&mut self, revision: Revision) {
        let Running { configuration, current, .. } = &mut self.running;
        self.loaded.revision = revision;
        if configuration.revision != revision {
            configuration.revision = revision;
            current.store(Arc::new(configuration.clone()));
        }
    }

    fn refuse(&mut self, asked: bool, why: String) -> String {
        if asked || self.told.as_ref() != Some(&why) {
            tracing::error!("configuration not reloaded, what runs stays as it is:\n{why}");
            self.tell(Err(why.clone()));
        }
        self.told = Some(why.clone());
        why
    }

    fn tell(&self, outcome: Outcome) {
        // An error says that nobody wants to know.
        let _ = self.outcomes.send(outcome);
    }

    /// Looks whether another certificate is to be shown, and tells the devices if they have to trust another CA.
    fn refresh_identity(&self) {
        let configuration = &self.running.configuration;
        let refreshed =
            block_in_place(|| self.running.identity.refresh(&configuration.settings, SystemTime::now()));
        if matches!(refreshed, Refreshed::Replaced { ca_changed: true, .. }) {
            let written = block_in_place(|| self.stage(configuration).and_then(Staged::commit));
            if let Err(error) = written {
                tracing::error!(
                    "the credential files still name the previous CA: {error}; {}",
                    advice(&error)
                );
            }
        }
    }

    async fn take_up(&mut self, new: Configuration) -> Result<String, String> {
        let mut next = new.clone();
        keep_until_restart(&mut next.settings, &self.running.configuration.settings);
        let moved = self.running.listeners.move_to(&next.settings).await;
        if moved.is_err() {
            keep_listeners(&mut next.settings, &self.running.configuration.settings);
        }
        let prepared = block_in_place(|| self.prepare(&next));
        let Prepared { without_changed, policy, written } = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                self.take_back().await;
                return Err(format!("{error}; {}", advice(&error)));
            }
        };

        // From here on nothing fails.
        self.running.current.store(Arc::new(next.clone()));
        let before = std::mem::replace(&mut self.running.configuration, next);
        let mut reconsidered = Reconsidered { is_committed: true, ..Reconsidered::default() };
        if let Some(without_changed) = without_changed {
            // Connections that got another end are others: they go, and come back.
            self.running.live.replace(without_changed);
            reconsidered = self.running.broker.reconsider().await;
        }
        let reconsidered = reconsidered + self.replace(policy, &before).await;
        self.remember_pairs(&before, &reconsidered);
        for path in &written.removed {
            tracing::info!("removed {}: its connection is gone", path.display());
        }
        let mut changes = changes::describe(&before, &self.running.configuration);
        if changes.is_empty() {
            changes.push(UNCHANGED.to_owned());
        }
        changes.extend(taken_away(&reconsidered));
        (self.told, self.loaded, self.unmoved) = (None, new, moved.is_err());
        let changes = self.reloaded(changes, true);
        if !reconsidered.is_committed {
            tracing::warn!(
                "the store fails, so what was taken away is not gone from the disk yet: it goes as soon as that can be \
                 written"
            );
        }
        if let Err(error) = &moved {
            tracing::error!("{error}; then reload again");
        }
        Ok(changes)
    }

    /// The changes as one text, with what was read and holds after a restart only. Told if it is news.
    fn reloaded(&self, mut changes: Vec<String>, is_news: bool) -> String {
        let (read, running) = (&self.loaded.settings.values, &self.running.configuration.settings.values);
        let waits = |key: &&str| read.get(*key) != running.get(*key);
        let waiting: Vec<_> = UNTIL_RESTART.into_iter().filter(waits).collect();
        if !waiting.is_empty() {
            changes.push(format!("{}: what server.json says now holds after a restart", waiting.join(", ")));
        }
        let text = changes.join("; ");
        if is_news {
            match waiting.is_empty() {
                true => tracing::info!("configuration reloaded: {text}"),
                false => tracing::warn!("configuration reloaded: {text}"),
            }
            self.tell(Ok(text.clone()));
        }
        text
    }

    /// All that can fail, once the listeners are where they shall be. Blocks.
    fn prepare(&self, next: &Configuration) -> io::Result<Prepared> {
        let Running { identity, rotations, secrets, configuration, .. } = &self.running;
        // It says itself if it keeps what was shown before.
        identity.refresh(&next.settings, SystemTime::now());
        let staged = self.stage(next)?;
        let rotation = rotations.update(&next.registry)?;
        let written = staged.commit()?;
        let policy = |registry: &Registry| Policy::new(registry, secrets.clone(), &rotation, &next.settings);
        let without_changed = Pairs::of(&configuration.registry).without_changed(&next.registry);
        Ok(Prepared {
            without_changed: without_changed.as_ref().map(policy),
            policy: policy(&next.registry),
            written,
        })
    }

    fn stage(&self, configuration: &Configuration) -> io::Result<Staged> {
        let Running { listeners, identity, secrets, .. } = &self.running;
        let reach = Reach::new(&configuration.settings, &listeners.addresses(), identity.ca());
        Staged::write(
            &configuration.settings.data_dir,
            &Issuer::new(&configuration.registry, secrets, &reach),
        )
    }

    /// What was done before something failed.
    async fn take_back(&mut self) {
        let settings = &self.running.configuration.settings;
        if let Err(error) = self.running.listeners.move_to(settings).await {
            tracing::error!("{error}");
        }
        block_in_place(|| self.running.identity.refresh(settings, SystemTime::now()));
    }

    /// The policy, and everything that follows it.
    async fn replace(&self, policy: Policy, before: &Configuration) -> Reconsidered {
        let Running { live, broker, presence, labels, level, configuration, .. } = &self.running;
        let Configuration { settings, registry, .. } = configuration;
        live.replace(policy);
        broker.set_limits(settings.limits.for_broker());
        if settings.limits != before.settings.limits {
            open_files::raise(&settings.limits);
        }
        level.set(&settings.log);
        let reconsidered = broker.reconsider().await;
        presence.replace(registry).await;
        labels.replace(&before.registry, registry);
        reconsidered
    }

    /// Not before what was said in another pair is gone for good: else the next start would not know that it has to go.
    fn remember_pairs(&self, before: &Configuration, reconsidered: &Reconsidered) {
        let Configuration { settings, registry, .. } = &self.running.configuration;
        let pairs = Pairs::of(registry);
        if reconsidered.is_committed
            && pairs != Pairs::of(&before.registry)
            && let Err(error) = block_in_place(|| pairs.save(&settings.data_dir))
        {
            tracing::error!("{error}; {}; then reload again", advice(&error));
        }
    }
}

impl ReloadHandle {
    /// Has the configuration taken up as it is in the files now. Gives what has changed.
    ///
    /// # Errors
    /// Why nothing was taken up: what ran before goes on.
    pub async fn reload(&self) -> Outcome {
        let (answer, answered) = oneshot::channel();
        // Both fail only while the bridge stops.
        let stops = |_| "the bridge is stopping".to_owned();
        self.requests.send(answer).await.map_err(|_| stops(()))?;
        answered.await.map_err(|_| stops(()))?
    }

    /// What comes of it from now on, asked for or not.
    pub fn outcomes(&self) -> broadcast::Receiver<Outcome> {
        self.outcomes.subscribe()
    }
}

/// Everything that is read.
fn files(configuration: &Configuration) -> Vec<PathBuf> {
    let mqtts = &configuration.settings.mqtts;
    let pair = mqtts.pair.iter().flat_map(|pair| [pair.cert.clone(), pair.key.clone()]);
    let own = [DEVICES_FILE, CONNECTIONS_FILE, SERVER_FILE].map(|name| configuration.dir.join(name));
    own.into_iter().chain(pair).chain(mqtts.client_ca.clone()).collect()
}

/// Leaves what cannot change while the bridge runs as it is.
fn keep_until_restart(new: &mut Settings, running: &Settings) {
    new.data_dir.clone_from(&running.data_dir);
    new.durability = running.durability;
    new.log.format = running.log.format;
    keep_values(new, running, &UNTIL_RESTART);
}

fn keep_listeners(new: &mut Settings, running: &Settings) {
    new.mqtt.listen = running.mqtt.listen;
    new.mqtts.listen = running.mqtts.listen;
    new.websocket.listen = running.websocket.listen;
    keep_values(new, running, &["mqtt.listen", "mqtts.listen", "websocket.listen"]);
}

fn keep_values(new: &mut Settings, running: &Settings, keys: &[&str]) {
    for key in keys {
        if let (Some(new), Some(running)) = (new.values.get_mut(*key), running.values.get(*key)) {
            new.clone_from(running);
        }
    }
}

/// For the operator; nothing if nothing was.
fn taken_away(reconsidered: &Reconsidered) -> Option<String> {
    let counts = [
        (reconsidered.sessions, "session"),
        (reconsidered.subscriptions, "subscription"),
        (reconsidered.messages, "message"),
        (reconsidered.retained, "retained message"),
        (reconsidered.wills, "will"),
    ];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    let counts: Vec<_> =
        counts.map(|(count, what)| format!("{count} {what}{}", if count == 1 { "" } else { "s" })).collect();
    (!counts.is_empty()).then(|| format!("gone with that: {}", counts.join(", ")))
}
