//! What the rest of the broker holds of a store.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::{Arc, atomic::Ordering},
    thread::{self, JoinHandle},
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{
    Change, Contents, Durability, Health, Inventory, LoadRequest, Loaded, OpenError, RevokeRequest,
    StoreError, StoreSettings, StoreStatistics, Totals, TrimRequest,
    answers::refuse,
    contents,
    intake::{Done, Intake, Order},
    owed::Owed,
    place::{Directory, LOG, Place, STORE},
    revoking::Unfinished,
    schema,
    snapshot::{Held, Snapshot},
    writer::{Figures, OnHealth, State, Tuning, Writer},
};

/// An open store. Cheap to clone; closed with [`Store::close`] or with the last clone.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    intake: Arc<Intake>,
    health: Arc<Mutex<Health>>,
    figures: Arc<Figures>,
    /// Until it is closed, so that others get in then.
    place: Mutex<Option<Arc<dyn Place>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Held by whoever copies it.
    copying: Arc<tokio::sync::Mutex<()>>,
}

impl Store {
    /// Opens the store of the directory, or makes one where there is none, and reads what it kept. `on_health` is called
    /// on the store's thread whenever it begins to fail and when it is well again; it must not wait.
    ///
    /// # Errors
    /// [`OpenError`], which says what to do. A store that is there but not whole is never replaced by an empty one.
    pub fn open(
        settings: &StoreSettings,
        on_health: impl Fn(&Health) + Send + Sync + 'static,
    ) -> Result<(Self, Contents), OpenError> {
        let place = Directory::open(&settings.directory)?;
        Self::open_at(Arc::new(place), settings.durability, Tuning::default(), Arc::new(on_health))
    }

    /// The same anywhere, tuned otherwise.
    pub(super) fn open_at(
        place: Arc<dyn Place>,
        durability: Durability,
        tuning: Tuning,
        on_health: OnHealth,
    ) -> Result<(Self, Contents), OpenError> {
        let database = schema::open(&*place, durability, tuning.log_pages)?;
        let (contents, flows) = contents::read(&database.connection)
            .map_err(|error| OpenError::sqlite(&place.path(STORE), &error))?;
        let intake = Arc::new(Intake::new());
        let health = Arc::new(Mutex::new(Health::Fine));
        let figures = Arc::new(Figures::default());
        let writer = Writer {
            place: Arc::clone(&place),
            durability,
            tuning,
            intake: Arc::clone(&intake),
            health: Arc::clone(&health),
            on_health,
            figures: Arc::clone(&figures),
            state: State::Open(database),
            flows,
            owed: Owed::default(),
            unfinished: Unfinished::default(),
            retry_at: None,
            is_damaged: false,
            held: Held::default(),
        };
        let thread = thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || work(writer))
            .map_err(|error| OpenError::io(&place.path(STORE), "cannot start the store's thread", &error))?;
        let shared = Shared {
            intake,
            health,
            figures,
            place: Mutex::new(Some(place)),
            thread: Mutex::new(Some(thread)),
            copying: Arc::default(),
        };
        Ok((Self { shared: Arc::new(shared) }, contents))
    }

    /// Hands changes over without waiting; they come into effect together, in the order of submission. `done` is called on
    /// the store's thread: `Ok` once they are kept as [`Durability`] says. It must not wait for the store.
    ///
    /// Changes with a `done` that is told an error are not in effect, and whoever submitted them decides what follows; but
    /// [`Change::Retain`], [`Change::Unretain`] and [`Change::Unsubscribe`] are tried again like those without, since
    /// what they say has been seen by others.
    /// Changes without are kept and tried again until they are; if they fail, they need not come into effect together. After
    /// [`Store::close`] nothing is taken, and `done` is called before this returns.
    pub fn submit(&self, changes: Vec<Change>, done: Option<Done>) {
        self.hand_over(Order::Apply(changes, done));
    }

    /// Hands over a change that nobody waits for: it goes with the next commit, after a second at the latest.
    pub fn submit_lazily(&self, change: Change) {
        // After the end there is nobody to be told.
        drop(self.shared.intake.push_lazily(Order::Apply(vec![change], None)));
    }

    /// Reads messages of a queue, all in effect that was submitted before. `done` is called like that of a submission.
    pub fn load(&self, request: LoadRequest, done: impl FnOnce(Result<Loaded, StoreError>) + Send + 'static) {
        self.hand_over(Order::Load(request, Box::new(done)));
    }

    /// Removes messages of a queue; says how much. `done` is called like that of a submission.
    pub fn trim(&self, request: TrimRequest, done: impl FnOnce(Result<Totals, StoreError>) + Send + 'static) {
        self.hand_over(Order::Trim(request, Box::new(done)));
    }

    /// Removes all messages of a flow from a queue, in parts, so that others need not wait for all of them. `done` is called
    /// like that of a submission, once nothing is left; if it is told an error, it is tried again all the same.
    pub fn revoke(&self, request: RevokeRequest, done: Done) {
        self.hand_over(Order::Revoke(request, Some(done)));
    }

    /// What it holds, by session and flow, with all that was submitted before.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn inventory(&self) -> Result<Inventory, StoreError> {
        let (told, counted) = oneshot::channel();
        // An error says that nobody waits any more.
        self.hand_over(Order::Count(Box::new(move |found| drop(told.send(found)))));
        let found = counted.await.unwrap_or(Err(StoreError::Closed))?;
        let place = self.shared.place.lock().clone().ok_or(StoreError::Closed)?;
        Ok(found.with_sizes(&*place))
    }

    /// A copy of it with all that was submitted before. One at a time: the next one waits until this one is dropped.
    ///
    /// # Errors
    /// It cannot be written or read.
    pub async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let turn = Arc::clone(&self.shared.copying).lock_owned().await;
        let (told, held) = oneshot::channel();
        // An error says that nobody waits any more.
        self.hand_over(Order::Hold(Box::new(move |hold| drop(told.send(hold)))));
        let hold = held.await.unwrap_or(Err(StoreError::Closed))?;
        let place = self.shared.place.lock().clone().ok_or(StoreError::Closed)?;
        Snapshot::new(place, hold, turn).map_err(|error| StoreError::Failed(error.to_string().into()))
    }

    /// Whether more than 16 MiB wait for the store. Cheap: ask before every submission that can be put off.
    pub fn is_crowded(&self) -> bool {
        self.shared.intake.is_crowded()
    }

    /// Waits until it is not crowded.
    pub async fn has_room(&self) {
        self.shared.intake.has_room().await;
    }

    /// How it is.
    pub fn health(&self) -> Health {
        self.shared.health.lock().clone()
    }

    /// What it has done. Asks the file system for sizes.
    pub fn statistics(&self) -> StoreStatistics {
        let figures = &self.shared.figures;
        let place = self.shared.place.lock().clone();
        let size = |name| place.as_ref().and_then(|place| place.size(name).ok().flatten()).unwrap_or(0);
        StoreStatistics {
            commits: figures.commits.load(Ordering::Relaxed),
            changes: figures.changes.load(Ordering::Relaxed),
            failures: figures.failures.load(Ordering::Relaxed),
            owed: figures.owed.load(Ordering::Relaxed),
            bytes: size(STORE) + size(LOG),
            free_bytes: figures.free_bytes.load(Ordering::Relaxed),
            last_commit: Some(figures.last_commit.load(Ordering::Relaxed)).filter(|at| *at > 0),
        }
    }

    /// Commits all that waits, closes the files and returns then. Nothing is taken afterwards.
    pub fn close(&self) {
        self.shared.close();
    }

    fn hand_over(&self, order: Order) {
        if let Err(order) = self.shared.intake.push(order) {
            refuse(order, &StoreError::Closed);
        }
    }
}

impl Shared {
    fn close(&self) {
        self.intake.close();
        let Some(thread) = self.thread.lock().take() else { return };
        // The last clone may go with a `done` on the store's thread, which ends by itself.
        if thread.thread().id() != thread::current().id() {
            // It cannot have panicked without a defect here, which its message has told.
            drop(thread.join());
        }
        *self.place.lock() = None;
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.close();
    }
}

/// Works until the end. Should the thread panic, nobody is left waiting for it.
fn work(writer: Writer) {
    let (intake, health, on_health) =
        (Arc::clone(&writer.intake), Arc::clone(&writer.health), Arc::clone(&writer.on_health));
    if panic::catch_unwind(AssertUnwindSafe(|| writer.run())).is_err() {
        let died = Health::Failing("the thread of the store has died: restart the bridge".into());
        *health.lock() = died.clone();
        let abandoned = intake.abandon();
        on_health(&died);
        abandoned.into_iter().for_each(|order| refuse(order, &StoreError::Closed));
    }
}
