//! What travels between agents: a header in JSON, and behind it the payload as it is.
//!
//! ```text
//!  'H' '1'   length of the header, 2 bytes, big-endian   header   payload
//! ```
//!
//! Another version, or anything else, is not read: it may come from a build of tomorrow, or from somebody who
//! should not write here.

use std::time::Duration;

use hatchery_protocol::clock::as_millis;
use serde::{Deserialize, Serialize};

use super::MemberId;

const MAGIC: [u8; 2] = *b"H1";

/// What stands before a payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) from: MemberId,
    /// The member's cluster, whose agents follow each other: see [`hatchery_protocol::boot::Boot::host`].
    pub(super) host: u64,
    #[serde(flatten)]
    pub(super) kind: Kind,
}

/// What a message is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum Kind {
    /// To whoever listens. A member's numbers grow.
    Broadcast {
        topic: String,
        number: u64,
        /// But on the sender's host.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        elsewhere: bool,
    },
    /// The same, and each member answers once.
    Question {
        topic: String,
        number: u64,
        /// How long the asker waits.
        #[serde(with = "as_millis", rename = "within_ms")]
        within: Duration,
    },
    /// The answer to a question.
    Answer { number: u64 },
    /// Nobody there listens to the question's topic.
    Nobody { number: u64 },
    /// From a member to itself: messages still arrive.
    Echo,
}

pub(super) fn pack(header: &Header, payload: &[u8]) -> Option<Vec<u8>> {
    let json = serde_json::to_vec(header).ok()?;
    let length = u16::try_from(json.len()).ok()?;
    let mut bytes = Vec::with_capacity(MAGIC.len() + 2 + json.len() + payload.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&json);
    bytes.extend_from_slice(payload);
    Some(bytes)
}

pub(super) fn unpack(bytes: &[u8]) -> Option<(Header, &[u8])> {
    let rest = bytes.strip_prefix(&MAGIC)?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (json, payload) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    Some((serde_json::from_slice(json).ok()?, payload))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn question() -> Header {
        Header {
            from: MemberId("a".into()),
            host: 3,
            kind: Kind::Question {
                topic: "prices".into(),
                number: 7,
                within: Duration::from_secs(1),
            },
        }
    }

    #[test]
    fn it_arrives_as_it_was_sent() {
        let bytes = pack(&question(), b"\0payload").unwrap();
        assert_eq!(unpack(&bytes).unwrap(), (question(), &b"\0payload"[..]));
        let echo = Header {
            from: MemberId("a".into()),
            host: 3,
            kind: Kind::Echo,
        };
        assert_eq!(
            unpack(&pack(&echo, b"").unwrap()).unwrap(),
            (echo, &b""[..])
        );
    }

    #[test]
    fn a_part_of_a_message_is_none() {
        let bytes = pack(&question(), b"").unwrap();
        for end in 0..bytes.len() {
            assert_eq!(unpack(&bytes[..end]), None, "{end}");
        }
        assert_eq!(unpack(b"H2\0\x02{}"), None);
    }

    proptest! {
        #[test]
        fn garbage_is_refused_in_peace(bytes: Vec<u8>) {
            let _ = unpack(&[&MAGIC[..], &bytes].concat());
        }
    }
}
