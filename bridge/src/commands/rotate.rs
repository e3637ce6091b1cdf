//! `rotate`: gives a device a new password.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use serde_json::json;

use super::{CommandError, print, print_json};
use crate::{
    configuration::Configuration,
    credentials::{self, CredentialFile, Issuer, Reach},
    document::{EntryList, Problems, Source},
    instance::{Holder, Instance, InstanceError},
    listeners::Addresses,
    registry::{CONNECTIONS_FILE, DEVICES_FILE, Device, End, Registry},
    rotation::{Previous, Rotation},
    secrets::Secrets,
    settings::{Environment, Settings},
    tls,
};

/// How long a running bridge may take to write the new credential files.
const PICK_UP: Duration = Duration::from_secs(15);
/// How often it is looked whether they are there.
const LOOK: Duration = Duration::from_millis(50);

/// Arguments of `rotate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The device: its code, `<user>.<code>`, or its name if no other has it.
    pub device: String,
    /// Report in JSON.
    #[arg(long)]
    pub json: bool,
}

/// Raises the device's `secret_version` in `devices.json`, which is otherwise left as it stands, and has the new
/// credential files written: by the running bridge if there is one.
///
/// # Errors
/// The device is unknown or the configuration invalid (status 2); a file cannot be read or written, or the running bridge
/// does not write the new credential files in time (status 1).
pub async fn run(args: &Args, dir: &Path, environment: &Environment) -> Result<(), CommandError> {
    let Configuration { settings, registry, .. } = Configuration::load(dir, environment)?;
    let device = registry.find_device(&args.device)?;
    let change = Change::make(dir, &registry, device)?;
    let secrets = Secrets::load_or_create(&settings.data_dir).map_err(CommandError::failed)?;
    // With the lock in hand no bridge can start in the middle.
    let running = match Instance::claim(&settings.data_dir) {
        Ok(_instance) => {
            let ca = tls::ca(&settings, SystemTime::now())?;
            change.write()?;
            change.write_credentials(&settings, &secrets, ca).map_err(|error| {
                let path = change.source.path().display();
                CommandError::failed(format!("{path} holds the new secret version, but: {error}"))
            })?;
            None
        }
        Err(InstanceError::Taken { holder, .. }) => {
            change.write()?;
            change.wait(&settings, &secrets, holder).await?;
            Some(holder)
        }
        Err(error) => return Err(CommandError::failed(error)),
    };
    let rotation = Rotation::load(&settings.data_dir).map_err(CommandError::failed)?;
    let window = settings.limits.rotation_window;
    let name = device.user_name();
    let accepted = |previous: &Previous| previous.until > SystemTime::now();
    let previous = rotation.previous(&name, window).filter(accepted).collect();
    let report = Report { device, change: &change, files: change.files(&settings), previous, running };
    if args.json { print_json(&report.to_json()) } else { print(&report.to_text()) }
}

/// The configuration with a raised secret version, not written yet.
struct Change {
    source: Arc<Source>,
    /// What `devices.json` will hold.
    text: String,
    registry: Registry,
    /// The device's index in it.
    device: usize,
}

impl Change {
    fn make(dir: &Path, registry: &Registry, device: &Device) -> Result<Self, CommandError> {
        let version = device.secret_version.checked_add(1).ok_or_else(|| {
            CommandError::usage(format!("{} has the highest secret version there is", device.label()))
        })?;
        let changed = || CommandError::failed("the configuration was changed at the same time: try again");
        let read = |name| -> Result<Arc<Source>, CommandError> {
            Source::read(&dir.join(name)).map_err(Problems::from)?.ok_or_else(changed)
        };
        let (source, connections) = (read(DEVICES_FILE)?, read(CONNECTIONS_FILE)?);
        let index = registry.devices().iter().position(|other| other == device).ok_or_else(changed)?;
        let list = EntryList::find(&source, "devices").map_err(Problems::from)?;
        let list = list.filter(|list| list.len() == registry.devices().len()).ok_or_else(changed)?;
        let text = list.set(index, "secret_version", &version.into());
        let new = Registry::parse(&Source::new(source.path(), &*text), &connections)?;
        let others = |registry: &Registry| {
            let mut devices = registry.devices().to_vec();
            devices[index].secret_version = version;
            (devices, registry.connections().to_vec())
        };
        if others(&new) != others(registry) {
            return Err(changed());
        }
        Ok(Self { source, text, registry: new, device: index })
    }

    fn device(&self) -> &Device {
        &self.registry.devices()[self.device]
    }

    fn write(&self) -> Result<(), CommandError> {
        self.source.replace(&self.text).map_err(|error| {
            let path = self.source.path().display();
            CommandError::failed(format!("{path} cannot be replaced: {error}; nothing was changed"))
        })
    }

    /// What a bridge does at its start.
    fn write_credentials(
        &self,
        settings: &Settings,
        secrets: &Secrets,
        ca: Option<String>,
    ) -> io::Result<()> {
        Rotation::load_and_update(&settings.data_dir, &self.registry, SystemTime::now())?;
        let reach = Reach::new(settings, &Addresses::wanted(settings), ca);
        let issuer = Issuer::new(&self.registry, secrets, &reach);
        credentials::write_all(&settings.data_dir, &issuer).map(drop)
    }

    /// The credential files of the device.
    fn files(&self, settings: &Settings) -> Vec<PathBuf> {
        let ends = self.registry.connections().iter().flat_map(|connection| {
            let own = move |end: &End| self.registry.end(connection, *end) == self.device();
            End::BOTH.into_iter().filter(own).map(move |end| (connection, end))
        });
        ends.map(|(connection, end)| credentials::path(&settings.data_dir, connection, end)).collect()
    }

    /// Until the running bridge has written what belongs to the new version.
    async fn wait(&self, settings: &Settings, secrets: &Secrets, holder: Holder) -> Result<(), CommandError> {
        let device = self.device();
        let password = secrets.password(&device.user, device.code.as_str(), device.secret_version);
        let name = device.user_name();
        let files = self.files(settings);
        let holds_new = |path: &PathBuf| {
            let file = fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok());
            file.is_some_and(|file: CredentialFile| file.mqtt.password == *password)
        };
        let seen = || {
            let rotation = Rotation::load(&settings.data_dir).ok();
            rotation.and_then(|rotation| rotation.version(&name)) == Some(device.secret_version)
        };
        let until = Instant::now() + PICK_UP;
        while !(seen() && files.iter().all(holds_new)) {
            if Instant::now() >= until {
                return Err(CommandError::failed(format!(
                    "{} holds the new secret version, but {holder} has not written the new credential files within {} s: \
                     its log tells why; if it was started with another --config, it does not see this file",
                    self.source.path().display(),
                    PICK_UP.as_secs()
                )));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}

/// What was done.
struct Report<'a> {
    device: &'a Device,
    change: &'a Change,
    files: Vec<PathBuf>,
    /// Earlier versions that are still accepted.
    previous: Vec<Previous>,
    running: Option<Holder>,
}

impl Report<'_> {
    fn to_text(&self) -> String {
        let mut text = format!(
            "{} has the secret version {} now, in {}.\n",
            self.device.label(),
            self.change.device().secret_version,
            self.change.source.path().display()
        );
        if self.files.is_empty() {
            text.push_str("It has no connection, so no credential file.\n");
        } else {
            text.push_str("Hand it its new credentials:\n");
        }
        for file in &self.files {
            text.push_str(&format!("  {}\n", file.display()));
        }
        for previous in &self.previous {
            let until = humantime::format_rfc3339_seconds(previous.until);
            text.push_str(&format!(
                "The password of version {} is accepted until {until}.\n",
                previous.version
            ));
        }
        if self.previous.is_empty() {
            text.push_str("No earlier password is accepted.\n");
        }
        text.push_str(&match self.running {
            Some(holder) => format!("This holds from now on: {holder} has taken it up.\n"),
            None => "No bridge is running: this holds when one is started.\n".to_owned(),
        });
        text
    }

    fn to_json(&self) -> serde_json::Value {
        let previous = |previous: &Previous| {
            let until = humantime::format_rfc3339_seconds(previous.until).to_string();
            json!({ "version": previous.version, "accepted_until": until })
        };
        json!({
            "username": self.device.user_name(),
            "name": self.device.name,
            "secret_version": self.change.device().secret_version,
            "configuration": self.change.source.path().display().to_string(),
            "files": self.files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>(),
            "previous": self.previous.iter().map(previous).collect::<Vec<_>>(),
            "running": self.running.is_some(),
            "pid": self.running.and_then(|holder| holder.pid),
        })
    }
}
