use std::{
    io,
    sync::{Arc, mpsc},
};

use bytes::BytesMut;
use ior_broker::Broker;
use rumqttc::mqttbytes::{
    Error, QoS,
    v4::{Connect, Login, Packet, PubAck, Publish, Subscribe},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::watch,
};

use super::{Heard, Lane};
use crate::policy::{WATCHDOG, WATCHDOG_TOPIC};

/// Longer than any packet here.
const MAX_PACKET: usize = 1024;

/// Sends a message on every lane in each round, and tells which come back. Connects again when the broker has closed, with
/// the next round.
pub(super) async fn walk(
    broker: Arc<Broker>,
    mut rounds: watch::Receiver<u64>,
    heard: mpsc::SyncSender<Heard>,
) {
    loop {
        let client = Client { stream: broker.connect_inside(), input: BytesMut::new(), rounds: &mut rounds };
        // However it ended: if that goes on, the messages stay away.
        let _ = client.run(&heard).await;
        if rounds.changed().await.is_err() {
            return;
        }
        rounds.mark_changed();
    }
}

/// A connection of the watchdog.
struct Client<'r> {
    stream: DuplexStream,
    input: BytesMut,
    rounds: &'r mut watch::Receiver<u64>,
}

impl Client<'_> {
    async fn run(mut self, heard: &mpsc::SyncSender<Heard>) -> io::Result<()> {
        let login = Login::new(WATCHDOG, "");
        let connect = Connect { keep_alive: 0, login: Some(login), ..Connect::new("watchdog") };
        let mut subscribe = Subscribe::new(format!("{WATCHDOG_TOPIC}/#"), QoS::AtLeastOnce);
        subscribe.pkid = 1;
        self.send(&Packet::Connect(connect)).await?;
        self.send(&Packet::Subscribe(subscribe)).await?;
        while !matches!(self.next().await?, Packet::SubAck(_)) {}
        loop {
            tokio::select! {
                packet = receive(&mut self.stream, &mut self.input) => {
                    if let Packet::Publish(message) = packet? {
                        self.take(&message, heard).await?;
                    }
                }
                changed = self.rounds.changed() => {
                    changed.map_err(io::Error::other)?;
                    self.publish().await?;
                }
            }
        }
    }

    async fn take(&mut self, message: &Publish, heard: &mpsc::SyncSender<Heard>) -> io::Result<()> {
        let round = std::str::from_utf8(&message.payload).ok().and_then(|round| round.parse().ok());
        let lane =
            [Lane::Live0, Lane::Live1, Lane::Assured].into_iter().find(|lane| lane.topic() == message.topic);
        if let (Some(round), Some(lane)) = (round, lane) {
            // An error says that nobody looks at so many, or at any.
            let _ = heard.try_send(Heard::Back(round, lane));
        }
        match message.pkid {
            0 => Ok(()),
            pkid => self.send(&Packet::PubAck(PubAck::new(pkid))).await,
        }
    }

    async fn publish(&mut self) -> io::Result<()> {
        let round = *self.rounds.borrow_and_update();
        for lane in [Lane::Live0, Lane::Live1, Lane::Assured] {
            let mut message = Publish::new(lane.topic(), lane.qos(), round.to_string());
            if message.qos == QoS::AtLeastOnce {
                // The identifiers of earlier rounds are free again, or their messages are lost with the connection.
                message.pkid = (round % 60_000 + 1) as u16;
            }
            self.send(&Packet::Publish(message)).await?;
        }
        Ok(())
    }

    async fn next(&mut self) -> io::Result<Packet> {
        receive(&mut self.stream, &mut self.input).await
    }

    async fn send(&mut self, packet: &Packet) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, MAX_PACKET).map_err(io::Error::other)?;
        self.stream.write_all(&bytes).await
    }
}

/// Loses nothing when it is dropped.
async fn receive(stream: &mut DuplexStream, input: &mut BytesMut) -> io::Result<Packet> {
    loop {
        match Packet::read(input, MAX_PACKET) {
            Ok(packet) => return Ok(packet),
            Err(Error::InsufficientBytes(_)) => {}
            Err(error) => return Err(io::Error::other(error)),
        }
        if stream.read_buf(input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

impl Lane {
    fn topic(self) -> String {
        let name = match self {
            Self::Live0 => "live/0",
            Self::Live1 => "live/1",
            Self::Assured => "assured",
        };
        format!("{WATCHDOG_TOPIC}/{name}")
    }

    fn qos(self) -> QoS {
        match self {
            Self::Live0 | Self::Live1 => QoS::AtMostOnce,
            Self::Assured => QoS::AtLeastOnce,
        }
    }
}
