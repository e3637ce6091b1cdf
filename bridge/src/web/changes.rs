//! Changes that are made on the page: the same ones as in the files, one after the other.

use std::{sync::Arc, time::Duration};

use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::{
    sync::{Mutex, Semaphore},
    task::block_in_place,
    time::timeout,
};

use super::{Problem, Web, auth::Visitor, input::Seen, refusal};
use crate::{
    changes::{Done, Draft, Edit, EditError},
    registry::Registry,
    report::Event,
};

/// How long a change waits for others, and for commands.
const PATIENCE: Duration = Duration::from_secs(20);
/// Changes that wait at once; further ones are refused.
const WAITING: usize = 64;

/// Whose turn it is.
pub(super) struct Changes {
    places: Semaphore,
    turn: Mutex<()>,
}

impl Changes {
    pub(super) fn new() -> Self {
        Self { places: Semaphore::new(WAITING), turn: Mutex::new(()) }
    }

    /// Changes the configuration, and has it taken up, whether or not whoever asks waits until it is. `change` makes the change
    /// of the draft, and gives what `tell` needs to say what the visitor did, if anything.
    ///
    /// # Errors
    /// Nothing was changed, unless the problem says so.
    pub(super) async fn make<T: Send + 'static>(
        web: &Arc<Web>,
        visitor: Visitor,
        seen: Seen,
        change: impl FnOnce(&mut Draft) -> Result<T, Problem> + Send + 'static,
        tell: impl FnOnce(&Visitor, &Done, &T) -> Option<Event> + Send + 'static,
    ) -> Result<(Done, T), Problem> {
        let web = Arc::clone(web);
        let made = tokio::spawn(async move {
            let _place = web.changes.places.try_acquire().map_err(|_| busy())?;
            let _turn = timeout(PATIENCE, web.changes.turn.lock()).await.map_err(|_| busy())?;
            let (done, made) = web.change(&visitor, &seen, change).await?;
            if let Some(event) = tell(&visitor, &done, &made) {
                web.note(event);
            }
            Ok((done, made))
        });
        // It panics in no case that is known.
        made.await
            .map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the change failed: see the log"))?
    }

    /// Tries a change, and writes nothing.
    ///
    /// # Errors
    /// As [`Changes::make`], as far as that can be known.
    pub(super) fn try_out(
        web: &Web,
        seen: &Seen,
        change: impl FnOnce(&mut Draft) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        block_in_place(|| {
            let dir = web.bridge.configuration.load().dir.clone();
            let mut draft = Draft::read(&dir, &web.bridge.environment)?;
            check(&draft, seen)?;
            change(&mut draft)?;
            draft.check()?;
            Ok(())
        })
    }
}

impl Web {
    async fn change<T>(
        &self,
        visitor: &Visitor,
        seen: &Seen,
        change: impl FnOnce(&mut Draft) -> Result<T, Problem>,
    ) -> Result<(Done, T), Problem> {
        let dir = self.bridge.configuration.load().dir.clone();
        let mut edit = Edit::begin_within(PATIENCE, &dir, &self.bridge.environment).await?;
        check(&edit.draft, seen)?;
        let made = block_in_place(|| change(&mut edit.draft))?;
        match edit.finish_within(Arc::clone(&self.bridge)).await {
            Ok(done) => Ok((done, made)),
            Err(error) if error.is_conflict() && !error.has_written() && !seen.is_any() => {
                let now = block_in_place(|| Registry::load_revision(&dir));
                Err(now.map_or(error, |(_, revision)| EditError::OtherRevision(revision)).into())
            }
            Err(error) => {
                if error.has_written() {
                    self.note(Event::of_page(format!("{}: {error}", visitor.did("a change was tried"))));
                }
                Err(error.into())
            }
        }
    }
}

/// A configured thing as the API tells it, with the revision of the files that hold it.
pub(super) fn with_revision(thing: impl serde::Serialize, done: &Done) -> Value {
    // Only maps with keys that are no texts could fail, and there are none in it.
    let mut told = serde_json::to_value(thing).unwrap_or_default();
    told["revision"] = json!(done.revision);
    told
}

fn check(draft: &Draft, seen: &Seen) -> Result<(), EditError> {
    let revision = draft.revision();
    if seen.is(revision) { Ok(()) } else { Err(EditError::OtherRevision(revision)) }
}

fn busy() -> Problem {
    refusal::busy("others are changing the configuration just now")
}
