//! A peer on a link may send anything, cut anywhere: the reader gives frames, waits or refuses. It never
//! panics, never hands out more than the limit, and never depends on how the stream was cut.
#![no_main]

use std::fmt::Debug;

use hatchery_protocol::message::{FromChild, ToChild, read_message, write_message};
use hatchery_protocol::wire::{Decoder, Frame, FrameError, Kind, MAX_FDS};
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Small, so that the fuzzer meets the limit often.
const LIMIT: usize = 512;

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, stream) = input;
    let whole = decode(stream, stream.len());
    let pieces = decode(stream, usize::from(piece));
    assert_eq!(whole, pieces, "the cuts changed what was read");

    for frame in &whole.0 {
        assert!(frame.body.len() <= LIMIT && frame.fds <= MAX_FDS);
        read_both_ways(frame);
    }
    // Bodies deserve fuzzing of their own, without the luck of a matching header.
    read_both_ways(&Frame {
        kind: Kind::Message,
        fds: 0,
        body: stream.to_vec(),
    });
});

/// Everything that comes out of a stream read in pieces of `size` bytes, and how it ends.
fn decode(stream: &[u8], size: usize) -> (Vec<Frame>, Result<(), FrameError>) {
    let mut decoder = Decoder::new(LIMIT);
    let mut frames = Vec::new();
    for piece in stream.chunks(size.max(1)) {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(
                        decoder.next_frame(),
                        Err(error.clone()),
                        "framing came back"
                    );
                    return (frames, Err(error));
                }
            }
        }
    }
    let end = decoder.finish();
    (frames, end)
}

fn read_both_ways(frame: &Frame) {
    read::<ToChild>(frame);
    read::<FromChild>(frame);
}

/// Whatever is read as a message is written as one that reads the same.
fn read<M: Serialize + DeserializeOwned + PartialEq + Debug>(frame: &Frame) {
    let Ok(message) = read_message::<M>(frame) else {
        return;
    };
    let mut bytes = Vec::new();
    write_message(&message, frame.fds, &mut bytes).expect("a message can be written");
    let mut decoder = Decoder::new(bytes.len());
    decoder.push(&bytes);
    let again = decoder.next_frame().expect("framing").expect("whole");
    assert_eq!(
        read_message::<M>(&again).expect("the same direction"),
        message
    );
}
