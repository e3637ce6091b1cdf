//! When devices were seen last, also before the bridge was started. Nothing depends on it but what the operator is told: a
//! file that is missing or damaged is no error.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ior_broker::Broker;
use parking_lot::Mutex;
use tokio::{task::block_in_place, time::sleep};

use crate::{secrets::write_private, storage::advice};

/// File name in the data directory.
pub const LAST_SEEN_FILE: &str = "last-seen.json";

/// How often it is written at most while the bridge runs: memory cards wear out by being written to, and a device that is
/// there is seen all the time.
const SAVE: Duration = Duration::from_secs(15 * 60);

/// Remembers what a running broker knows.
pub struct LastSeen {
    path: PathBuf,
    broker: Arc<Broker>,
    /// As it is in the file; held while that is written.
    written: Mutex<Seen>,
}

/// Seconds since the Unix epoch, by MQTT user name.
type Seen = BTreeMap<String, u64>;

impl LastSeen {
    /// Tells the broker what the file of a data directory says, if there is one. Blocks.
    pub fn restore(data_dir: &Path, broker: Arc<Broker>) -> Self {
        let path = data_dir.join(LAST_SEEN_FILE);
        let seen = load(&path).unwrap_or_else(|error| {
            tracing::warn!(
                "{}: {error}; so it is not known when devices were seen before this start, and the file is written anew",
                path.display()
            );
            Seen::new()
        });
        let ms = |(name, at): (&String, &u64)| (name.as_str().into(), at.saturating_mul(1000));
        broker.restore_last_seen(seen.iter().map(ms));
        Self { path, broker, written: Mutex::new(seen) }
    }

    /// Writes the file if something has changed since it was written. Blocks.
    ///
    /// # Errors
    /// It cannot be written; then it is as it was, and the next time tries again.
    pub fn save(&self) -> io::Result<()> {
        let mut written = self.written.lock();
        let names = self.broker.names().into_iter();
        let seen: Seen =
            names.filter_map(|info| Some((info.name.to_string(), info.last_seen? / 1000))).collect();
        if seen != *written {
            write_private(&self.path, &serde_json::to_vec_pretty(&seen)?, true)
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.path.display())))?;
            *written = seen;
        }
        Ok(())
    }

    /// Writes the file every now and then, for as long as the bridge runs.
    pub async fn keep(self: Arc<Self>) {
        loop {
            sleep(SAVE).await;
            if let Err(error) = block_in_place(|| self.save()) {
                let advice = advice(&error);
                tracing::warn!("when devices were seen last cannot be written: {error}; {advice}");
            }
        }
    }
}

fn load(path: &Path) -> io::Result<Seen> {
    match fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Seen::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use ior_broker::{
        access::{Access, Grant, Login, Refusal},
        codec::ReasonCode,
        limits::Limits,
    };

    use super::*;

    #[tokio::test]
    async fn what_was_seen_survives_and_is_written_only_when_it_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LAST_SEEN_FILE);
        let last_seen = LastSeen::restore(dir.path(), broker());
        last_seen.save().unwrap();
        assert!(!path.exists(), "nothing was seen");
        last_seen.broker.restore_last_seen([("u.a".into(), 1_234_567), ("u.b".into(), 2_000_000)]);
        last_seen.save().unwrap();
        let written = fs::metadata(&path).unwrap();
        assert_eq!(written.permissions().mode() & 0o777, 0o600);

        let broker = broker();
        let last_seen = LastSeen::restore(dir.path(), Arc::clone(&broker));
        let mut seen: Vec<_> =
            broker.names().into_iter().map(|info| (info.name.to_string(), info.last_seen.unwrap())).collect();
        seen.sort();
        assert_eq!(seen, [("u.a".to_owned(), 1_234_000), ("u.b".to_owned(), 2_000_000)]);
        last_seen.save().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), written.ino(), "nothing new");
        broker.restore_last_seen([("u.a".into(), 3_000_000)]);
        last_seen.save().unwrap();
        assert_ne!(fs::metadata(&path).unwrap().ino(), written.ino());
    }

    #[tokio::test]
    async fn a_damaged_file_is_no_error_and_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LAST_SEEN_FILE);
        for damaged in ["", "{", r#"{"u.a": "yesterday"}"#, r#"{"u.a": -1}"#, "[1]"] {
            fs::write(&path, damaged).unwrap();
            let last_seen = LastSeen::restore(dir.path(), broker());
            assert!(last_seen.broker.names().is_empty(), "{damaged}");
            last_seen.broker.restore_last_seen([("u.a".into(), u64::MAX)]);
            last_seen.save().unwrap();
            assert!(load(&path).unwrap().contains_key("u.a"), "{damaged}");
            let again = LastSeen::restore(dir.path(), broker());
            assert_eq!(again.broker.names().len(), 1);
        }
    }

    fn broker() -> Arc<Broker> {
        Arc::new(Broker::start(Arc::new(Everybody), Limits::default(), None).unwrap())
    }

    /// May log in, and does not.
    struct Everybody;

    impl Access for Everybody {
        fn login(&self, _login: &Login<'_>) -> Result<Arc<dyn Grant>, Refusal> {
            Err(Refusal { reason: ReasonCode::NotAuthorized, detail: "nobody".to_owned() })
        }

        fn grant(&self, name: &str) -> Option<Arc<dyn Grant>> {
            Some(Arc::new(Named(name.to_owned())))
        }
    }

    struct Named(String);

    impl Grant for Named {
        fn name(&self) -> &str {
            &self.0
        }

        fn may_publish(&self, _topic: &str) -> bool {
            false
        }

        fn may_subscribe(&self, _filter: &str) -> bool {
            false
        }
    }
}
