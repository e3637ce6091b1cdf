//! A small HTTP client for the page and its API: requests right or deliberately wrong, one connection each.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    sync::Mutex,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{Bridge, tls::Tunnel};

/// How long an answer may take: passwords are hashed slowly, on a busy machine very slowly.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client with a cookie jar.
pub struct Http {
    addr: SocketAddr,
    /// What it calls the server.
    host: String,
    source: Option<IpAddr>,
    token: Option<String>,
    jar: Mutex<Jar>,
    _tunnel: Option<Tunnel>,
}

/// What a browser would remember.
#[derive(Default)]
struct Jar {
    cookies: Vec<(String, String)>,
    csrf_token: Option<String>,
}

/// What the server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Such as 200.
    pub status: u16,
    /// In the order in which they came; names in lower case.
    pub headers: Vec<(String, String)>,
    /// Without what HTTP adds.
    pub body: Vec<u8>,
}

/// Server-sent events as they come.
pub struct Events {
    stream: TcpStream,
    /// What is not decoded from its chunks yet.
    raw: Vec<u8>,
    /// What is not an event yet.
    text: Vec<u8>,
    is_over: bool,
}

/// A server-sent event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its kind.
    pub name: String,
    /// JSON.
    pub data: Value,
}

impl Http {
    /// Not logged in, without TLS.
    #[track_caller]
    pub fn of(bridge: &Bridge) -> Self {
        let addr = on_loopback(bridge.web.expect("the page is on"));
        Self::at(addr, &addr.to_string(), None)
    }

    /// Not logged in, over TLS; trusts the bridge's CA.
    #[track_caller]
    pub fn over_tls(bridge: &Bridge) -> Self {
        let addr = on_loopback(bridge.web.expect("the page is on"));
        let ca = std::fs::read_to_string(bridge.world().data().join("ca/ca.crt")).unwrap();
        let tunnel = Tunnel::open(addr, "localhost", &ca);
        Self::at(tunnel.addr, &format!("localhost:{}", addr.port()), Some(tunnel))
    }

    /// Logged in with the password that the bridge has made.
    #[track_caller]
    pub fn log_in(bridge: &Bridge) -> Self {
        let http = Self::of(bridge);
        http.try_log_in(&password(bridge)).expect(201);
        http
    }

    /// Comes from another address of this machine, such as 127.0.0.2.
    pub fn from_address(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// Shows this API token.
    pub fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Tries this password. If it is right, it is logged in from then on.
    #[track_caller]
    pub fn try_log_in(&self, password: &str) -> Answer {
        let answer = self.post("/api/v1/session", &json!({ "password": password }));
        if answer.status == 201 {
            self.set_csrf_token(answer.json()["csrf_token"].as_str());
        }
        answer
    }

    /// Sends this CSRF token from now on, or none.
    pub fn set_csrf_token(&self, token: Option<&str>) {
        self.jar.lock().unwrap().csrf_token = token.map(str::to_owned);
    }

    /// The value of a cookie.
    pub fn cookie(&self, name: &str) -> Option<String> {
        let jar = self.jar.lock().unwrap();
        jar.cookies.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    /// Sets a cookie, as if the server had.
    pub fn set_cookie(&self, name: &str, value: &str) {
        let mut jar = self.jar.lock().unwrap();
        jar.cookies.retain(|(known, _)| known != name);
        jar.cookies.push((name.to_owned(), value.to_owned()));
    }

    /// GET.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], None)
    }

    /// POST with a JSON body.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[], Some(body))
    }

    /// PUT with a JSON body.
    #[track_caller]
    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, &[], Some(body))
    }

    /// PATCH with a JSON body.
    #[track_caller]
    pub fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send("PATCH", path, &[], Some(body))
    }

    /// DELETE.
    #[track_caller]
    pub fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], None)
    }

    /// Any request, with headers more than usual.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Answer {
        let answer = self.raw(&self.request(method, path, headers, body));
        self.remember(&answer);
        answer
    }

    /// Sends these bytes as they are, and gives what comes until the server closes the connection.
    #[track_caller]
    pub fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = self.open();
        // An error means that the server has closed it already, and maybe answered before.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        Answer::parse(&answer).unwrap_or_else(|| panic!("no answer: {read:?}, {}", lossy(&answer)))
    }

    /// A connection with nothing sent yet.
    #[track_caller]
    pub fn open(&self) -> TcpStream {
        let stream = match self.source {
            None => TcpStream::connect(self.addr).unwrap(),
            Some(source) => connect_from(source, self.addr),
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// A request as it is sent.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Vec<u8> {
        let jar = self.jar.lock().unwrap();
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.host);
        let mut header = |name: &str, value: &str| text.push_str(&format!("{name}: {value}\r\n"));
        if !jar.cookies.is_empty() {
            let cookies: Vec<_> = jar.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            header("Cookie", &cookies.join("; "));
        }
        if let Some(token) = &self.token {
            header("Authorization", &format!("Bearer {token}"));
        }
        let is_safe = matches!(method, "GET" | "HEAD" | "OPTIONS");
        if let Some(token) = jar.csrf_token.as_ref().filter(|_| !is_safe) {
            header("X-CSRF-Token", token);
        }
        for (name, value) in headers {
            header(name, value);
        }
        let body = body.map(Value::to_string);
        if let Some(body) = &body {
            header("Content-Type", "application/json");
            header("Content-Length", &body.len().to_string());
        }
        text.push_str("\r\n");
        text.push_str(&body.unwrap_or_default());
        text.into_bytes()
    }

    /// Server-sent events of a place; fails unless it has any.
    #[track_caller]
    pub fn events(&self, path: &str) -> Events {
        self.events_over(self.open(), path)
    }

    /// The same over a connection with nothing sent yet.
    #[track_caller]
    pub fn events_over(&self, mut stream: TcpStream, path: &str) -> Events {
        stream.write_all(&self.request("GET", path, &[], None)).unwrap();
        let mut raw = Vec::new();
        let head = loop {
            if let Some(end) = find(&raw, b"\r\n\r\n") {
                break raw.drain(..end + 4).collect::<Vec<_>>();
            }
            let mut some = [0; 4096];
            let read = stream.read(&mut some).unwrap();
            assert!(read > 0, "the stream ended in its head: {}", lossy(&raw));
            raw.extend(&some[..read]);
        };
        let head = Answer::parse(&head).unwrap();
        assert_eq!(head.status, 200, "{path}: {}", lossy(&raw));
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        assert_eq!(head.header("transfer-encoding"), Some("chunked"));
        Events { stream, raw, text: Vec::new(), is_over: false }
    }

    fn at(addr: SocketAddr, host: &str, tunnel: Option<Tunnel>) -> Self {
        let jar = Mutex::default();
        Self { addr, host: host.to_owned(), source: None, token: None, jar, _tunnel: tunnel }
    }

    fn remember(&self, answer: &Answer) {
        let set = answer.headers.iter().filter(|(name, _)| name == "set-cookie");
        for (_, cookie) in set {
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            self.set_cookie(name, value);
            if cookie.contains("Max-Age=0") {
                self.jar.lock().unwrap().cookies.retain(|(known, _)| known != name);
            }
        }
    }
}

impl Answer {
    /// Fails unless the status is this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body.
    pub fn text(&self) -> String {
        lossy(&self.body)
    }

    /// The body, which must be JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }

    fn parse(answer: &[u8]) -> Option<Self> {
        let end = find(answer, b"\r\n\r\n")?;
        let head = std::str::from_utf8(&answer[..end]).ok()?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
        let headers = lines
            .map(|line| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned())))
            .collect::<Option<Vec<_>>>()?;
        let mut parsed = Self { status, headers, body: answer[end + 4..].to_vec() };
        if parsed.header("transfer-encoding") == Some("chunked") {
            let (mut raw, mut body) = (std::mem::take(&mut parsed.body), Vec::new());
            while take_chunk(&mut raw, &mut body) == Some(true) {}
            parsed.body = body;
        }
        Some(parsed)
    }
}

impl Events {
    /// The next event; nothing if the stream has ended.
    #[track_caller]
    pub fn next_within(&mut self, deadline: Duration) -> Option<Event> {
        let until = Instant::now() + deadline;
        loop {
            if let Some(event) = self.take() {
                return Some(event);
            }
            if self.is_over {
                return None;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no event in time, only {}", lossy(&self.text));
            self.stream.set_read_timeout(Some(left)).unwrap();
            let mut some = [0; 65536];
            match self.stream.read(&mut some) {
                Ok(0) => self.is_over = true,
                Ok(read) => self.raw.extend(&some[..read]),
                Err(error) if matches!(error.kind(), std::io::ErrorKind::ConnectionReset) => {
                    self.is_over = true;
                }
                // Time is over: see above.
                Err(_) => {}
            }
            while !self.is_over {
                match take_chunk(&mut self.raw, &mut self.text) {
                    Some(true) => {}
                    Some(false) => self.is_over = true,
                    None => break,
                }
            }
        }
    }

    /// Waits for an event for which `find` gives something.
    #[track_caller]
    pub fn wait_for<T>(&mut self, what: &str, deadline: Duration, find: impl Fn(&Event) -> Option<T>) -> T {
        let until = Instant::now() + deadline;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.next_within(left) {
                Some(event) => {
                    if let Some(found) = find(&event) {
                        return found;
                    }
                }
                None => panic!("the stream ended without {what}"),
            }
        }
    }

    /// Waits until the stream ends, whatever comes before.
    #[track_caller]
    pub fn wait_for_end(&mut self, deadline: Duration) {
        let until = Instant::now() + deadline;
        while self.next_within(until.saturating_duration_since(Instant::now())).is_some() {}
    }

    /// An event that is here; comments are none.
    fn take(&mut self) -> Option<Event> {
        loop {
            let end = find(&self.text, b"\n\n")?;
            let block: Vec<u8> = self.text.drain(..end + 2).collect();
            let block = String::from_utf8(block).unwrap();
            let field = |name: &str| -> Vec<String> {
                let value = |line: &str| Some(line.strip_prefix(name)?.trim_start().to_owned());
                block.lines().filter_map(value).collect()
            };
            let data = field("data:");
            if data.is_empty() {
                continue;
            }
            let name = field("event:").pop().unwrap_or_else(|| "message".to_owned());
            return Some(Event { name, data: serde_json::from_str(&data.join("\n")).unwrap() });
        }
    }
}

/// The password that the bridge has made.
#[track_caller]
pub fn password(bridge: &Bridge) -> String {
    let text = std::fs::read_to_string(bridge.world().data().join("admin-password")).unwrap();
    text.strip_suffix('\n').expect("one line").to_owned()
}

fn on_loopback(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    addr
}

fn connect_from(source: IpAddr, addr: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((source, 0).into()).unwrap();
        let stream = socket.connect(addr).await.unwrap().into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        stream
    })
}

/// Moves one chunk's bytes; `Some(false)` if it was the last, `None` if it is not complete.
fn take_chunk(raw: &mut Vec<u8>, body: &mut Vec<u8>) -> Option<bool> {
    let line = find(raw, b"\r\n")?;
    let length = usize::from_str_radix(std::str::from_utf8(&raw[..line]).ok()?, 16).ok()?;
    let end = line + 2 + length + 2;
    if raw.len() < end {
        return None;
    }
    body.extend(&raw[line + 2..end - 2]);
    raw.drain(..end);
    Some(length > 0)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Drop for Events {
    fn drop(&mut self) {
        // An error means that the server was first.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
