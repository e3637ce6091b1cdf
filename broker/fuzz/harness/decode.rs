//! What must hold for any bytes that a stranger sends. Shared by the fuzz target and by `tests/codec_fuzz.rs`.

use ior_broker::codec::{
    Ack, ClientPacket, Publish, ServerAck, ServerPacket, ServerPublish, Version, decode, decode_connect,
    packet_length,
};

/// Feeds `input` to the codec in every way; panics if the codec does, or contradicts itself.
pub(crate) fn check(input: &[u8]) {
    check_length(input);
    if let Ok(connect) = decode_connect(input) {
        assert_whole(input);
        if let Some(will) = connect.will {
            assert_writes_its_length(|out| will.forwarded.write(out), will.forwarded.len());
        }
    }
    for version in [Version::V311, Version::V5] {
        if let Ok(packet) = decode(input, version) {
            assert_whole(input);
            check_encoding(&packet, version);
        }
    }
}

/// What the length of a packet is decided to be, with however few bytes, stays so with more.
fn check_length(input: &[u8]) {
    let mut decided = None;
    for end in (0..=input.len().min(6)).chain([input.len()]) {
        let length = packet_length(&input[..end], LIMIT);
        match (decided, length) {
            (Some(decided), _) => assert_eq!(decided, length, "the length changed with more bytes"),
            (None, Ok(None)) => assert!(end < 5, "five bytes tell every length"),
            (None, _) => decided = Some(length),
        }
    }
    if let Some(Ok(Some(length))) = decided {
        assert!((2..=LIMIT as usize).contains(&length));
    }
}

fn assert_whole(packet: &[u8]) {
    assert_eq!(
        packet_length(packet, u32::MAX),
        Ok(Some(packet.len())),
        "accepted what is not one whole packet"
    );
}

/// What a client sent and a server may send too comes out the same after encoding and decoding.
fn check_encoding(packet: &ClientPacket<'_>, version: Version) {
    match packet {
        ClientPacket::Publish(publish) => check_publish(publish, version),
        ClientPacket::PubAck(ack) => check_ack(packet, ServerPacket::PubAck(server_ack(ack)), version),
        ClientPacket::PubRec(ack) => check_ack(packet, ServerPacket::PubRec(server_ack(ack)), version),
        ClientPacket::PubRel(ack) => check_ack(packet, ServerPacket::PubRel(server_ack(ack)), version),
        ClientPacket::PubComp(ack) => check_ack(packet, ServerPacket::PubComp(server_ack(ack)), version),
        ClientPacket::Subscribe(subscribe) => assert!(!subscribe.filters.is_empty()),
        ClientPacket::Unsubscribe(unsubscribe) => assert!(!unsubscribe.filters.is_empty()),
        _ => {}
    }
}

fn check_publish(publish: &Publish<'_>, version: Version) {
    let forwarded = assert_writes_its_length(|out| publish.forwarded.write(out), publish.forwarded.len());
    let bytes = encode(
        &ServerPacket::Publish(ServerPublish {
            dup: publish.dup,
            qos: publish.qos,
            retain: publish.retain,
            topic: publish.topic,
            packet_id: publish.packet_id,
            message_expiry: publish.message_expiry,
            topic_alias: publish.topic_alias,
            subscription_ids: &[],
            forwarded: &forwarded,
            payload: publish.payload,
        }),
        version,
    );
    let Ok(ClientPacket::Publish(again)) = decode(&bytes, version) else {
        panic!("an encoded PUBLISH cannot be decoded: {bytes:02X?}");
    };
    let forwarded_again = assert_writes_its_length(|out| again.forwarded.write(out), again.forwarded.len());
    assert_eq!(forwarded, forwarded_again);
    assert_eq!(*publish, Publish { forwarded: publish.forwarded, ..again });
}

fn check_ack(packet: &ClientPacket<'_>, ack: ServerPacket<'_>, version: Version) {
    let mut packet = packet.clone();
    if let ClientPacket::PubAck(ack)
    | ClientPacket::PubRec(ack)
    | ClientPacket::PubRel(ack)
    | ClientPacket::PubComp(ack) = &mut packet
    {
        // They are not encoded.
        ack.user_properties = 0;
    }
    assert_eq!(decode(&encode(&ack, version), version), Ok(packet));
}

fn server_ack(ack: &Ack) -> ServerAck<'static> {
    ServerAck { packet_id: ack.packet_id, reason: ack.reason, reason_string: None }
}

fn encode(packet: &ServerPacket<'_>, version: Version) -> Vec<u8> {
    assert_writes_its_length(|out| packet.encode(version, out), packet.encoded_len(version))
}

fn assert_writes_its_length(write: impl FnOnce(&mut Vec<u8>), len: usize) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    assert_eq!(out.len(), len, "the announced length is wrong");
    out
}

const LIMIT: u32 = 1 << 20;
