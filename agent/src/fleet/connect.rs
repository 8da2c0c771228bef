//! From an address to two connections that work, or to the reason why they do not.
//!
//! Two, because Redis cuts off a subscriber that falls behind: messages in plenty must not cost a lease.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hatchery_protocol::boot::FleetBoot;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, ErrorKind, RedisError, ServerErrorKind};

use super::{ConnectError, config};

/// How long a connection may take to come about, with its greeting.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an answer may take. Whoever is slower counts as gone.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Both connections, and which life of the server they lead to.
pub(super) struct Connections {
    pub(super) commands: MultiplexedConnection,
    pub(super) messages: PubSub,
    /// A server has a new one after each start.
    pub(super) run_id: String,
}

/// Connects, logs in, and looks whom it has reached.
pub(super) async fn connect(boot: &FleetBoot) -> Result<Connections, ConnectError> {
    let client = config::client(boot)?;
    let address = &boot.address;
    let late = |_| ConnectError::Unreachable {
        address: address.clone(),
        reason: if address.starts_with("rediss:") {
            "no answer in time; a server without TLS (redis://) has none for this".to_owned()
        } else {
            "no answer in time".to_owned()
        },
    };
    let told = |error: RedisError| tell(address, &error);
    let patience = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT));
    let greeting = async {
        let mut commands = client
            .get_multiplexed_async_connection_with_config(&patience)
            .await
            .map_err(told)?;
        let info: String = redis::cmd("INFO")
            .arg("server")
            .query_async(&mut commands)
            .await
            .map_err(told)?;
        Ok((commands, info))
    };
    let (commands, info) = tokio::time::timeout(CONNECT_TIMEOUT, greeting)
        .await
        .map_err(late)??;
    let run_id = look(address, &info)?;
    let messages = tokio::time::timeout(CONNECT_TIMEOUT, client.get_async_pubsub())
        .await
        .map_err(late)?
        .map_err(told)?;
    Ok(Connections {
        commands,
        messages,
        run_id,
    })
}

/// The run id, if the server is recent enough.
fn look(address: &str, info: &str) -> Result<String, ConnectError> {
    let fact = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(|value| value.trim().to_owned())
    };
    let not_redis = || ConnectError::NotRedis {
        address: address.to_owned(),
    };
    let version = fact("redis_version").ok_or_else(not_redis)?;
    let major: u32 = version
        .split('.')
        .next()
        .and_then(|major| major.parse().ok())
        .ok_or_else(not_redis)?;
    if major < 6 {
        return Err(ConnectError::TooOld {
            address: address.to_owned(),
            version,
        });
    }
    fact("run_id").ok_or_else(not_redis)
}

fn tell(address: &str, error: &RedisError) -> ConnectError {
    let address = address.to_owned();
    let code = || error.code().unwrap_or("no code").to_owned();
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) => ConnectError::Login {
            address,
            code: error.code().unwrap_or("WRONGPASS").to_owned(),
        },
        (_, Some("NOAUTH" | "WRONGPASS")) => ConnectError::Login {
            address,
            code: code(),
        },
        (ErrorKind::Server(ServerErrorKind::NoPerm), _) | (_, Some("NOPERM")) => {
            ConnectError::Forbidden {
                address,
                code: code(),
            }
        }
        (ErrorKind::Parse | ErrorKind::UnexpectedReturnType, _) => {
            ConnectError::NotRedis { address }
        }
        (ErrorKind::Server(ServerErrorKind::ResponseError), _)
            if error
                .detail()
                .is_some_and(|said| said.contains("unknown command")) =>
        {
            ConnectError::NotRedis { address }
        }
        (ErrorKind::Io, _) if is_tls(error) => ConnectError::Tls(error.to_string()),
        (ErrorKind::Io, _) if error.is_connection_dropped() && !error.is_connection_refusal() => {
            ConnectError::Unreachable {
                address,
                reason: "it ended the connection without a word; a server that expects TLS does so (rediss://), and \
                         a proxy that has no server"
                    .to_owned(),
            }
        }
        _ => ConnectError::Unreachable {
            address,
            reason: error.to_string(),
        },
    }
}

/// Whether it is what rustls cannot make sense of, or does not trust: it calls both invalid data.
fn is_tls(error: &RedisError) -> bool {
    // As the crate wraps what comes from the system.
    type Shared = Arc<dyn std::error::Error + Send + Sync>;
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<Shared>())
        .and_then(|shared| shared.downcast_ref::<io::Error>())
        .is_some_and(|error| error.kind() == io::ErrorKind::InvalidData)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_reached_is_looked_at() {
        let info = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n";
        assert_eq!(look("a", info).unwrap(), "abc");
        let old = look("a", "redis_version:5.0.3\r\nrun_id:abc\r\n").unwrap_err();
        assert_eq!(
            old.to_string(),
            "Redis at a has version 5.0.3: a fleet needs 6 or later"
        );
        assert!(matches!(
            look("a", "hello"),
            Err(ConnectError::NotRedis { .. })
        ));
    }
}
