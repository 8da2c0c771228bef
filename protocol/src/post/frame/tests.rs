use proptest::prelude::*;

use super::*;
use crate::post::{MAX_FDS, Outgoing};

fn heads() -> impl Strategy<Value = Head> {
    let kinds = [
        Kind::Message,
        Kind::Request,
        Kind::Reply,
        Kind::Refusal,
        Kind::Unanswered,
        Kind::Room,
        Kind::Joined,
        Kind::Leaving,
        Kind::Left,
        Kind::Open,
    ];
    let flags = prop::sample::select(vec![0, flag::FREE, flag::ANSWER]);
    let kind = prop::sample::select(kinds.to_vec());
    (kind, flags, any::<u64>(), any::<u64>()).prop_map(|(kind, flags, peer, id)| Head {
        kind,
        flags,
        peer,
        id,
    })
}

type Owned = (Head, Vec<u8>, Result<Vec<u8>, u32>);

fn frames() -> impl Strategy<Value = Vec<Owned>> {
    let body = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Ok),
        (40_000u32..).prop_map(Err),
    ];
    let topic = prop::collection::vec(any::<u8>(), 0..=MAX_TOPIC);
    prop::collection::vec((heads(), topic, body), 0..12)
}

fn borrow((head, topic, body): &Owned) -> Frame<'_> {
    let head = match body {
        Ok(_) => *head,
        Err(_) => Head {
            flags: head.flags | flag::LARGE,
            ..*head
        },
    };
    let body = match body {
        Ok(bytes) => Body::Inline(bytes),
        Err(length) => Body::Large(*length),
    };
    Frame { head, topic, body }
}

fn packet(frames: &[Owned]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        borrow(frame).write(&mut bytes);
    }
    bytes
}

/// A packet with some bytes changed.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (frames(), changes).prop_map(|(frames, changes)| {
        let mut bytes = packet(&frames);
        let length = bytes.len();
        for (at, byte) in changes.iter().filter(|_| length > 0) {
            bytes[at.index(length)] = *byte;
        }
        bytes
    })
}

/// All packets that these frames make, one behind the other.
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

proptest! {
    #[test]
    fn what_was_written_is_read(frames in frames()) {
        let bytes = packet(&frames);
        let read: Vec<_> = Frames::new(&bytes).map(Result::unwrap).collect();
        let written: Vec<_> = frames.iter().map(borrow).collect();
        prop_assert_eq!(bytes.len(), written.iter().map(Frame::len).sum::<usize>());
        prop_assert_eq!(read, written);
    }

    /// A packet that was cut anywhere but between frames is told from a whole one.
    #[test]
    fn truncation_at_every_byte(frames in frames()) {
        let bytes = packet(&frames);
        let mut ends = vec![0];
        for frame in &frames {
            ends.push(ends.last().unwrap() + borrow(frame).len());
        }
        for cut in 0..=bytes.len() {
            let read: Result<Vec<_>, _> = Frames::new(&bytes[..cut]).collect();
            prop_assert_eq!(read.is_ok(), ends.contains(&cut));
        }
    }

    /// As the fuzz target `post`, for those who have no fuzzer.
    #[test]
    fn what_is_read_of_a_damaged_packet_is_passed_on_as_it_was(bytes in damaged()) {
        let all: Vec<_> = Frames::new(&bytes).collect();
        let end = all.iter().position(Result::is_err);
        prop_assert!(end.is_none_or(|end| end + 1 == all.len()), "it went on after an error");
        let frames: Vec<Frame<'_>> = all.into_iter().flatten().collect();
        let read: usize = frames.iter().map(Frame::len).sum();
        prop_assert_eq!(read == bytes.len(), end.is_none());
        prop_assert_eq!(gathered(&frames), &bytes[..read]);
    }

    #[test]
    fn garbage_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        for frame in Frames::new(&bytes).flatten() {
            prop_assert!(frame.len() <= bytes.len() && frame.topic.len() <= MAX_TOPIC);
        }
    }
}

/// The wire form is a contract between two builds: a change here needs a new protocol version.
#[test]
fn golden_frame() {
    let frame = Frame {
        head: Head {
            kind: Kind::Request,
            flags: flag::ANSWER,
            peer: Addressee::Workers.number(),
            id: 0x0102,
        },
        topic: b"tick",
        body: Body::Inline(b"\"x\""),
    };
    let mut bytes = Vec::new();
    frame.write(&mut bytes);
    let golden = [
        &[2, 4, 4, 0, 3, 0, 0, 0][..],
        &[0xfe, 255, 255, 255, 255, 255, 255, 255],
        &[2, 1, 0, 0, 0, 0, 0, 0],
        b"tick\"x\"",
    ];
    assert_eq!(bytes, golden.concat());
}

#[test]
fn each_way_to_be_wrong_has_a_name() {
    let good = |change: &dyn Fn(&mut [u8])| {
        let mut bytes = packet(&[(
            Head {
                kind: Kind::Message,
                flags: 0,
                peer: 1,
                id: 0,
            },
            b"t".to_vec(),
            Ok(vec![7]),
        )]);
        change(&mut bytes);
        Frames::new(&bytes).next().unwrap().map(|_| ())
    };
    assert_eq!(good(&|_| {}), Ok(()));
    assert_eq!(good(&|b| b[0] = 99), Err(FrameError::Kind(99)));
    assert_eq!(good(&|b| b[1] = 64), Err(FrameError::Flags(64)));
    assert_eq!(good(&|b| b[3] = 1), Err(FrameError::Topic(257)));
    assert_eq!(good(&|b| b[4] = 9), Err(FrameError::Truncated));
    assert_eq!(good(&|b| b[1] = 1), Err(FrameError::SmallFile(1)));
}
