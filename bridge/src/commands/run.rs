//! `run`: the bridge itself.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use ior_broker::{Broker, StartError};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval_at},
};

use super::CommandError;
use crate::{
    configuration::{Configuration, write_default},
    credentials::{self, CREDENTIALS_DIR, Issuer, Reach},
    diary::Diary,
    instance::Instance,
    listeners::{Addresses, Opened},
    logging,
    policy::Policy,
    presence::Presence,
    rotation::Rotation,
    secrets::{Secrets, create_private_dir},
    settings::Environment,
    storage::{advice, probe},
    tls::{Identity, Refreshed},
};

/// How often certificates, their files, the clock and this machine's names are looked at. A machine may learn the time, or
/// its address, only after the bridge has started.
const LOOK_AT_CERTIFICATES: Duration = Duration::from_secs(60);

/// Runs until SIGTERM or Ctrl-C. A new instance gets the shipped configuration.
///
/// # Errors
/// The configuration is invalid (status 2); the data directory is in use, or the secret key, the CA, the store, a file or
/// a listener fails (status 1).
pub async fn run(dir: &Path, environment: &Environment) -> Result<(), CommandError> {
    let new = write_default(dir).map_err(CommandError::failed)?;
    let configuration = Configuration::load(dir, environment)?;
    let Configuration { settings, registry, .. } = &configuration;
    logging::start(&settings.log).map_err(|error| CommandError::usage(format!("RUST_LOG: {error}")))?;
    if new {
        tracing::info!("there was no configuration: wrote the default one to {}", dir.display());
    }
    let mut stop = Stop::new().map_err(CommandError::failed)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(CommandError::failed)?;
    raise_open_files(settings.limits.connections + settings.limits.logins);

    // First: what another process is working with must not be touched.
    let _instance = Instance::claim(&settings.data_dir).map_err(CommandError::failed)?;
    let listeners = Opened::open(settings).await.map_err(CommandError::failed)?;
    let addresses = listeners.addresses();

    let secrets = Secrets::load_or_create(&settings.data_dir).map_err(CommandError::failed)?;
    let rotation = Rotation::load_and_update(&settings.data_dir, registry, SystemTime::now())
        .map_err(CommandError::failed)?;
    let identity = Identity::load(settings, SystemTime::now())?;
    write_credentials(&configuration, &secrets, &addresses, &identity)?;

    let policy = Policy::new(registry, secrets.clone(), &rotation, settings);
    let store = settings.store();
    if let Some(store) = &store {
        let directory = &store.directory;
        // Others must not read messages, whoever made the data directory.
        create_private_dir(directory).map_err(|error| {
            CommandError::failed(format!("{}: {error}; {}", directory.display(), advice(&error)))
        })?;
    }
    let broker = Broker::start(Arc::new(policy), settings.limits.for_broker(), store.as_ref())
        .map(Arc::new)
        .map_err(|error| cannot_start(&settings.data_dir, &error))?;
    tokio::spawn(Diary::new(registry).run(broker.events()));
    let presence = Presence::start(Arc::clone(&broker), registry).await;
    tokio::spawn(presence.run(broker.events()));

    let listeners = listeners.serve(&broker, identity.tls());
    tracing::info!("ready: {}", listeners.addresses());
    let mut look = interval_at(Instant::now() + LOOK_AT_CERTIFICATES, LOOK_AT_CERTIFICATES);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let signal = loop {
        tokio::select! {
            signal = stop.wait() => break signal,
            _ = look.tick() => {}
            _ = hangup.recv() => {}
        }
        let refreshed = identity.refresh(settings, SystemTime::now());
        if matches!(refreshed, Refreshed::Replaced { ca_changed: true, .. })
            && let Err(error) = write_credentials(&configuration, &secrets, &addresses, &identity)
        {
            tracing::error!("the credential files still name the previous CA: {error}");
        }
    };
    tracing::info!("{signal}: stopping");
    broker.stop().await;
    Ok(())
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

/// What the store says of a full or failing disk is what SQLite says, and not what to do about it.
fn cannot_start(data_dir: &Path, error: &StartError) -> CommandError {
    match probe(data_dir) {
        Err(disk) if matches!(error, StartError::Store(_)) => {
            CommandError::failed(format!("cannot start the broker: {error}; {}", advice(&disk)))
        }
        _ => CommandError::failed(format!("cannot start the broker: {error}")),
    }
}

/// Every connection needs a file descriptor, and most systems allow 1,024 until they are asked.
fn raise_open_files(connections: usize) {
    const OTHERS: u64 = 64;
    let wanted = connections as u64 + OTHERS;
    match rlimit::increase_nofile_limit(wanted) {
        Ok(allowed) if allowed >= wanted => {}
        Ok(allowed) => tracing::warn!(
            "the system allows {allowed} open files, which is too few for limits.connections and limits.logins, together \
             {connections}: raise LimitNOFILE in the unit, or lower the limits"
        ),
        Err(error) => tracing::warn!("cannot raise the limit of open files: {error}"),
    }
}

/// The signals that end the bridge.
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "Ctrl-C",
        }
    }
}
