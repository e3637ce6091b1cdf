//! Who may ask: the administrator with a session, or a program with an API token.
//!
//! `password` and `tokens` have the files that say so, which commands change too, `sessions` who is logged in, `delays` who has
//! to wait before guessing again, `guard` what handlers are kept by.

mod cookie;
mod delays;
mod files;
mod guard;
mod other_sites;
pub(crate) mod password;
mod random;
mod sessions;

pub(crate) mod tokens;
mod verifier;

use std::{
    net::IpAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;
use zeroize::Zeroizing;

use self::{
    delays::Delays,
    files::Stamp,
    password::{Administrator, PasswordError, Record},
    sessions::Sessions,
    tokens::Tokens,
    verifier::Verifier,
};
pub(super) use cookie::{clear_cookie, set_cookie};
pub(super) use delays::Network;
pub(super) use guard::{Admin, Metrics, Read, Visitor, Write, administrator_at};
pub(super) use other_sites::refuse_other_sites;
pub(super) use sessions::{NewSession, SessionKey};

/// What is known of those who may ask.
pub(super) struct Auth {
    administrator: Administrator,
    verifier: Verifier,
    delays: Mutex<Delays>,
    logged_in: Mutex<LoggedIn>,
    /// Why nobody can log in, as it was told last.
    told: Mutex<Option<String>>,
    /// The tokens of programs.
    pub(super) tokens: Tokens,
}

/// Sessions, which end when the password is another one.
struct LoggedIn {
    sessions: Sessions,
    /// Of the administrator's file, when these sessions began.
    stamp: Stamp,
    /// The session that is changing the password now: it goes on.
    changing: Option<SessionKey>,
}

/// Why a password was not taken.
#[derive(Debug)]
pub(super) enum Refused {
    /// It is another one. So often it was so at this address, if that is worth telling.
    Wrong(Option<u32>),
    /// The address has to wait for so long before it may try again.
    Wait(Duration),
    /// Too many are trying.
    Busy,
    /// Nobody can log in.
    Unknown(PasswordError),
}

impl Auth {
    /// By the files in this data directory.
    pub(super) fn new(data_dir: &Path) -> Arc<Self> {
        let administrator = Administrator::of(data_dir);
        let stamp = administrator.stamp();
        Arc::new(Self {
            administrator,
            verifier: Verifier::default(),
            delays: Mutex::default(),
            logged_in: Mutex::new(LoggedIn { sessions: Sessions::default(), stamp, changing: None }),
            told: Mutex::default(),
            tokens: Tokens::of(data_dir),
        })
    }

    /// A new session for whoever knows the password.
    ///
    /// # Errors
    /// It is wrong, or there were too many wrong ones from this address lately.
    pub(super) async fn log_in(
        self: &Arc<Self>,
        address: IpAddr,
        password: Zeroizing<String>,
    ) -> Result<NewSession, Refused> {
        let record = self.verify(address, password).await?;
        let mut logged_in = self.logged_in();
        // It was changed in this moment.
        if logged_in.stamp != record.stamp() {
            return Err(Refused::Wait(Duration::from_secs(1)));
        }
        Ok(logged_in.sessions.begin(Instant::now()))
    }

    /// Ends a session.
    pub(super) fn log_out(&self, session: &SessionKey) {
        self.logged_in().sessions.end(session);
    }

    /// Gives the administrator another password, and ends all sessions but this one.
    ///
    /// # Errors
    /// The current one is wrong, or the new one cannot be written.
    pub(super) async fn change_password(
        self: &Arc<Self>,
        address: IpAddr,
        session: SessionKey,
        current: Zeroizing<String>,
        new: Zeroizing<String>,
    ) -> Result<(), Refused> {
        let record = self.verify(address, current).await?;
        let auth = Arc::clone(self);
        // It is carried out to its end even if nobody waits for it any more.
        let change = move || -> Result<bool, PasswordError> {
            auth.logged_in().changing = Some(session);
            let changed = auth.administrator.change(record.stamp(), &new);
            let mut logged_in = auth.logged_in();
            logged_in.changing = None;
            if matches!(changed, Ok(false)) {
                // Whoever made it another one ended all sessions.
                logged_in.sessions.end(&session);
            }
            drop(logged_in);
            changed
        };
        let changed = self.verifier.run(change).await.map_err(|_| Refused::Busy)?;
        match changed.map_err(Refused::Unknown)? {
            true => Ok(()),
            // It was changed in this moment.
            false => Err(Refused::Wait(Duration::from_secs(1))),
        }
    }

    /// Whether it is news that nobody can log in because of this.
    pub(super) fn is_news(&self, error: &PasswordError) -> bool {
        let why = error.to_string();
        self.told.lock().replace(why.clone()) != Some(why)
    }

    /// The CSRF token of a session, and until when it goes on; nothing if it is over.
    pub(super) fn session(&self, session: &SessionKey, max_age: Duration) -> Option<(String, SystemTime)> {
        let mut logged_in = self.logged_in();
        let session = logged_in.sessions.get(*session, max_age, Instant::now())?;
        Some((session.csrf_token().to_owned(), session.expires(max_age)))
    }

    /// How long a session still goes on; nothing if it is over.
    pub(super) fn session_left(&self, session: &SessionKey, max_age: Duration) -> Option<Duration> {
        let now = Instant::now();
        let mut logged_in = self.logged_in();
        Some(logged_in.sessions.get(*session, max_age, now)?.left(max_age, now))
    }

    /// Whether the password is still the one that the bridge made.
    pub(super) fn password_is_initial(&self) -> bool {
        self.administrator.is_initial()
    }

    /// The sessions, if the password is still the one that they began with.
    fn logged_in(&self) -> parking_lot::MutexGuard<'_, LoggedIn> {
        let mut logged_in = self.logged_in.lock();
        let stamp = self.administrator.stamp();
        if stamp != logged_in.stamp {
            match logged_in.changing {
                Some(session) => logged_in.sessions.end_all_but(&session),
                None => logged_in.sessions.end_all(),
            }
            logged_in.stamp = stamp;
        }
        logged_in
    }

    async fn verify(
        self: &Arc<Self>,
        address: IpAddr,
        password: Zeroizing<String>,
    ) -> Result<Record, Refused> {
        let network = Network::from(address);
        self.delays.lock().begin(network, Instant::now()).map_err(Refused::Wait)?;
        let auth = Arc::clone(self);
        // Whoever goes away meanwhile has tried nevertheless.
        let verified = tokio::spawn(async move {
            let administrator = auth.administrator.clone();
            let check = move || {
                let record = administrator.load_or_create()?;
                Ok(record.is_right(&password).then_some(record))
            };
            let checked = auth.verifier.run(check).await;
            let mut delays = auth.delays.lock();
            match checked {
                Ok(Ok(Some(record))) => {
                    auth.told.lock().take();
                    delays.end_well(network);
                    Ok(record)
                }
                Ok(Ok(None)) => Err(Refused::Wrong(delays.end_badly(network, Instant::now()))),
                Ok(Err(error)) => {
                    delays.end_well(network);
                    Err(Refused::Unknown(error))
                }
                Err(_) => {
                    delays.end_well(network);
                    Err(Refused::Busy)
                }
            }
        });
        // An error says that the runtime is ending.
        verified.await.unwrap_or(Err(Refused::Busy))
    }
}
