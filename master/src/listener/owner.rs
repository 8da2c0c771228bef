//! Who may connect to a unix socket: the mode and the owner of its file.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::str::FromStr;

use nix::unistd;
use rustix::fs::{AtFlags, Gid, Uid, chownat};
use thiserror::Error;

use super::Address;
use super::option::{Key, Of};

/// What may be said about a unix socket alone. What is not said is left to the process: its umask, its
/// user, its group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnixOptions {
    /// The permissions of its file. To connect, one has to be allowed to write (unix(7)).
    pub mode: Option<u32>,
    /// Whom its file belongs to.
    pub owner: Option<Owner>,
}

impl UnixOptions {
    /// Whether there are such a user and such a group on this host.
    ///
    /// # Errors
    ///
    /// The first that there is not.
    pub fn check(&self) -> Result<(), UnknownOwner> {
        match &self.owner {
            Some(owner) => owner.find().map(drop),
            None => Ok(()),
        }
    }

    /// Gives a file, opened as a path, its owner and its mode. The mode comes last: a change of owner may
    /// take some of it away.
    pub(super) fn apply(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        if let Some(owner) = &self.owner {
            let (user, group) = owner.find().map_err(io::Error::other)?;
            chownat(file, "", user, group, AtFlags::EMPTY_PATH)?;
        }
        if let Some(mode) = self.mode {
            // fchmod(2) takes no descriptor of a path; this leads to the same file, whatever has its name.
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        }
        Ok(())
    }
}

/// `USER`, `USER:GROUP` or `:GROUP`, by name or number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    user: Option<String>,
    group: Option<String>,
}

/// A name that nobody has here.
#[derive(Debug, PartialEq, Eq, Error)]
#[error(
    "there is no {kind} `{name}` on this host; create it, or name another in the option `owner`"
)]
pub struct UnknownOwner {
    kind: &'static str,
    name: String,
}

impl Owner {
    fn find(&self) -> Result<(Option<Uid>, Option<Gid>), UnknownOwner> {
        let user = find(self.user.as_deref(), "user", |name| {
            let user = unistd::User::from_name(name).ok().flatten()?;
            Some(user.uid.as_raw())
        })?;
        let group = find(self.group.as_deref(), "group", |name| {
            let group = unistd::Group::from_name(name).ok().flatten()?;
            Some(group.gid.as_raw())
        })?;
        Ok((user.map(Uid::from_raw), group.map(Gid::from_raw)))
    }
}

/// The number of a name, or the number itself. The greatest of all means "no change" to chown(2).
fn find(
    name: Option<&str>,
    kind: &'static str,
    by_name: impl FnOnce(&str) -> Option<u32>,
) -> Result<Option<u32>, UnknownOwner> {
    let Some(name) = name else {
        return Ok(None);
    };
    let number = by_name(name).or_else(|| name.parse().ok());
    match number.filter(|number| *number != u32::MAX) {
        Some(number) => Ok(Some(number)),
        None => Err(UnknownOwner {
            kind,
            name: name.to_owned(),
        }),
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.user.as_deref().unwrap_or_default())?;
        match &self.group {
            Some(group) => write!(f, ":{group}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Owner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let is_name = |name: &str| !name.is_empty() && !name.contains([':', '\0']);
        let user = (!user.is_empty()).then(|| user.to_owned());
        if group.map_or(user.is_none(), |group| !is_name(group)) {
            return Err("USER, USER:GROUP or :GROUP, by name or number".to_owned());
        }
        let group = group.map(str::to_owned);
        Ok(Self { user, group })
    }
}

const UNIX: Of = Of {
    words: "unix sockets",
    has: |address| matches!(address, Address::Unix(_)),
};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "mode",
        of: UNIX,
        read: |listen, text| {
            let octal = text.bytes().all(|b| (b'0'..=b'7').contains(&b));
            let mode = octal.then(|| u32::from_str_radix(text, 8).ok()).flatten();
            let mode = mode.filter(|mode| *mode <= 0o777);
            listen.unix.mode = Some(mode.ok_or("octal, like 0660, and at most 0777")?);
            Ok(())
        },
        show: |listen| listen.unix.mode.map(|mode| format!("{mode:04o}")),
    },
    Key {
        name: "owner",
        of: UNIX,
        read: |listen, text| {
            listen.unix.owner = Some(text.parse()?);
            Ok(())
        },
        show: |listen| listen.unix.owner.as_ref().map(Owner::to_string),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_found_by_name_and_by_number() {
        let find = |text: &str| text.parse::<Owner>().unwrap().find();
        let root = (Some(Uid::ROOT), Some(Gid::ROOT));
        assert_eq!(find("root:root"), Ok(root));
        assert_eq!(find("0:0"), Ok(root));
        assert_eq!(find("root"), Ok((Some(Uid::ROOT), None)));
        assert_eq!(find(":root"), Ok((None, Some(Gid::ROOT))));
        let nobody_of_that_name = find("no-such-user").unwrap_err().to_string();
        assert!(
            nobody_of_that_name.contains("no user `no-such-user`"),
            "{nobody_of_that_name}"
        );
        let no_group = find("root:no-such-group").unwrap_err().to_string();
        assert!(no_group.contains("no group `no-such-group`"), "{no_group}");
        assert!(find("4294967295").is_err(), "it would change nothing");
    }
}
