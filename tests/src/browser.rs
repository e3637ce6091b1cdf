//! A page in a real browser: MQTT.js in Chromium, without a window.
//!
//! The page gets its orders from the test, which serves it, and answers them over HTTP: that needs no driver.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    DEADLINE,
    clients::{Login, Received},
    process::Process,
    raw::Version,
};

/// A page that does what it is told. Closed when dropped.
pub struct Page {
    orders: Option<SyncSender<Value>>,
    answers: Receiver<Value>,
    address: SocketAddr,
    served: Arc<Served>,
    server: Option<JoinHandle<()>>,
    /// Ends before its home is removed.
    browser: Option<Process>,
    _home: TempDir,
}

/// What the server of a page knows.
struct Served {
    orders: Mutex<Receiver<Value>>,
    answers: SyncSender<Value>,
    closed: AtomicBool,
}

impl Page {
    /// A new browser with a page that is not connected. It trusts this certificate authority, if there is one (PEM).
    #[track_caller]
    pub fn open(ca: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (orders, received) = sync_channel(1);
        let (answers, answered) = sync_channel(1);
        let served =
            Arc::new(Served { orders: Mutex::new(received), answers, closed: AtomicBool::new(false) });
        let server = {
            let served = Arc::clone(&served);
            std::thread::spawn(move || serve(&listener, &served))
        };
        let home = TempDir::new().unwrap();
        if let Some(ca) = ca {
            trust(home.path(), ca);
        }
        let browser = Process::start(&mut chromium(home.path(), address));
        Self {
            orders: Some(orders),
            answers: answered,
            address,
            served,
            server: Some(server),
            browser: Some(browser),
            _home: home,
        }
    }

    /// Connects, and says whether the session was present, or why it did not get in.
    #[track_caller]
    pub fn connect(&self, url: &str, login: &Login, version: Version, clean: bool) -> Result<bool, String> {
        let connected = self.try_order(json!({
            "order": "connect",
            "url": url,
            "clientId": login.client_id,
            "username": login.username,
            "password": login.password,
            "version": if version == Version::V5 { 5 } else { 4 },
            "clean": clean,
        }))?;
        Ok(connected.as_bool().expect("whether the session was present"))
    }

    /// Loses the connection without a DISCONNECT and waits until MQTT.js is back; whether the session was present.
    #[track_caller]
    pub fn lose_connection(&self) -> bool {
        self.order(json!({ "order": "lose" })).as_bool().expect("whether the session was present")
    }

    /// Subscribes, and gives the QoS that was granted.
    #[track_caller]
    pub fn subscribe(&self, filter: &str, qos: u8) -> u8 {
        self.order(json!({ "order": "subscribe", "filter": filter, "qos": qos })).as_u64().expect("a QoS")
            as u8
    }

    /// Publishes, and waits until the handshake is complete.
    #[track_caller]
    pub fn publish(&self, topic: &str, qos: u8, payload: &str) {
        self.order(json!({ "order": "publish", "topic": topic, "qos": qos, "payload": payload }));
    }

    /// The next message.
    #[track_caller]
    pub fn take(&self) -> Received {
        let message = self.order(json!({ "order": "take" }));
        let text = |key: &str| message[key].as_str().unwrap().to_owned();
        Received {
            qos: message["qos"].as_u64().unwrap() as u8,
            retain: message["retain"].as_bool().unwrap(),
            topic: text("topic"),
            payload: text("payload").into_bytes(),
        }
    }

    /// Disconnects.
    #[track_caller]
    pub fn end(&self) {
        self.order(json!({ "order": "end" }));
    }

    #[track_caller]
    fn order(&self, order: Value) -> Value {
        self.try_order(order).unwrap_or_else(|error| panic!("the page says: {error}"))
    }

    #[track_caller]
    fn try_order(&self, order: Value) -> Result<Value, String> {
        let what = order["order"].to_string();
        self.orders.as_ref().unwrap().send(order).unwrap();
        // A browser needs its time to begin.
        let answer = self.answers.recv_timeout(DEADLINE * 6);
        let mut answer = answer.unwrap_or_else(|_| panic!("no answer of the page to {what}"));
        match answer.get("error") {
            Some(error) => Err(error.as_str().unwrap_or_default().to_owned()),
            None => Ok(answer["value"].take()),
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.orders = None;
        self.browser = None;
        self.served.closed.store(true, Ordering::SeqCst);
        // The server waits for a connection, and sees then that it was the last.
        let _ = TcpStream::connect(self.address);
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

/// With a home of its own, for its profile and its certificates.
fn chromium(home: &Path, page: SocketAddr) -> Command {
    let mut command = Command::new("chromium");
    command.env("HOME", home).arg(format!("--user-data-dir={}", home.join("profile").display())).args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--log-level=3",
    ]);
    command.arg(format!("http://{page}/"));
    command
}

/// Puts a certificate authority where Chromium looks for those of its user.
fn trust(home: &Path, ca: &str) {
    let file = home.join("ca.pem");
    std::fs::write(&file, ca).unwrap();
    let database = home.join(".pki/nssdb");
    std::fs::create_dir_all(&database).unwrap();
    let database = format!("sql:{}", database.display());
    for arguments in [&["-N", "--empty-password"][..], &["-A", "-n", "bridge", "-t", "C,,", "-i"]] {
        let mut command = Command::new("certutil");
        command.args(["-d", &database]).args(arguments);
        if arguments.ends_with(&["-i"]) {
            command.arg(&file);
        }
        let output = command.output().expect("certutil runs");
        assert!(output.status.success(), "certutil: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Answers requests until the page is closed, each connection in a thread of its own.
fn serve(listener: &TcpListener, served: &Arc<Served>) {
    while let Ok((stream, _)) = listener.accept() {
        if served.closed.load(Ordering::SeqCst) {
            return;
        }
        let served = Arc::clone(served);
        // An error means that the browser does not want the answer any more.
        std::thread::spawn(move || drop(answer(stream, &served)));
    }
}

fn answer(stream: TcpStream, served: &Served) -> std::io::Result<()> {
    let mut reader = BufReader::new(&stream);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut length = 0;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? <= 2 {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("Content-Length")
        {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;

    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser");
    let (status, kind, content) = match request.split_whitespace().nth(1).unwrap_or_default() {
        "/" => ("200 OK", "text/html", std::fs::read(directory.join("page.html"))?),
        "/page.js" => ("200 OK", "text/javascript", std::fs::read(directory.join("page.js"))?),
        "/mqtt.js" => ("200 OK", "text/javascript", std::fs::read(mqtt_js())?),
        "/order" => match served.orders.lock().unwrap().recv() {
            Ok(order) => ("200 OK", "application/json", order.to_string().into_bytes()),
            Err(_) => ("410 Gone", "text/plain", Vec::new()),
        },
        "/answer" => {
            let answer = serde_json::from_slice(&body).unwrap_or_default();
            // An error says that the test does not wait for it any more.
            let _ = served.answers.send(answer);
            ("204 No Content", "text/plain", Vec::new())
        }
        _ => ("404 Not Found", "text/plain", Vec::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        content.len()
    );
    (&stream).write_all(head.as_bytes())?;
    (&stream).write_all(&content)
}

/// Where npm's packages are: MQTT.js is one of them.
pub fn modules() -> PathBuf {
    let modules = mqtt_js().ancestors().nth(3).expect("mqtt/dist/mqtt.min.js is in a directory").to_owned();
    modules
        .canonicalize()
        .unwrap_or_else(|error| panic!("{}: {error} (tests/install makes it)", modules.display()))
}

/// MQTT.js for browsers: where `IOR_MQTT_JS` says, or where `tests/install` puts it.
pub fn mqtt_js() -> PathBuf {
    let installed = || {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../target/tests-browser/node_modules/mqtt/dist/mqtt.min.js")
    };
    std::env::var_os("IOR_MQTT_JS").map_or_else(installed, PathBuf::from)
}
