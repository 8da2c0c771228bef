//! Frames, without I/O.
//!
//! ```text
//!  0        4      5      6
//!  +--------+------+------+----------------+
//!  | length | kind | fds  | body (length)  |
//!  +--------+------+------+----------------+
//!   u32, big-endian; counts the body only
//! ```
//!
//! `fds` is how many descriptors travel with the frame. The count is in the header because a stream
//! socket may hand over descriptors together with *earlier* bytes: the receiver queues descriptors as
//! they come and gives each frame as many as its header says.
//!
//! The decoder never allocates more than it was sent: a length is checked against the limit as soon as
//! the header is there, before a byte of the body is awaited.

use thiserror::Error;

/// Bytes in front of each body.
pub const HEADER_LEN: usize = 6;

/// The largest body on a link, in bytes, unless configured otherwise: 1 MiB.
pub const MAX_FRAME: usize = 1024 * 1024;

/// The largest body on a control socket, in bytes. Requests are small; a status of 1,000 workers is not.
pub const MAX_CONTROL_FRAME: usize = 4 * 1024 * 1024;

/// The most descriptors in one frame. The kernel's own limit for one message is 253 (`SCM_MAX_FD`).
pub const MAX_FDS: u8 = 128;

/// What a frame's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A message of [`crate::message`], as JSON.
    Message = 1,
    /// A request or a reply of [`crate::control`], as JSON.
    Control = 2,
}

impl TryFrom<u8> for Kind {
    type Error = FrameError;

    fn try_from(byte: u8) -> Result<Self, FrameError> {
        match byte {
            1 => Ok(Self::Message),
            2 => Ok(Self::Control),
            other => Err(FrameError::UnknownKind(other)),
        }
    }
}

/// One frame as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What the body is.
    pub kind: Kind,
    /// How many descriptors travelled with it.
    pub fds: u8,
    /// The body.
    pub body: Vec<u8>,
}

/// What a peer did wrong. Any of these ends the connection it came on: a stream that lost its framing
/// cannot be read further.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The length in a header is above the limit of this stream.
    #[error("a frame of {length} bytes exceeds the limit of {limit} bytes")]
    Oversize {
        /// What the header said.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The kind in a header is none that this version knows.
    #[error("unknown frame kind {0}")]
    UnknownKind(u8),
    /// A header announces more descriptors than may travel in one frame.
    #[error("a frame announces {0} descriptors; at most {MAX_FDS} are allowed")]
    TooManyDescriptors(u8),
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame")]
    Truncated,
}

/// Appends one frame to `out`.
///
/// ```
/// use hatchery_protocol::wire::{Decoder, Kind, encode};
///
/// let mut bytes = Vec::new();
/// encode(Kind::Message, 0, b"hello", &mut bytes).unwrap();
/// let mut decoder = Decoder::new(1024);
/// decoder.push(&bytes);
/// assert_eq!(decoder.next_frame().unwrap().unwrap().body, b"hello");
/// ```
///
/// # Errors
///
/// A body whose length does not fit the header, or too many descriptors. A body above the receiver's
/// limit is the receiver's to refuse: it may be configured.
pub fn encode(kind: Kind, fds: u8, body: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
    let length = u32::try_from(body.len()).map_err(|_| FrameError::Oversize {
        length: body.len(),
        limit: u32::MAX as usize,
    })?;
    if fds > MAX_FDS {
        return Err(FrameError::TooManyDescriptors(fds));
    }
    out.reserve(HEADER_LEN + body.len());
    out.extend_from_slice(&length.to_be_bytes());
    out.push(kind as u8);
    out.push(fds);
    out.extend_from_slice(body);
    Ok(())
}

/// Turns a stream of bytes, cut anywhere, into frames.
///
/// After an error the decoder stays in error: framing is lost.
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    buffer: Vec<u8>,
    start: usize,
    failed: Option<FrameError>,
}

impl Decoder {
    /// A decoder that refuses bodies of more than `limit` bytes.
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            buffer: Vec::new(),
            start: 0,
            failed: None,
        }
    }

    /// Adds bytes as they came from the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame; `None` until more bytes come.
    ///
    /// # Errors
    ///
    /// What the peer did wrong, as soon as its header shows it, and again at each later call.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.decode().inspect_err(|error| {
            self.failed = Some(error.clone());
        })
    }

    /// To be called at end of stream.
    ///
    /// # Errors
    ///
    /// [`FrameError::Truncated`] when the stream ended inside a frame.
    pub fn finish(&self) -> Result<(), FrameError> {
        if self.pending().is_empty() {
            Ok(())
        } else {
            Err(FrameError::Truncated)
        }
    }

    fn pending(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    fn decode(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(&[a, b, c, d, kind, fds]) = self.pending().first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > self.limit {
            return Err(FrameError::Oversize {
                length,
                limit: self.limit,
            });
        }
        let kind = Kind::try_from(kind)?;
        if fds > MAX_FDS {
            return Err(FrameError::TooManyDescriptors(fds));
        }
        let end = HEADER_LEN + length;
        let Some(body) = self.pending().get(HEADER_LEN..end) else {
            return Ok(None);
        };
        let body = body.to_vec();
        self.start += end;
        Ok(Some(Frame { kind, fds, body }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames() -> impl Strategy<Value = Vec<(bool, u8, Vec<u8>)>> {
        let frame = (
            any::<bool>(),
            0..=MAX_FDS,
            prop::collection::vec(any::<u8>(), 0..300),
        );
        prop::collection::vec(frame, 0..12)
    }

    fn kind(control: bool) -> Kind {
        if control {
            Kind::Control
        } else {
            Kind::Message
        }
    }

    fn stream(frames: &[(bool, u8, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (control, fds, body) in frames {
            encode(kind(*control), *fds, body, &mut bytes).unwrap();
        }
        bytes
    }

    proptest! {
        /// Whatever was encoded comes out, however the stream is cut.
        #[test]
        fn round_trip_in_any_pieces(frames in frames(), cuts in prop::collection::vec(1usize..64, 1..40)) {
            let bytes = stream(&frames);
            let mut decoder = Decoder::new(300);
            let mut out = Vec::new();
            let mut rest = bytes.as_slice();
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let (piece, tail) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                decoder.push(piece);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    out.push(frame);
                }
                rest = tail;
            }
            decoder.finish().unwrap();
            let sent: Vec<_> = frames.into_iter()
                .map(|(control, fds, body)| Frame { kind: kind(control), fds, body })
                .collect();
            prop_assert_eq!(out, sent);
        }

        /// A stream that stops anywhere but at a frame's end is told from one that ended well.
        #[test]
        fn truncation_at_every_byte(frames in frames()) {
            let bytes = stream(&frames);
            let mut ends = vec![0];
            for (_, _, body) in &frames {
                ends.push(ends.last().unwrap() + HEADER_LEN + body.len());
            }
            for cut in 0..=bytes.len() {
                let mut decoder = Decoder::new(300);
                decoder.push(&bytes[..cut]);
                let mut whole = 0;
                while decoder.next_frame().unwrap().is_some() {
                    whole += 1;
                }
                prop_assert_eq!(whole, ends.iter().filter(|end| **end <= cut).count() - 1);
                prop_assert_eq!(decoder.finish().is_ok(), ends.contains(&cut));
            }
        }

        /// Garbage ends in a frame, in waiting or in an error; never in a panic or in unbounded memory.
        #[test]
        fn garbage_is_refused_or_awaited(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
            let mut decoder = Decoder::new(1000);
            decoder.push(&bytes);
            while let Ok(Some(frame)) = decoder.next_frame() {
                prop_assert!(frame.body.len() <= 1000);
            }
        }
    }

    #[test]
    fn an_oversize_length_is_refused_before_its_body_is_awaited() {
        let mut decoder = Decoder::new(MAX_FRAME);
        decoder.push(&(1u32 << 30).to_be_bytes());
        decoder.push(&[Kind::Control as u8, 0]);
        let expected = FrameError::Oversize {
            length: 1 << 30,
            limit: MAX_FRAME,
        };
        assert_eq!(decoder.next_frame(), Err(expected.clone()));
        decoder.push(&[0; 64]);
        assert_eq!(decoder.next_frame(), Err(expected), "framing stays lost");
    }

    #[test]
    fn the_limit_itself_is_allowed() {
        let mut bytes = Vec::new();
        encode(Kind::Message, 0, &[7; 64], &mut bytes).unwrap();
        let mut decoder = Decoder::new(64);
        decoder.push(&bytes);
        assert_eq!(decoder.next_frame().unwrap().unwrap().body.len(), 64);
    }

    #[test]
    fn unknown_kinds_and_descriptor_floods_are_refused() {
        let mut decoder = Decoder::new(10);
        decoder.push(&[0, 0, 0, 0, 99, 0]);
        assert_eq!(decoder.next_frame(), Err(FrameError::UnknownKind(99)));
        let mut decoder = Decoder::new(10);
        decoder.push(&[0, 0, 0, 0, 1, MAX_FDS + 1]);
        assert_eq!(
            decoder.next_frame(),
            Err(FrameError::TooManyDescriptors(MAX_FDS + 1))
        );
        assert_eq!(
            encode(Kind::Message, MAX_FDS + 1, &[], &mut Vec::new()),
            Err(FrameError::TooManyDescriptors(MAX_FDS + 1))
        );
    }
}
