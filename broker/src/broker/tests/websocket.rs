//! The WebSocket listener, over sockets.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use rcgen::generate_simple_self_signed;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{PrivateKeyDer, ServerName},
    },
};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};
use tungstenite::{client::IntoClientRequest, http::HeaderValue, protocol::frame::coding::CloseCode};

use super::*;
use crate::{codec::ReasonCode as Reason, transport::Tls};

/// A world with a listener for WebSocket, plain and over TLS.
struct Listening {
    world: World,
    address: SocketAddr,
    tls: TlsConnector,
}

impl Listening {
    async fn start(limits: Limits) -> Self {
        let world = World::with(limits);
        let (server, client) = configurations();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let transport = Transport::WebSocket { path: "/mqtt".into(), tls: Some(Tls::new(Arc::new(server))) };
        world.broker.serve(listener, transport);
        Self { world, address, tls: TlsConnector::from(Arc::new(client)) }
    }

    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn websocket(&self) -> WebSocketStream<TcpStream> {
        upgraded(self.tcp().await).await
    }

    /// The detail of the next refusal.
    async fn refusal(events: &mut broadcast::Receiver<Event>) -> String {
        loop {
            if let Event::Refused { detail, reason, .. } = events.recv().await.unwrap() {
                assert_eq!(reason, Reason::ProtocolError);
                return detail.to_string();
            }
        }
    }
}

/// Of a server, and of a client that trusts it.
fn configurations() -> (ServerConfig, ClientConfig) {
    let identity = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = identity.cert.der().clone();
    let key = PrivateKeyDer::try_from(identity.signing_key.serialize_der()).unwrap();
    let mut trusted = RootCertStore::empty();
    trusted.add(certificate.clone()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(trusted)
        .with_no_client_auth();
    (server, client)
}

async fn upgraded<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> WebSocketStream<S> {
    let mut request = "ws://localhost/mqtt".into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("mqtt"));
    client_async(request, stream).await.unwrap().0
}

fn bytes(packet: Packet) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    packet.encode(&mut bytes).unwrap();
    bytes.to_vec()
}

/// Logs in and pings; every packet of the broker comes in a message of its own here.
async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(client: &mut WebSocketStream<S>, client_id: &str) {
    client.send(Message::Binary(bytes(Packet::Connect(named(client_id, 0))).into())).await.unwrap();
    assert!(matches!(packet(client).await, Packet::ConnAck(ack) if ack.reason_code == ReasonCode::Success));
    client.send(Message::Binary(vec![0xC0, 0].into())).await.unwrap();
    assert!(matches!(packet(client).await, Packet::PingResp(_)));
}

async fn packet<S: AsyncRead + AsyncWrite + Unpin>(client: &mut WebSocketStream<S>) -> Packet {
    let message = client.next().await.unwrap().unwrap();
    assert!(message.is_binary(), "{message:?}");
    let mut message = BytesMut::from(&message.into_data()[..]);
    let packet = Packet::decode(&mut message).unwrap().unwrap();
    assert!(message.is_empty());
    packet
}

#[tokio::test]
async fn one_port_serves_websocket_plain_and_over_tls() {
    let listening = Listening::start(Limits::default()).await;
    let mut events = listening.world.broker.events();
    log_in(&mut listening.websocket().await, "plain").await;
    let name = ServerName::try_from("localhost").unwrap();
    let stream = listening.tls.connect(name, listening.tcp().await).await.unwrap();
    log_in(&mut upgraded(stream).await, "secret").await;
    let mut channels = Vec::new();
    while channels.len() < 2 {
        if let Event::Connected { client_id, channel, .. } = events.recv().await.unwrap() {
            channels.push((client_id.to_string(), channel));
        }
    }
    assert_eq!(
        channels,
        [("plain".to_owned(), Channel::WebSocket), ("secret".to_owned(), Channel::WebSocketTls)]
    );
}

#[tokio::test]
async fn whoever_stalls_its_handshake_delays_nobody_and_gives_way() {
    let limits = Limits { logins: 3, connect_timeout: LONG, ..Limits::default() };
    let listening = Listening::start(limits).await;
    let mut events = listening.world.broker.events();
    let mut silent = listening.tcp().await;
    let mut within_tls = listening.tcp().await;
    within_tls.write_all(&[22, 3, 1]).await.unwrap();
    let mut within_request = listening.tcp().await;
    within_request.write_all(b"GET /mqtt HTTP/1.1\r\n").await.unwrap();
    // Each takes the place of the one that waits for longest, and leaves it when it has logged in.
    let mut clients = Vec::new();
    for (stalled, what) in
        [(&mut silent, "TLS or WebSocket"), (&mut within_tls, "TLS"), (&mut within_request, "WebSocket")]
    {
        let mut client = listening.websocket().await;
        assert_eq!(stalled.read(&mut [0]).await.unwrap(), 0);
        let expected = format!("it did not end its {what} handshake while others wanted to log in");
        assert_eq!(Listening::refusal(&mut events).await, expected);
        let another = listening.tcp().await;
        log_in(&mut client, what).await;
        clients.push((client, another));
    }
}

#[tokio::test]
async fn handshakes_have_as_long_as_the_connect() {
    let limits = Limits { connect_timeout: Duration::from_millis(200), ..Limits::default() };
    let listening = Listening::start(limits).await;
    let mut events = listening.world.broker.events();
    for (sent, what) in [
        (&b""[..], "its TLS or WebSocket handshake took longer than limits.connect_timeout"),
        (&[22, 3, 1], "its TLS handshake took longer than limits.connect_timeout"),
        (b"GET /mqtt HTTP/1.1\r\n", "its WebSocket handshake took longer than limits.connect_timeout"),
    ] {
        let mut stalled = listening.tcp().await;
        stalled.write_all(sent).await.unwrap();
        assert_eq!(stalled.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(Listening::refusal(&mut events).await, what);
    }
}

#[tokio::test]
async fn what_is_no_websocket_is_answered_and_told_to_the_operator() {
    let listening = Listening::start(Limits::default()).await;
    let mut events = listening.world.broker.events();
    let mut browser = listening.tcp().await;
    browser.write_all(b"GET / HTTP/1.1\r\nHost: pi\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    browser.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n") && answer.contains("/mqtt"), "{answer}");
    assert!(Listening::refusal(&mut events).await.contains("MQTT over WebSocket is at /mqtt"));

    let mut scanner = listening.tcp().await;
    scanner.write_all(b"GET").await.unwrap();
    scanner.shutdown().await.unwrap();
    assert_eq!(scanner.read(&mut [0]).await.unwrap(), 0);
    let detail = Listening::refusal(&mut events).await;
    assert_eq!(detail, "the connection was closed before its WebSocket handshake");

    let mut mqtt = listening.tcp().await;
    mqtt.write_all(&bytes(Packet::Connect(named("a", 0)))).await.unwrap();
    assert_eq!(mqtt.read(&mut [0]).await.unwrap_or(0), 0);
    assert!(Listening::refusal(&mut events).await.contains("the port of plain MQTT"));

    let mut distrustful = listening.tcp().await;
    let untrusted = configurations().1;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(untrusted)).connect(name, &mut distrustful).await.unwrap_err();
    let detail = Listening::refusal(&mut events).await;
    assert!(detail.starts_with("it gave up the TLS handshake"), "{detail}");
}

#[tokio::test]
async fn a_text_message_closes_with_1003_before_the_login_and_after_it() {
    let listening = Listening::start(Limits::default()).await;
    let mut events = listening.world.broker.events();
    let mut stranger = listening.websocket().await;
    stranger.send(Message::Text("hello".into())).await.unwrap();
    let told = Listening::refusal(&mut events).await;
    assert_eq!(told, "the client sent a text message of WebSocket: MQTT goes in binary ones");
    let mut client = listening.websocket().await;
    log_in(&mut client, "a").await;
    client.send(Message::Text("hello".into())).await.unwrap();
    let disconnect = packet(&mut client).await;
    assert!(
        matches!(&disconnect, Packet::Disconnect(d) if d.reason_code == ReasonCode::ProtocolError),
        "{disconnect:?}"
    );
    for client in [&mut stranger, &mut client] {
        let Message::Close(Some(close)) = client.next().await.unwrap().unwrap() else { panic!("no close") };
        assert_eq!(close.code, CloseCode::Unsupported);
    }
    loop {
        if let Event::Disconnected { cause, .. } = events.recv().await.unwrap() {
            assert!(cause.to_string().contains("MQTT goes in binary ones"), "{cause}");
            break;
        }
    }
}

#[tokio::test]
async fn the_limits_of_packets_hold_however_they_are_framed() {
    let limits = Limits { max_connect_size: 100, max_packet_size: 1_000, ..Limits::default() };
    let listening = Listening::start(limits).await;
    let mut events = listening.world.broker.events();
    let mut stranger = listening.websocket().await;
    let connect = bytes(Packet::Connect(named(&"a".repeat(100), 0)));
    for part in connect.chunks(10) {
        stranger.feed(Message::Binary(part.to_vec().into())).await.unwrap();
    }
    stranger.flush().await.unwrap();
    assert_eq!(Listening::refusal(&mut events).await, "its CONNECT is larger than limits.max_connect_size");

    let mut client = listening.websocket().await;
    log_in(&mut client, "a").await;
    // Many packets in one message are fine, as many as it may hold.
    client.send(Message::Binary([0xC0, 0].repeat(5_000).into())).await.unwrap();
    let mut answered = 0;
    while answered < 10_000 {
        answered += client.next().await.unwrap().unwrap().len();
    }
    client.send(Message::Binary(vec![0x30, 0xE7, 0x07].into())).await.unwrap();
    assert!(
        matches!(packet(&mut client).await, Packet::Disconnect(d) if d.reason_code == ReasonCode::PacketTooLarge)
    );
}

#[tokio::test]
async fn a_connect_that_comes_together_with_the_request_is_heard() {
    let listening = Listening::start(Limits::default()).await;
    let mut hasty = listening.tcp().await;
    let mut sent = b"GET /mqtt HTTP/1.1\r\nHost: pi\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Protocol: mqtt\r\n\r\n"
        .to_vec();
    let connect = bytes(Packet::Connect(named("a", 0)));
    // Masked with zeros.
    sent.extend([0x82, 0x80 | connect.len() as u8, 0, 0, 0, 0]);
    sent.extend(connect);
    hasty.write_all(&sent).await.unwrap();
    listening.world.until(|broker| broker.is_online("anonymous")).await;
}

/// A client that has shut down its sending side may still read.
#[tokio::test]
async fn a_half_closed_client_reads_what_it_was_sent() {
    let listening = Listening::start(Limits::default()).await;
    let mut client = listening.websocket().await;
    client.send(Message::Binary(bytes(Packet::Connect(named("a", 0))).into())).await.unwrap();
    client.get_mut().shutdown().await.unwrap();
    assert!(matches!(packet(&mut client).await, Packet::ConnAck(_)));
    assert!(matches!(client.next().await, Some(Ok(Message::Close(_)))));
}

#[tokio::test]
async fn a_stop_tells_clients_and_closes_in_order() {
    let listening = Listening::start(Limits::default()).await;
    let mut client = listening.websocket().await;
    log_in(&mut client, "a").await;
    let stopping = async {
        assert!(
            matches!(packet(&mut client).await, Packet::Disconnect(d) if d.reason_code == ReasonCode::ServerShuttingDown)
        );
        assert!(matches!(client.next().await, Some(Ok(Message::Close(_)))));
        assert!(client.next().await.is_none());
    };
    tokio::join!(stopping, listening.world.broker.stop());
}
