//! A broker where every client may do everything: to try the library, and to test it. Not for a network.
//!
//! `cargo run --release -p ior-broker --example open -- --listen 127.0.0.1:1883`
#![forbid(unsafe_code)]

use std::{error::Error, net::SocketAddr, path::PathBuf, sync::Arc};

use clap::Parser;
use ior_broker::{
    Broker,
    access::{Access, Grant, Login, Refusal},
    limits::Limits,
    store::{Durability, StoreSettings},
    transport::Transport,
};
use tokio::net::TcpListener;

/// A broker where every client may do everything.
#[derive(Parser)]
struct Arguments {
    /// Address and port; port 0 lets the system choose one.
    #[arg(long, default_value = "127.0.0.1:1883")]
    listen: SocketAddr,
    /// Directory of a store; without one everything is kept in memory.
    #[arg(long)]
    store: Option<PathBuf>,
}

struct Open;

/// Clients with the same user name share a name, and so do all without one.
struct Everything {
    name: String,
}

impl Access for Open {
    fn login(&self, login: &Login<'_>) -> Result<Arc<dyn Grant>, Refusal> {
        Ok(Arc::new(Everything { name: login.user_name.unwrap_or("anonymous").to_owned() }))
    }

    fn grant(&self, name: &str) -> Option<Arc<dyn Grant>> {
        Some(Arc::new(Everything { name: name.to_owned() }))
    }
}

impl Grant for Everything {
    fn name(&self) -> &str {
        &self.name
    }

    fn may_publish(&self, _topic: &str) -> bool {
        true
    }

    fn may_subscribe(&self, _filter: &str) -> bool {
        true
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_env_filter("info,rumqttd=off").with_writer(std::io::stderr).init();
    // Many anonymous clients of one machine share one name here, so the limits of one name or address are those of all.
    let limits = Limits { sessions_per_name: 100_000, connections_per_address: 0, ..Limits::default() };
    let store = arguments.store.map(|directory| StoreSettings { directory, durability: Durability::Fsync });
    let broker = Broker::start(Arc::new(Open), limits, store.as_ref())?;
    let listener = TcpListener::bind(arguments.listen).await?;
    println!("listening on {}", listener.local_addr()?);
    broker.serve(listener, Transport::Tcp);
    tokio::signal::ctrl_c().await?;
    broker.stop().await;
    Ok(())
}
