//! Who may ask: the administrator's password, sessions, tokens, and what keeps others out.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use ior_tests::{
    Bridge,
    http::{Http, password},
};

#[test]
fn whoever_knows_the_password_logs_in_and_out() {
    let bridge = Bridge::start();
    let http = Http::of(&bridge);
    http.get("/api/v1/session").expect(401);
    http.try_log_in("wrong").expect(401);
    let answer = http.try_log_in(&password(&bridge)).expect(201);
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.starts_with("ior_session="), "{cookie}");
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200"), "{cookie}");
    let session = http.get("/api/v1/session").expect(200).json();
    assert_eq!(session, answer.json());
    assert_eq!((&session["name"], &session["password_is_initial"]), (&"admin".into(), &true.into()));
    http.delete("/api/v1/session").expect(204);
    http.get("/api/v1/session").expect(401);
}
