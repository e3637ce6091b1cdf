//! `run`: the bridge itself.

use std::{path::Path, time::SystemTime};

use super::CommandError;
use crate::{
    configuration::{Configuration, write_default},
    credentials::{self, CREDENTIALS_DIR, Issuer},
    logging,
    policy::Policy,
    rotation::Rotation,
    secrets::Secrets,
    settings::Environment,
};

/// Loads the configuration (a new instance gets the shipped one), writes the credential files and logs the
/// connections.
///
/// # Errors
/// The configuration is invalid (status 2), the secret key or a file fails (status 1).
pub fn run(dir: &Path, environment: &Environment) -> Result<(), CommandError> {
    let new = write_default(dir).map_err(CommandError::failed)?;
    let configuration = Configuration::load(dir, environment)?;
    let Configuration { settings, registry, .. } = &configuration;
    logging::start(&settings.log).map_err(|error| CommandError::usage(format!("RUST_LOG: {error}")))?;
    if new {
        tracing::info!("there was no configuration: wrote the default one to {}", dir.display());
    }
    let secrets = Secrets::load_or_create(&settings.data_dir).map_err(CommandError::failed)?;
    let rotation = Rotation::load_and_update(&settings.data_dir, registry, SystemTime::now())
        .map_err(CommandError::failed)?;
    let issuer = Issuer::new(registry, &secrets, &settings.host, Some(settings.mqtt.listen.port()));
    let written = credentials::write_all(&settings.data_dir, &issuer).map_err(CommandError::failed)?;
    for path in &written.removed {
        tracing::info!("removed {}: its connection is gone", path.display());
    }
    let _policy = Policy::new(registry, secrets, &rotation, settings.limits.rotation_window);
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
