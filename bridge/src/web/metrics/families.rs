//! All names, and where their numbers are.

use super::{
    Scrape,
    encode::{Family, Number},
    process::Process,
};
use crate::report::{Device, DeviceLife, Direction, Disk};

pub(super) const BUILD: (&str, &str) = ("ior_bridge_build_info", "Which IOR Bridge this is.");
pub(super) const STORE: (&str, &str) = ("ior_bridge_store_info", "What acknowledged messages survive.");
pub(super) const DEVICE: (&str, &str) = ("ior_bridge_device_info", "What people call a device.");
pub(super) const CONNECTION: (&str, &str) =
    ("ior_bridge_connection_info", "What people call a connection, and the devices at its ends.");

/// Of the bridge as a whole.
pub(super) const BRIDGE: &[Family<Scrape>] = &[
    Family {
        name: "ior_bridge_devices",
        help: "Configured devices.",
        value: |scrape| some(scrape.status.devices.len()),
    },
    Family {
        name: "ior_bridge_devices_disabled",
        help: "Configured devices that may not log in.",
        value: |scrape| some(scrape.status.devices.iter().filter(|device| device.disabled).count()),
    },
    Family {
        name: "ior_bridge_devices_online",
        help: "Devices that are connected.",
        value: |scrape| some(scrape.status.totals.devices_online),
    },
    Family {
        name: "ior_bridge_devices_without_series",
        help: "Devices that have no series of their own here, since there are more than web.metrics_series.",
        value: |scrape| some(scrape.status.devices.len().saturating_sub(scrape.series)),
    },
    Family {
        name: "ior_bridge_connections",
        help: "Configured connections.",
        value: |scrape| some(scrape.status.connections.len()),
    },
    Family {
        name: "ior_bridge_connections_without_series",
        help: "Connections that have no series of their own here, since there are more than web.metrics_series.",
        value: |scrape| some(scrape.status.connections.len().saturating_sub(scrape.series)),
    },
    Family {
        name: "ior_bridge_clients",
        help: "Network connections of devices that are logged in.",
        value: |scrape| some(scrape.statistics.connected),
    },
    Family {
        name: "ior_bridge_sessions",
        help: "Sessions of devices, online and offline.",
        value: |scrape| some(scrape.statistics.sessions),
    },
    Family {
        name: "ior_bridge_retained_messages",
        help: "Retained messages, presence included.",
        value: |scrape| some(scrape.statistics.retained),
    },
    Family {
        name: "ior_bridge_queued_messages",
        help: "QoS 1 and 2 messages that wait for devices or are on their way to them.",
        value: |scrape| some(lives(scrape).map(|live| live.queued).sum::<usize>()),
    },
    Family {
        name: "ior_bridge_refused_connections_total",
        help: "Network connections that ended before or with their login.",
        value: |scrape| some(scrape.statistics.refused),
    },
    Family {
        name: "ior_bridge_received_messages_total",
        help: "Messages that came from devices, those that were refused included.",
        value: |scrape| some(scrape.statistics.published),
    },
    Family {
        name: "ior_bridge_denied_total",
        help: "Messages and Topic Filters that devices may not publish or subscribe to.",
        value: |scrape| some(scrape.statistics.denied),
    },
    Family {
        name: "ior_bridge_queue_full_messages_total",
        help: "QoS 1 and 2 messages that were refused because a queue was full.",
        value: |scrape| some(scrape.statistics.queue_full),
    },
    Family {
        name: "ior_bridge_not_kept_messages_total",
        help: "QoS 1 and 2 messages that were refused because the store could not keep them.",
        value: |scrape| some(scrape.statistics.not_kept),
    },
    Family {
        name: "ior_bridge_dropped_messages_total",
        help: "Messages lost to slow devices (QoS 0), newer ones, size or expiry.",
        value: |scrape| some(scrape.statistics.dropped),
    },
    Family {
        name: "ior_bridge_live_lane_lost_messages_total",
        help: "QoS 0 messages lost because the live lane could not take or pass them in time.",
        value: |scrape| some(scrape.statistics.live_lost),
    },
    Family {
        name: "ior_bridge_live_lane_restarts_total",
        help: "How often the live lane's router died and was replaced.",
        value: |scrape| some(scrape.statistics.live_restarts),
    },
    Family {
        name: "ior_bridge_store_failing",
        help: "1 while the store cannot keep what it is given, else 0. Missing if everything is in memory only.",
        value: |scrape| some(disk(scrape)?.failing.is_some()),
    },
    Family {
        name: "ior_bridge_store_size_bytes",
        help: "Size of the store's files.",
        value: |scrape| some(disk(scrape)?.bytes),
    },
    Family {
        name: "ior_bridge_store_unused_bytes",
        help: "What of the store's files is free for what is to come.",
        value: |scrape| some(disk(scrape)?.free_bytes),
    },
    Family {
        name: "ior_bridge_store_commits_total",
        help: "How often the store has written.",
        value: |scrape| some(disk(scrape)?.commits),
    },
    Family {
        name: "ior_bridge_store_last_commit_timestamp_seconds",
        help: "When the store has written last.",
        value: |scrape| some(disk(scrape)?.last_commit?),
    },
    Family {
        name: "ior_bridge_data_dir_free_bytes",
        help: "What is free for the bridge on the file system of its data directory.",
        value: |scrape| some(scrape.data_dir_free?),
    },
    Family {
        name: "ior_bridge_certificate_expiry_timestamp_seconds",
        help: "When the certificate expires that devices and browsers are shown.",
        value: |scrape| some(scrape.certificate_expires?),
    },
    Family {
        name: "process_start_time_seconds",
        help: "When the bridge was started.",
        value: |scrape| some(scrape.status.bridge.started),
    },
];

/// Of a limit.
pub(super) const LIMITS: Family<u64> = Family {
    name: "ior_bridge_limit_reached_total",
    help: "How often limits acted, by their keys in server.json without limits.",
    value: |times| some(*times),
};

/// Of a device.
pub(super) const DEVICES: &[Family<Device>] = &[
    Family {
        name: "ior_bridge_device_online",
        help: "1 while a device is connected, else 0.",
        value: |device| some(live(device)?.online),
    },
    Family {
        name: "ior_bridge_device_disabled",
        help: "1 while a device may not log in, else 0.",
        value: |device| some(device.disabled),
    },
    Family {
        name: "ior_bridge_device_last_seen_timestamp_seconds",
        help: "When something was heard of a device last. Missing if that is not known.",
        value: |device| some(live(device)?.last_seen?),
    },
    Family {
        name: "ior_bridge_device_sessions",
        help: "Sessions of a device, online and offline.",
        value: |device| some(live(device)?.sessions.len()),
    },
    Family {
        name: "ior_bridge_device_received_messages_total",
        help: "Messages that a device has published.",
        value: |device| some(live(device)?.received.messages),
    },
    Family {
        name: "ior_bridge_device_received_bytes_total",
        help: "Bytes of payload that a device has published.",
        value: |device| some(live(device)?.received.bytes),
    },
    Family {
        name: "ior_bridge_device_sent_messages_total",
        help: "Messages that a device was sent.",
        value: |device| some(live(device)?.sent.messages),
    },
    Family {
        name: "ior_bridge_device_sent_bytes_total",
        help: "Bytes of payload that a device was sent.",
        value: |device| some(live(device)?.sent.bytes),
    },
    Family {
        name: "ior_bridge_device_queued_messages",
        help: "QoS 1 and 2 messages that wait for a device or are on their way to it.",
        value: |device| some(live(device)?.queued),
    },
    Family {
        name: "ior_bridge_device_denied_total",
        help: "Messages and Topic Filters that a device may not publish or subscribe to.",
        value: |device| some(live(device)?.denied),
    },
    Family {
        name: "ior_bridge_device_dropped_messages_total",
        help: "Messages that a device did not get: it was too slow (QoS 0), or they were too large or too old.",
        value: |device| some(live(device)?.dropped),
    },
];

/// Of one direction of a connection.
pub(super) const DIRECTIONS: &[Family<Direction>] = &[
    Family {
        name: "ior_bridge_connection_messages_total",
        help: "Messages that were published in a direction of a connection.",
        value: |direction| some(direction.published.messages),
    },
    Family {
        name: "ior_bridge_connection_bytes_total",
        help: "Bytes of payload that were published in a direction of a connection.",
        value: |direction| some(direction.published.bytes),
    },
    Family {
        name: "ior_bridge_connection_last_message_timestamp_seconds",
        help: "When something was published in a direction of a connection last. Missing if nothing was since the start.",
        value: |direction| some(direction.last?),
    },
    Family {
        name: "ior_bridge_connection_waiting_messages",
        help: "QoS 1 and 2 messages that wait in a direction of a connection or are on their way.",
        value: |direction| some(direction.waiting.messages),
    },
    Family {
        name: "ior_bridge_connection_waiting_bytes",
        help: "Bytes of what waits in a direction of a connection or is on its way.",
        value: |direction| some(direction.waiting.bytes),
    },
    Family {
        name: "ior_bridge_connection_latency_mean_seconds",
        help: "How long the last 16 messages of QoS 1 and 2 took until the other end had acknowledged them, on average.",
        value: |direction| some(direction.latency?.mean.as_secs_f64()),
    },
    Family {
        name: "ior_bridge_connection_latency_max_seconds",
        help: "How long the slowest of the last 16 messages of QoS 1 and 2 took until the other end had acknowledged it.",
        value: |direction| some(direction.latency?.max.as_secs_f64()),
    },
    Family {
        name: "ior_bridge_connection_refused_messages_total",
        help: "QoS 1 and 2 messages that were refused because a queue was full or they could not be kept.",
        value: |direction| some(direction.refused),
    },
    Family {
        name: "ior_bridge_connection_dropped_messages_total",
        help: "Messages that made room for newer ones, or were too old.",
        value: |direction| some(direction.dropped),
    },
];

/// Of the process, by the names that Prometheus gives them everywhere.
pub(super) const PROCESS: &[Family<Process>] = &[
    Family {
        name: "process_cpu_seconds_total",
        help: "Time on all cores together.",
        value: |process| some(process.cpu?),
    },
    Family {
        name: "process_resident_memory_bytes",
        help: "Memory that is resident.",
        value: |process| some(process.resident?),
    },
    Family {
        name: "process_virtual_memory_bytes",
        help: "Memory that is mapped.",
        value: |process| some(process.virtual_size?),
    },
    Family { name: "process_threads", help: "Threads.", value: |process| some(process.threads?) },
    Family { name: "process_open_fds", help: "Open files.", value: |process| some(process.open_files?) },
    Family {
        name: "process_max_fds",
        help: "How many files may be open.",
        value: |process| some(process.max_open_files?),
    },
];

fn some(number: impl Into<Number>) -> Option<Number> {
    Some(number.into())
}

fn disk(scrape: &Scrape) -> Option<&Disk> {
    scrape.status.store.disk.as_ref()
}

fn live(device: &Device) -> Option<&DeviceLife> {
    device.live.as_ref()
}

fn lives(scrape: &Scrape) -> impl Iterator<Item = &DeviceLife> {
    scrape.status.devices.iter().filter_map(live)
}
