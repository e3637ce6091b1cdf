//! `latency FROM TO`: measures the way of messages from one end of a connection to the other, both ends in this
//! process, so that one clock tells sending and receiving.

mod report;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

use self::report::{Report, Run};
use super::CommandError;
use super::client::{self, Endpoint, Route, Target, granted};
use super::failure::explain;

/// A message begins with its sequence number and its time of sending, 8 bytes each.
const HEADER: usize = 16;
/// Messages that may wait in the client before the sender pauses.
const BACKLOG: usize = 65_536;
/// How long a broker may take to answer SUBSCRIBE.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the progress bar is drawn.
const REDRAW: Duration = Duration::from_millis(100);

/// What the command line says.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Credential file of the end that sends (from.json or to.json)
    pub from: PathBuf,
    /// Credential file of the end that receives: the other one of the same connection
    pub to: PathBuf,
    /// Messages to send
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub count: u64,
    /// Messages per second; above 1000 they leave in one bunch per millisecond
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// Quality of Service of sending and receiving
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: u8,
    /// Bytes of a message, at least 16
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(16..=268_000_000))]
    pub size: u32,
    /// Seconds without any arrival after which what is missing counts as lost
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub quiet: u32,
    /// Print one JSON object; times are in microseconds
    #[arg(long)]
    pub json: bool,
    /// Connect elsewhere than the credential files say.
    #[command(flatten)]
    pub target: Target,
}

/// Sends `--count` messages and prints how long they took, and how many were lost. Ctrl-C ends early and prints what
/// there is. The messages go to a topic of their own (`latency/…` below the sender's); other clients of the receiving
/// device that subscribe to everything see them too.
///
/// # Errors
/// The credential files, a connection, a refusal; nothing arrived; something was lost although QoS 1 or 2 was used.
pub async fn run(args: Args) -> Result<(), CommandError> {
    let from = Endpoint::read(&args.from)?;
    let to = Endpoint::read(&args.to)?;
    let subtopic = format!("latency/{:08x}", client::random_u32());
    let topic = from.publish_topic(&subtopic)?;
    if to.peer_topic() != from.credentials.topics.publish {
        return Err(CommandError::usage(format!(
            "{} and {} are not the two ends of one connection: the first publishes to `{}`, the second receives `{}`",
            args.from.display(),
            args.to.display(),
            from.credentials.topics.publish,
            to.credentials.topics.subscribe
        )));
    }
    let routes = [from.route(&args.target)?, to.route(&args.target)?].map(Arc::new);
    let [from_route, to_route] = &routes;
    let receiving = subscribed(&to, to_route, format!("{}/{subtopic}", to.peer_topic()), &args).await?;
    let sending = connected(&from, from_route).await?;

    let (arrivals, mut reports) = mpsc::channel(1024);
    let start = Instant::now();
    let sender = tokio::spawn(send(sending.1, Arc::clone(from_route), arrivals.clone()));
    let receiver = tokio::spawn(receive(receiving, Arc::clone(to_route), start, arrivals));
    let mut measurement =
        Measurement { args: &args, topic: &topic, from: &from, start, run: Run::new(args.count) };
    let outcome = measurement.measure(&sending.0, &mut reports).await;
    // The tasks own the connections: the broker sees both ends go, and neither has a session that outlives that.
    sender.abort();
    receiver.abort();

    let report = Report::new(&args, &from, &to, &measurement.run);
    if args.json {
        println!("{}", report.json()?);
    } else {
        print!("{}", report.text());
    }
    outcome?;
    report.verdict()
}

/// What the two connections tell the measurement.
enum Told {
    Arrived { sequence: u64, latency: Duration },
    Refused(PubAckReason),
    Broken(ConnectionError, Arc<Route>),
}

type Connection = (AsyncClient, EventLoop);

async fn connected(endpoint: &Endpoint, route: &Route) -> Result<Connection, CommandError> {
    let (client, mut eventloop) = AsyncClient::new(endpoint.options("latency", route), BACKLOG);
    loop {
        match eventloop.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => return Ok((client, eventloop)),
            Ok(_) => {}
            Err(error) => return Err(explain(error, route).await.into()),
        }
    }
}

async fn subscribed(
    to: &Endpoint,
    route: &Route,
    filter: String,
    args: &Args,
) -> Result<EventLoop, CommandError> {
    let (client, mut eventloop) = connected(to, route).await?;
    client
        .try_subscribe(&filter, client::qos(args.qos))
        .map_err(|error| CommandError::failed(format!("cannot subscribe to `{filter}`: {error}")))?;
    let answered = async {
        loop {
            match eventloop.poll().await {
                Ok(Event::Incoming(Packet::SubAck(answer))) => {
                    return answer.return_codes.into_iter().try_for_each(|code| granted(code, &filter, to));
                }
                Ok(_) => {}
                Err(error) => return Err(explain(error, route).await.into()),
            }
        }
    };
    match timeout(SUBSCRIBE_TIMEOUT, answered).await {
        Ok(result) => result.map(|()| eventloop),
        Err(_) => Err(CommandError::failed(format!(
            "the broker did not answer the subscription within {} s",
            SUBSCRIBE_TIMEOUT.as_secs()
        ))),
    }
}

/// Works the sender's connection. A task of its own, because a `poll` that is dropped half-way may lose a packet.
async fn send(mut eventloop: EventLoop, route: Arc<Route>, told: mpsc::Sender<Told>) {
    loop {
        let refused = match eventloop.poll().await {
            Ok(Event::Incoming(Packet::PubAck(ack))) => Some(ack.reason),
            Ok(Event::Incoming(Packet::PubRec(received))) => Some(client::as_puback(received.reason)),
            Ok(_) => None,
            Err(error) => {
                let _ = told.send(Told::Broken(error, route)).await;
                return;
            }
        };
        let refused = refused
            .filter(|reason| !matches!(reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers));
        if let Some(reason) = refused
            && told.send(Told::Refused(reason)).await.is_err()
        {
            return;
        }
    }
}

/// Works the receiver's connection.
async fn receive(mut eventloop: EventLoop, route: Arc<Route>, start: Instant, told: mpsc::Sender<Told>) {
    loop {
        let news = match eventloop.poll().await {
            Ok(Event::Incoming(Packet::Publish(message))) => {
                let now = start.elapsed();
                let Some((sequence, sent)) = unstamped(&message.payload) else { continue };
                Told::Arrived { sequence, latency: now.saturating_sub(sent) }
            }
            Ok(_) => continue,
            Err(error) => {
                let _ = told.send(Told::Broken(error, route)).await;
                return;
            }
        };
        if told.send(news).await.is_err() {
            return;
        }
    }
}

struct Measurement<'a> {
    args: &'a Args,
    topic: &'a str,
    from: &'a Endpoint,
    start: Instant,
    run: Run,
}

impl Measurement<'_> {
    /// Sends at the wanted rate and gathers what arrives, until everything arrived, or nothing did for the quiet time.
    async fn measure(
        &mut self,
        client: &AsyncClient,
        reports: &mut mpsc::Receiver<Told>,
    ) -> Result<(), CommandError> {
        let mut interrupt = pin!(tokio::signal::ctrl_c());
        let bar = progress_bar(self.args);
        let quiet = Duration::from_secs(self.args.quiet.into());
        let mut last_news = Instant::now();
        let mut redraw = tokio::time::interval(REDRAW);
        let result = loop {
            let sent_all = self.run.sent == self.args.count;
            if sent_all && self.run.received == self.run.sent {
                break Ok(());
            }
            let wake = if sent_all { last_news + quiet } else { self.due(self.run.sent) };
            tokio::select! {
                told = reports.recv() => match told {
                    Some(Told::Arrived { sequence, latency }) => {
                        self.run.arrived(sequence, latency);
                        last_news = Instant::now();
                    }
                    Some(Told::Refused(reason)) => {
                        break Err(client::publish_refused(reason, self.topic, self.from));
                    }
                    Some(Told::Broken(error, route)) => break Err(explain(error, &route).await.into()),
                    None => break Err(CommandError::failed("both connections ended")),
                },
                () = sleep_until(wake.into()) => {
                    if sent_all {
                        break Ok(());
                    }
                    self.send_what_is_due(client)?;
                    last_news = Instant::now();
                }
                _ = redraw.tick() => bar.set_position(self.run.received),
                _ = interrupt.as_mut() => {
                    self.run.interrupted = true;
                    break Ok(());
                }
            }
        };
        bar.finish_and_clear();
        result
    }

    /// When the message with this sequence number is to be sent.
    fn due(&self, sequence: u64) -> Instant {
        self.start + Duration::from_nanos(sequence.saturating_mul(1_000_000_000) / u64::from(self.args.rate))
    }

    fn send_what_is_due(&mut self, client: &AsyncClient) -> Result<(), CommandError> {
        let now = Instant::now();
        while self.run.sent < self.args.count && self.due(self.run.sent) <= now {
            let message = stamped(self.run.sent, self.start.elapsed(), self.args.size as usize);
            // An error means that the backlog is full: the next turn tries again.
            if client.try_publish(self.topic, client::qos(self.args.qos), false, message).is_err() {
                return Ok(());
            }
            self.run.sent += 1;
            self.run.sending = self.start.elapsed();
        }
        Ok(())
    }
}

fn progress_bar(args: &Args) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(args.count);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos} of {len} arrived, {eta} left") {
        bar.set_style(style);
    }
    bar
}

fn stamped(sequence: u64, since_start: Duration, size: usize) -> Vec<u8> {
    let mut message = Vec::with_capacity(size.max(HEADER));
    message.extend(sequence.to_be_bytes());
    message.extend(u64::try_from(since_start.as_nanos()).unwrap_or(u64::MAX).to_be_bytes());
    message.resize(size.max(HEADER), 0);
    message
}

fn unstamped(message: &[u8]) -> Option<(u64, Duration)> {
    let (sequence, rest) = message.split_first_chunk::<8>()?;
    let (since_start, _) = rest.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*sequence), Duration::from_nanos(u64::from_be_bytes(*since_start))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_comes_back_whatever_the_size() {
        for size in [0, HEADER, 64] {
            let message = stamped(7, Duration::from_nanos(12_345), size);
            assert_eq!(message.len(), size.max(HEADER));
            assert_eq!(unstamped(&message), Some((7, Duration::from_nanos(12_345))));
        }
        assert_eq!(unstamped(b"too short"), None);
    }
}
