use std::{
    fs::File,
    io::{self, BufWriter, Seek, Write},
};

use ior_broker::store::Snapshot;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    runtime::Handle,
    task::block_in_place,
    time::timeout,
};

use super::{Answer, TAKING_TIME, send};
use crate::{
    archive::Manifest,
    backup::{self, Parts, StoreFile},
    configuration::Configuration,
    control::{Bridge, MAX_PIECE},
    storage::{SPARE, advice, free},
};

/// A backup begins. Pieces of the archive follow, each behind its length in four bytes, the most significant first; behind the
/// last one is a piece of no length and a line with the [`Manifest`], or with what went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// Files of the operator that are not in it.
    pub elsewhere: Vec<std::path::PathBuf>,
}

/// What goes into it.
struct Contents<'a> {
    configuration: &'a Configuration,
    parts: Parts,
    store: Option<Snapshot>,
}

/// Sends whatever is written to it.
struct Pieces<'a, W>(&'a mut W);

pub(super) async fn backup(bridge: &Bridge, out: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let configuration = bridge.configuration.load_full();
    let contents = match Contents::gather(bridge, &configuration).await {
        Ok(contents) => contents,
        Err(error) => return send(out, &Answer::Error(error)).await,
    };
    send(out, &Answer::done(&Backup { elsewhere: contents.parts.elsewhere().to_vec() })).await?;
    let made = block_in_place(|| contents.write(Pieces(out)));
    timeout(TAKING_TIME, out.write_u32(0)).await??;
    match made {
        Ok(manifest) => {
            send(out, &Answer::done(&manifest)).await?;
            tracing::info!("a backup was made: {} files", manifest.files.len());
            Ok(())
        }
        Err(error) => {
            let error = format!("the backup cannot be made: {error}; {}", advice(&error));
            send(out, &Answer::Error(error)).await
        }
    }
}

impl<'a> Contents<'a> {
    async fn gather(bridge: &Bridge, configuration: &'a Configuration) -> Result<Self, String> {
        let Configuration { dir, settings, .. } = configuration;
        let gather = || {
            block_in_place(|| Parts::gather(dir, settings))
                .map_err(|error| format!("{error}; {}", advice(&error)))
        };
        let mut parts = gather()?;
        loop {
            let store = bridge.broker.snapshot().await.map_err(|error| {
                format!(
                    "{error}. Look at the disk with `df` and `dmesg`; if it stays so, stop the bridge and run this again: \
                     then it copies the files as they are"
                )
            })?;
            let now = gather()?;
            if now == parts {
                return Ok(Self { configuration, parts, store });
            }
            // Something was reconfigured in between: the store has to be that of this configuration.
            parts = now;
        }
    }

    /// Made as a whole before any of it is sent, the store does not have to wait for whoever reads slowly. On a full or failing
    /// disk it is sent as it is made.
    fn write(self, mut out: Pieces<'_, impl AsyncWrite + Unpin>) -> io::Result<Manifest> {
        let staged = self.place();
        let Self { configuration, parts, store } = self;
        let store = store.map(StoreFile::of_snapshot).transpose()?.unwrap_or_default();
        let host = &configuration.settings.host;
        let Some(staged) = staged else {
            let out = BufWriter::with_capacity(MAX_PIECE, out);
            return Ok(backup::write(out, host, &parts, store, |_| {})?.0);
        };
        let (manifest, mut archive) = backup::write(staged, host, &parts, store, |_| {})?;
        archive.rewind()?;
        let mut out = BufWriter::with_capacity(MAX_PIECE, &mut out);
        io::copy(&mut archive, &mut out)?;
        out.flush()?;
        Ok(manifest)
    }

    /// Where there is room for all of it and for the messages of that time.
    fn place(&self) -> Option<File> {
        let data_dir = &self.configuration.settings.data_dir;
        let length = self.parts.length() + self.store.as_ref().map_or(0, Snapshot::length);
        let free = free(data_dir).ok()?;
        // Without a name: there is nothing to be left behind.
        (free >= length.saturating_add(SPARE)).then(|| tempfile::tempfile_in(data_dir).ok())?
    }
}

impl<W: AsyncWrite + Unpin> Write for Pieces<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(MAX_PIECE)];
        if piece.is_empty() {
            return Ok(0);
        }
        let length = u32::try_from(piece.len()).map_err(io::Error::other)?;
        let sent = async {
            self.0.write_u32(length).await?;
            self.0.write_all(piece).await
        };
        Handle::current().block_on(timeout(TAKING_TIME, sent))??;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
