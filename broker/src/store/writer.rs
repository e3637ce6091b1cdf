//! The store's thread: takes what waits, commits it at once, and tells everybody. What it does about failures.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rusqlite::{Connection, DEFAULT_NAME, ErrorCode, wal::CheckpointMode};
use tracing::{debug, error, warn};

use super::{
    Change, Durability, Health, LoadRequest, Loaded, StoreError,
    answers::{Answer, contain, refuse, take_out_of_range, tell},
    batch::{Batch, Flows},
    contents,
    intake::{Intake, Order},
    owed::{Owed, undoing},
    place::Place,
    revoking::{SessionEnds, Unfinished},
    schema::{self, Database, PAGE_SIZE},
    snapshot::Held,
};
use crate::clock;

/// The most that one commit takes.
const BATCH_CHANGES: usize = 10_000;
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Without anything to do for so long, the store is tidied up.
const IDLE: Duration = Duration::from_secs(10);
const VACUUM_PAGES: i64 = 512;

/// How often free pages are counted while there is something to do.
const COUNT_FREE: Duration = Duration::from_secs(1);

/// How often what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
const REOPEN_LAST: Duration = Duration::from_secs(5);

/// What others may know of the thread.
#[derive(Default)]
pub struct Figures {
    /// Commits.
    pub commits: AtomicU64,
    /// Changes in them.
    pub changes: AtomicU64,
    /// Commits that failed.
    pub failures: AtomicU64,
    /// Changes that are tried again.
    pub owed: AtomicU64,
    /// Bytes of the file that are free.
    pub free_bytes: AtomicU64,
    /// When the last commit was, in milliseconds since the Unix epoch; 0 if there was none.
    pub last_commit: AtomicU64,
}

/// What tests have otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Tuning {
    /// The log is moved into the database when it has so many pages. The longer it gets, the more often a page was
    /// written again in it and is moved only once.
    pub log_pages: u32,
    /// How long to wait after an error of the device before the files are opened again; then twice as long every time.
    pub reopen_after: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { log_pages: 4_096, reopen_after: Duration::from_millis(100) }
    }
}

/// Told about every change of [`Health`].
pub type OnHealth = Arc<dyn Fn(&Health) + Send + Sync>;

/// The state of the thread.
pub struct Writer {
    pub place: Arc<dyn Place>,
    pub durability: Durability,
    pub tuning: Tuning,
    pub intake: Arc<Intake>,
    pub health: Arc<Mutex<Health>>,
    pub on_health: OnHealth,
    pub figures: Arc<Figures>,
    pub state: State,
    pub flows: Flows,
    pub owed: Owed,
    pub unfinished: Unfinished,
    /// While it fails: when it looks whether it still does.
    pub retry_at: Option<Instant>,
    /// Whether a part of the file turned out to be damaged.
    pub is_damaged: bool,
    /// Whoever copies the database's file.
    pub held: Held,
}

/// What can be done at the moment.
pub enum State {
    /// Everything.
    Open(Database),
    /// Nothing until it is opened again, after an error of the device.
    Closed {
        /// When.
        reopen_at: Instant,
        /// What to wait if that fails.
        pause: Duration,
        /// What everybody is told.
        error: StoreError,
    },
    /// Nothing any more: the file is damaged.
    Broken(StoreError),
}

impl Writer {
    /// Works until the intake is closed and empty.
    pub fn run(mut self) {
        let mut idle_since = Instant::now();
        let mut is_tidy = false;
        let mut count_free_at = Instant::now();
        loop {
            self.reopen_if_due();
            self.retry_if_due();
            if count_free_at <= Instant::now() {
                self.count_free();
                count_free_at = Instant::now() + COUNT_FREE;
            }
            let tidy_at = (!is_tidy).then(|| idle_since + IDLE);
            let goes_on = !self.unfinished.is_empty() && self.retry_at.is_none();
            let at_once = goes_on.then(Instant::now);
            let deadline = [self.retry_at, self.reopen_at(), tidy_at, at_once].into_iter().flatten().min();
            let mut taken = self.intake.take(deadline, BATCH_CHANGES, BATCH_BYTES);
            self.unfinished.end_all(&taken.orders);
            if goes_on {
                taken.orders.extend(self.unfinished.take());
            }
            if !taken.orders.is_empty() {
                self.handle(taken.orders);
                self.intake.finished(taken.weight);
                self.checkpoint_at(self.tuning.log_pages);
                idle_since = Instant::now();
                is_tidy = false;
            } else if idle_since.elapsed() >= IDLE {
                is_tidy = self.tidy();
                count_free_at = Instant::now();
            }
            let is_over = self.unfinished.is_empty() || self.retry_at.is_some();
            if taken.is_last && is_over {
                return self.close();
            }
        }
    }

    fn handle(&mut self, mut orders: Vec<Order>) {
        let out_of_range = take_out_of_range(&mut orders);
        match self.settle_owed().and_then(|()| self.commit(&mut orders)) {
            Ok(answers) => {
                let ends = SessionEnds::within(&orders);
                for (at, (order, answer)) in orders.into_iter().zip(answers).enumerate() {
                    match (order, answer) {
                        (Order::Revoke(_, done), Answer::Unfinished(rest)) if !ends.follow(at, rest.slot) => {
                            self.unfinished.push(Order::Revoke(rest, done));
                        }
                        (order, Answer::Unfinished(_)) => tell(order, Answer::Applied),
                        (Order::Count(done), _) => self.count(done),
                        (Order::Hold(done), _) => self.hold(done),
                        (order, answer) => tell(order, answer),
                    }
                }
            }
            Err(error) => self.fail(orders, &error),
        }
        for order in out_of_range {
            refuse(order, &StoreError::OutOfRange);
        }
    }

    /// All that is owed, before anything newer; what frees space first.
    fn settle_owed(&mut self) -> Result<(), StoreError> {
        if self.owed.is_empty() {
            return Ok(());
        }
        let owed = std::mem::take(&mut self.owed);
        let settled = self.commit_changes(owed.deletions());
        self.owed = owed;
        settled?;
        self.owed.settle_deletions();
        let owed = std::mem::take(&mut self.owed);
        let settled = self.commit_changes(owed.additions());
        self.owed = owed;
        settled?;
        self.owed.clear();
        self.count_owed();
        Ok(())
    }

    fn commit_changes<'c>(&mut self, changes: impl Iterator<Item = &'c Change>) -> Result<(), StoreError> {
        self.transact(|batch| {
            let mut count = 0;
            for change in changes {
                batch.apply(change)?;
                count += 1;
            }
            Ok(Some(((), count)))
        })
        .map(|_| ())
    }

    fn commit(&mut self, orders: &mut [Order]) -> Result<Vec<Answer>, StoreError> {
        loop {
            let mut unreadable = None;
            if let Some(answers) = self.transact(|batch| carry_out(batch, orders, &mut unreadable))? {
                return Ok(answers);
            }
            if let Some((index, error)) = unreadable {
                // Only whoever wanted to read it has to know; the others are tried again without it.
                self.is_damaged = true;
                self.set_failing(&error);
                refuse(take(&mut orders[index]), &error);
            }
        }
    }

    /// Commits what `fill` puts into a batch, all or nothing; nothing if it gives nothing. `fill` says how many changes it
    /// were.
    fn transact<T>(
        &mut self,
        fill: impl FnOnce(&mut Batch<'_>) -> rusqlite::Result<Option<(T, u64)>>,
    ) -> Result<Option<T>, StoreError> {
        let database = match &self.state {
            State::Open(database) => database,
            State::Closed { error, .. } | State::Broken(error) => return Err(error.clone()),
        };
        let before = database.connection.total_changes();
        match transact(&database.connection, &mut self.flows, fill) {
            Ok(Some((value, count))) => {
                if database.connection.total_changes() > before {
                    self.figures.commits.fetch_add(1, Ordering::Relaxed);
                    self.figures.changes.fetch_add(count, Ordering::Relaxed);
                    self.figures.last_commit.store(clock::unix_ms(), Ordering::Relaxed);
                }
                Ok(Some(value))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                self.figures.failures.fetch_add(1, Ordering::Relaxed);
                Err(self.undo(&error))
            }
        }
    }

    /// Goes back to the last commit after an error. Where that cannot be trusted, the connection is given up.
    fn undo(&mut self, error: &rusqlite::Error) -> StoreError {
        let State::Open(database) = &self.state else { return StoreError::Closed };
        let connection = &database.connection;
        let is_undone = connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok();
        if is_undone && error.sqlite_error_code() == Some(ErrorCode::DiskFull) {
            match contents::read_flows(connection) {
                Ok(flows) => {
                    self.flows = flows;
                    return StoreError::Full;
                }
                Err(error) => return self.give_up(&error),
            }
        }
        self.give_up(error)
    }

    fn give_up(&mut self, error: &rusqlite::Error) -> StoreError {
        if is_damage(error) {
            let error = damaged(error);
            self.state = State::Broken(error.clone());
            return error;
        }
        let error = StoreError::Failed(error.to_string().into());
        self.state = State::Closed {
            reopen_at: Instant::now() + self.tuning.reopen_after,
            pause: self.tuning.reopen_after * 2,
            error: error.clone(),
        };
        error
    }

    fn fail(&mut self, orders: Vec<Order>, error: &StoreError) {
        let may_be_there = matches!(error, StoreError::Failed(_));
        let ends = SessionEnds::within(&orders);
        for (at, order) in orders.iter().enumerate() {
            match order {
                Order::Apply(changes, None) => {
                    changes.iter().cloned().for_each(|change| self.owed.add(change))
                }
                Order::Apply(changes, Some(_)) => {
                    for change in changes {
                        if is_in_memory(change) {
                            self.owed.add(change.clone());
                        } else if may_be_there {
                            undoing(change).into_iter().for_each(|change| self.owed.add(change));
                        }
                    }
                }
                Order::Revoke(request, _) if !ends.follow(at, request.slot) => {
                    self.unfinished.push(Order::Revoke(request.clone(), None));
                }
                Order::Revoke(..) | Order::Load(..) | Order::Trim(..) | Order::Count(_) | Order::Hold(_) => {}
            }
        }
        if matches!(error, StoreError::Damaged(_)) {
            self.owed.clear();
        }
        let dropped = self.owed.take_dropped();
        if dropped > 0 {
            error!(
                "{dropped} changes had no room while the store fails: messages may be delivered again after a restart"
            );
        }
        self.count_owed();
        self.set_failing(error);
        for order in orders {
            match order {
                Order::Load(request, done) => {
                    let loaded = self.load_without_writing(&request).ok_or_else(|| error.clone());
                    contain(|| done(loaded));
                }
                order => refuse(order, error),
            }
        }
    }

    /// Reads while nothing can be written: whoever takes messages away makes room.
    fn load_without_writing(&mut self, request: &LoadRequest) -> Option<Loaded> {
        let State::Open(database) = &self.state else { return None };
        let forgotten = self.owed.forgotten(request.slot)?;
        let mut batch = Batch::new(&database.connection, &mut self.flows);
        database.connection.execute_batch("BEGIN").ok()?;
        let loaded = batch.load(request);
        database.connection.execute_batch("ROLLBACK").ok()?;
        let mut loaded = loaded.ok()?;
        loaded.messages.retain(|message| !forgotten.contains(&message.sequence()));
        let is_answer = loaded.damaged == 0 && (loaded.complete || !loaded.messages.is_empty());
        is_answer.then_some(loaded)
    }

    fn retry_if_due(&mut self) {
        if self.retry_at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        self.retry_at = Some(Instant::now() + RETRY);
        // A small commit may find room in the log where others do not: it takes more to be well again.
        if self.settle_owed().and_then(|()| self.probe()).is_ok() {
            self.retry_at = None;
            // A part of the file that cannot be read does not become readable.
            if !self.is_damaged {
                self.set_health(Health::Fine);
            }
        }
    }

    fn probe(&mut self) -> Result<(), StoreError> {
        const PROBE: i64 = 2;
        const BYTES: i64 = 64 * 1024;
        let State::Open(database) = &self.state else { return Err(StoreError::Closed) };
        let probed = database
            .connection
            .execute("INSERT OR REPLACE INTO meta VALUES (?1, zeroblob(?2))", [PROBE, BYTES])
            .and_then(|_| database.connection.execute("DELETE FROM meta WHERE key = ?1", [PROBE]));
        probed.map(|_| ()).map_err(|error| self.undo(&error))
    }

    fn reopen_at(&self) -> Option<Instant> {
        match &self.state {
            State::Closed { reopen_at, .. } => Some(*reopen_at),
            State::Open(_) | State::Broken(_) => None,
        }
    }

    /// Opens again after an error of the device: the log, of which nobody knows what is on the disk, is moved into the
    /// database and emptied before anything is added to it.
    fn reopen_if_due(&mut self) {
        let State::Closed { reopen_at, pause, .. } = &self.state else { return };
        if *reopen_at > Instant::now() {
            return;
        }
        let pause = *pause;
        self.held.break_off();
        let opened = schema::open_existing(&*self.place, self.durability, self.tuning.log_pages)
            .map_err(|error| error.to_string())
            .and_then(|database| match contents::read_flows(&database.connection) {
                Ok(flows) => Ok((database, flows)),
                Err(error) => Err(error.to_string()),
            });
        match opened {
            Ok((database, flows)) => {
                self.state = State::Open(database);
                self.flows = flows;
                self.retry_at = Some(Instant::now());
            }
            Err(error) => {
                debug!("the store cannot be opened again yet: {error}");
                self.state = State::Closed {
                    reopen_at: Instant::now() + pause,
                    pause: (pause * 2).min(REOPEN_LAST),
                    error: StoreError::Failed(error.into()),
                };
            }
        }
    }

    fn checkpoint_at(&mut self, pages: u32) {
        let State::Open(database) = &self.state else { return };
        if database.log_pages.load(Ordering::Relaxed) < pages || self.held.is_held() {
            return;
        }
        let moved = database.connection.wal_checkpoint_v2(DEFAULT_NAME, CheckpointMode::PASSIVE);
        // Moved or not, it is next tried after as many pages more.
        database.log_pages.store(0, Ordering::Relaxed);
        if let Err(error) = moved {
            warn!(
                "the store's log cannot be moved into it, and grows: {error}; look at the disk with `df` and `dmesg`"
            );
            if error.sqlite_error_code() != Some(ErrorCode::DiskFull) {
                let error = self.give_up(&error);
                self.set_failing(&error);
            }
        }
    }

    /// Gives space back. True if there is nothing more to do.
    fn tidy(&mut self) -> bool {
        self.checkpoint_at(self.tuning.log_pages / 4);
        let State::Open(database) = &self.state else { return true };
        match vacuum(&database.connection) {
            Ok(is_done) => is_done,
            Err(error) => {
                let error = self.undo(&error);
                warn!("the store cannot be made smaller: {error}; look at the disk with `df` and `dmesg`");
                self.set_failing(&error);
                true
            }
        }
    }

    /// Counts the free pages of the file, for others to know.
    fn count_free(&self) {
        let State::Open(database) = &self.state else { return };
        // Where it cannot be read, something else will tell.
        if let Ok(free) = number(&database.connection, "freelist_count") {
            let bytes = free.max(0).cast_unsigned() * u64::from(PAGE_SIZE);
            self.figures.free_bytes.store(bytes, Ordering::Relaxed);
        }
    }

    fn close(mut self) {
        if let Err(error) = self.settle_owed() {
            warn!(
                "{} changes that failed before are lost with the end of this process: {error}",
                self.owed.len()
            );
        }
        let State::Open(database) = self.state else { return };
        self.held.break_off();
        if let Err(error) = schema::empty_log(&database.connection) {
            warn!(
                "the store's log cannot be moved into it, and grows: {error}; look at the disk with `df` and `dmesg`"
            );
        }
        drop(database.connection.close());
    }

    fn count_owed(&self) {
        self.figures.owed.store(self.owed.len() as u64, Ordering::Relaxed);
    }

    fn set_failing(&mut self, error: &StoreError) {
        self.unfinished.refuse(error);
        self.retry_at.get_or_insert_with(|| Instant::now() + RETRY);
        self.set_health(Health::Failing(error.to_string().into()));
    }

    fn set_health(&self, health: Health) {
        let mut current = self.health.lock();
        let is_news = std::mem::discriminant(&*current) != std::mem::discriminant(&health);
        *current = health.clone();
        drop(current);
        if is_news {
            contain(|| (self.on_health)(&health));
        }
    }
}

fn transact<T>(
    connection: &Connection,
    flows: &mut Flows,
    fill: impl FnOnce(&mut Batch<'_>) -> rusqlite::Result<Option<(T, u64)>>,
) -> rusqlite::Result<Option<(T, u64)>> {
    connection.prepare_cached("BEGIN")?.execute([])?;
    let mut batch = Batch::new(connection, flows);
    let filled = fill(&mut batch)?;
    if filled.is_some() {
        batch.settle()?;
        connection.prepare_cached("COMMIT")?.execute([])?;
    } else {
        connection.execute_batch("ROLLBACK")?;
        *flows = contents::read_flows(connection)?;
    }
    Ok(filled)
}

/// Does all that was ordered. Gives nothing if a load, which is pointed out then, comes to a damaged page: SQLite does not
/// commit after that.
fn carry_out(
    batch: &mut Batch<'_>,
    orders: &mut [Order],
    unreadable: &mut Option<(usize, StoreError)>,
) -> rusqlite::Result<Option<(Vec<Answer>, u64)>> {
    let mut answers = Vec::with_capacity(orders.len());
    let mut count = 0;
    for (index, order) in orders.iter_mut().enumerate() {
        answers.push(match order {
            Order::Apply(changes, _) => {
                for change in changes {
                    batch.apply(change)?;
                    count += 1;
                }
                Answer::Applied
            }
            Order::Load(request, _) => match batch.load(request) {
                Err(error) if is_damage(&error) => {
                    *unreadable = Some((index, damaged(&error)));
                    return Ok(None);
                }
                loaded => {
                    let answer = Answer::Loaded(loaded?);
                    if batch.has_changed(request.slot) {
                        answer
                    } else {
                        // All of it was committed before: it need not wait for this commit.
                        tell(take(order), answer);
                        Answer::Applied
                    }
                }
            },
            Order::Trim(request, _) => Answer::Trimmed(batch.trim(request)?),
            Order::Revoke(request, _) => batch.revoke(request)?.map_or(Answer::Applied, Answer::Unfinished),
            // When all before it is committed.
            Order::Count(_) | Order::Hold(_) => Answer::Applied,
        });
    }
    Ok(Some((answers, count)))
}

/// Takes an order and leaves one in its place that does nothing.
fn take(order: &mut Order) -> Order {
    std::mem::replace(order, Order::Apply(Vec::new(), None))
}

/// Makes the file smaller by some pages, if enough of it is empty. True if it is not.
fn vacuum(connection: &Connection) -> rusqlite::Result<bool> {
    let (pages, free) = (number(connection, "page_count")?, number(connection, "freelist_count")?);
    if free < 2 * VACUUM_PAGES || free < pages / 4 {
        return Ok(true);
    }
    connection.pragma(None, "incremental_vacuum", VACUUM_PAGES, |_| Ok(()))?;
    Ok(false)
}

fn number(connection: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, pragma, |row| row.get(0))
}

/// What whoever submitted it does not take back although it failed, since others have seen it by then: a retained message
/// and its removal, and the end of a subscription. The store must not go on with what was before.
fn is_in_memory(change: &Change) -> bool {
    matches!(change, Change::Retain { .. } | Change::Unretain { .. } | Change::Unsubscribe { .. })
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

fn damaged(error: &rusqlite::Error) -> StoreError {
    StoreError::Damaged(error.to_string().into())
}
