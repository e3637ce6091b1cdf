//! MQTT over WebSocket byte by byte: how packets are framed, and what is no business of MQTT.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use ior_tests::{Bridge, DEADLINE, End};

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;
const FINAL: u8 = 0x80;
/// What says that a message is compressed, where that was agreed on.
const COMPRESSED: u8 = 0x40;

const PINGREQ: [u8; 2] = [0xC0, 0];
const PINGRESP: [u8; 2] = [0xD0, 0];
const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

#[test]
fn packets_are_cut_and_joined_as_the_client_likes() {
    let bridge = Bridge::start();
    let mut client = WebSocket::open(&bridge);
    // Each byte in a message of its own, one that is empty, and pings between the parts of the last.
    let connect = connect(&bridge);
    let (last, first) = connect.split_last().unwrap();
    for byte in first {
        client.send(FINAL | BINARY, &[*byte]);
    }
    client.send(FINAL | BINARY, b"");
    client.send(BINARY, b"");
    client.send(FINAL | PING, b"in between");
    client.send(CONTINUATION, &[*last]);
    client.send(FINAL | CONTINUATION, b"");
    assert_eq!(client.receive(), (FINAL | PONG, b"in between".to_vec()));
    assert_eq!(client.receive(), (FINAL | BINARY, CONNACK.to_vec()));
    client.send(FINAL | BINARY, &PINGREQ.repeat(1_000));
    let mut answers = Vec::new();
    while answers.len() < 1_000 * PINGRESP.len() {
        let (kind, payload) = client.receive();
        assert_eq!(kind, FINAL | BINARY);
        answers.extend(payload);
    }
    assert_eq!(answers, PINGRESP.repeat(1_000));
}

#[test]
fn only_binary_messages_are_taken() {
    let bridge = Bridge::start();
    for logged_in in [false, true] {
        let mut client = WebSocket::open(&bridge);
        if logged_in {
            client.log_in(&bridge);
        }
        client.send(FINAL | TEXT, &PINGREQ);
        client.expect_close(1003);
    }
    bridge.process().wait_for("why", DEADLINE, |line| {
        (line.contains("Master 1") && line.contains("text message of WebSocket")).then_some(())
    });
}

#[test]
fn the_subprotocol_is_mqtt() {
    let bridge = Bridge::start();
    let (_, answer) = upgrade(&bridge, "Sec-WebSocket-Protocol: chat, mqtt\r\n");
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.to_lowercase().contains("\r\nsec-websocket-protocol: mqtt\r\n"), "{answer}");
    for offer in ["", "Sec-WebSocket-Protocol: mqttv3.1\r\n", "Sec-WebSocket-Protocol: MQTT\r\n"] {
        let (_, answer) = upgrade(&bridge, offer);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{offer}: {answer}");
    }
}

#[test]
fn compression_is_neither_agreed_on_nor_taken() {
    let bridge = Bridge::start();
    let offer = "Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Extensions: permessage-deflate\r\n";
    let (_, answer) = upgrade(&bridge, offer);
    assert!(!answer.to_lowercase().contains("extensions"), "{answer}");
    let mut client = WebSocket::open(&bridge);
    client.log_in(&bridge);
    client.send(FINAL | COMPRESSED | BINARY, &PINGREQ);
    client.expect_close(1002);
}

/// The length of a frame is no promise of bytes.
#[test]
fn a_frame_that_announces_exabytes_costs_nothing() {
    let bridge = Bridge::start();
    let mut client = WebSocket::open(&bridge);
    client.stream.write_all(&[FINAL | BINARY, 0x80 | 127, 0x7F, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    client.stream.write_all(&connect(&bridge)).unwrap();
    assert_eq!(client.receive(), (FINAL | BINARY, CONNACK.to_vec()));
    client.stream.write_all(&PINGREQ).unwrap();
    assert_eq!(client.receive(), (FINAL | BINARY, PINGRESP.to_vec()));
}

#[test]
fn a_close_frame_is_returned() {
    let bridge = Bridge::start();
    let mut client = WebSocket::open(&bridge);
    client.log_in(&bridge);
    client.send(FINAL | CLOSE, &1001_u16.to_be_bytes());
    client.expect_close(1001);
}

/// A client that shares no code with the server.
struct WebSocket {
    stream: TcpStream,
}

impl WebSocket {
    fn open(bridge: &Bridge) -> Self {
        let (stream, answer) = upgrade(bridge, "Sec-WebSocket-Protocol: mqtt\r\n");
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        Self { stream }
    }

    #[track_caller]
    fn log_in(&mut self, bridge: &Bridge) {
        self.send(FINAL | BINARY, &connect(bridge));
        assert_eq!(self.receive(), (FINAL | BINARY, CONNACK.to_vec()));
    }

    /// A frame with the mask 1, 2, 3, 4.
    fn send(&mut self, first: u8, payload: &[u8]) {
        let mut frame = vec![first];
        match u8::try_from(payload.len()) {
            Ok(length @ ..126) => frame.push(0x80 | length),
            _ => {
                frame.push(0x80 | 126);
                frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
            }
        }
        frame.extend([1, 2, 3, 4]);
        frame.extend(payload.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.stream.write_all(&frame).unwrap();
    }

    /// The first byte and the payload of the next frame.
    #[track_caller]
    fn receive(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).unwrap();
        let mut length = usize::from(head[1]);
        if length == 126 {
            let mut long = [0; 2];
            self.stream.read_exact(&mut long).unwrap();
            length = u16::from_be_bytes(long).into();
        }
        assert!(length <= 0xFFFF && head[1] <= 126, "a server's frame is not masked and not larger");
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).unwrap();
        (head[0], payload)
    }

    /// Expects a close frame with this code, and then the end.
    #[track_caller]
    fn expect_close(&mut self, code: u16) {
        assert_eq!(self.receive(), (FINAL | CLOSE, code.to_be_bytes().to_vec()));
        assert_eq!(self.stream.read(&mut [0]).unwrap(), 0);
    }
}

/// The answer to a request with these headers, and the connection behind it.
fn upgrade(bridge: &Bridge, headers: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(bridge.websocket.unwrap()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(
        stream,
        "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
    .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
    (stream, String::from_utf8(answer).unwrap())
}

/// A CONNECT of MQTT 3.1.1.
fn connect(bridge: &Bridge) -> Vec<u8> {
    let login = bridge.credentials("connection-1", End::From).login;
    let mut body = b"\0\x04MQTT\x04\xC2\0\0".to_vec();
    for text in [login.client_id, login.username, login.password] {
        body.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
        body.extend(text.into_bytes());
    }
    let mut packet = vec![0x10, u8::try_from(body.len()).unwrap()];
    packet.extend(body);
    packet
}
