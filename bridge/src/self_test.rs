//! The self-test: before anybody can connect, the bridge proves its own rules with packets, on the broker that will serve
//! the devices and with an MQTT client that others wrote.
//!
//! It plays two devices with their real passwords, on a loopback listener of its own. It touches nothing that is theirs:
//! its sessions have names of their own ([`LivePolicy::set_self_test`]) and end with the connection, and its messages have
//! QoS 0, so none is kept for a session without a connection.

use std::{
    fmt, io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ior_broker::{Broker, limits::Limits, transport::Transport};
use rumqttc::{
    NetworkOptions,
    v5::{
        AsyncClient, ConnectionError, Event, EventLoop, Incoming, MqttOptions, StateError,
        mqttbytes::{
            QoS,
            v5::{ConnectReturnCode, DisconnectReasonCode, SubscribeReasonCode},
        },
    },
};
use tokio::{net::TcpListener, time::timeout_at};
use zeroize::Zeroizing;

use crate::{
    policy::LivePolicy,
    registry::{Connection, End, Registry},
    secrets::Secrets,
};

/// How long all of it may take. It takes milliseconds, but a small machine that has just started is busy.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Bytes of the random text that nobody else knows.
const TOKEN: usize = 16;

/// What will be proved.
pub struct SelfTest {
    /// The Client Identifier of the devices that it plays; part of its topics and messages.
    token: String,
    /// Both ends of a connection; none if no connection has two devices that may log in.
    players: Vec<Player>,
    /// Whose password is guessed.
    victim: String,
}

/// A device as the self-test plays it.
struct Player {
    user_name: String,
    password: Zeroizing<String>,
    /// Its own topic.
    publish: String,
    /// What its peer publishes.
    subscribe: String,
    /// What is none of its business: the topic of a device in another connection.
    foreign: String,
}

/// A rule that did not hold, or could not be tried.
#[derive(Debug)]
pub struct SelfTestError {
    proof: String,
    happened: String,
}

impl SelfTest {
    /// Chooses the devices.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new(registry: &Registry, secrets: &Secrets) -> io::Result<Self> {
        let mut random = [0; TOKEN];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let token = URL_SAFE_NO_PAD.encode(random);
        let enabled =
            |connection: &&Connection| End::BOTH.iter().all(|end| !registry.end(connection, *end).disabled);
        let players = match registry.connections().iter().find(enabled) {
            Some(connection) => {
                End::BOTH.map(|end| Player::new(registry, secrets, connection, end, &token)).into()
            }
            None => Vec::new(),
        };
        let victim = registry.devices().first().map_or_else(|| token.clone(), |device| device.user_name());
        Ok(Self { token, players, victim })
    }

    /// Proves everything on a broker that has these limits, and tells how long that took. Nobody else may have been let in
    /// yet.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub async fn run(
        &self,
        broker: &Broker,
        live: &LivePolicy,
        limits: &Limits,
    ) -> Result<Duration, SelfTestError> {
        let start = Instant::now();
        live.set_self_test(Some(self.token.clone()));
        // Both devices come from this machine, which may be more than one address is allowed.
        broker.set_limits(Limits { connections_per_address: 0, ..limits.clone() });
        let result = self.prove_on(broker).await;
        broker.set_limits(limits.clone());
        live.set_self_test(None);
        result.map(|()| start.elapsed())
    }

    async fn prove_on(&self, broker: &Broker) -> Result<(), SelfTestError> {
        let listen = async {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            Ok((listener.local_addr()?, listener))
        };
        let (address, listener) = listen.await.map_err(|error: io::Error| {
            SelfTestError::new("the bridge can be reached on the loopback interface", error)
        })?;
        let serving = broker.serve(listener, Transport::Tcp);
        let result = self.prove(address).await;
        serving.close().await;
        result
    }

    async fn prove(&self, address: SocketAddr) -> Result<(), SelfTestError> {
        let until = Instant::now() + TIME_LIMIT;
        let connect = |user_name: &str, password: &str| {
            Client::new(address, &self.token, user_name, password, until.into())
        };
        let mut clients = Vec::with_capacity(self.players.len());
        for player in &self.players {
            let mut client = connect(&player.user_name, &player.password);
            client.prove_login(player).await?;
            client.prove_subscribing(player).await?;
            clients.push(client);
        }
        if let ([a, b], [of_a, of_b]) = (&mut *clients, &*self.players) {
            prove_delivery(a, of_a, b, of_b, &self.token).await?;
            prove_delivery(b, of_b, a, of_a, &self.token).await?;
        }
        for (client, player) in clients.iter_mut().zip(&self.players) {
            client.prove_deafness(player).await?;
            client.prove_silence(player, &self.token).await?;
        }
        connect(&self.victim, &self.token).prove_lock(&self.victim).await
    }
}

impl Player {
    fn new(registry: &Registry, secrets: &Secrets, connection: &Connection, end: End, token: &str) -> Self {
        let [own, peer] = [end, end.peer()].map(|end| registry.end(connection, end));
        let base = format!("{}/{}", connection.user, connection.id);
        let is_foreign = |other: &&Connection| End::BOTH.iter().all(|end| registry.end(other, *end) != own);
        let foreign = match registry.connections().iter().find(is_foreign) {
            Some(other) => format!("{}/{}/{}", other.user, other.id, registry.end(other, End::From).code),
            None => format!("{}/{token}/{}", own.user, peer.code),
        };
        Self {
            user_name: own.user_name(),
            password: secrets.password(&own.user, own.code.as_str(), own.secret_version),
            publish: format!("{base}/{}/{token}", own.code),
            subscribe: format!("{base}/{}/#", peer.code),
            foreign,
        }
    }
}

/// An MQTT client of the self-test.
struct Client {
    client: AsyncClient,
    events: EventLoop,
    until: tokio::time::Instant,
}

impl Client {
    fn new(
        address: SocketAddr,
        client_id: &str,
        user_name: &str,
        password: &str,
        until: tokio::time::Instant,
    ) -> Self {
        let mut options = MqttOptions::new(client_id, address.ip().to_string(), address.port());
        options.set_credentials(user_name, password);
        options.set_clean_start(true);
        options.set_outgoing_inflight_upper_limit(1);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        let (client, events) = AsyncClient::new(options, 1);
        Self { client, events, until }
    }

    async fn prove_login(&mut self, player: &Player) -> Result<(), SelfTestError> {
        let proof = || format!("{} may log in with its password", player.user_name);
        loop {
            match self.next().await {
                Ok(Event::Incoming(Incoming::ConnAck(_))) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(SelfTestError::new(proof(), error)),
            }
        }
    }

    async fn prove_subscribing(&mut self, player: &Player) -> Result<(), SelfTestError> {
        let proof = || format!("{} may subscribe to {}", player.user_name, player.subscribe);
        match self.subscribe(&player.subscribe).await {
            Ok(SubscribeReasonCode::Success(_)) => Ok(()),
            Ok(refused) => Err(SelfTestError::new(proof(), format!("it was refused: {refused:?}"))),
            Err(error) => Err(SelfTestError::new(proof(), error)),
        }
    }

    /// That it cannot hear what is none of its business.
    async fn prove_deafness(&mut self, player: &Player) -> Result<(), SelfTestError> {
        let filter = format!("{}/#", player.foreign);
        let proof = || format!("{} may not subscribe to {filter}", player.user_name);
        match self.subscribe(&filter).await {
            Ok(SubscribeReasonCode::NotAuthorized) => Ok(()),
            Ok(other) => Err(SelfTestError::new(proof(), format!("the answer was {other:?}"))),
            Err(error) => Err(SelfTestError::new(proof(), error)),
        }
    }

    /// That it cannot publish what is none of its business. Ends the connection.
    async fn prove_silence(&mut self, player: &Player, payload: &str) -> Result<(), SelfTestError> {
        let proof = || format!("{} may not publish on {}", player.user_name, player.foreign);
        self.publish(&player.foreign, payload).map_err(|error| SelfTestError::new(proof(), error))?;
        // What is sent next is only answered if the message was taken.
        match self.subscribe(&player.subscribe).await {
            Err(Failure::Connection(error)) if is_not_authorized(&error) => Ok(()),
            Err(error) => Err(SelfTestError::new(proof(), error)),
            Ok(_) => Err(SelfTestError::new(proof(), "the message was taken")),
        }
    }

    async fn prove_lock(mut self, victim: &str) -> Result<(), SelfTestError> {
        let proof = || format!("nobody may log in as {victim} with a wrong password");
        loop {
            match self.next().await {
                Ok(Event::Incoming(Incoming::ConnAck(_))) => {
                    return Err(SelfTestError::new(proof(), "the bridge let it in"));
                }
                Ok(_) => {}
                Err(Failure::Connection(ConnectionError::ConnectionRefused(ConnectReturnCode::Banned))) => {
                    return Ok(());
                }
                Err(error) => return Err(SelfTestError::new(proof(), error)),
            }
        }
    }

    fn publish(&mut self, topic: &str, payload: &str) -> Result<(), Failure> {
        let sent = self.client.try_publish(topic, QoS::AtMostOnce, false, payload.to_owned());
        sent.map_err(|error| Failure::Client(error.to_string()))
    }

    async fn subscribe(&mut self, filter: &str) -> Result<SubscribeReasonCode, Failure> {
        // The client takes one request after the other.
        while self.client.try_subscribe(filter, QoS::AtMostOnce).is_err() {
            self.next().await?;
        }
        loop {
            if let Event::Incoming(Incoming::SubAck(answer)) = self.next().await? {
                return Ok(answer.return_codes.first().copied().unwrap_or(SubscribeReasonCode::Unspecified));
            }
        }
    }

    async fn next(&mut self) -> Result<Event, Failure> {
        match timeout_at(self.until, self.events.poll()).await {
            Ok(event) => event.map_err(Failure::Connection),
            Err(_) => Err(Failure::TooSlow),
        }
    }
}

/// That what `a` publishes arrives at `b`.
async fn prove_delivery(
    a: &mut Client,
    of_a: &Player,
    b: &mut Client,
    of_b: &Player,
    payload: &str,
) -> Result<(), SelfTestError> {
    let fail = |happened: &dyn fmt::Display| {
        let proof = format!("what {} publishes reaches {}", of_a.user_name, of_b.user_name);
        SelfTestError::new(proof, happened)
    };
    a.publish(&of_a.publish, payload).map_err(|error| fail(&error))?;
    // What is sent next is answered when the message was taken.
    a.subscribe(&of_a.subscribe).await.map_err(|error| fail(&error))?;
    loop {
        match b.next().await {
            Ok(Event::Incoming(Incoming::Publish(message))) if message.payload == payload.as_bytes() => {
                return Ok(());
            }
            Ok(_) => {}
            Err(error) => return Err(fail(&error)),
        }
    }
}

fn is_not_authorized(error: &ConnectionError) -> bool {
    matches!(
        error,
        ConnectionError::MqttState(StateError::ServerDisconnect {
            reason_code: DisconnectReasonCode::NotAuthorized,
            ..
        })
    )
}

/// Why a client of the self-test got no answer.
enum Failure {
    Connection(ConnectionError),
    Client(String),
    TooSlow,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(ConnectionError::Io(error)) => write!(f, "{error}; is the interface `lo` up?"),
            Self::Connection(error) => error.fmt(f),
            Self::Client(error) => f.write_str(error),
            Self::TooSlow => write!(f, "no answer within {} s", TIME_LIMIT.as_secs()),
        }
    }
}

impl SelfTestError {
    fn new(proof: impl Into<String>, happened: impl fmt::Display) -> Self {
        Self { proof: proof.into(), happened: happened.to_string() }
    }
}

impl fmt::Display for SelfTestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the self-test failed, so nobody is let in. This should hold: {}. But: {}. Start the bridge again; if this \
             stays, this build does not protect your devices: install another version, and report this one",
            self.proof, self.happened
        )
    }
}

impl std::error::Error for SelfTestError {}

#[cfg(test)]
mod tests;
