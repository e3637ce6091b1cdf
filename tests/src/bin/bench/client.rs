//! One device's login and subscription, blocking: measurements begin after it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::Result;
use crate::wire::{self, Login, Packet, Session, Version};

const TIMEOUT: Duration = Duration::from_secs(10);

/// What a device needs to take part.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    pub(crate) login: Login,
    /// Topic Name to publish to.
    pub(crate) publish: String,
    /// Topic Filter that hears the peer.
    pub(crate) subscribe: String,
}

/// Two devices with a connection between them; `from` publishes, `to` listens.
#[derive(Debug, Clone)]
pub(crate) struct DevicePair {
    pub(crate) from: Device,
    pub(crate) to: Device,
}

/// Connects and logs in; returns when the CONNACK said yes.
pub(crate) fn connect(
    address: SocketAddr,
    version: Version,
    login: &Login,
    session: Session,
) -> Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut out = Vec::new();
    wire::connect(&mut out, version, login, session);
    stream.write_all(&out)?;
    expect(&mut stream, version, |packet| match packet {
        Packet::ConnAck { code: 0 } => Ok(()),
        other => Err(format!("{} could not log in: {other:?}", login.username).into()),
    })?;
    Ok(stream)
}

/// Subscribes to the device's filter; returns when the SUBACK granted `qos`.
pub(crate) fn subscribe(stream: &mut TcpStream, version: Version, device: &Device, qos: u8) -> Result<()> {
    let mut out = Vec::new();
    wire::subscribe(&mut out, version, &device.subscribe, qos);
    stream.write_all(&out)?;
    expect(stream, version, |packet| match packet {
        Packet::SubAck { code } if code == qos => Ok(()),
        other => Err(format!("{} could not subscribe: {other:?}", device.login.username).into()),
    })
}

/// Ends a session that outlasted its connection, with everything that waits in it.
pub(crate) fn end_session(address: SocketAddr, version: Version, login: &Login) -> Result<()> {
    disconnect(&mut connect(address, version, login, Session::Clean)?);
    Ok(())
}

/// Says goodbye; a relay that does not listen any more is no error.
pub(crate) fn disconnect(stream: &mut impl Write) {
    let mut out = Vec::new();
    wire::disconnect(&mut out);
    let _ = stream.write_all(&out);
}

/// Reads exactly one packet, so that nothing of what follows is taken off the socket.
fn expect(
    stream: &mut TcpStream,
    version: Version,
    judge: impl FnOnce(Packet<'_>) -> Result<()>,
) -> Result<()> {
    let mut bytes = Vec::with_capacity(16);
    let mut byte = [0];
    loop {
        stream.read_exact(&mut byte)?;
        bytes.push(byte[0]);
        if let Some((packet, _)) = wire::read(&bytes, version)? {
            return judge(packet);
        }
    }
}
