//! `run`: the bridge itself.

mod end;

use std::{
    io::{self, IsTerminal},
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use ior_broker::{Broker, StartError};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{broadcast, mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

use self::end::{End, Stop, start_again};
use super::CommandError;
use crate::{
    backup::{finish_pending, remove_leftovers},
    configuration::{Configuration, write_default},
    control::{Bridge, Control, socket_path},
    credentials::{self, CREDENTIALS_DIR, Issuer, Reach},
    diary::{Diary, Labels},
    instance::Instance,
    last_seen::LastSeen,
    leftovers,
    listeners::{Addresses, Opened},
    logging::{self, Level},
    open_files,
    pairs::Pairs,
    policy::{LivePolicy, Policy},
    presence::{Presence, PresenceTopics},
    reload::{ReloadHandle, Reloader, Running},
    rotation::{Rotation, Rotations},
    secrets::{Secrets, create_private_dir},
    self_test::SelfTest,
    service_manager::ServiceManager,
    settings::{Environment, LogFormat, Settings},
    storage::{advice, probe},
    tls::Identity,
    watchdog::Watchdog,
    web::{Site, Web, auth::password::Administrator},
};

/// How long the diary may take to its end when the bridge stops.
const LAST_ENTRIES: Duration = Duration::from_secs(1);

/// How many of the bridge's own events are remembered for whoever reads them slowly.
const NOTICES: usize = 256;

/// Arguments of `run`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// How lines of the log look, whatever `log.format` in server.json says.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// Runs until SIGTERM or Ctrl-C. A new instance gets the shipped configuration.
///
/// # Errors
/// The configuration is invalid (status 2); the data directory is in use, the secret key, the CA, the store, a file or a
/// listener fails, or the self-test does (status 1).
pub async fn run(args: &Args, dir: &Path, environment: &Environment) -> Result<(), CommandError> {
    let (started, running_since) = (SystemTime::now(), Instant::now());
    // First: until it is caught, this signal ends the process.
    let hangup = signal(SignalKind::hangup()).map_err(CommandError::failed)?;
    let mut stop = Stop::new().map_err(CommandError::failed)?;
    let (configuration, level) = configure(args, dir, environment)?;
    let Configuration { settings, registry, .. } = &configuration;

    // Before anything is written: what another process is working with must not be touched.
    let _instance = Instance::claim(&settings.data_dir).map_err(CommandError::failed)?;
    remove_leftovers(&settings.data_dir);
    leftovers::remove(dir);
    let listeners = Opened::open(settings).map_err(CommandError::failed)?;
    let secrets = Secrets::load_or_create(&settings.data_dir).map_err(CommandError::failed)?;
    let rotation = Rotation::load_and_update(&settings.data_dir, registry, SystemTime::now())
        .map_err(CommandError::failed)?;
    let identity = Arc::new(Identity::load(settings, SystemTime::now())?);
    write_credentials(&configuration, &secrets, &listeners.addresses(), &identity)?;
    prepare_login(&settings.data_dir);

    let Core { broker, live, rotations } = Core::start(&configuration, &secrets, rotation).await?;
    // Before anything follows what happens: neither the log nor presence shall tell of it.
    test_itself(&configuration, &secrets, &broker, &live).await?;
    let labels = Labels::new(registry);
    let (followers, presence) = Followers::start(&broker, &configuration, &labels, &rotations).await;

    let control = Control::open(&socket_path(settings)).await.map_err(CommandError::failed)?;
    let current = Arc::new(ArcSwap::from_pointee(configuration.clone()));
    let manager = ServiceManager::new(Arc::clone(&broker), Arc::clone(&current));
    tokio::spawn(manager.clone().follow(broker.events()));
    let listeners = listeners.serve(&broker, identity.tls());
    let addresses = listeners.follow();
    let (reload, requests) = ReloadHandle::new();
    let (pauses, mut pause) = mpsc::channel(1);
    let (web_address, pulse) = (Arc::default(), Arc::default());
    let bridge = Arc::new(Bridge {
        broker: Arc::clone(&broker),
        configuration: Arc::clone(&current),
        environment: environment.clone(),
        identity: Arc::clone(&identity),
        addresses: Arc::clone(&addresses),
        web_address: Arc::clone(&web_address),
        notices: broadcast::Sender::new(NOTICES),
        reload,
        pauses,
        pulse: Arc::clone(&pulse),
        stopping: watch::Sender::new(false),
        started,
        running_since,
    });
    let mut site = Site::new(Web::new(Arc::clone(&bridge)), identity.web_tls(), Arc::clone(&web_address));
    site.follow(&configuration.settings).await;
    // Whoever sees that it is ready may change something at once.
    let mut reloader = Reloader::new(
        Running {
            configuration,
            environment: environment.clone(),
            secrets,
            rotations,
            live,
            broker: Arc::clone(&broker),
            identity,
            listeners,
            site,
            presence,
            labels,
            level,
            current,
            manager: manager.clone(),
        },
        requests,
    );
    let page = web_address.load().map(|address| format!(", web {address}"));
    let ready = format!("ready: {}{}", addresses.load(), page.unwrap_or_default());
    let control = control.serve(Arc::clone(&bridge));
    let watchdog = Watchdog::start(Arc::clone(&broker), manager.clone(), pulse)
        .map_err(|error| CommandError::failed(format!("cannot start the watchdog: {error}")))?;
    tracing::info!("{ready}");
    manager.ready();

    let end = tokio::select! {
        signal = stop.wait() => End::Signal(signal),
        Some(pause) = pause.recv() => End::Pause(pause),
        never = reloader.run(hangup) => match never {},
    };
    tracing::info!("{end}: stopping");
    end.tell(&manager);
    bridge.stopping.send_replace(true);
    control.stop().await;
    reloader.stop().await;
    drop(watchdog);
    broker.stop().await;
    followers.stop().await;
    match end {
        End::Signal(_) => Ok(()),
        End::Pause(pause) => start_again(pause, &mut stop).await,
    }
}

/// The configuration, once it is the one that shall run, and the log that it asks for.
fn configure(
    args: &Args,
    dir: &Path,
    environment: &Environment,
) -> Result<(Configuration, Level), CommandError> {
    // What was to be replaced and is not yet comes before all that reads it.
    let restored = finish_pending(dir, environment).map_err(CommandError::failed)?;
    let new = write_default(dir).map_err(CommandError::failed)?;
    let configuration = Configuration::load(dir, environment)?;
    let level = logging::start(&configuration.settings.log, args.log_format)
        .map_err(|error| CommandError::usage(format!("RUST_LOG: {error}")))?;
    if restored {
        tracing::info!("the restore of a backup was interrupted: it is finished now");
    }
    if new {
        tracing::info!("there was no configuration: wrote the default one to {}", dir.display());
    }
    open_files::raise(&configuration.settings.limits);
    Ok((configuration, level))
}

fn write_credentials(
    configuration: &Configuration,
    secrets: &Secrets,
    addresses: &Addresses,
    identity: &Identity,
) -> Result<(), CommandError> {
    let Configuration { settings, registry, .. } = configuration;
    let reach = Reach::new(settings, addresses, identity.ca());
    let issuer = Issuer::new(registry, secrets, &reach);
    let written = credentials::write_all(&settings.data_dir, &issuer).map_err(CommandError::failed)?;
    for path in &written.removed {
        tracing::info!("removed {}: its connection is gone", path.display());
    }
    for line in super::check::connection_table(registry).lines() {
        tracing::info!("{line}");
    }
    tracing::info!(
        "credential files: {} ({} written, {} unchanged)",
        settings.data_dir.join(CREDENTIALS_DIR).display(),
        written.written.len(),
        written.unchanged
    );
    Ok(())
}

/// Sees to it that there is an administrator's password. Devices need none, so all else goes on without it.
fn prepare_login(data_dir: &Path) {
    let administrator = Administrator::of(data_dir);
    let file = administrator.initial_file();
    match administrator.begin() {
        // The log may be kept, and read by others.
        Ok(Some(password)) if io::stderr().is_terminal() => eprintln!(
            "\n    The administrator's password for the page: {}\n    It stands in {}, too, until it is changed.\n",
            *password,
            file.display()
        ),
        Ok(Some(_)) => {
            tracing::info!("the administrator's password for the page stands in {}", file.display());
        }
        Ok(None) => {
            if let Err(error) = administrator.check() {
                tracing::error!("nobody can log in to the page: {error}");
            }
        }
        Err(error) => tracing::error!("nobody can log in to the page: {error}"),
    }
}

/// The broker, and what it decides by.
struct Core {
    broker: Arc<Broker>,
    live: LivePolicy,
    rotations: Arc<Rotations>,
}

impl Core {
    /// Takes over what an earlier run kept, without what was said in pairs that are others now.
    async fn start(
        configuration: &Configuration,
        secrets: &Secrets,
        rotation: Rotation,
    ) -> Result<Self, CommandError> {
        let Configuration { settings, registry, .. } = configuration;
        let policy = Policy::new(registry, secrets.clone(), &rotation, settings);
        let pairs = Pairs::load(&settings.data_dir).map_err(CommandError::failed)?;
        // By the first one, what an earlier run kept is taken over.
        let (first, next) = match pairs.without_changed(registry) {
            None => (policy, None),
            Some(without) => (Policy::new(&without, secrets.clone(), &rotation, settings), Some(policy)),
        };
        let rotations = Arc::new(Rotations::new(&settings.data_dir, rotation));
        let live = LivePolicy::new(first, Arc::clone(&rotations));
        let broker = start_broker(settings, &live)?;
        let mut is_gone = true;
        if let Some(next) = next {
            is_gone = broker.reconsider().await.is_committed;
            live.replace(next);
        }
        // Not before what was said in another pair is gone for good: else the next start would not know that it has to go.
        if is_gone && Pairs::of(registry) != pairs {
            Pairs::of(registry).save(&settings.data_dir).map_err(CommandError::failed)?;
        }
        Ok(Self { broker, live, rotations })
    }
}

fn start_broker(settings: &Settings, live: &LivePolicy) -> Result<Arc<Broker>, CommandError> {
    let store = settings.store();
    if let Some(store) = &store {
        let directory = &store.directory;
        // Others must not read messages, whoever made the data directory.
        create_private_dir(directory).map_err(|error| {
            CommandError::failed(format!("{}: {error}; {}", directory.display(), advice(&error)))
        })?;
    }
    Broker::start(Arc::new(live.clone()), settings.limits.for_broker(), store.as_ref())
        .map(Arc::new)
        .map_err(|error| cannot_start(&settings.data_dir, &error))
}

/// What the store says of a full or failing disk is what SQLite says, and not what to do about it.
fn cannot_start(data_dir: &Path, error: &StartError) -> CommandError {
    match probe(data_dir) {
        Err(disk) if matches!(error, StartError::Store(_)) => {
            CommandError::failed(format!("cannot start the broker: {error}; {}", advice(&disk)))
        }
        _ => CommandError::failed(format!("cannot start the broker: {error}")),
    }
}

/// Proves the rules with packets, and forgets that it did.
async fn test_itself(
    configuration: &Configuration,
    secrets: &Secrets,
    broker: &Arc<Broker>,
    live: &LivePolicy,
) -> Result<(), CommandError> {
    let self_test = SelfTest::new(&configuration.registry, secrets).map_err(CommandError::failed)?;
    let limits = configuration.settings.limits.for_broker();
    let took = self_test.run(broker, live, &limits).await.map_err(CommandError::failed)?;
    broker.forget_counts();
    tracing::info!("self-test passed in {} ms", took.as_millis());
    Ok(())
}

/// Those who follow what happens, and write it down at the end.
struct Followers {
    diary: JoinHandle<()>,
    diary_goes_on: oneshot::Sender<()>,
    rotations: Arc<Rotations>,
    last_seen: Arc<LastSeen>,
}

impl Followers {
    async fn start(
        broker: &Arc<Broker>,
        configuration: &Configuration,
        labels: &Labels,
        rotations: &Arc<Rotations>,
    ) -> (Self, PresenceTopics) {
        let (diary_goes_on, diary_ends) = oneshot::channel();
        let diary = tokio::spawn(Diary::new(labels.clone()).run(broker.events(), diary_ends));
        let (presence, topics) = Presence::start(Arc::clone(broker), &configuration.registry).await;
        tokio::spawn(presence.run(broker.events()));
        tokio::spawn(Arc::clone(rotations).keep());
        let last_seen = LastSeen::restore(&configuration.settings.data_dir, Arc::clone(broker));
        let last_seen = Arc::new(last_seen);
        tokio::spawn(Arc::clone(&last_seen).keep());
        (Self { diary, diary_goes_on, rotations: Arc::clone(rotations), last_seen }, topics)
    }

    /// When nothing happens any more.
    async fn stop(self) {
        drop(self.diary_goes_on);
        // An error says that it takes too long, or panicked: what it has to say is not worth waiting for.
        let _ = timeout(LAST_ENTRIES, self.diary).await;
        if let Err(error) = self.rotations.save() {
            tracing::warn!("when previous passwords were used last cannot be written: {error}");
        }
        if let Err(error) = self.last_seen.save() {
            tracing::warn!("when devices were seen last cannot be written: {error}");
        }
    }
}
