use std::{
    fmt,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Fault, edit::listing};
use crate::{
    control::ControlError,
    document::{MAX_FILE_SIZE, Problems, is_changed_meanwhile},
    instance::{Holder, InstanceError},
    registry::{End, Revision, Unclear, why_no_id},
    secrets::SecretError,
    storage::advice,
    tls::TlsError,
};

/// What is told of a configuration that would be invalid.
pub(crate) const NOTHING_CHANGED: &str = "nothing was changed: this is what would stand in the file";

/// Why the configuration was not changed, or what was changed of it and not taken up.
#[derive(Debug)]
pub(crate) enum EditError {
    /// The files are invalid as they are.
    Invalid(Problems),
    /// They would be.
    WouldBeInvalid { problems: Problems, faults: Vec<Fault> },
    /// Somebody else changed them at the same time.
    Changed,
    /// They are not what whoever asks has seen; this is what they are.
    OtherRevision(Revision),
    /// The end of a connection is no device, or may be several.
    NoEnd { end: End, unclear: Unclear },
    /// Nothing of a connection's name can be an id.
    NoId { name: String },
    /// The device's secret version cannot be raised.
    HighestVersion(String),
    /// A device to be removed is in connections: their full ids, and lines for people.
    StillConnected { device: String, connections: Vec<String>, lines: String },
    /// The configuration directory cannot be locked.
    NoLock { dir: PathBuf, error: io::Error },
    /// Others change the configuration for so long.
    Busy { dir: PathBuf, waited: Duration },
    /// A file would be larger than it may be.
    TooLarge(PathBuf),
    /// A file cannot be replaced; these were replaced before.
    CannotWrite { path: PathBuf, error: io::Error, written: Vec<PathBuf> },
    /// The running bridge cannot be asked.
    NoAnswer(ControlError),
    /// The bridge runs with another configuration directory.
    OtherDirectory { pid: u32, runs_with: String, dir: PathBuf },
    /// Somebody works on the data directory, and cannot be asked.
    Taken { data_dir: PathBuf, holder: Holder, socket: PathBuf },
    /// The data directory cannot be worked on.
    NoInstance(InstanceError),
    /// There is no CA to be written into credential files.
    NoCa(TlsError),
    /// There is no secret key.
    NoSecrets(SecretError),
    /// The credential files cannot be written.
    NoCredentials(io::Error),
    /// The files hold the change, and it was not taken up: why.
    NotTakenUp { files: Vec<PathBuf>, why: String },
}

impl EditError {
    /// Whether the request or the configuration is wrong, rather than something failed.
    pub(crate) fn is_usage(&self) -> bool {
        match self {
            Self::Invalid(_)
            | Self::WouldBeInvalid { .. }
            | Self::NoEnd { .. }
            | Self::NoId { .. }
            | Self::HighestVersion(_)
            | Self::StillConnected { .. }
            | Self::TooLarge(_)
            | Self::OtherDirectory { .. } => true,
            Self::NoCa(error) => error.is_of_configuration(),
            _ => false,
        }
    }

    /// Whether the files hold the change, or a part of it.
    pub(crate) fn has_written(&self) -> bool {
        match self {
            Self::NotTakenUp { .. } => true,
            Self::CannotWrite { written, .. } => !written.is_empty(),
            _ => false,
        }
    }

    /// Whether somebody else changed the files meanwhile.
    pub(crate) fn is_conflict(&self) -> bool {
        match self {
            Self::Changed | Self::OtherRevision(_) => true,
            Self::CannotWrite { error, .. } => is_changed_meanwhile(error),
            _ => false,
        }
    }
}

/// For people: what is wrong, what was changed, what to do.
impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(problems) => problems.fmt(f),
            Self::WouldBeInvalid { problems, .. } => write!(f, "{problems}\n{NOTHING_CHANGED}"),
            Self::Changed => f.write_str("the configuration was changed at the same time: try again"),
            Self::OtherRevision(_) => f.write_str(
                "devices or connections were changed meanwhile, in the files or by somebody else: look at what they are now, \
                 then try again; nothing was changed",
            ),
            Self::NoEnd { unclear, .. } => unclear.fmt(f),
            Self::NoId { name } => write!(
                f,
                "no id can be made from the name {name:?}: {}; give one with --id, such as --id connection-1; nothing was \
                 changed",
                why_no_id(name)
            ),
            Self::HighestVersion(device) => write!(f, "{device} has the highest secret version there is"),
            Self::StillConnected { device, connections, lines } => write!(
                f,
                "{device} is still in {}:\n{lines}Remove those first, or add --with-connections; nothing was changed",
                if connections.len() == 1 { "a connection" } else { "connections" },
            ),
            Self::NoLock { dir, error } => write!(
                f,
                "the directory {} cannot be locked: {error}; {}",
                dir.display(),
                match error.kind() {
                    ErrorKind::NotFound => "name the configuration directory with --config",
                    ErrorKind::PermissionDenied => "run this with sudo",
                    _ => "edit the files by hand: the running bridge takes that up",
                }
            ),
            Self::Busy { dir, waited } => write!(
                f,
                "another command has been changing the configuration in {} for {} s: end it, then try again",
                dir.display(),
                waited.as_secs()
            ),
            Self::TooLarge(path) => {
                write!(f, "{} would be larger than {MAX_FILE_SIZE} bytes; nothing was changed", path.display())
            }
            Self::CannotWrite { path, error, written } => cannot_write(f, path, error, written),
            Self::NoAnswer(error) => write!(f, "{error}; nothing was changed"),
            Self::OtherDirectory { pid, runs_with, dir } => write!(
                f,
                "the running bridge (process {pid}) was started with --config {runs_with}, not with {}: name that one; \
                 nothing was changed",
                dir.display()
            ),
            Self::Taken { data_dir, holder, socket } => write!(
                f,
                "{holder} works on the data directory {} and cannot be asked through {}: restart it if it is an older \
                 version, or wait until it is done; nothing was changed",
                data_dir.display(),
                socket.display()
            ),
            Self::NoInstance(error) => error.fmt(f),
            Self::NoCa(error) => error.fmt(f),
            Self::NoSecrets(error) => error.fmt(f),
            Self::NoCredentials(error) => write!(f, "{error}; {}; nothing was changed", advice(error)),
            Self::NotTakenUp { files, why } => write!(f, "{}, but {why}", hold(files)),
        }
    }
}

impl std::error::Error for EditError {}

fn cannot_write(
    f: &mut fmt::Formatter<'_>,
    path: &Path,
    error: &io::Error,
    written: &[PathBuf],
) -> fmt::Result {
    let advice = match error.kind() {
        ErrorKind::PermissionDenied => "; run this with sudo, or as a user who may write there",
        ErrorKind::ReadOnlyFilesystem => "; the file system there is read-only",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; the disk is full",
        _ => "",
    };
    let what = if written.is_empty() { "nothing was changed".to_owned() } else { hold(written) };
    write!(f, "{} cannot be replaced: {error}{advice}; {what}", path.display())
}

fn hold(files: &[PathBuf]) -> String {
    let verb = if files.len() == 1 { "holds" } else { "hold" };
    format!("{} {verb} the change", listing(files))
}
