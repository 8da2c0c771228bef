//! One connection's time: commands go through it until the first sign that it is over.
//!
//! A session ends for everybody at once. Whoever notices (no answer, a broken connection, a server that takes
//! no writes any more) says so here, and the link makes another one; what was asked of the old one is not
//! asked again by itself, so nothing is done twice.

use hatchery_protocol::child::CancellationToken;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind};
use tokio::time::timeout;

use super::FleetError;
use super::connect::RESPONSE_TIMEOUT;

/// A connection while it lasts. Cheap to clone.
#[derive(Clone)]
pub(super) struct Session {
    commands: MultiplexedConnection,
    /// Which life of the server this leads to.
    pub(super) run_id: String,
    /// Counts from 1; tells a session from the next one.
    pub(super) number: u64,
    over: CancellationToken,
}

impl Session {
    pub(super) fn new(commands: MultiplexedConnection, run_id: String, number: u64) -> Self {
        Self {
            commands,
            run_id,
            number,
            over: CancellationToken::new(),
        }
    }

    /// Asks Redis for something, once.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, FleetError> {
        if self.over.is_cancelled() {
            return Err(FleetError::Disconnected);
        }
        let mut commands = self.commands.clone();
        let answer = tokio::select! {
            answer = timeout(RESPONSE_TIMEOUT, command.query_async::<T>(&mut commands)) => answer,
            () = self.over.cancelled() => return Err(FleetError::Unanswered),
        };
        let Ok(answer) = answer else {
            self.end();
            return Err(FleetError::Unanswered);
        };
        answer.map_err(|error| {
            let (told, over) = judge(&error);
            if over {
                self.end();
            }
            told
        })
    }

    /// No command is sent any more.
    pub(super) fn end(&self) {
        self.over.cancel();
    }

    /// Resolves when the session is over.
    pub(super) async fn ended(&self) {
        self.over.cancelled().await;
    }
}

/// What an error means for the caller, and whether it means the end of the session.
fn judge(error: &RedisError) -> (FleetError, bool) {
    let said = error.detail().unwrap_or_default();
    let code = error.code().unwrap_or_default();
    // Before version 7, an error inside of a script is told in the text.
    let is = |word: &str| code == word || said.contains(word);
    let kind = error.kind();
    if matches!(
        kind,
        ErrorKind::Server(
            ServerErrorKind::ReadOnly | ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown
        )
    ) {
        return (FleetError::Disconnected, true);
    }
    if !matches!(kind, ErrorKind::Server(_) | ErrorKind::Extension) {
        return (FleetError::Unanswered, true);
    }
    if is("OOM") {
        return (FleetError::Full, false);
    }
    let over = is("READONLY") || is("NOAUTH");
    (FleetError::Refused(code.to_owned()), over)
}
