//! What the live lane keeps in memory, in a process of its own so that nothing else counts.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{fs, sync::Arc, time::Duration};

use ior_broker::{
    codec::{ForwardedProperties, QoS},
    live::{LiveLane, LiveSettings},
    message::{Message, MessageParts},
};
use tokio::{sync::Semaphore, time::timeout};

/// rumqttd keeps each distinct topic that it ever saw, twice: this test measured 11 MB more when topics were passed in.
#[tokio::test]
async fn distinct_topics_do_not_grow_rumqttd() {
    const TOPICS: u32 = 100_000;
    let came = Arc::new(Semaphore::new(0));
    let counter = came.clone();
    let settings = LiveSettings { links: 2, segment_bytes: 64 * 1024, ..LiveSettings::default() };
    let lane = LiveLane::start(settings, move |_| counter.add_permits(1)).unwrap();

    let mut before = 0;
    for number in 0..2 * TOPICS {
        // The first half warms everything up to the size it has under load, on two topics only.
        let topic = format!("default/connection/{:0100}", if number < TOPICS { number % 2 } else { number });
        lane.publish(&mut vec![message(&topic)]).await;
        if number % 100 == 99 {
            let all = timeout(Duration::from_secs(20), came.acquire_many(100)).await;
            all.expect("the messages in time").unwrap().forget();
        }
        if number == TOPICS {
            before = resident_bytes();
        }
    }
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 4_000_000, "{grown} bytes more after {TOPICS} topics");
    assert_eq!(lane.lost(), 0);
}

fn message(topic: &str) -> Message {
    Message::new(&MessageParts {
        publisher: 1,
        topic,
        qos: QoS::AtMostOnce,
        retain: false,
        received_at: 0,
        expiry: None,
        forwarded: ForwardedProperties::default(),
        payload: b"payload",
    })
}

fn resident_bytes() -> usize {
    let pages: usize =
        fs::read_to_string("/proc/self/statm").unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
