//! Memory of devices that are connected and subscribed and do nothing.

use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::client;
use crate::relay::Running;
use crate::wire::{Session, Version};

/// The first share of the devices is connected before counting begins: the row is about each further one.
const WARM: usize = 10;

/// Bytes of resident memory per further device; `None` where the relay's process is unknown.
pub(crate) fn memory_per_device(relay: &Running, version: Version) -> Result<Option<f64>> {
    let Some(process) = relay.process else { return Ok(None) };
    let devices: Vec<_> = relay.devices.iter().flat_map(|pair| [&pair.from, &pair.to]).collect();
    let warm = devices.len() / WARM;
    let mut streams = Vec::with_capacity(devices.len());
    let mut before = 0;
    for (index, device) in devices.iter().enumerate() {
        if index == warm {
            before = settled(|| process.resident())?;
        }
        let mut stream = client::connect(relay.address, version, &device.login, Session::Clean)?;
        client::subscribe(&mut stream, version, device, 1)?;
        streams.push(stream);
    }
    let after = settled(|| process.resident())?;
    streams.iter_mut().for_each(client::disconnect);
    Ok(Some((after as f64 - before as f64) / (devices.len() - warm) as f64))
}

/// The value once it has not changed for a moment, or after two seconds.
pub(crate) fn settled(mut read: impl FnMut() -> Result<u64>) -> Result<u64> {
    const PAUSE: Duration = Duration::from_millis(50);
    const STEADY: u32 = 4;
    let started = Instant::now();
    let (mut value, mut steady) = (read()?, 0);
    while steady < STEADY && started.elapsed() < Duration::from_secs(2) {
        thread::sleep(PAUSE);
        let next = read()?;
        steady = if next == value { steady + 1 } else { 0 };
        value = next;
    }
    Ok(value)
}
