//! Tells what happens until the asker goes or the bridge stops. An asker that reads slowly misses events and is told how
//! many.

use std::io;

use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::{Answer, send, write};
use crate::{
    control::server::{Asker, Desk, stop},
    report::{Event, Filter, Happenings, Wanted, Watching},
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
    let mut happenings = Happenings::of(bridge);
    let mut stopping = desk.stopping.clone();
    send(out, &Answer::done(&Watching::new(&wanted))).await?;
    let mut scrap = [0; 64];
    loop {
        let event = tokio::select! {
            biased;
            read = asker.read(&mut scrap) => match read? {
                0 => return Ok(()),
                _ => continue,
            },
            event = happenings.next() => match event {
                Some(event) => event,
                None => return Ok(()),
            },
            () = stop(&mut stopping) => return tell(out, &Event::stopping()).await,
        };
        if happenings.names().wants(&wanted, &event) {
            tell(out, &event).await?;
        }
    }
}

/// However long the asker takes to read it.
async fn tell(out: &mut (impl AsyncWrite + Unpin), event: &impl Serialize) -> io::Result<()> {
    write(out, &Answer::done(event)).await
}
