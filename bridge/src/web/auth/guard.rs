//! What a handler has among its arguments to be reached only by whoever may.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::FromRequestParts,
    http::{
        HeaderValue, StatusCode,
        header::{AUTHORIZATION, WWW_AUTHENTICATE},
        request::Parts,
    },
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    super::{Problem, Web, site::Origin},
    SessionKey,
    cookie::session_ids,
    tokens::Scope,
};

/// The header that says that a request comes from the page.
const CSRF_HEADER: &str = "x-csrf-token";
/// How often whoever stays is looked at again.
const LOOK: Duration = Duration::from_secs(5);

/// Who asks.
#[derive(Debug, Clone)]
pub(in crate::web) struct Visitor {
    /// For people: "the administrator at 192.0.2.7", or "the token grafana at 192.0.2.8".
    pub(in crate::web) name: String,
    pass: Pass,
}

/// What lets a visitor in.
#[derive(Debug, Clone)]
enum Pass {
    Session { key: SessionKey, goes_on: watch::Receiver<()> },
    Token { id: String },
}

/// May look: a session, or a token with the scope `read` or `write`.
pub(in crate::web) struct Read(pub(in crate::web) Visitor);

/// May change things and fetch credentials: a session with its CSRF token, or a token with the scope `write`. What only
/// fetches (GET) needs no CSRF token.
pub(in crate::web) struct Write(pub(in crate::web) Visitor);

/// May fetch metrics: a session, or a token of any scope.
pub(in crate::web) struct Metrics;

/// May change who may ask: a session with its CSRF token, no program.
pub(in crate::web) struct Admin(pub(in crate::web) Visitor);

/// Which tokens a guard lets in.
struct Scopes(&'static [Scope]);

const READ: Scopes = Scopes(&[Scope::Read, Scope::Write]);
const WRITE: Scopes = Scopes(&[Scope::Write]);
const METRICS: Scopes = Scopes(&[Scope::Metrics, Scope::Read, Scope::Write]);
const ADMIN: Scopes = Scopes(&[]);

macro_rules! guard {
    ($($guard:ident: $scopes:ident => $made:expr),*) => {$(
        impl FromRequestParts<Arc<Web>> for $guard {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, web: &Arc<Web>) -> Result<Self, Problem> {
                admit(parts, web, &$scopes).map($made)
            }
        }
    )*};
}

guard!(Read: READ => Self, Write: WRITE => Self, Metrics: METRICS => |_| Self, Admin: ADMIN => Self);

impl Visitor {
    /// Waits until who asked may not ask any more: the session or the token is over.
    pub(in crate::web) async fn until_over(mut self, web: &Web) {
        loop {
            let left = match &self.pass {
                Pass::Session { key, .. } => web.auth.session_left(key, web.session_max_age()),
                Pass::Token { id } => web.auth.tokens.has(id).then_some(LOOK),
            };
            let Some(left) = left else { return };
            match &mut self.pass {
                // An error says that it is over.
                Pass::Session { goes_on, .. } => drop(timeout(left.min(LOOK), goes_on.changed()).await),
                Pass::Token { .. } => sleep(LOOK).await,
            }
        }
    }

    /// "device Boiler (77) was added by the administrator at 192.0.2.7"
    pub(in crate::web) fn did(&self, what: &str) -> String {
        format!("{what} by {}", self.name)
    }

    /// The session, if it is one.
    pub(in crate::web) fn session(&self) -> Option<SessionKey> {
        match self.pass {
            Pass::Session { key, .. } => Some(key),
            Pass::Token { .. } => None,
        }
    }
}

fn admit(parts: &Parts, web: &Web, scopes: &Scopes) -> Result<Visitor, Problem> {
    match parts.headers.get(AUTHORIZATION) {
        Some(shown) => {
            let origin = parts.extensions.get::<Origin>();
            admit_token(shown, origin.map(|origin| origin.peer), web, scopes)
        }
        None => admit_session(parts, web),
    }
}

fn admit_token(
    shown: &HeaderValue,
    peer: Option<SocketAddr>,
    web: &Web,
    scopes: &Scopes,
) -> Result<Visitor, Problem> {
    let text = shown.to_str().ok().and_then(bearer);
    let token = text.and_then(|text| web.auth.tokens.find(text)).ok_or_else(|| {
        unauthorized("this token is not known, or was revoked: `ior-bridge token list` shows all")
    })?;
    if !scopes.0.contains(&token.scope) {
        let scope = token.scope.name();
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            match scopes.0 {
                [] => "tokens may not do this: log in".to_owned(),
                scopes => format!(
                    "this token has the scope {scope}, which is not enough: it takes one with the scope {}",
                    scopes.iter().map(|scope| scope.name()).collect::<Vec<_>>().join(" or ")
                ),
            },
        ));
    }
    let name = at(&format!("the token {}", token.name), peer);
    Ok(Visitor { name, pass: Pass::Token { id: token.id } })
}

fn admit_session(parts: &Parts, web: &Web) -> Result<Visitor, Problem> {
    let origin = parts.extensions.get::<Origin>();
    let is_secure = origin.is_some_and(|origin| origin.is_secure);
    let csrf_token = parts.headers.get(CSRF_HEADER).map(|token| token.as_bytes());
    let max_age = web.session_max_age();
    let mut logged_in = web.auth.logged_in();
    for id in session_ids(&parts.headers, is_secure) {
        let key = SessionKey::of(id);
        let Some(session) = logged_in.sessions.get(key, max_age, Instant::now()) else { continue };
        if !parts.method.is_safe() && !csrf_token.is_some_and(|token| session.has_csrf_token(token)) {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "the header X-CSRF-Token does not hold the csrf_token of this session: load the page again",
            ));
        }
        let pass = Pass::Session { key, goes_on: session.follow() };
        return Ok(Visitor { name: administrator_at(origin.map(|origin| origin.peer)), pass });
    }
    Err(unauthorized("log in first"))
}

/// What the administrator is called where people are told what was done.
pub(in crate::web) fn administrator_at(peer: Option<SocketAddr>) -> String {
    at("the administrator", peer)
}

fn at(who: &str, peer: Option<SocketAddr>) -> String {
    match peer {
        Some(peer) => format!("{who} at {}", peer.ip().to_canonical()),
        None => who.to_owned(),
    }
}

fn bearer(shown: &str) -> Option<&str> {
    let (scheme, token) = shown.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, detail)
        .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"ior-bridge\""))
}
