//! The page, as whoever looks after a bridge uses it: a real browser, the real binary, real devices.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use ior_tests::{Bridge, visitor::Browser};

#[test]
fn whoever_comes_is_asked_for_the_password() {
    let bridge = Bridge::start();
    let browser = Browser::open();
    let visitor = browser.visit(&bridge);
    visitor.sees("role=button[name=\"Log in\"]");
    assert_eq!(visitor.path(), "/login");
    visitor.keeps_picture("try");
}
