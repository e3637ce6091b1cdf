//! `/api/v1/session` and `/api/v1/password`: how the administrator logs in and out.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Extension, Json, Router,
    extract::State,
    http::{
        HeaderValue, StatusCode,
        header::{RETRY_AFTER, SET_COOKIE},
    },
    response::{IntoResponse, Response},
    routing::{get, put},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::Zeroizing;

use super::super::{
    Problem, Web,
    auth::{Admin, Read, Refused, SessionKey, administrator_at, clear_cookie, password, set_cookie},
    input::Body,
    site::Origin,
};
use crate::report::{Event, Time};

pub(super) fn routes() -> Router<Arc<Web>> {
    Router::new()
        .route("/api/v1/session", get(show).post(log_in).delete(log_out))
        .route("/api/v1/password", put(change_password))
}

/// Who is logged in, and where.
#[derive(Serialize)]
struct Session {
    name: &'static str,
    expires: Time,
    csrf_token: String,
    password_is_initial: bool,
    version: &'static str,
    host: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPassword {
    current: String,
    new: String,
}

async fn show(State(web): State<Arc<Web>>, Read(visitor): Read) -> Result<Json<Session>, Problem> {
    let session = visitor.session().and_then(|key| session(&web, &key));
    session
        .map(Json)
        .ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "a token has no session: it is good without one"))
}

async fn log_in(
    State(web): State<Arc<Web>>,
    Extension(origin): Extension<Origin>,
    Body(login): Body<Login>,
) -> Result<Response, Problem> {
    let address = origin.peer.ip().to_canonical();
    let began = web.auth.log_in(address, Zeroizing::new(login.password)).await.map_err(|refused| {
        note_refusal(&web, address, &refused, "log in");
        match refused {
            Refused::Wrong(_) => Problem::new(
                StatusCode::UNAUTHORIZED,
                format!(
                    "this is not the administrator's password. The first one stands in the file {} of the data directory, \
                     until it is changed; `ior-bridge password` makes a new one",
                    password::INITIAL_FILE
                ),
            ),
            refused => not_looked_at(refused),
        }
    })?;
    let session = session(&web, &began.key).ok_or_else(|| not_looked_at(Refused::Busy))?;
    web.note(Event::of_page(format!("{} logged in", administrator_at(Some(origin.peer)))));
    let cookie = set_cookie(&began.id, web.session_max_age(), origin.is_secure);
    Ok((StatusCode::CREATED, [(SET_COOKIE, cookie)], Json(session)).into_response())
}

async fn log_out(
    State(web): State<Arc<Web>>,
    Extension(origin): Extension<Origin>,
    Admin(visitor): Admin,
) -> Response {
    if let Some(session) = visitor.session() {
        web.auth.log_out(&session);
    }
    web.note(Event::of_page(format!("{} logged out", visitor.name)));
    (StatusCode::NO_CONTENT, [(SET_COOKIE, clear_cookie(origin.is_secure))]).into_response()
}

async fn change_password(
    State(web): State<Arc<Web>>,
    Extension(origin): Extension<Origin>,
    Admin(visitor): Admin,
    Body(passwords): Body<NewPassword>,
) -> Result<StatusCode, Problem> {
    let [current, new] = [passwords.current, passwords.new].map(Zeroizing::new);
    if let Some((what, hint)) = unsuitable(&current, &new) {
        return Err(invalid("new", what, hint));
    }
    let address = origin.peer.ip().to_canonical();
    let Some(session) = visitor.session() else { return Err(not_looked_at(Refused::Busy)) };
    web.auth.change_password(address, session, current, new).await.map_err(|refused| {
        note_refusal(&web, address, &refused, "change the password");
        match refused {
            Refused::Wrong(_) => {
                invalid("current", "this is not the password of now", "type the one that you logged in with")
            }
            refused => not_looked_at(refused),
        }
    })?;
    web.note(Event::of_page(
        visitor.did("the administrator's password was changed, and all other sessions ended"),
    ));
    Ok(StatusCode::NO_CONTENT)
}

fn session(web: &Web, key: &SessionKey) -> Option<Session> {
    let (csrf_token, expires) = web.auth.session(key, web.session_max_age())?;
    Some(Session {
        name: "admin",
        expires: Time(expires),
        csrf_token,
        password_is_initial: web.auth.password_is_initial(),
        version: env!("CARGO_PKG_VERSION"),
        host: web.bridge.configuration.load().settings.host.clone(),
    })
}

/// Why a password is none, and what would be one.
fn unsuitable(current: &str, new: &str) -> Option<(&'static str, &'static str)> {
    let length = new.chars().count();
    if length < *password::LENGTHS.start() {
        Some((
            "it is too short",
            "use at least 10 characters; a few words that nobody would put together are good",
        ))
    } else if length > *password::LENGTHS.end() {
        Some(("it is too long", "use at most 256 characters"))
    } else if new == current {
        Some(("it is the one of now", "choose another one"))
    } else if new.chars().any(char::is_control) {
        Some(("it holds characters that cannot be typed", "use those of a keyboard"))
    } else {
        None
    }
}

fn invalid(field: &str, what: &str, hint: &str) -> Problem {
    let problems = json!([{ "field": field, "what": what, "hint": hint }]);
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("{what}: {hint}")).with("problems", problems)
}

/// For a password that may be right.
fn not_looked_at(refused: Refused) -> Problem {
    let wait = |seconds: u64, why: &str| {
        let detail = format!("{why}: try again in {seconds} s");
        Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).header(RETRY_AFTER, HeaderValue::from(seconds))
    };
    match refused {
        Refused::Wait(left) => {
            let seconds = left.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX);
            wait(seconds, "too many logins from this address, or several at once")
        }
        Refused::Wrong(_) | Refused::Busy => wait(1, "too many are logging in"),
        Refused::Unknown(error) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

fn note_refusal(web: &Web, address: IpAddr, refused: &Refused, what: &str) {
    match refused {
        Refused::Wrong(Some(times)) => {
            let times = if *times == 1 { String::new() } else { format!(", {times} times by now") };
            let text = format!("{address} tried to {what} with a wrong password of the administrator{times}");
            tracing::warn!("{text}");
            web.tell(Event::of_page(text));
        }
        Refused::Unknown(error) if web.auth.is_news(error) => {
            tracing::error!("nobody can log in to the page: {error}");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_no_password_is_told_why() {
        let why = |new: &str| unsuitable("the old password", new).map(|(what, _)| what);
        assert_eq!(why("123456789"), Some("it is too short"));
        assert_eq!(why("ééééééééé"), Some("it is too short"));
        assert_eq!(why(&"x".repeat(257)), Some("it is too long"));
        assert_eq!(why("the old password"), Some("it is the one of now"));
        assert_eq!(why("0123456789\n"), Some("it holds characters that cannot be typed"));
        assert_eq!(why("0123456789"), None);
        assert_eq!(why(&"é".repeat(256)), None);
    }

    #[test]
    fn whoever_has_to_wait_is_told_for_how_long() {
        let headers = |left| not_looked_at(Refused::Wait(left)).into_response().headers().clone();
        for (left, seconds) in [(1, "1"), (1_000, "1"), (1_001, "2"), (60_000, "60")] {
            assert_eq!(headers(Duration::from_millis(left))[RETRY_AFTER], seconds);
        }
    }
}
