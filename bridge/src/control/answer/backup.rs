use std::{
    fs::File,
    io::{self, ErrorKind, Read, Seek, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    task::block_in_place,
    time::timeout,
};

use super::{Answer, TAKING_TIME, send};
use crate::{
    archive::Manifest,
    backup::{self, Parts, StoreFile},
    configuration::Configuration,
    control::Bridge,
    storage::{SPARE, advice, free},
};

/// After so many bytes it is looked again whether there is space.
const STEP: usize = 1 << 20;

/// What goes over the socket at once, in bytes.
const PIECE: usize = 64 << 10;

/// What was backed up. The archive follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// Bytes of the archive.
    pub bytes: u64,
    /// What is in it.
    pub manifest: Manifest,
    /// Files of the operator that are not in it.
    pub elsewhere: Vec<std::path::PathBuf>,
}

pub(super) async fn backup(bridge: &Bridge, out: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let (backup, mut archive) = match make(bridge).await {
        Ok(made) => made,
        Err(error) => return send(out, &Answer::Error(error)).await,
    };
    tracing::info!("a backup was made: {} files, {} bytes", backup.manifest.files.len(), backup.bytes);
    send(out, &Answer::done(&backup)).await?;
    let mut piece = vec![0; PIECE];
    loop {
        match block_in_place(|| archive.read(&mut piece))? {
            0 => return out.flush().await,
            read => timeout(TAKING_TIME, out.write_all(&piece[..read])).await??,
        }
    }
}

/// Makes all of it before any of it is sent: whoever reads slowly keeps nobody waiting.
async fn make(bridge: &Bridge) -> Result<(Backup, File), String> {
    let configuration = bridge.configuration.load_full();
    let Configuration { dir, settings, .. } = &*configuration;
    let gather = || {
        block_in_place(|| Parts::gather(dir, settings))
            .map_err(|error| format!("{error}; {}", advice(&error)))
    };
    let mut parts = gather()?;
    let snapshot = loop {
        let snapshot = bridge.broker.snapshot().await.map_err(|error| error.to_string())?;
        let now = gather()?;
        if now == parts {
            break snapshot;
        }
        // Something was reconfigured in between: the store has to be that of this configuration.
        parts = now;
    };
    let store =
        snapshot.into_iter().map(|snapshot| StoreFile::database(snapshot.length(), snapshot)).collect();
    block_in_place(|| {
        // Without a name: there is nothing to be left behind.
        let archive = Sparing::new(tempfile::tempfile_in(&settings.data_dir)?, &settings.data_dir);
        let (manifest, Sparing { file: mut archive, .. }) =
            backup::write(archive, &settings.host, &parts, store, |_| {})?;
        let bytes = archive.stream_position()?;
        archive.rewind()?;
        Ok((Backup { bytes, manifest, elsewhere: parts.elsewhere().to_vec() }, archive))
    })
    .map_err(|error: io::Error| format!("the backup cannot be written: {error}; {}", advice(&error)))
}

/// A file that leaves space for what devices say meanwhile.
struct Sparing<'a> {
    file: File,
    dir: &'a Path,
    /// Bytes that were written since it was looked.
    unlooked: usize,
}

impl<'a> Sparing<'a> {
    fn new(file: File, dir: &'a Path) -> Self {
        Self { file, dir, unlooked: STEP }
    }
}

impl Write for Sparing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.unlooked >= STEP {
            if free(self.dir)? < SPARE {
                let error = format!("less than {} MiB are free, which messages may need", SPARE >> 20);
                return Err(io::Error::new(ErrorKind::StorageFull, error));
            }
            self.unlooked = 0;
        }
        let written = self.file.write(bytes)?;
        self.unlooked += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
