//! Frames byte by byte, and the stream against a client that others wrote.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::timeout,
};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};
use tungstenite::{
    client::IntoClientRequest,
    http::HeaderValue,
    protocol::{Role, frame::coding::CloseCode},
};

use super::{
    incoming::{End, Incoming},
    stream::WebSocket,
    upgrade::{NotUpgraded, upgrade},
};
use crate::transport::Violation;

const CONTINUE: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;
const FINAL: u8 = 0x80;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(1000);

/// A masked frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0xA1, 0x02, 0xF3, 0x44];
    let mut frame = vec![first];
    match payload.len() {
        length @ ..=125 => frame.push(0x80 | length as u8),
        length @ ..=0xFFFF => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// What is in these bytes when they arrive in pieces of this size.
fn read(bytes: &[u8], piece: usize) -> (Vec<u8>, Incoming) {
    let mut incoming = Incoming::default();
    let mut read = Vec::new();
    for piece in bytes.chunks(piece) {
        let mut piece = piece.to_vec();
        let kept = incoming.handle(&mut piece);
        read.extend_from_slice(&piece[..kept]);
    }
    (read, incoming)
}

proptest! {
    #[test]
    fn bytes_pass_however_they_are_framed_and_cut(
        parts in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), 0..4_u8), 1..10),
        piece in 1..700_usize,
    ) {
        let (mut sent, mut bytes) = (Vec::new(), Vec::new());
        let mut unfinished = false;
        for (payload, how) in &parts {
            let kind = if unfinished { CONTINUE } else { BINARY };
            let last = if how % 2 == 0 { FINAL } else { 0 };
            unfinished = last == 0;
            bytes.extend(frame(kind | last, payload));
            sent.extend_from_slice(payload);
            if *how > 1 {
                bytes.extend(frame(FINAL | PING, &payload[..payload.len().min(125)]));
                bytes.extend(frame(FINAL | PONG, b"unasked for"));
            }
        }
        let (read, mut incoming) = read(&bytes, piece);
        prop_assert_eq!(read, sent);
        prop_assert_eq!(incoming.end(), None);
        let last_ping = parts.iter().rev().find(|(_, how)| *how > 1);
        prop_assert_eq!(incoming.take_ping(), last_ping.map(|(payload, _)| payload[..payload.len().min(125)].to_vec()));
    }

    #[test]
    fn any_bytes_are_taken_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), piece in 1..99_usize) {
        let (kept, _) = read(&bytes, piece);
        prop_assert!(kept.len() <= bytes.len());
    }
}

#[test]
fn what_breaks_the_rules_ends_it_with_the_code_that_says_so() {
    let unmasked = [FINAL | BINARY, 1, b'x'];
    let cases: [(&str, Vec<u8>, CloseCode); 14] = [
        ("text", frame(FINAL | TEXT, b"hello"), CloseCode::Unsupported),
        ("unmasked", unmasked.to_vec(), CloseCode::Protocol),
        ("compressed", frame(FINAL | 0x40 | BINARY, b"x"), CloseCode::Protocol),
        ("second reserved bit", frame(FINAL | 0x20 | BINARY, b"x"), CloseCode::Protocol),
        ("third reserved bit", frame(FINAL | 0x10 | PING, b"x"), CloseCode::Protocol),
        ("unknown data", frame(FINAL | 0x3, b"x"), CloseCode::Protocol),
        ("unknown control", frame(FINAL | 0xB, b"x"), CloseCode::Protocol),
        ("a part of nothing", frame(FINAL | CONTINUE, b"x"), CloseCode::Protocol),
        ("one within another", [frame(BINARY, b"x"), frame(BINARY, b"y")].concat(), CloseCode::Protocol),
        ("ping in parts", frame(PING, b"x"), CloseCode::Protocol),
        ("large ping", frame(FINAL | PING, &[0; 126]), CloseCode::Protocol),
        (
            "longer than it could be",
            vec![FINAL | BINARY, 0x80 | 126, 0, 125, 0, 0, 0, 0],
            CloseCode::Protocol,
        ),
        (
            "longer than it could be, in eight bytes",
            vec![FINAL | BINARY, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0],
            CloseCode::Protocol,
        ),
        (
            "a negative length",
            vec![FINAL | BINARY, 0x80 | 127, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            CloseCode::Protocol,
        ),
    ];
    for (what, bytes, code) in cases {
        for piece in [1, 3, bytes.len()] {
            let before = frame(FINAL | BINARY, b"before");
            let bytes = [before, bytes.clone(), frame(FINAL | BINARY, b"after")].concat();
            let (read, incoming) = read(&bytes, piece);
            let end = incoming.end().unwrap_or_else(|| panic!("{what} is taken"));
            assert_eq!(end.code, code, "{what}");
            assert!(end.violation.is_some(), "{what}");
            assert!(read.starts_with(b"before") && read.len() <= 7, "{what}: {read:?}");
        }
    }
}

#[test]
fn a_close_frame_ends_it_and_its_code_is_returned() {
    let cases: [(&[u8], CloseCode); 6] = [
        (b"", CloseCode::Normal),
        (b"\x03\xE9bye", CloseCode::Away),
        (b"\x0F\xA0", CloseCode::Library(4000)),
        (b"\x03", CloseCode::Protocol),
        (b"\x03\xED", CloseCode::Protocol),
        (b"\x03\xE8\xFF", CloseCode::Protocol),
    ];
    for (payload, code) in cases {
        let bytes = [frame(FINAL | BINARY, b"last"), frame(FINAL | CLOSE, payload)].concat();
        let (read, incoming) = read(&[bytes, frame(FINAL | BINARY, b"ignored")].concat(), 5);
        assert_eq!(read, b"last");
        assert_eq!(incoming.end(), Some(End { code, violation: None }), "{payload:?}");
    }
}

#[test]
fn an_announced_length_reserves_nothing() {
    let header = [FINAL | BINARY, 0x80 | 127, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0];
    let (read, incoming) = read(&[&header[..], b"all that came"].concat(), 64);
    assert_eq!((&read[..], incoming.end()), (&b"all that came"[..], None));
    assert!(size_of::<Incoming>() <= 128, "{} bytes", size_of::<Incoming>());
}

/// Both ends, over a pipe of so many bytes.
async fn pair(bytes: usize) -> (WebSocket<DuplexStream>, WebSocketStream<DuplexStream>) {
    let (ours, theirs) = duplex(bytes);
    let client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
    (WebSocket::new(ours, Vec::new()), client)
}

#[tokio::test(start_paused = true)]
async fn much_passes_both_ways_through_a_narrow_pipe_while_the_client_pings() {
    let sent: Vec<u8> = (0..100_000_u32).map(|i| (i / 7) as u8).collect();
    for pipe in [1, 3, 64, 70_000] {
        let (server, client) = pair(pipe).await;
        let (mut to_server, mut from_server) = client.split();
        let (mut reader, mut writer) = tokio::io::split(server);
        let mut read = vec![0; sent.len()];
        let mut received = Vec::new();
        let writing = async {
            for part in sent.chunks(30_011) {
                writer.write_all(part).await.unwrap();
                writer.flush().await.unwrap();
            }
        };
        let sending = async {
            for part in sent.chunks(9_973) {
                to_server.send(Message::Ping(part[..9].to_vec().into())).await.unwrap();
                to_server.send(Message::Binary(part.to_vec().into())).await.unwrap();
            }
        };
        let receiving = async {
            while let Some(message) = from_server.next().await {
                if let Message::Binary(part) = message.unwrap() {
                    received.extend_from_slice(&part);
                }
            }
        };
        let all = timeout(LONG, async {
            tokio::select! {
                (read, (), ()) = async { tokio::join!(reader.read_exact(&mut read), writing, sending) } => {
                    read.unwrap();
                }
                () = receiving => panic!("the server has closed"),
            }
        });
        all.await.unwrap_or_else(|_| panic!("a wake-up is lost with a pipe of {pipe}"));
        assert!(read == sent, "the server reads what was sent");
        while received.len() < sent.len() {
            if let Message::Binary(part) = from_server.next().await.unwrap().unwrap() {
                received.extend_from_slice(&part);
            }
        }
        assert!(received == sent, "the client reads what was sent");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_written_at_once_is_one_message_as_far_as_it_fits() {
    let (mut server, mut client) = pair(1_000_000).await;
    for length in [1, 125, 126, 65_535, 65_536, 200_000] {
        let bytes = vec![7; length];
        server.write_all(&bytes).await.unwrap();
        server.flush().await.unwrap();
        let mut left = length;
        while left > 0 {
            let message = client.next().await.unwrap().unwrap();
            assert_eq!(message.len(), left.min(65_535));
            left -= message.len();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered_while_nothing_else_is_said() {
    let (mut server, mut client) = pair(1_000).await;
    let reading = tokio::spawn(async move { server.read_u8().await });
    client.send(Message::Ping("are you there".into())).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), Message::Pong("are you there".into()));
    client.send(Message::Binary(vec![42].into())).await.unwrap();
    assert_eq!(reading.await.unwrap().unwrap(), 42);
}

#[tokio::test(start_paused = true)]
async fn a_pong_waits_for_the_message_that_is_being_written() {
    let (server, mut client) = pair(100).await;
    client.send(Message::Ping("ping".into())).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(server);
    let serving = async {
        tokio::select! {
            biased;
            written = writer.write_all(&[1; 500]) => written.unwrap(),
            _ = reader.read_u8() => panic!("nothing was sent"),
        }
        writer.flush().await.unwrap();
    };
    let receiving = async {
        assert_eq!(client.next().await.unwrap().unwrap(), Message::Binary(vec![1; 500].into()));
        assert_eq!(client.next().await.unwrap().unwrap(), Message::Pong("ping".into()));
    };
    tokio::join!(serving, receiving);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_pings_and_reads_nothing_holds_one_pong() {
    let (ours, mut theirs) = duplex(64);
    let mut server = WebSocket::new(ours, Vec::new());
    let reading = tokio::spawn(async move { server.read_u8().await.map(|byte| (byte, server)) });
    for number in 0..10_000_u32 {
        theirs.write_all(&frame(FINAL | PING, &number.to_be_bytes())).await.unwrap();
    }
    theirs.write_all(&frame(FINAL | BINARY, b"!")).await.unwrap();
    let (byte, _server) = reading.await.unwrap().unwrap();
    assert_eq!(byte, b'!');
}

#[tokio::test(start_paused = true)]
async fn the_client_reads_what_was_written_last_and_then_the_close_frame() {
    let (mut server, mut client) = pair(1_000).await;
    server.write_all(b"goodbye").await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), Message::Binary("goodbye".into()));
    let Message::Close(Some(close)) = client.next().await.unwrap().unwrap() else { panic!("no close frame") };
    assert_eq!(close.code, CloseCode::Normal);
    // The client answers, which is dropped, and only then the stream has ended.
    assert!(client.next().await.is_none());
    drop(client);
    assert_eq!(server.read(&mut [0; 64]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_close_frame_is_the_end_and_is_answered_when_the_server_is_done() {
    let (mut server, mut client) = pair(1_000).await;
    client.send(Message::Binary("last".into())).await.unwrap();
    client.close(None).await.unwrap();
    let mut read = Vec::new();
    server.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"last");
    server.write_all(b"still heard").await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), Message::Binary("still heard".into()));
    assert!(
        matches!(client.next().await, Some(Ok(Message::Close(Some(close)))) if close.code == CloseCode::Normal)
    );
    assert!(client.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_text_message_is_an_error_and_closes_with_1003() {
    let (mut server, mut client) = pair(1_000).await;
    client.send(Message::Binary("before".into())).await.unwrap();
    client.send(Message::Text("text".into())).await.unwrap();
    client.send(Message::Binary("after".into())).await.unwrap();
    let mut read = Vec::new();
    let error = server.read_to_end(&mut read).await.unwrap_err();
    assert_eq!(read, b"before");
    assert!(Violation::of(&error).is_some_and(|violation| violation.0.contains("binary")), "{error}");
    server.shutdown().await.unwrap();
    assert!(
        matches!(client.next().await, Some(Ok(Message::Close(Some(close)))) if close.code == CloseCode::Unsupported)
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_others_wrote_is_upgraded() {
    let (mut ours, theirs) = duplex(1_000);
    let serving = tokio::spawn(async move {
        let ahead = upgrade(&mut ours, "/mqtt").await.unwrap();
        assert!(ahead.is_empty());
        WebSocket::new(ours, ahead).read_u8().await.unwrap()
    });
    let mut request = "ws://bridge/mqtt?whatever".into_client_request().unwrap();
    let offers = HeaderValue::from_static("mqttv3.1, mqtt");
    request.headers_mut().insert("Sec-WebSocket-Protocol", offers);
    request.headers_mut().insert("Sec-WebSocket-Extensions", HeaderValue::from_static("permessage-deflate"));
    let (mut client, response) = client_async(request, theirs).await.unwrap();
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "mqtt");
    assert!(response.headers().get("Sec-WebSocket-Extensions").is_none());
    client.send(Message::Binary(vec![42].into())).await.unwrap();
    assert_eq!(serving.await.unwrap(), 42);
}

/// What an upgrade at `/mqtt` makes of a request that arrives in pieces of this size.
async fn requested(request: &str, piece: usize) -> Result<Vec<u8>, NotUpgraded> {
    let (mut ours, mut theirs) = duplex(100_000);
    let request = request.to_owned();
    let sending = tokio::spawn(async move {
        for piece in request.as_bytes().chunks(piece) {
            theirs.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        theirs.shutdown().await.unwrap();
        theirs
    });
    let outcome = upgrade(&mut ours, "/mqtt").await;
    drop(sending.await);
    outcome
}

/// The request of a browser, with these two lines more.
fn request(path: &str, first: &str, second: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: pi:8083\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{first}\r\n{second}\r\n\r\n"
    )
}

const VERSION: &str = "Sec-WebSocket-Version: 13";
const PROTOCOL: &str = "Sec-WebSocket-Protocol: mqtt";

#[tokio::test(start_paused = true)]
async fn what_comes_together_with_the_request_is_kept() {
    let request = request("/mqtt", VERSION, PROTOCOL) + "more";
    assert_eq!(requested(&request, request.len()).await.unwrap(), b"more");
}

#[tokio::test(start_paused = true)]
async fn bytes_that_came_ahead_are_read_first() {
    let (ours, mut theirs) = duplex(1_000);
    let first = frame(FINAL | BINARY, b"first ");
    let (ahead, later) = first.split_at(4);
    let mut server = WebSocket::new(ours, ahead.to_vec());
    theirs.write_all(later).await.unwrap();
    theirs.write_all(&frame(FINAL | BINARY, b"second")).await.unwrap();
    drop(theirs);
    let mut read = String::new();
    server.read_to_string(&mut read).await.unwrap();
    assert_eq!(read, "first second");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_none_is_answered_with_what_to_do() {
    let get = "GET /mqtt HTTP/1.1\r\nHost: pi\r\n\r\n";
    let cookies = format!("Cookie: {}", "x".repeat(20_000));
    let cases = [
        (get.to_owned(), "426 Upgrade Required", "connect with an MQTT client"),
        (request("/", VERSION, PROTOCOL), "404 Not Found", "MQTT over WebSocket is at /mqtt"),
        ("GET /favicon.ico HTTP/1.1\r\n\r\n".to_owned(), "404 Not Found", "/mqtt"),
        (request("/mqtt", VERSION, "X: y"), "400 Bad Request", "subprotocol mqtt"),
        (
            request("/mqtt", VERSION, "Sec-WebSocket-Protocol: mqttv3.1"),
            "400 Bad Request",
            "subprotocol mqtt",
        ),
        (request("/mqtt", "Sec-WebSocket-Version: 8", PROTOCOL), "426 Upgrade Required", "13"),
        ("POST /mqtt HTTP/1.1\r\n\r\n".to_owned(), "405 Method Not Allowed", "GET"),
        ("GET /mqtt HTTP/1.0\r\n\r\n".to_owned(), "400 Bad Request", "HTTP/1.1"),
        ("HELLO\r\n\r\n".to_owned(), "400 Bad Request", "HTTP/1.1"),
        (request("/mqtt", &cookies, PROTOCOL), "431 Request Header Fields Too Large", "16384"),
    ];
    for (request, status, what) in cases {
        for piece in [7, request.len()] {
            let refused = requested(&request, piece).await.unwrap_err();
            let answer = String::from_utf8(refused.answer).unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request:?}: {answer}");
            let (headers, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(headers.contains(&format!("Content-Length: {}", body.len())), "{answer}");
            assert!(body.contains(what) && refused.detail.contains(what), "{request:?}: {body}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_http_is_closed_without_an_answer() {
    let cases = [
        ("\x10\x0C\0\x04MQTT", "plain MQTT"),
        ("\x16\x03\x01", "ws://"),
        ("\0", "no HTTP"),
        ("", "closed before"),
        ("GET /mq", "closed before"),
    ];
    for (bytes, what) in cases {
        let refused = requested(bytes, 100).await.unwrap_err();
        assert!(refused.answer.is_empty() && refused.detail.contains(what), "{bytes:?}: {}", refused.detail);
    }
}
