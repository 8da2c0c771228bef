//! Messages of the author's processes to each other, on the wire.
//!
//! Each child has a *post* of its own: a pair of `SOCK_SEQPACKET` sockets, apart from the link and the lane, so
//! that a flood of messages is in the way of no heartbeat and no connection. A packet is whole or not there, and
//! carries as many frames as were waiting when it was sent. Both ends are non-blocking.
//!
//! - The master reads the header of a frame and no more: topic and payload are opaque to it.
//! - Who speaks is known from the socket. The master writes it into the header, so nobody can pretend to be
//!   somebody else; and a child cannot announce who is there.
//! - A payload above [`MAX_INLINE`] travels as a sealed memory file, copied by the sender and the receiver and by
//!   nobody in between.
//! - There is no acknowledgement. A *window* for each pair of a sender and a receiver bounds what is under way
//!   between the two; the receiver gives room back in large pieces.
//!
//! | file | idea |
//! |---|---|
//! | `frame` | the header, and packets cut into frames |
//! | `outgoing` | frames gathered into packets |
//! | `socket` | packets and descriptors over a socket |
//! | `large` | payloads in sealed memory files |

mod frame;
mod large;
mod outgoing;
mod socket;

pub use frame::{Addressee, Body, Frame, FrameError, Frames, HEADER, Head, Kind, MAX_TOPIC, flag};
pub use large::{LargeError, read_sealed, sealed};
pub use outgoing::{Outgoing, Packet};
pub use socket::{pair, receive_packet, send_packet};

use serde::{Deserialize, Serialize};

/// The longest packet, in bytes.
pub const MAX_PACKET: usize = 64 * 1024;

/// The largest payload that travels in a packet, in bytes; larger ones travel as memory files.
pub const MAX_INLINE: usize = 32 * 1024;

/// The most descriptors in one packet.
pub const MAX_FDS: usize = 16;

/// What a process may send, as its master was configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The largest payload, in bytes.
    pub max_message: u32,
    /// How many bytes may be under way from one process to another.
    pub window: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message: 1024 * 1024,
            window: 1024 * 1024,
        }
    }
}

impl Limits {
    /// What a frame takes of the window. A memory file takes more than its size if it is small, because it
    /// takes a descriptor of the master's, too.
    pub const fn cost(&self, topic: usize, payload: usize) -> usize {
        let bytes = HEADER + topic + payload;
        let least = self.window as usize / MAX_FDS;
        if payload > MAX_INLINE && bytes < least {
            least
        } else {
            bytes
        }
    }

    /// What can be under way in one direction of a pair at most: the last frame may overrun the window.
    pub const fn most(&self) -> usize {
        self.window as usize + self.cost(MAX_TOPIC, self.max_message as usize)
    }
}
