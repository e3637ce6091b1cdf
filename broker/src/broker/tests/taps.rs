//! Copies of messages for whoever looks at flows.

use super::{
    reports::{Streets, by},
    *,
};
use crate::{Tap, TappedMessage};

#[tokio::test]
async fn all_that_clients_publish_in_a_flow_is_copied_and_nothing_of_others() {
    let world = World::of(Arc::new(Streets::with(&["a", "b"], &["x", "y", "z"])), None);
    let mut tap = world.tap(&["x", "z"]);
    let mut says = world.connect(by("a", "says", 0)).await;
    let begun = clock::unix_ms();
    says.say("x/0", QoS::AtMostOnce, b"zero").await;
    says.say("y", QoS::AtLeastOnce, b"of another flow").await;
    says.acknowledged_with().await;
    says.say("x/1", QoS::AtLeastOnce, b"one").await;
    says.acknowledged_with().await;
    for _ in 0..2 {
        says.say("z/2", QoS::ExactlyOnce, b"two").await;
        assert!(matches!(says.next().await, Some(Packet::PubRec(_))), "the second one is a duplicate");
    }
    says.say("denied", QoS::AtLeastOnce, b"no").await;
    says.acknowledged_with().await;
    world.broker.publish("x/own", b"the embedder's", crate::codec::QoS::AtLeastOnce, false).await.unwrap();
    assert_eq!(tap.briefs(), ["x/0 zero", "x/1 one", "z/2 two"]);

    says.say("x/0", QoS::AtLeastOnce, b"more").await;
    let TappedMessage { flow, publisher, qos, retain, size, content_type, received_at, .. } =
        tap.next().await;
    assert_eq!((&*flow, &*publisher, size, content_type), ("x", "a", 4, None));
    assert_eq!((qos, retain), (crate::codec::QoS::AtLeastOnce, false));
    assert!(received_at >= begun && received_at <= clock::unix_ms());
    assert_eq!(tap.take_missed(), 0);
}

#[tokio::test]
async fn a_copy_has_what_its_message_says_of_itself_and_the_beginning_of_a_large_one() {
    let world = World::of(Arc::new(Streets::with(&["a"], &["x"])), None);
    let mut tap = world.tap(&["x"]);
    let mut says = world.connect(by("a", "says", 0)).await;
    let payload: Vec<u8> = (0..100 << 10).map(|at| (at % 251) as u8).collect();
    let properties =
        PublishProperties { content_type: Some("image/png".into()), ..PublishProperties::default() };
    let (pkid, topic) = (None, "x/large".into());
    let (dup, qos, retain) = (false, QoS::AtMostOnce, true);
    let large = Publish { dup, qos, retain, topic, pkid, properties, payload: payload.clone().into() };
    says.send(Packet::Publish(large)).await;
    let copy = tap.next().await;
    assert_eq!((copy.size, &*copy.payload), (100 << 10, &payload[..4 << 10]));
    assert_eq!((copy.content_type.as_deref(), copy.retain), (Some("image/png"), true));
}

#[tokio::test]
async fn a_will_is_copied_when_it_is_published() {
    let world = World::of(Arc::new(Streets::with(&["a"], &["will"])), None);
    let mut tap = world.tap(&["will"]);
    let client = Connect { username: Some("a".into()), ..with_will("c", 60, 0) };
    let client = world.connect(client).await;
    assert_eq!(tap.briefs(), [""; 0]);
    drop(client);
    let copy = tap.next().await;
    assert_eq!((&*copy.topic, &*copy.publisher, copy.size), ("will", "a", 0));
}

#[tokio::test]
async fn what_was_refused_is_not_copied() {
    let world = World::of(Arc::new(Streets::with(&["a", "b"], &["x"])), None);
    let mut hears = world.connect(by("b", "hears", 60)).await;
    hears.subscribe("x/#").await;
    drop(hears);
    world.until(|broker| !broker.is_online("b")).await;
    let mut tap = world.tap(&["x"]);
    let mut says = world.connect(by("a", "says", 0)).await;
    for payload in [b"1", b"2", b"3"] {
        says.say("x/q", QoS::AtLeastOnce, payload).await;
        says.acknowledged_with().await;
    }
    assert_eq!(tap.briefs(), ["x/q 1", "x/q 2"], "there was no room in the queue for the third");
}

#[tokio::test]
async fn who_does_not_take_copies_holds_up_nobody_and_is_told_how_many_there_were() {
    let world = World::of(Arc::new(Streets::with(&["a"], &["x"])), None);
    let (mut slow, mut quick) = (world.broker.tap(["x".into()], 2), world.tap(&["x"]));
    let mut says = world.connect(by("a", "says", 0)).await;
    let mut say = async |payload: &[u8]| {
        says.say("x", QoS::AtLeastOnce, payload).await;
        says.acknowledged_with().await;
    };
    for payload in [b"1", b"2", b"3", b"4"] {
        say(payload).await;
    }
    assert_eq!((slow.briefs().len(), slow.take_missed(), slow.take_missed()), (2, 2, 0));
    say(b"5").await;
    assert_eq!((slow.briefs(), slow.take_missed()), (vec!["x 5".to_owned()], 0));
    assert_eq!(quick.briefs().len(), 5);
}

#[tokio::test]
async fn nothing_is_copied_when_nobody_looks_any_more() {
    let world = World::of(Arc::new(Streets::with(&["a"], &["x"])), None);
    let taps = Arc::clone(&world.broker.shared.taps);
    let (first, mut second) = (world.tap(&["x"]), world.tap(&["x"]));
    drop(first);
    assert!(taps.are_open());
    let mut says = world.connect(by("a", "says", 0)).await;
    says.say("x", QoS::AtMostOnce, b"1").await;
    assert_eq!(second.next().await.size, 1);
    drop(second);
    assert!(!taps.are_open());

    let mut last = world.tap(&["x"]);
    says.disconnect(ReasonCode::Success, None).await;
    world.broker.stop().await;
    drop((world, taps));
    assert_eq!(timeout(LONG, last.recv()).await.unwrap(), None, "the broker is gone");
}

impl World {
    fn tap(&self, flows: &[&str]) -> Tap {
        self.broker.tap(flows.iter().map(|flow| (*flow).into()), 100)
    }
}

impl Tap {
    async fn next(&mut self) -> TappedMessage {
        timeout(LONG, self.recv()).await.expect("a copy in time").unwrap()
    }

    /// Topics and payloads of those that have arrived.
    fn briefs(&mut self) -> Vec<String> {
        let brief =
            |copy: TappedMessage| format!("{} {}", copy.topic, String::from_utf8_lossy(&copy.payload));
        std::iter::from_fn(|| self.try_recv()).map(brief).collect()
    }
}
