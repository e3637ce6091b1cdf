//! Notices that files change. Directories are watched rather than files, because editors replace files, and what a link
//! leads to as well as the link.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

/// How long nothing changes before a change counts as complete.
const QUIET: Duration = Duration::from_millis(500);

/// How long a change may take at most.
const PATIENCE: Duration = Duration::from_secs(5);

/// Watches files.
pub struct Watch {
    changed: Arc<Notify>,
    places: Places,
    /// None if the system refuses, which was told.
    watcher: Option<RecommendedWatcher>,
}

/// What is watched.
type Places = BTreeMap<PathBuf, Place>;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    /// A directory that was replaced by another one is not the same place.
    identity: (u64, u64),
    /// Names in it that count.
    names: BTreeSet<OsString>,
}

impl Watch {
    /// Watches nothing yet.
    pub fn new() -> Self {
        Self { changed: Arc::new(Notify::new()), places: Places::new(), watcher: None }
    }

    /// From now on these files, whether they exist or not.
    pub fn set(&mut self, files: &[PathBuf]) {
        let places = places(files);
        if places == self.places {
            return;
        }
        match watch(&places, &self.changed) {
            // The new one is there before the old one goes, so that nothing is missed.
            Ok(watcher) => (self.watcher, self.places) = (Some(watcher), places),
            Err(error) => tracing::warn!(
                "changes of the configuration are not noticed by themselves, tell the bridge with `systemctl reload \
                 ior-bridge` or SIGHUP: {error}"
            ),
        }
    }

    /// Waits until a file has changed.
    pub async fn change(&self) {
        self.changed.notified().await;
    }

    /// Waits until no file has changed for a while, so that whoever writes several, or one in steps, is done.
    pub async fn settle(&self) {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until && timeout(QUIET, self.changed.notified()).await.is_ok() {}
    }
}

fn watch(places: &Places, changed: &Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let (counting, changed) = (places.clone(), Arc::clone(changed));
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // What was missed may have been ours.
        if event.map_or(true, |event| counts(&event, &counting)) {
            changed.notify_one();
        }
    })?;
    for directory in places.keys() {
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

fn counts(event: &Event, places: &Places) -> bool {
    let only_read = match event.kind {
        EventKind::Access(kind) => kind != AccessKind::Close(AccessMode::Write),
        _ => false,
    };
    let ours = |path: &PathBuf| {
        let directory = path.parent().and_then(|directory| places.get(directory));
        let named = directory.zip(path.file_name()).is_some_and(|(place, name)| place.names.contains(name));
        named || places.contains_key(path)
    };
    !only_read && (event.need_rescan() || event.paths.iter().any(ours))
}

fn places(files: &[PathBuf]) -> Places {
    let mut places = Places::new();
    for file in files {
        let target = fs::canonicalize(file).ok();
        for path in [Some(file.clone()), target].into_iter().flatten() {
            let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { continue };
            let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
            let Ok(metadata) = fs::metadata(directory) else { continue };
            let identity = (metadata.dev(), metadata.ino());
            let new = || Place { identity, names: BTreeSet::new() };
            let directory = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
            places.entry(directory).or_insert_with(new).names.insert(name.to_owned());
        }
    }
    places
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Longer than it takes.
    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn however_a_file_changes_it_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (config, elsewhere) = (dir.path().join("config"), dir.path().join("elsewhere"));
        fs::create_dir(&config).unwrap();
        fs::write(&elsewhere, "").unwrap();
        let [a, b, link] = ["a", "b", "link"].map(|name| config.join(name));
        std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
        let mut watch = Watch::new();
        let files = [a.clone(), link.clone()];
        watch.set(&files);
        let steps: [&dyn Fn(); 7] = [
            &|| fs::write(&a, "new").unwrap(),
            &|| fs::write(&a, "in place").unwrap(),
            &|| fs::rename(&a, &b).unwrap(),
            &|| fs::rename(&b, &a).unwrap(),
            &|| fs::remove_file(&a).unwrap(),
            &|| fs::write(&elsewhere, "what the link leads to").unwrap(),
            &|| fs::rename(&config, dir.path().join("moved")).unwrap(),
        ];
        for (number, step) in steps.iter().enumerate() {
            step();
            assert!(timeout(LONG, watch.change()).await.is_ok(), "step {number}");
            watch.settle().await;
        }
        fs::create_dir(&config).unwrap();
        watch.set(&files);
        fs::write(&a, "in another directory of the same name").unwrap();
        timeout(LONG, watch.change()).await.unwrap();
    }

    #[tokio::test]
    async fn what_does_not_count_is_not_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (file, other) = (dir.path().join("file"), dir.path().join("file.swp"));
        fs::write(&file, "").unwrap();
        let mut watch = Watch::new();
        watch.set(std::slice::from_ref(&file));
        fs::write(&other, "").unwrap();
        fs::read(&file).unwrap();
        fs::remove_file(&other).unwrap();
        assert!(timeout(QUIET, watch.change()).await.is_err());
    }
}
