//! Visitors of the bridge's page: Chromium without a window, driven by Playwright.
//!
//! What a visitor looks for is named as a person would, by Playwright's selectors: `role=button[name="Add device"]`,
//! `text=Master 1`, `article:has-text("Connection 1") >> role=button[name=/Delete/]`. Whoever waits for something waits until
//! it is there, or fails.
//!
//! `cargo test -p ior-tests --test web_page -- --test-threads 1 edits` runs what has that word in its name, after
//! `tests/install`. What a visitor saw when a test failed is in `target/screenshots/failed-….png`, and pictures of every place,
//! which `--test web_page_looks` makes, are beside it.

use std::{
    cell::RefCell,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    rc::Rc,
    thread::panicking,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Bridge, World, browser::modules};

/// How long anything on a page may take: other tests run on the same machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The button on the door.
pub const LOG_IN: &str = "role=button[name=\"Log in\"]";

/// A browser with as many pages as are opened in it. Ends when dropped.
pub struct Browser(Rc<RefCell<Driver>>);

/// Somebody who looks at the page of a bridge, with cookies of his own. Whatever he does, when he leaves there must have
/// been no request to anybody else, nothing that the Content-Security-Policy forbids, no dialog of the browser and no error.
pub struct Visitor {
    driver: Rc<RefCell<Driver>>,
    page: Value,
}

/// What the window is like.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// What it is called.
    pub name: &'static str,
    /// Pixels.
    pub size: (u32, u32),
    /// `light` or `dark`.
    pub scheme: &'static str,
}

/// A file that was downloaded.
#[derive(Debug)]
pub struct Download {
    /// The name that it would get.
    pub name: String,
    /// What is in it.
    pub text: String,
}

struct Driver {
    process: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    _home: TempDir,
}

impl Look {
    /// A phone and a desktop, by day and by night.
    pub const ALL: [Self; 4] = [
        Self { name: "phone-light", size: (360, 740), scheme: "light" },
        Self { name: "phone-dark", size: (360, 740), scheme: "dark" },
        Self { name: "desktop-light", size: (1440, 900), scheme: "light" },
        Self { name: "desktop-dark", size: (1440, 900), scheme: "dark" },
    ];
}

impl Browser {
    /// A new one, with nothing in it.
    #[track_caller]
    pub fn open() -> Self {
        let home = TempDir::new().unwrap();
        let mut process = Command::new("node")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/visitor.mjs"))
            .env("HOME", home.path())
            .env("IOR_BROWSER_MODULES", modules())
            .env("IOR_BROWSER_DEADLINE", PATIENCE.as_millis().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node runs (tests/install installs it)");
        let orders = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Self(Rc::new(RefCell::new(Driver { process, orders, answers, _home: home })))
    }

    /// Somebody who has not been on a bridge's page yet, and opens it.
    #[track_caller]
    pub fn visit(&self, bridge: &Bridge) -> Visitor {
        self.visit_at(bridge.web.expect("a page"))
    }

    /// Likewise, by its address.
    #[track_caller]
    pub fn visit_at(&self, web: SocketAddr) -> Visitor {
        let page = self.0.borrow_mut().order(&json!({ "order": "open", "site": format!("http://{web}") }));
        let visitor =
            Visitor { driver: Rc::clone(&self.0), page: page.unwrap_or_else(|error| panic!("{error}")) };
        visitor.goes_to("/");
        visitor
    }
}

impl Visitor {
    /// Enters a path as the browser's address.
    #[track_caller]
    pub fn goes_to(&self, path: &str) {
        self.order("goto", json!({ "path": path }));
    }

    /// Where he is.
    #[track_caller]
    pub fn path(&self) -> String {
        self.order("path", json!({})).as_str().unwrap().to_owned()
    }

    /// Waits until something is to be seen.
    #[track_caller]
    pub fn sees(&self, what: &str) {
        self.order("see", json!({ "what": what }));
    }

    /// Waits until it is to be seen no more.
    #[track_caller]
    pub fn misses(&self, what: &str) {
        self.order("miss", json!({ "what": what }));
    }

    /// What stands there, once it is there.
    #[track_caller]
    pub fn reads(&self, what: &str) -> String {
        self.order("text", json!({ "what": what })).as_str().unwrap().to_owned()
    }

    /// How many of them there are now.
    #[track_caller]
    pub fn counts(&self, what: &str) -> u64 {
        self.order("count", json!({ "what": what })).as_u64().unwrap()
    }

    /// Clicks the first of them.
    #[track_caller]
    pub fn clicks(&self, what: &str) {
        self.order("click", json!({ "what": what }));
    }

    /// Writes into the field with a label, in place of what was there.
    #[track_caller]
    pub fn fills(&self, label: &str, text: &str) {
        self.order("fill", json!({ "label": label, "text": text }));
    }

    /// Chooses in the list with a label.
    #[track_caller]
    pub fn chooses(&self, label: &str, option: &str) {
        self.order("choose", json!({ "label": label, "option": option }));
    }

    /// Types, wherever the focus is.
    #[track_caller]
    pub fn types(&self, text: &str) {
        self.order("type", json!({ "text": text }));
    }

    /// Presses a key, as `Enter` or `Escape`.
    #[track_caller]
    pub fn presses(&self, key: &str) {
        self.order("press", json!({ "key": key }));
    }

    /// Presses Tab until something has the focus.
    #[track_caller]
    pub fn tabs_to(&self, what: &str) {
        self.order("tab", json!({ "what": what }));
    }

    /// Clicks what downloads a file.
    #[track_caller]
    pub fn downloads(&self, what: &str) -> Download {
        let file = self.order("download", json!({ "what": what }));
        let text = |key: &str| file[key].as_str().unwrap().to_owned();
        Download { name: text("name"), text: text("text") }
    }

    /// Logs in with the password that the bridge made, and waits until he is in.
    #[track_caller]
    pub fn logs_in(&self, world: &World) {
        self.fills("Password", &first_password(world));
        self.clicks(LOG_IN);
        self.sees("role=navigation");
        self.misses(".waiting");
    }

    /// Follows one of the links to all places.
    #[track_caller]
    pub fn goes_by_the_menu(&self, place: &str) {
        self.clicks(&format!("role=navigation >> role=link[name=\"{place}\"]"));
        self.sees(&format!("role=heading[name=\"{place}\"]"));
    }

    /// Loses all cookies.
    #[track_caller]
    pub fn forgets_cookies(&self) {
        self.order("forget", json!({}));
    }

    /// All cookies, with what they are restricted to.
    #[track_caller]
    pub fn cookies(&self) -> Value {
        self.order("cookies", json!({}))
    }

    /// Changes the window.
    #[track_caller]
    pub fn looks_with(&self, look: Look) {
        let (width, height) = look.size;
        self.order("look", json!({ "width": width, "height": height, "scheme": look.scheme }));
    }

    /// Keeps what is to be seen in `target/screenshots/`.
    #[track_caller]
    pub fn keeps_picture(&self, name: &str) {
        self.order("picture", json!({ "file": pictures().join(format!("{name}.png")) }));
    }

    /// Fails if something keeps people out: low contrast, fields without labels, roles that do not fit.
    #[track_caller]
    pub fn meets_no_barrier(&self, place: &str) {
        let barriers = self.order("barriers", json!({}));
        let barriers: Vec<_> = barriers.as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert!(barriers.is_empty(), "{place}:\n{}", barriers.join("\n"));
    }

    /// Fails if one has to scroll sideways.
    #[track_caller]
    pub fn sees_all_of_its_width(&self, place: &str) {
        assert_eq!(
            self.order("overflow", json!({})),
            0,
            "{place} is wider than the window, by so many pixels"
        );
    }

    /// Does not count what holds these words, such as what a browser says of a bridge that is stopped.
    #[track_caller]
    pub fn forgives(&self, words: &str) {
        self.order("forgive", json!({ "words": words }));
    }

    /// Fails if a page did what none may do.
    #[track_caller]
    pub fn has_seen_nothing_wrong(&self) {
        assert_eq!(self.order("offences", json!({})), json!([]));
    }

    #[track_caller]
    fn order(&self, order: &str, mut details: Value) -> Value {
        details["order"] = order.into();
        details["page"] = self.page.clone();
        let done = self.driver.borrow_mut().order(&details);
        match done {
            Ok(value) => value,
            Err(error) => panic!("{order}: {error}\n{}", self.situation()),
        }
    }

    /// For whoever looks into why a test failed.
    fn situation(&self) -> String {
        let test = std::thread::current().name().unwrap_or("test").replace("::", "-");
        let picture = pictures().join(format!("failed-{test}.png"));
        let mut driver = self.driver.borrow_mut();
        let shown = driver.order(&json!({ "order": "picture", "page": self.page, "file": picture }));
        let told = driver.order(&json!({ "order": "offences", "page": self.page }));
        format!("seen: {:?}\nnoticed: {told:?}", shown.map(|_| picture))
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        if !panicking() {
            self.has_seen_nothing_wrong();
        }
    }
}

impl Driver {
    fn order(&mut self, order: &Value) -> Result<Value, String> {
        writeln!(self.orders.as_mut().unwrap(), "{order}").map_err(|error| error.to_string())?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).map_err(|error| error.to_string())?;
        let mut answer: Value =
            serde_json::from_str(&answer).map_err(|error| format!("no answer of the browser: {error}"))?;
        match answer.get("error") {
            Some(error) => Err(error.as_str().unwrap_or_default().to_owned()),
            None => Ok(answer["value"].take()),
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // At the end of its orders it closes the browser.
        self.orders = None;
        let _ = self.process.wait();
    }
}

/// The administrator's password, which the bridge made at its first start.
#[track_caller]
pub fn first_password(world: &World) -> String {
    let file = world.data().join("admin-password");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    text.trim().to_owned()
}

/// Where pictures are kept: the newest of each.
pub fn pictures() -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/screenshots");
    std::fs::create_dir_all(&target).unwrap();
    target
}
