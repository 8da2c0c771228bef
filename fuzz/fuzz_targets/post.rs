//! A child may put any packet on its post: the master reads frames or refuses. It never panics, never reads more than
//! there is, and what it read is written as it was read, however it is gathered into packets again.
#![no_main]

use hatchery_protocol::post::{
    Body, Frame, Frames, MAX_FDS, MAX_INLINE, MAX_PACKET, MAX_TOPIC, Outgoing, flag,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    let packet = packet.get(..MAX_PACKET).unwrap_or(packet);
    let mut frames = Vec::new();
    let mut end = Ok(());
    for frame in Frames::new(packet) {
        match frame {
            Ok(frame) => frames.push(frame),
            Err(error) => {
                assert_eq!(end, Ok(()), "reading went on after an error");
                end = Err(error);
            }
        }
    }
    let read: usize = frames.iter().map(Frame::len).sum();
    assert!(read <= packet.len(), "more was read than there is");
    assert_eq!(read == packet.len(), end.is_ok());
    for frame in &frames {
        check(frame);
    }
    assert_eq!(gathered(&frames), packet[..read], "written differently");
});

fn check(frame: &Frame<'_>) {
    assert!(frame.topic.len() <= MAX_TOPIC);
    let large = frame.head.flags & flag::LARGE != 0;
    match frame.body {
        // Of any size up to a packet: what a child may send is the office's limit, not the reader's.
        Body::Inline(_) => assert!(!large),
        Body::Large(length) => assert!(large && length as usize > MAX_INLINE),
    }
    assert!(frame.fits());
}

/// All packets that these frames make.
fn gathered(frames: &[Frame<'_>]) -> Vec<u8> {
    let mut outgoing = Outgoing::default();
    for frame in frames {
        let file = matches!(frame.body, Body::Large(_)).then_some(());
        outgoing.push(frame, file, Some((frame.head.peer, frame.len())));
    }
    let mut bytes = Vec::new();
    while let Some(packet) = outgoing.front() {
        assert!(packet.bytes.len() <= MAX_PACKET && packet.files.len() <= MAX_FDS);
        bytes.extend_from_slice(&packet.bytes);
        outgoing.sent();
    }
    assert_eq!((outgoing.bytes(), outgoing.files()), (0, 0));
    bytes
}
