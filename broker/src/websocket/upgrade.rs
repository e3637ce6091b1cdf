//! The HTTP request that a WebSocket begins with, and its answer.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tungstenite::{
    error::{Error, ProtocolError},
    handshake::{
        machine::TryParse,
        server::{Request, create_response, write_response},
    },
    http::{
        HeaderMap, HeaderValue,
        header::{SEC_WEBSOCKET_PROTOCOL, UPGRADE},
    },
};

use crate::handshake::TLS_HANDSHAKE;

/// The longest request in bytes: browsers add the cookies of everything that runs on the same host.
const MAX_REQUEST: usize = 16 * 1024;

/// The only subprotocol `[MQTT-6.0.0-3, MQTT-6.0.0-4]`.
const SUBPROTOCOL: &str = "mqtt";

/// The first byte of MQTT.
const MQTT_CONNECT: u8 = 0x10;

/// What an HTTP request ends with.
const END: &[u8] = b"\r\n\r\n";

/// Why a connection did not become a WebSocket.
#[derive(Debug)]
pub struct NotUpgraded {
    /// For the operator.
    pub detail: String,
    /// What the client is to be told before the connection is closed; empty if it does not speak HTTP.
    pub answer: Vec<u8>,
}

/// Reads the request for a WebSocket at this path and accepts it. Gives what was read beyond it.
///
/// # Errors
/// [`NotUpgraded`].
pub async fn upgrade<S>(stream: &mut S, path: &str) -> Result<Vec<u8>, NotUpgraded>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = Vec::new();
    let length = read_request(stream, &mut request).await?;
    let ahead = request.split_off(length);
    let response = respond(&request, path)?;
    let written = async {
        stream.write_all(&response).await?;
        stream.flush().await
    };
    written.await.map_err(|error| failed(&error))?;
    Ok(ahead)
}

/// Reads until the request is whole, and gives its length.
async fn read_request<S>(stream: &mut S, request: &mut Vec<u8>) -> Result<usize, NotUpgraded>
where
    S: AsyncRead + Unpin,
{
    loop {
        let searched = request.len().saturating_sub(END.len() - 1);
        match stream.read_buf(request).await {
            Ok(0) => return Err(silent("the connection was closed before its WebSocket handshake")),
            Ok(_) => {}
            Err(error) => return Err(failed(&error)),
        }
        if let Some(first) = request.first().filter(|first| !first.is_ascii_uppercase()) {
            return Err(silent(match *first {
                MQTT_CONNECT => {
                    "it spoke MQTT where WebSocket is spoken: have it use WebSocket, or the port of plain MQTT"
                }
                TLS_HANDSHAKE => {
                    "it began with TLS, which this port has not: have it use ws:// instead of wss://"
                }
                _ => "it spoke no HTTP, which a WebSocket begins with",
            }));
        }
        let end = request[searched..].windows(END.len()).position(|bytes| bytes == END);
        match end.map(|end| searched + end + END.len()) {
            Some(length) if length <= MAX_REQUEST => return Ok(length),
            None if request.len() <= MAX_REQUEST => {}
            _ => {
                let what = format!("the request is longer than {MAX_REQUEST} bytes");
                return Err(refused("431 Request Header Fields Too Large", "", &what));
            }
        }
    }
}

/// The answer that makes it a WebSocket.
fn respond(request: &[u8], path: &str) -> Result<Vec<u8>, NotUpgraded> {
    let request = match Request::try_parse(request) {
        Ok(Some((_, request))) => request,
        Err(Error::Protocol(ProtocolError::WrongHttpMethod)) => {
            let what = format!("only GET is answered here, and MQTT over WebSocket is at {path}");
            return Err(refused("405 Method Not Allowed", "Allow: GET\r\n", &what));
        }
        _ => return Err(refused("400 Bad Request", "", "the request is not HTTP/1.1")),
    };
    if request.uri().path() != path {
        return Err(refused("404 Not Found", "", &format!("MQTT over WebSocket is at {path}")));
    }
    let mut response = create_response(&request).map_err(|error| {
        if request.headers().get(UPGRADE).is_none() {
            let what = "this is for MQTT over WebSocket: connect with an MQTT client";
            return refused("426 Upgrade Required", "Upgrade: websocket\r\n", what);
        }
        match error {
            Error::Protocol(ProtocolError::MissingSecWebSocketVersionHeader) => {
                let headers = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
                refused("426 Upgrade Required", headers, "only version 13 of WebSocket is spoken here")
            }
            error => refused("400 Bad Request", "", &format!("this is no WebSocket handshake: {error}")),
        }
    })?;
    if !offers_mqtt(request.headers()) {
        let what = format!("the client has to offer the WebSocket subprotocol {SUBPROTOCOL}");
        return Err(refused("400 Bad Request", "", &what));
    }
    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    let mut bytes = Vec::new();
    write_response(&mut bytes, &response)
        .map_err(|error| silent(&format!("the WebSocket handshake failed: {error}")))?;
    Ok(bytes)
}

fn offers_mqtt(headers: &HeaderMap) -> bool {
    let offers = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    offers.flat_map(|value| value.split(',')).any(|offer| offer.trim() == SUBPROTOCOL)
}

/// Told to both: an HTTP answer for the client, with headers that end in a line break each.
fn refused(status: &str, headers: &str, what: &str) -> NotUpgraded {
    let answer = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n{headers}\
         Content-Length: {}\r\n\r\n{what}\n",
        what.len() + 1
    );
    NotUpgraded {
        detail: format!("its WebSocket handshake was answered {status}: {what}"),
        answer: answer.into_bytes(),
    }
}

fn silent(detail: &str) -> NotUpgraded {
    NotUpgraded { detail: detail.to_owned(), answer: Vec::new() }
}

fn failed(error: &io::Error) -> NotUpgraded {
    silent(&format!("the connection failed in its WebSocket handshake: {error}"))
}
