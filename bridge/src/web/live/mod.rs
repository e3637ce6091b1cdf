//! What pages are shown while it happens, and what they are shown of the last hour.
//!
//! `state` is all that there is to see at a moment, `rates` and `machine` are parts of it, `changes` what became of it since
//! the moment before. `looker` looks: once for all pages together, and seldom enough to cost little. `page` is what one page
//! is sent, `ring` the last events, `history` the last hour.

mod changes;
mod history;
mod looker;
mod machine;
mod page;
mod rates;
mod ring;
mod state;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, Semaphore, broadcast, watch},
    task::block_in_place,
    time::{Instant, sleep_until, timeout},
};

use self::{history::History, looker::Looker};
pub(super) use self::{
    history::{ConnectionHistory, DeviceHistory, TotalsHistory},
    looker::Moment,
    page::Page,
    ring::{Numbered, Ring},
    state::State,
};
use super::messages::Messages;
use crate::control::Bridge;

/// Pages that are open at once.
const PAGES: usize = 100;
/// What a page that reads slowly may fall behind by, before it is shown everything anew.
const BEHIND: usize = 16;
/// How long a stop waits for pages to be told.
const STOPPING_TIME: Duration = Duration::from_millis(500);

/// What is looked at for all pages together.
pub(super) struct Live {
    bridge: Arc<Bridge>,
    /// Whose messages are shown.
    messages: Arc<Messages>,
    /// Locked by whoever looks, and by a page that begins to listen: so it misses nothing.
    looker: Mutex<Looker>,
    /// What all pages are sent.
    sender: broadcast::Sender<Bytes>,
    ring: Ring,
    /// One for each page that may be open.
    places: Arc<Semaphore>,
    /// A page was opened.
    opened: Notify,
    /// Whether there is a page to be asked for.
    served: watch::Sender<bool>,
    /// Becomes true when the bridge stops.
    stopping: watch::Sender<bool>,
}

impl Live {
    /// Looks at nothing before it is served.
    pub(super) fn start(bridge: Arc<Bridge>, messages: Arc<Messages>) -> Arc<Self> {
        let live = Arc::new(Self {
            bridge,
            messages,
            looker: Mutex::new(Looker::new(Instant::now())),
            sender: broadcast::Sender::new(BEHIND),
            ring: Ring::new(),
            places: Arc::new(Semaphore::new(PAGES)),
            opened: Notify::new(),
            served: watch::Sender::new(false),
            stopping: watch::Sender::new(false),
        });
        tokio::spawn(Arc::clone(&live).run());
        live
    }

    /// Whether anybody can ask for a page: while nobody can, nothing is looked at.
    pub(super) fn serve(&self, is_served: bool) {
        self.served.send_if_modified(|served| std::mem::replace(served, is_served) != is_served);
    }

    /// Everything as it is now, or was a moment ago.
    pub(super) fn moment(&self) -> Arc<Moment> {
        block_in_place(|| self.current(&mut self.looker.lock()))
    }

    /// The last hour, once it has begun to be taken down.
    pub(super) fn history<T>(&self, of: impl FnOnce(&History) -> T) -> T {
        block_in_place(|| {
            let mut looker = self.looker.lock();
            self.current(&mut looker);
            of(&looker.history)
        })
    }

    /// The last events.
    pub(super) fn events(&self) -> &Ring {
        &self.ring
    }

    /// A page that is told everything from now on; `None` if there are too many. It ends with `ends`.
    pub(super) fn open(self: &Arc<Self>, ends: impl Future<Output = ()> + Send + 'static) -> Option<Page> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let page = Page::new(Arc::clone(self), place, ends);
        self.opened.notify_one();
        Some(page)
    }

    /// Tells all pages that the bridge stops.
    pub(super) async fn stop(&self) {
        self.stopping.send_replace(true);
        // An error says that one of them reads slowly, and is cut off.
        let _ = timeout(STOPPING_TIME, self.places.acquire_many(PAGES as u32)).await;
    }

    async fn run(self: Arc<Self>) {
        let mut served = self.served.subscribe();
        // Errors say that nobody can tell any more, which happens at the end only.
        while served.wait_for(|is_served| *is_served).await.is_ok() {
            tokio::select! {
                () = self.look_on() => {}
                () = self.ring.follow(&self.bridge) => {}
                _ = served.wait_for(|is_served| !*is_served) => {}
            }
        }
    }

    async fn look_on(&self) {
        loop {
            let next = self.looker.lock().next(self.has_pages());
            tokio::select! {
                () = sleep_until(next) => block_in_place(|| {
                    let mut looker = self.looker.lock();
                    let has_pages = self.has_pages();
                    if looker.next(has_pages) <= Instant::now() {
                        self.look(&mut looker);
                    }
                    if !has_pages {
                        looker.forget();
                    }
                }),
                () = self.opened.notified() => {}
            }
        }
    }

    fn has_pages(&self) -> bool {
        self.places.available_permits() < PAGES
    }
}
