//! Clients that we did not write, against the library's example.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use ior_tests::{
    Broker,
    clients::{Login, Subscription, Tool},
};

#[test]
fn real_clients_talk_to_each_other() {
    let broker = Broker::start();
    for (index, from) in Tool::ALL.into_iter().enumerate() {
        for to in [from, Tool::ALL[(index + 1) % Tool::ALL.len()]] {
            let login = |id: &str| Login {
                addr: broker.addr,
                client_id: id.into(),
                username: "somebody".into(),
                password: "anything".into(),
                tls: None,
            };
            let wanted = Subscription { filter: "talk/#", qos: 2, persistent: false };
            let mut subscriber = to.subscribe(&login("listens"), wanted);
            for qos in 0..=2 {
                let payload = format!("{from:?} to {to:?} at {qos}");
                from.publish(&login("talks"), "talk/now", qos, &[payload.clone().into_bytes()]);
                let message = subscriber.expect(&payload);
                assert_eq!((message.qos, message.topic.as_str()), (qos, "talk/now"));
            }
        }
    }
}
