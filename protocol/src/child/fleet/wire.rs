//! What travels between the processes of a host and its agent: a head in JSON, and behind it the payload as it is.
//!
//! ```text
//!  length of the head, 4 bytes, big-endian   head   payload
//! ```

use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{FleetError, FleetMember, MemberId};

/// Where the agent listens.
pub const WISHES: &str = "hatchery/fleet";

/// Where everybody else does.
pub const NEWS: &str = "hatchery/fleet-news";

/// Where the agent listens for who wants the next answer to a question.
pub fn answers(question: u64) -> String {
    format!("hatchery/fleet-answers/{question}")
}

/// How much more than its payload a message may be, in bytes: its topic, written as JSON, is most of it.
pub const HEAD: usize = 2048;

/// What a process wants of its agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    /// To hear these topics, too; alone, if the epoch is another one than before.
    Listen {
        /// Counts the agents that this process has turned to. What an agent sends carries the number.
        epoch: u64,
        /// The topics, and from which moment on, in nanoseconds of [the clock](crate::clock::monotonic) that all
        /// processes of a host share.
        topics: Vec<(String, u64)>,
    },
    /// To hear a topic no more.
    Forget {
        /// Which.
        topic: String,
    },
    /// To hear nothing more: it has turned to another agent.
    Leave {
        /// Under this epoch, so what was wished under an earlier one is over.
        epoch: u64,
    },
    /// The payload goes to everybody who listens.
    Broadcast {
        /// To what.
        topic: String,
        /// But on this host.
        elsewhere: bool,
    },
    /// The payload is a question to all members.
    Ask {
        /// About what.
        topic: String,
        /// How long it waits for answers.
        #[serde(with = "crate::clock::as_millis", rename = "within_ms")]
        within: Duration,
    },
    /// Who is there.
    Members,
}

/// What the agent says to a wish that wants an answer.
pub type Said = Result<Done, FleetError>;

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// It went out to so many members.
    Sent(u64),
    /// The question went out.
    Asked {
        /// Its number, for [`answers`].
        question: u64,
        /// To so many members.
        members: u64,
    },
    /// They are there.
    Members(Vec<FleetMember>),
}

/// Somebody wants the next answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pull {
    /// As soon as it is there.
    Next,
    /// None any more.
    Enough,
}

/// What the agent says to that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pulled {
    /// The payload is the answer of this member.
    Answer(MemberId),
    /// Nobody listens there.
    Nobody,
    /// All have said something, or the time is over.
    End,
}

/// What comes for a topic that a process listens to. A question is one that wants a reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// The epoch of whoever gets it.
    pub epoch: u64,
    /// The member that sent it.
    pub from: MemberId,
    /// The member's number for it: nothing comes twice.
    pub number: u64,
    /// What it is about.
    pub topic: String,
    /// When it arrived on this host, as in [`Wish::Listen`].
    pub arrived: u64,
    /// How many before it, of this topic, did not get through to this process.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missed: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// As [`News::arrived`].
pub fn nanos(moment: Duration) -> u64 {
    u64::try_from(moment.as_nanos()).unwrap_or(u64::MAX)
}

/// Puts a head and a payload together.
///
/// # Errors
///
/// The head has no form as JSON.
pub fn pack<T: Serialize>(head: &T, payload: &[u8]) -> Result<Bytes, FleetError> {
    let json = super::message::encode(head)?;
    let length =
        u32::try_from(json.len()).map_err(|error| FleetError::Payload(error.to_string()))?;
    let mut bytes = Vec::with_capacity(4 + json.len() + payload.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&json);
    bytes.extend_from_slice(payload);
    Ok(bytes.into())
}

/// Takes them apart.
pub fn unpack<T: DeserializeOwned>(bytes: &Bytes) -> Option<(T, Bytes)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (json, payload) = rest.split_at_checked(length)?;
    let head = serde_json::from_slice(json).ok()?;
    Some((head, bytes.slice_ref(payload)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_arrives_as_it_was_sent() {
        let ask = Wish::Ask {
            topic: "size".into(),
            within: Duration::from_millis(7),
        };
        let bytes = pack(&ask, b"\0payload").unwrap();
        assert_eq!(
            &bytes[4..],
            b"{\"ask\":{\"topic\":\"size\",\"within_ms\":7}}\0payload"
        );
        let (head, payload) = unpack::<Wish>(&bytes).unwrap();
        assert_eq!((head, &payload[..]), (ask, &b"\0payload"[..]));
        let news = News {
            epoch: 1,
            from: MemberId("a".into()),
            number: 2,
            topic: "t".into(),
            arrived: 3,
            missed: 0,
        };
        let bytes = pack(&news, b"").unwrap();
        assert_eq!(unpack(&bytes).unwrap(), (news, Bytes::new()));
        for end in 0..bytes.len() {
            assert_eq!(unpack::<News>(&bytes.slice(..end)), None, "{end}");
        }
    }

    #[test]
    fn a_head_has_the_room_that_is_kept_for_it() {
        let news = News {
            epoch: u64::MAX,
            from: MemberId("f".repeat(32)),
            number: u64::MAX,
            // Written as six bytes each.
            topic: "\u{1}".repeat(super::super::LONGEST_NAME),
            arrived: u64::MAX,
            missed: u64::MAX,
        };
        assert!(pack(&news, b"").unwrap().len() <= HEAD);
    }

    proptest! {
        #[test]
        fn garbage_is_refused_in_peace(bytes: Vec<u8>) {
            let _ = unpack::<Wish>(&bytes.into());
        }
    }
}
