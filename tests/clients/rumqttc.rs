//! One end of a connection, with its credential file.

use std::{env, error::Error, fs, process, thread, time::Duration};

use rumqttc::{
    Transport,
    v5::{
        Client, ConnectionError, Event, Incoming, MqttOptions,
        mqttbytes::{
            QoS,
            v5::{ConnectReturnCode, Filter, LastWill, PubAckReason, SubscribeReasonCode},
        },
    },
};
use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let file = env::args().nth(1).ok_or("give a credential file")?;
    let credentials: Value = serde_json::from_str(&fs::read_to_string(file)?)?;
    let (login, topics) = (&credentials["mqtt"], &credentials["topics"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (publish, subscribe) = (text(&topics["publish"]), text(&topics["subscribe"]));
    let presence = text(&topics["presence"]);
    let status = format!("{publish}/status");

    let port = login["port"].as_u64().ok_or("the file names no port without TLS")?;
    let mut options = MqttOptions::new(text(&login["client_id"]), text(&login["host"]), u16::try_from(port)?);
    options.set_transport(Transport::Tcp);
    options.set_credentials(text(&login["username"]), text(&login["password"]));
    options.set_keep_alive(Duration::from_secs(30));
    options.set_clean_start(false);
    options.set_session_expiry_interval(Some(24 * 60 * 60));
    options.set_max_packet_size(Some(1 << 20));
    options.set_last_will(LastWill::new(&status, "gone", QoS::AtLeastOnce, true, None));

    let (client, mut connection) = Client::new(options, 100);
    let counting = client.clone();
    thread::spawn(move || {
        for count in 1.. {
            thread::sleep(Duration::from_secs(1));
            let topic = format!("{publish}/count");
            // Waits while 100 messages wait; an error says that the program ends.
            if counting.publish(topic, QoS::AtLeastOnce, false, count.to_string()).is_err() {
                break;
            }
        }
    });

    for event in connection.iter() {
        match event {
            Ok(Event::Incoming(Incoming::ConnAck(ack))) => {
                println!("connected {}", if ack.session_present { "again" } else { "with a new session" });
                let filters = [&subscribe, &presence].map(|filter| Filter::new(filter, QoS::AtLeastOnce));
                client.try_subscribe_many(filters)?;
                client.try_publish(&status, QoS::AtLeastOnce, true, "here")?;
            }
            Ok(Event::Incoming(Incoming::SubAck(ack))) => {
                let refused = |code: &&SubscribeReasonCode| !matches!(code, SubscribeReasonCode::Success(_));
                for code in ack.return_codes.iter().filter(refused) {
                    println!("refused to subscribe: {code:?}");
                }
            }
            Ok(Event::Incoming(Incoming::PubAck(ack))) => {
                if !matches!(ack.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers) {
                    println!("refused to publish: {:?}", ack.reason);
                }
            }
            Ok(Event::Incoming(Incoming::Publish(message))) => {
                let (topic, payload) = (&message.topic, String::from_utf8_lossy(&message.payload));
                if *topic == presence {
                    // Empty when the connection was taken away.
                    let online = serde_json::from_str(&payload).is_ok_and(|it: Value| it["online"] == true);
                    println!("peer is {}", if online { "online" } else { "offline" });
                } else {
                    println!("{} {payload}", String::from_utf8_lossy(topic));
                }
            }
            Ok(_) => {}
            Err(ConnectionError::ConnectionRefused(
                code @ (ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized),
            )) => {
                println!("refused: {code:?}");
                process::exit(1);
            }
            Err(error) => {
                println!("disconnected: {error}");
                thread::sleep(Duration::from_secs(2));
            }
        }
    }
    Ok(())
}
