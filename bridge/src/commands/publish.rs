//! `pub FILE SUBTOPIC MESSAGE`: publishes one message as the device of a credential file.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use rumqttc::v5::{AsyncClient, Event};
use tokio::time::timeout;

use super::CommandError;
use super::client::{self, Endpoint, Target};
use super::failure::explain;

/// How long the broker may take to acknowledge the message.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(10);

/// What the command line says.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Credential file of the device that publishes (from.json or to.json)
    pub file: PathBuf,
    /// Topic below the device's own, as in `lamp/state`; `.` for the device's topic itself
    pub subtopic: String,
    /// The message; `-` reads it from standard input, all bytes as they are
    #[arg(allow_hyphen_values = true)]
    pub message: String,
    /// Quality of Service: 0 sent without any answer, 1 acknowledged, 2 acknowledged and delivered exactly once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: u8,
    /// Keep the message at the broker for those who subscribe later; an empty message removes a kept one
    #[arg(long)]
    pub retain: bool,
    /// Connect elsewhere than the credential file says.
    #[command(flatten)]
    pub target: Target,
}

/// Publishes the message and returns when the broker has acknowledged it; at QoS 0, when it has been sent.
///
/// # Errors
/// The credential file, the connection, or a refusal by the broker.
pub async fn run(args: Args) -> Result<(), CommandError> {
    let endpoint = Endpoint::read(&args.file)?;
    let topic = endpoint.publish_topic(&args.subtopic)?;
    let route = endpoint.route(&args.target)?;
    let options = endpoint.options("pub", &route);
    let payload = payload(args.message)?;
    let size = payload.len();
    let qos = client::qos(args.qos);

    let (client, mut eventloop) = AsyncClient::new(options, 4);
    let mut sent = false;
    loop {
        let limit = if sent { ACKNOWLEDGE_TIMEOUT } else { client::CONNECT_TIMEOUT * 2 };
        let event = match timeout(limit, eventloop.poll()).await {
            Ok(Ok(event)) => event,
            Ok(Err(error)) => {
                let failure = explain(error, &route).await;
                return Err(if sent && failure.temporary {
                    unsure(&failure.message)
                } else {
                    failure.into()
                });
            }
            Err(_) => {
                return Err(unsure(&format!("the broker was silent for {} s", limit.as_secs())));
            }
        };
        match event {
            Event::Incoming(Packet::ConnAck(_)) => {
                client
                    .try_publish(&topic, qos, args.retain, payload.clone())
                    .map_err(|error| CommandError::failed(format!("cannot publish to `{topic}`: {error}")))?;
            }
            Event::Outgoing(Outgoing::Publish(_)) if qos == QoS::AtMostOnce => {
                client::disconnect(&client, &mut eventloop, &route).await;
                println!("sent: {size} bytes to {topic} at QoS 0, for which brokers send no answer");
                return Ok(());
            }
            Event::Outgoing(Outgoing::Publish(_)) => sent = true,
            Event::Incoming(Packet::PubAck(ref ack)) => accepted(ack.reason, &topic, &endpoint)?,
            Event::Incoming(Packet::PubRec(ref received)) => {
                accepted(client::as_puback(received.reason), &topic, &endpoint)?;
            }
            _ => {}
        }
        if matches!(event, Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_))) {
            client::disconnect(&client, &mut eventloop, &route).await;
            println!("acknowledged: {size} bytes to {topic} at QoS {}", args.qos);
            return Ok(());
        }
    }
}

fn payload(message: String) -> Result<Vec<u8>, CommandError> {
    if message != "-" {
        return Ok(message.into_bytes());
    }
    let mut payload = Vec::new();
    std::io::stdin().lock().read_to_end(&mut payload).map_err(|error| {
        CommandError::failed(format!("cannot read the message from standard input: {error}"))
    })?;
    Ok(payload)
}

fn unsure(why: &str) -> CommandError {
    CommandError::failed(format!(
        "{why}. The message was not acknowledged: it may or may not have arrived; send it again if twice does no harm"
    ))
}

fn accepted(reason: PubAckReason, topic: &str, endpoint: &Endpoint) -> Result<(), CommandError> {
    match reason {
        PubAckReason::Success => Ok(()),
        PubAckReason::NoMatchingSubscribers => {
            eprintln!("note: nobody is subscribed to {topic} at the moment");
            Ok(())
        }
        other => Err(client::publish_refused(other, topic, endpoint)),
    }
}
