//! The router behind the links: started, watched, and replaced when its thread died.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use rumqttd::{
    Router, RouterConfig,
    local::{LinkBuilder, LinkError, LinkRx, LinkTx},
};
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::{Instant, sleep},
};

use super::{LiveError, LiveSettings, Shared, link::Link};

/// A router that lived this long died for a reason of its own, so its successor starts at once.
const STABLE: Duration = Duration::from_secs(10);
const FIRST_DELAY: Duration = Duration::from_millis(10);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// Messages that the router reads from a link's log at a time. It stops reading for a link that has 199 waiting.
const READ_AT_ONCE: u64 = 100;

/// Starts a router's thread and connects the links. Blocks until the router answered.
pub(super) fn spawn(settings: &LiveSettings) -> Result<Vec<(LinkTx, LinkRx)>, LiveError> {
    // The type of this sender cannot be named: rumqttd does not export its events.
    let router = Router::new(0, config(settings)).spawn();
    (0..settings.links)
        .map(|number| {
            let name = format!("m{number}");
            let refused = |error: LinkError| LiveError::Router(error.to_string());
            let (mut tx, rx, _) = LinkBuilder::new(&name, router.clone()).build().map_err(refused)?;
            tx.subscribe(format!("{name}/#")).map_err(refused)?;
            Ok((tx, rx))
        })
        .collect()
}

pub(super) fn config(settings: &LiveSettings) -> RouterConfig {
    RouterConfig {
        max_connections: settings.links,
        max_outgoing_packet_count: READ_AT_ONCE,
        max_segment_size: settings.segment_bytes,
        max_segment_count: settings.segments,
        ..RouterConfig::default()
    }
}

/// Gives the links to the publishers and what comes back to the caller.
pub(super) fn open(shared: &Shared, ends: Vec<(LinkTx, LinkRx)>) -> Vec<LinkRx> {
    let open = |(link, (tx, rx)): (&Link, _)| {
        link.open(tx);
        rx
    };
    shared.links.iter().zip(ends).map(open).collect()
}

/// Runs the receiving tasks of one router after the other.
pub(super) async fn supervise(shared: Arc<Shared>, settings: LiveSettings, first: Vec<LinkRx>) {
    let mut receivers = first;
    let mut delay = Duration::ZERO;
    loop {
        let started = Instant::now();
        receive(&shared, receivers).await;
        tracing::error!(
            "the live lane's router died: QoS 0 messages in it are lost, and a new one is started; please report this"
        );
        if started.elapsed() >= STABLE {
            delay = Duration::ZERO;
        }
        receivers = loop {
            sleep(delay).await;
            delay = (delay * 2).clamp(FIRST_DELAY, LONGEST_DELAY);
            let settings = settings.clone();
            match spawn_blocking(move || spawn(&settings)).await {
                Ok(Ok(ends)) => break open(&shared, ends),
                Ok(Err(error)) => {
                    tracing::error!("QoS 0 messages are lost until the live lane starts again: {error}")
                }
                Err(error) => {
                    tracing::error!("QoS 0 messages are lost until the live lane starts again: {error}")
                }
            }
        };
        shared.restarts.fetch_add(1, Relaxed);
    }
}

/// Returns when the router is dead and the links to it are closed.
async fn receive(shared: &Arc<Shared>, receivers: Vec<LinkRx>) {
    let mut tasks = JoinSet::new();
    for (number, rx) in receivers.into_iter().enumerate() {
        let shared = shared.clone();
        tasks.spawn(async move { shared.links[number].receive(rx, &shared).await });
    }
    while tasks.join_next().await.is_some() {}
}
