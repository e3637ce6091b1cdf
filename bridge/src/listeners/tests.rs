#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{path::Path, time::SystemTime};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::{
    policy::{LivePolicy, Policy},
    registry::Registry,
    rotation::{Rotation, Rotations},
    secrets::Secrets,
    settings::Environment,
    tls::Identity,
};

/// A broker with listeners, and the settings that they are at.
struct Bridge {
    listeners: Listeners,
    settings: Settings,
    _data: tempfile::TempDir,
}

#[tokio::test]
async fn all_that_the_settings_name_is_opened() {
    let bridge = Bridge::start(Some("127.0.0.1:0"), Some("127.0.0.1:0")).await;
    let Addresses { mqtt: Some(mqtt), mqtts: Some(mqtts), websocket: None } = bridge.listeners.addresses()
    else {
        panic!()
    };
    assert_eq!(bridge.listeners.addresses().to_string(), format!("mqtt {mqtt}, mqtts {mqtts}"));
    assert!(answers(mqtt).await);
    TcpStream::connect(mqtts).await.unwrap();
    let one = Bridge::start(None, Some("127.0.0.1:0")).await.listeners.addresses();
    assert_eq!((one.mqtt, one.to_string()), (None, format!("mqtts {}", one.mqtts.unwrap())));
}

#[tokio::test]
async fn websocket_is_opened_and_moved_like_the_others() {
    let mut bridge = Bridge::start(Some("127.0.0.1:0"), None).await;
    let mut settings = bridge.settings.clone();
    for address in [free().await, free().await] {
        settings.websocket.listen = Some(address);
        bridge.listeners.move_to(&settings).await.unwrap();
        let addresses = bridge.listeners.addresses();
        assert!(addresses.to_string().ends_with(&format!(", websocket {address}")), "{addresses}");
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /mqtt HTTP/1.1\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 426");
    }
}

#[tokio::test]
async fn what_cannot_be_opened_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let _holder = TcpListener::bind(taken).await.unwrap();
    for (listen, words) in [
        (
            taken.to_string(),
            format!("cannot listen on {taken}: address already in use; stop what listens there"),
        ),
        ("192.0.2.1:1".to_owned(), "this machine has no such address; write one that".to_owned()),
    ] {
        let mut settings = settings(Some("127.0.0.1:0"), None);
        settings.mqtts.listen = Some(listen.parse().unwrap());
        let error = Opened::open(&settings).unwrap_err().to_string();
        assert!(error.starts_with("mqtts.listen: ") && error.contains(&words), "{error}");
    }
}

#[tokio::test]
async fn only_what_changed_is_moved_and_nobody_is_dropped() {
    let mut bridge = Bridge::start(Some("127.0.0.1:0"), Some("127.0.0.1:0")).await;
    let before = bridge.listeners.addresses();
    let mut connected = TcpStream::connect(before.mqtt.unwrap()).await.unwrap();
    bridge.move_to(Some("127.0.0.1:0"), None).await.unwrap();
    assert_eq!(bridge.listeners.addresses(), Addresses { mqtts: None, ..before });
    assert!(TcpStream::connect(before.mqtts.unwrap()).await.is_err(), "it is closed");

    let free = free().await;
    bridge.move_to(Some(&free.to_string()), Some("127.0.0.1:0")).await.unwrap();
    let after = bridge.listeners.addresses();
    assert_eq!(after.mqtt, Some(free));
    assert!(answers(free).await && TcpStream::connect(after.mqtts.unwrap()).await.is_ok());
    assert!(TcpStream::connect(before.mqtt.unwrap()).await.is_err(), "the old one is closed");
    assert!(is_served(&mut connected).await, "whoever was connected still is");
}

#[tokio::test]
async fn the_same_port_goes_to_another_address() {
    let port = free().await.port();
    let mut bridge = Bridge::start(Some(&format!("127.0.0.1:{port}")), None).await;
    for address in ["0.0.0.0", "127.0.0.2", "127.0.0.1"] {
        let address = format!("{address}:{port}");
        bridge.move_to(Some(&address), None).await.unwrap();
        assert_eq!(bridge.listeners.addresses().to_string(), format!("mqtt {address}"));
    }
}

#[tokio::test]
async fn two_listeners_change_places() {
    let [one, other] = [free().await, free().await].map(|address| address.to_string());
    let mut bridge = Bridge::start(Some(&one), Some(&other)).await;
    bridge.move_to(Some(&other), Some(&one)).await.unwrap();
    let after = bridge.listeners.addresses();
    assert_eq!(after.to_string(), format!("mqtt {other}, mqtts {one}"));
    assert!(answers(after.mqtt.unwrap()).await);
}

#[tokio::test]
async fn if_one_cannot_be_opened_all_stay_where_they_were() {
    let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let mut bridge = Bridge::start(Some("127.0.0.1:0"), Some("127.0.0.1:0")).await;
    let before = bridge.listeners.addresses();
    // The plain one has to be closed for this, and opened again.
    let same_port = format!("127.0.0.2:{}", before.mqtt.unwrap().port());
    let error = bridge.move_to(Some(&same_port), Some(&taken)).await.unwrap_err().to_string();
    assert!(
        error.contains("mqtts.listen: cannot listen") && error.contains("stay where they were"),
        "{error}"
    );
    assert!(!error.contains("off now"), "{error}");
    assert_eq!(bridge.listeners.addresses(), before);
    assert!(answers(before.mqtt.unwrap()).await);
    drop(holder);
    bridge.move_to(Some(&same_port), Some(&taken)).await.unwrap();
    assert_eq!(bridge.listeners.addresses().to_string(), format!("mqtt {same_port}, mqtts {taken}"));
}

impl Bridge {
    async fn start(mqtt: Option<&str>, mqtts: Option<&str>) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut settings = settings(mqtt, mqtts);
        settings.data_dir = data.path().to_owned();
        let identity = Identity::load(&settings, SystemTime::now()).unwrap();
        let registry =
            Registry::load(Path::new(env!("CARGO_MANIFEST_DIR")).join("../config").as_path()).unwrap();
        let policy = Policy::new(&registry, Secrets::from_key([7; 32]), &Rotation::default(), &settings);
        let rotations = Rotations::new(data.path(), Rotation::default());
        let access = LivePolicy::new(policy, Arc::new(rotations));
        let broker = Broker::start(Arc::new(access), settings.limits.for_broker(), None).unwrap();
        let opened = Opened::open(&settings).unwrap();
        let addresses = opened.addresses();
        let listeners = opened.serve(&Arc::new(broker), identity.tls());
        assert_eq!(listeners.addresses(), addresses);
        Self { listeners, settings, _data: data }
    }

    async fn move_to(&mut self, mqtt: Option<&str>, mqtts: Option<&str>) -> Result<(), MoveError> {
        let Settings { mqtt, mqtts, .. } = settings(mqtt, mqtts);
        self.settings = Settings { mqtt, mqtts, ..self.settings.clone() };
        self.listeners.move_to(&self.settings).await
    }
}

fn settings(mqtt: Option<&str>, mqtts: Option<&str>) -> Settings {
    let mut settings = Settings::load(Path::new("/nowhere/config"), &Environment::new()).unwrap();
    settings.mqtt.listen = mqtt.map(|address| address.parse().unwrap());
    settings.mqtts.listen = mqtts.map(|address| address.parse().unwrap());
    settings.websocket.listen = None;
    settings
}

/// An address that nobody uses now.
async fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

async fn answers(address: SocketAddr) -> bool {
    is_served(&mut TcpStream::connect(address).await.unwrap()).await
}

/// Whether a CONNECT is answered: without a user name, by a refusal.
async fn is_served(stream: &mut TcpStream) -> bool {
    stream.write_all(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01x").await.unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.is_ok() && answer == [0x20, 2, 0, 4]
}
