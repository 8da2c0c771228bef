//! Who belongs to the fleet: each agent says every few seconds that it is there.
//!
//! Who is silent for [`FORGOTTEN_AFTER`] is no member any more, by the server's clock. So this is news, not
//! truth: nothing that must happen once may rest on it. That is what leases are for.

use std::time::Duration;

use redis::{Cmd, cmd};

use super::keys::Keys;
use super::session::Session;
use super::{Fleet, FleetError, FleetMember, MemberId};

/// How often an agent says that it is there.
pub(super) const BEAT: Duration = Duration::from_secs(3);
/// After how much silence it is no member any more.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);
/// How many members a fleet can have.
pub const MOST_MEMBERS: usize = 4096;

impl Fleet {
    /// Who is there, in no order. Each call asks Redis.
    ///
    /// # Errors
    ///
    /// [`FleetError::Disconnected`] and its like: members are not remembered, since they could be gone.
    pub async fn members(&self) -> Result<Vec<FleetMember>, FleetError> {
        let inner = self.inner()?;
        let _place = inner.place_on_the_way(0)?;
        let mut command = script(include_str!("members.lua"), &inner.keys);
        command.arg(millis(FORGOTTEN_AFTER)).arg(MOST_MEMBERS);
        let told: Vec<Option<String>> = inner.link.session()?.ask(&command).await?;
        // What a later version says about itself may be unreadable; it is left out.
        Ok(told
            .iter()
            .flatten()
            .filter_map(|json| serde_json::from_str(json).ok())
            .collect())
    }
}

/// Says that this member is there. Returns how many are.
pub(super) async fn appear(
    session: &Session,
    keys: &Keys,
    me: &FleetMember,
) -> Result<u64, FleetError> {
    let json = serde_json::to_string(me).map_err(|error| FleetError::Payload(error.to_string()))?;
    let mut command = script(include_str!("presence.lua"), keys);
    command
        .arg(&me.id.0)
        .arg(json)
        .arg(millis(FORGOTTEN_AFTER))
        .arg(MOST_MEMBERS);
    match session.ask(&command).await? {
        0 => Err(FleetError::TooMany("members")),
        count => Ok(count),
    }
}

/// Says that it is there no more.
pub(super) async fn vanish(
    session: &Session,
    keys: &Keys,
    me: &MemberId,
) -> Result<(), FleetError> {
    session
        .ask::<u32>(cmd("ZREM").arg(&keys.seen).arg(&me.0))
        .await?;
    session
        .ask::<u32>(cmd("HDEL").arg(&keys.members).arg(&me.0))
        .await?;
    Ok(())
}

fn script(text: &str, keys: &Keys) -> Cmd {
    let mut command = cmd("EVAL");
    command.arg(text).arg(2).arg(&keys.members).arg(&keys.seen);
    command
}

fn millis(duration: Duration) -> u64 {
    hatchery_protocol::clock::millis(duration)
}
