//! All that MQTT is carried by, for clients that know only TCP.

use std::{io, net::SocketAddr, path::Path};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::Runtime,
};

use crate::tls::Tunnel;

/// What carries MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// The plain port.
    Tcp,
    /// MQTT over TLS.
    Tls,
    /// MQTT over WebSocket.
    WebSocket,
    /// MQTT over WebSocket over TLS.
    WebSocketTls,
}

/// A port on loopback that leads to a bridge over a channel.
pub struct Way {
    /// Where clients connect.
    pub addr: SocketAddr,
    _tls: Option<Tunnel>,
    /// Ends the WebSockets when it is dropped.
    _runtime: Option<Runtime>,
}

/// A message that is not followed by another part of it, masked with zeros.
const WHOLE_BINARY: u8 = 0x82;
const BINARY: u8 = 0x02;
const CLOSE: u8 = 0x08;

impl Channel {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Tcp, Self::Tls, Self::WebSocket, Self::WebSocketTls];

    /// The way over this channel to a server that listens there and has a certificate of this CA.
    #[track_caller]
    pub fn to(self, server: SocketAddr, ca: &Path) -> Way {
        let has_tls = matches!(self, Self::Tls | Self::WebSocketTls);
        let tls = has_tls.then(|| Tunnel::open(server, "localhost", &std::fs::read_to_string(ca).unwrap()));
        let addr = tls.as_ref().map_or(server, |tunnel| tunnel.addr);
        if matches!(self, Self::Tcp | Self::Tls) {
            return Way { addr, _tls: tls, _runtime: None };
        }
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let here = listener.local_addr().unwrap();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, addr));
            }
        });
        Way { addr: here, _tls: tls, _runtime: Some(runtime) }
    }
}

/// An error ends both connections, which is what its test sees of it.
async fn carry(client: TcpStream, server: SocketAddr) -> io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    server.set_nodelay(true)?;
    client.set_nodelay(true)?;
    shake_hands(&mut server).await?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let up = tokio::spawn(frame(from_client, to_server));
    let ended = unframe(from_server, to_client).await;
    up.abort();
    ended
}

async fn shake_hands(server: &mut TcpStream) -> io::Result<()> {
    const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
        Sec-WebSocket-Protocol: mqtt\r\n\r\n";
    server.write_all(REQUEST.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(server.read_u8().await?);
    }
    if answer.starts_with(b"HTTP/1.1 101 ") { Ok(()) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
}

/// What the client sends becomes messages; where it ends without a word, so does this.
async fn frame(mut client: OwnedReadHalf, mut server: OwnedWriteHalf) -> io::Result<()> {
    let mut bytes = vec![0; 60_000];
    loop {
        let read = client.read(&mut bytes).await?;
        if read == 0 {
            return server.shutdown().await;
        }
        let mut frame = vec![WHOLE_BINARY];
        match u8::try_from(read) {
            Ok(length @ ..=125) => frame.push(0x80 | length),
            _ => {
                frame.push(0x80 | 126);
                frame.extend((read as u16).to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend_from_slice(&bytes[..read]);
        server.write_all(&frame).await?;
    }
}

async fn unframe(mut server: OwnedReadHalf, mut client: OwnedWriteHalf) -> io::Result<()> {
    loop {
        let kind = server.read_u8().await? & 0x0F;
        let length = match server.read_u8().await? {
            126 => server.read_u16().await?.into(),
            127 => server.read_u64().await?,
            length => length.into(),
        };
        match kind {
            BINARY => {
                tokio::io::copy(&mut (&mut server).take(length), &mut client).await?;
            }
            CLOSE => return client.shutdown().await,
            other => panic!("the server sent a frame of the kind {other}"),
        }
    }
}
