//! `sub FILE [SUBTOPIC]`: prints what a device's peer publishes, as the device of a credential file.

use std::io::{self, Write};
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, Publish};
use rumqttc::v5::{AsyncClient, Event, EventLoop};
use serde::Serialize;

use super::CommandError;
use super::client::{self, Endpoint, Route, Target, granted};
use super::failure::explain;
use crate::terminal::is_unseen;

/// First pause before connecting again; every further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause before connecting again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What the command line says.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Credential file of the device that listens (from.json or to.json)
    pub file: PathBuf,
    /// Only what the peer publishes to this topic below its own, and below that; `.` for the peer's topic itself;
    /// wildcards as in `+/state` are taken as they are
    pub subtopic: Option<String>,
    /// Highest Quality of Service to receive with
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: u8,
    /// Stop after this many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Also show when the peer connects and disconnects
    #[arg(long)]
    pub presence: bool,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
    /// Connect elsewhere than the credential file says.
    #[command(flatten)]
    pub target: Target,
}

/// Prints messages as they arrive until Ctrl-C, `--count`, or the reader of standard output is gone. Connects again
/// after the connection broke, but not if the first attempt fails.
///
/// # Errors
/// The credential file, the first connection, a refusal by the broker, or standard output.
pub async fn run(args: Args) -> Result<(), CommandError> {
    let endpoint = Endpoint::read(&args.file)?;
    let mut filters = vec![endpoint.subscribe_filter(args.subtopic.as_deref())?];
    if args.presence {
        filters.push(endpoint.credentials.topics.presence.clone());
    }
    let route = endpoint.route(&args.target)?;
    let (client, eventloop) = AsyncClient::new(endpoint.options("sub", &route), 4);
    let mut subscriber = Subscriber {
        args: &args,
        endpoint: &endpoint,
        route: &route,
        filters,
        client,
        eventloop,
        printed: 0,
    };
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    let mut pause = None;
    loop {
        match subscriber.receive(interrupt.as_mut(), &mut pause).await? {
            Ended::Done => break,
            Ended::Broken(message) => {
                let seconds = pause.unwrap_or(FIRST_PAUSE);
                eprintln!("{message}; connecting again in {:.1} s", seconds.as_secs_f64());
                pause = Some((seconds * 2).min(LONGEST_PAUSE));
                tokio::select! {
                    () = tokio::time::sleep(seconds) => {}
                    _ = interrupt.as_mut() => return Ok(()),
                }
            }
        }
    }
    client::disconnect(&subscriber.client, &mut subscriber.eventloop, &route).await;
    Ok(())
}

struct Subscriber<'a> {
    args: &'a Args,
    endpoint: &'a Endpoint,
    route: &'a Route,
    filters: Vec<String>,
    client: AsyncClient,
    eventloop: EventLoop,
    printed: u64,
}

enum Ended {
    Done,
    Broken(String),
}

impl Subscriber<'_> {
    /// Receives until the end or until the connection breaks. `pause` is set while there has been a connection before.
    async fn receive(
        &mut self,
        mut interrupt: Pin<&mut impl Future<Output = io::Result<()>>>,
        pause: &mut Option<Duration>,
    ) -> Result<Ended, CommandError> {
        loop {
            let event = tokio::select! {
                event = self.eventloop.poll() => event,
                _ = interrupt.as_mut() => return Ok(Ended::Done),
            };
            match event {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    if pause.is_some() {
                        eprintln!("connected again");
                    }
                    *pause = Some(FIRST_PAUSE);
                    // Every session is new: rumqttc connects again by itself but does not subscribe again.
                    let qos = client::qos(self.args.qos);
                    let filters = self.filters.iter().map(|filter| Filter::new(filter, qos));
                    self.client
                        .try_subscribe_many(filters)
                        .map_err(|error| CommandError::failed(format!("cannot subscribe: {error}")))?;
                }
                Ok(Event::Incoming(Packet::SubAck(answer))) => {
                    for (code, filter) in answer.return_codes.into_iter().zip(&self.filters) {
                        granted(code, filter, self.endpoint)?;
                    }
                }
                Ok(Event::Incoming(Packet::Publish(message))) => {
                    if !self.print(&message)? {
                        return Ok(Ended::Done);
                    }
                    self.printed += 1;
                    if self.args.count.is_some_and(|count| self.printed >= count) {
                        return Ok(Ended::Done);
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    let failure = explain(error, self.route).await;
                    if pause.is_none() || !failure.temporary {
                        return Err(failure.into());
                    }
                    return Ok(Ended::Broken(failure.message));
                }
            }
        }
    }

    /// Prints a message; false if nobody reads standard output any more.
    fn print(&self, message: &Publish) -> Result<bool, CommandError> {
        let topic = String::from_utf8_lossy(&message.topic);
        let presence = self.args.presence && topic == self.endpoint.credentials.topics.presence;
        let subtopic = subtopic(&topic, self.endpoint.peer_topic());
        let line = if self.args.json {
            json_line(&topic, subtopic, presence, message)?
        } else if presence {
            format!("(presence) {}", printable(&message.payload))
        } else {
            format!("{} {}", printable(subtopic.as_bytes()), printable(&message.payload))
        };
        let mut out = io::stdout().lock();
        match writeln!(out, "{line}").and_then(|()| out.flush()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(CommandError::failed(format!("cannot write to standard output: {error}"))),
        }
    }
}

fn subtopic<'a>(topic: &'a str, peer_topic: &str) -> &'a str {
    match topic.strip_prefix(peer_topic) {
        Some("") => ".",
        Some(below) => below.strip_prefix('/').unwrap_or(topic),
        None => topic,
    }
}

/// Text as it is but on one line; what a terminal would obey or hide, and bytes that are not UTF-8, are escaped.
pub(super) fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_unseen(character) {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

#[derive(Serialize)]
struct Line<'a> {
    topic: &'a str,
    subtopic: &'a str,
    presence: bool,
    qos: u8,
    retain: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

fn json_line(topic: &str, subtopic: &str, presence: bool, message: &Publish) -> Result<String, CommandError> {
    let text = std::str::from_utf8(&message.payload).ok();
    let line = Line {
        topic,
        subtopic,
        presence,
        qos: message.qos as u8,
        retain: message.retain,
        payload: text,
        payload_base64: text.is_none().then(|| STANDARD.encode(&message.payload)),
    };
    serde_json::to_string(&line).map_err(|error| CommandError::failed(format!("cannot write JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_printed_as_it_is_and_the_rest_escaped() {
        assert_eq!(printable("21,5 °C \\ \"ok\"".as_bytes()), "21,5 °C \\ \"ok\"");
        assert_eq!(printable(b"two\nlines\x1b[31m"), "two\\nlines\\u{1b}[31m");
        assert_eq!(printable(b"a\xff\x00b"), "a\\xff\\u{0}b");
    }

    #[test]
    fn a_subtopic_is_what_follows_the_peers_topic() {
        assert_eq!(subtopic("u/c/5412/lamp/state", "u/c/5412"), "lamp/state");
        assert_eq!(subtopic("u/c/5412", "u/c/5412"), ".");
        assert_eq!(subtopic("u/c/54120/x", "u/c/5412"), "u/c/54120/x");
    }
}
