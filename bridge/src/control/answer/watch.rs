//! Tells what happens until the asker goes or the bridge stops. An asker that reads slowly misses events and is told how
//! many.

use std::{io, sync::Arc};

use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, AsyncWrite},
    sync::broadcast::error::RecvError,
};

use super::{Answer, send, write};
use crate::{
    control::server::{Asker, Desk, stop},
    report::{Event, Filter, Names, Wanted, Watching},
};

pub(in crate::control) async fn watch(
    desk: &Desk,
    filter: Filter,
    mut asker: Asker,
    out: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let bridge = &desk.bridge;
    let Ok(_place) = desk.watchers.try_acquire() else {
        let error = "so many watch already that there is no place: end one of the others".to_owned();
        return send(out, &Answer::Error(error)).await;
    };
    let wanted = match Wanted::new(filter, &bridge.configuration.load()) {
        Ok(wanted) => wanted,
        Err(error) => return send(out, &Answer::Error(error.to_string())).await,
    };
    // Before the answer: whoever has it is told of all that follows.
    let mut events = bridge.broker.events();
    let mut reloads = bridge.reload.outcomes();
    let mut notices = bridge.notices.subscribe();
    let mut stopping = desk.stopping.clone();
    let mut names = Names::new(bridge.configuration.load_full());
    send(out, &Answer::done(&Watching::new(&wanted))).await?;
    let mut scrap = [0; 64];
    loop {
        let event = tokio::select! {
            biased;
            read = asker.read(&mut scrap) => match read? {
                0 => return Ok(()),
                _ => continue,
            },
            outcome = reloads.recv() => match outcome {
                Ok(outcome) => Event::of_reload(&outcome),
                Err(RecvError::Lagged(missed)) => Event::missed(missed),
                Err(RecvError::Closed) => continue,
            },
            notice = notices.recv() => match notice {
                Ok(event) => event,
                Err(RecvError::Lagged(missed)) => Event::missed(missed),
                Err(RecvError::Closed) => continue,
            },
            event = events.recv() => match event {
                Ok(event) => {
                    let configuration = bridge.configuration.load();
                    if !names.is_of(&configuration) {
                        names = Names::new(Arc::clone(&configuration));
                    }
                    names.event(&event)
                }
                Err(RecvError::Lagged(missed)) => Event::missed(missed),
                Err(RecvError::Closed) => return Ok(()),
            },
            () = stop(&mut stopping) => return tell(out, &Event::stopping()).await,
        };
        if names.wants(&wanted, &event) {
            tell(out, &event).await?;
        }
    }
}

/// However long the asker takes to read it.
async fn tell(out: &mut (impl AsyncWrite + Unpin), event: &impl Serialize) -> io::Result<()> {
    write(out, &Answer::done(event)).await
}
