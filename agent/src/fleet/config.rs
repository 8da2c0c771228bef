//! Where the fleet's Redis is, and with what one gets in.
//!
//! Passwords are read when they are needed, from a file or from a variable, and kept nowhere: not in the
//! configuration, so that nothing that shows it can show them, and not between two connections, so that a
//! new one counts from the next connection on. What refuses an address never repeats it: it may hold a secret.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::str::FromStr;

use hatchery_protocol::boot::FleetBoot;
use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion,
    TlsCertificates,
};
use thiserror::Error;

use super::ConnectError;

/// The variable that may hold the password. Not a setting: what is a setting is shown.
pub const PASSWORD_VARIABLE: &str = "HATCHERY_FLEET_PASSWORD";

/// No password and no certificate is longer.
const LONGEST_FILE: u64 = 1024 * 1024;

/// An address of a Redis server that holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(String);

/// Why an address cannot be used. Never shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AddressError {
    /// Not of the known forms.
    #[error(
        "it must be like redis://host:6379, rediss://host:6379 (with TLS) or redis+unix:///path; the number of a \
         database may follow, as in redis://host:6379/1"
    )]
    Form,
    /// A user or a password stands in it.
    #[error(
        "an address has no user and no password, because it is shown: put them into `fleet_user` and \
         `fleet_password_file`, or the password into {PASSWORD_VARIABLE}"
    )]
    Secret,
    /// Something follows that would change how the server is spoken to.
    #[error("nothing may follow the database: `?` and `#` have no meaning here")]
    Options,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let schemes = ["redis://", "rediss://", "redis+unix://"];
        let Some(rest) = schemes.iter().find_map(|scheme| text.strip_prefix(scheme)) else {
            // Somebody may have left the scheme out and not the password.
            return Err(if text.contains('@') {
                AddressError::Secret
            } else {
                AddressError::Form
            });
        };
        if rest.contains('@') {
            return Err(AddressError::Secret);
        }
        if rest.contains(['?', '#']) {
            return Err(AddressError::Options);
        }
        if rest.is_empty() || rest.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(AddressError::Form);
        }
        match text.into_connection_info() {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(AddressError::Form),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What to connect with, read anew for each connection.
pub(super) fn client(boot: &FleetBoot) -> Result<Client, ConnectError> {
    let unusable = |_| ConnectError::Address;
    let address: Address = boot.address.parse().map_err(|_| ConnectError::Address)?;
    let info: ConnectionInfo = address
        .0
        .as_str()
        .into_connection_info()
        .map_err(unusable)?;
    let mut login = info
        .redis_settings()
        .clone()
        .set_protocol(ProtocolVersion::RESP2)
        .set_skip_set_lib_name();
    if let Some(user) = &boot.user {
        login = login.set_username(user);
    }
    if let Some(password) = password(boot.password_file.as_deref())? {
        login = login.set_password(password);
    }
    let tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
    // A message must not wait for the one before to be acknowledged.
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    let info = info.set_redis_settings(login).set_tcp_settings(tcp);
    if tls {
        let root_cert = match &boot.ca_file {
            Some(path) => Some(read(path).map_err(|source| ConnectError::CaFile {
                path: path.clone(),
                source,
            })?),
            None => None,
        };
        let certificates = TlsCertificates {
            client_tls: None,
            root_cert,
        };
        return Client::build_with_tls(info, certificates)
            .map_err(|error| ConnectError::Tls(error.category().to_owned()));
    }
    Client::open(info).map_err(unusable)
}

/// The file beats the variable.
fn password(file: Option<&Path>) -> Result<Option<String>, ConnectError> {
    let Some(path) = file else {
        return Ok(std::env::var(PASSWORD_VARIABLE)
            .ok()
            .filter(|password| !password.is_empty()));
    };
    let unreadable = |source| ConnectError::PasswordFile {
        path: path.to_owned(),
        source,
    };
    let text = String::from_utf8(read(path).map_err(unreadable)?)
        .map_err(|_| unreadable(io::Error::other("it is not UTF-8")))?;
    // Editors and `echo` end a line.
    let password = text.trim_end_matches(['\n', '\r']);
    if password.is_empty() {
        return Err(unreadable(io::Error::other("it is empty")));
    }
    Ok(Some(password.to_owned()))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(LONGEST_FILE + 1)
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LONGEST_FILE {
        return Err(io::Error::other("it is longer than 1 MiB"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_can_be_used() {
        for text in [
            "redis://127.0.0.1:6379",
            "redis://redis.internal",
            "redis://[::1]:6379/3",
            "rediss://redis.internal:6380",
            "redis+unix:///run/redis/redis.sock",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_refuses_an_address_does_not_repeat_it() {
        for (text, error) in [
            ("", AddressError::Form),
            ("redis://", AddressError::Form),
            ("127.0.0.1:6379", AddressError::Form),
            ("http://127.0.0.1:6379", AddressError::Form),
            ("redis://host:port", AddressError::Form),
            ("redis://host:6379/first", AddressError::Form),
            ("redis://a b", AddressError::Form),
            ("redis://:hunter2@host", AddressError::Secret),
            ("redis://me@host", AddressError::Secret),
            ("me:hunter2@host", AddressError::Secret),
            ("redis://host?password=hunter2", AddressError::Options),
            ("redis+unix:///run/r?pass=hunter2", AddressError::Options),
            ("rediss://host#insecure", AddressError::Options),
        ] {
            assert_eq!(text.parse::<Address>(), Err(error), "{text}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn a_password_is_the_files_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "hunter2\n").unwrap();
        assert_eq!(password(Some(&path)).unwrap().as_deref(), Some("hunter2"));
        std::fs::write(&path, "\n").unwrap();
        let said = password(Some(&path)).unwrap_err().to_string();
        assert!(said.ends_with("cannot be read: it is empty"), "{said}");
        let said = password(Some(&folder.path().join("none")))
            .unwrap_err()
            .to_string();
        assert!(said.contains("fleet_password_file"), "{said}");
    }
}
