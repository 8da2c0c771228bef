//! Whose processes agent and workers are.
//!
//! Found out by the master, whose rights it needs: the user database may be a file, a socket or a network
//! away, and no child is to wait for it.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;

use hatchery_protocol::attributes::Identity;
use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid, getgrouplist};
use rustix::thread::{CapabilitySet, capabilities};
use thiserror::Error;

/// A user and a group, by name or number, as they are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunAs {
    /// The user.
    pub user: Option<String>,
    /// The group; not said: the user's own, and all others that the user is in.
    pub group: Option<String>,
}

/// Somebody who was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The numbers.
    pub identity: Identity,
    /// What programs of that user expect in their environment.
    pub(crate) environment: Vec<(&'static str, std::ffi::OsString)>,
}

/// Why children cannot be theirs.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum AccountError {
    /// Nobody has that name.
    #[error(
        "`{key}` cannot be {name}: there is no such {key} on this host; create it, or name another"
    )]
    Unknown {
        /// `user` or `group`.
        key: &'static str,
        /// The name.
        name: String,
    },
    /// A number that the user database does not know.
    #[error(
        "`user` cannot be {0} alone: the user database does not know it, nor its group; say `group`, too"
    )]
    NoGroup(String),
    /// Only root may.
    #[error(
        "agent and workers cannot be another user's ({wanted}): this master has no {missing}, as root has; start \
         it as root, or leave `user` and `group` out"
    )]
    NotAllowed {
        /// Whose they are to be.
        wanted: String,
        /// The capabilities that are missing.
        missing: String,
    },
}

impl RunAs {
    /// Looks them up, and whether this process may give itself to them. `None`: they are who runs this
    /// process, or nobody is named.
    ///
    /// # Errors
    ///
    /// There is no such user or group, or this process may not.
    pub fn find(&self) -> Result<Option<Account>, AccountError> {
        let (user, uid) = match &self.user {
            Some(name) => find_user(name)?,
            None => (None, geteuid()),
        };
        let group = self.group.as_deref().map(find_group).transpose()?;
        let gid = match (group, &user, &self.user) {
            (Some(group), ..) => group,
            (None, Some(user), _) => user.gid,
            (None, None, Some(name)) => return Err(AccountError::NoGroup(name.clone())),
            (None, None, None) => return Ok(None),
        };
        if (uid, gid) == (geteuid(), getegid()) && !uid.is_root() {
            return Ok(None);
        }
        self.check_rights()?;
        // Further groups come with a user; a group that was named alone is to be the only one.
        let groups = user.as_ref().and_then(|user| {
            let name = CString::new(user.name.as_str()).ok()?;
            getgrouplist(&name, gid).ok()
        });
        let groups = groups.unwrap_or_else(|| vec![gid]);
        Ok(Some(Account {
            identity: Identity {
                uid: uid.as_raw(),
                gid: gid.as_raw(),
                groups: groups.into_iter().map(Gid::as_raw).collect(),
            },
            environment: user.as_ref().map(environment).unwrap_or_default(),
        }))
    }

    /// To become another takes two capabilities, and to end such a process a third; the kernel needs that,
    /// too, to tell it of our death.
    fn check_rights(&self) -> Result<(), AccountError> {
        let have = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
        let missing: Vec<&str> = [
            (CapabilitySet::SETUID, "CAP_SETUID"),
            (CapabilitySet::SETGID, "CAP_SETGID"),
            (CapabilitySet::KILL, "CAP_KILL"),
        ]
        .into_iter()
        .filter(|(capability, _)| !have.contains(*capability))
        .map(|(_, name)| name)
        .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let said = [("user", &self.user), ("group", &self.group)];
        let said = said.into_iter().filter_map(|(key, name)| {
            let name = name.as_ref()?;
            Some(format!("`{key}` is {name}"))
        });
        Err(AccountError::NotAllowed {
            wanted: said.collect::<Vec<_>>().join(", "),
            missing: missing.join(", "),
        })
    }
}

/// The greatest number means "no change" to setresuid(2).
fn number(name: &str) -> Option<u32> {
    name.parse().ok().filter(|number| *number != u32::MAX)
}

fn find_user(name: &str) -> Result<(Option<User>, Uid), AccountError> {
    if let Ok(Some(user)) = User::from_name(name) {
        let uid = user.uid;
        return Ok((Some(user), uid));
    }
    let Some(uid) = number(name).map(Uid::from_raw) else {
        return Err(unknown("user", name));
    };
    Ok((User::from_uid(uid).ok().flatten(), uid))
}

fn find_group(name: &str) -> Result<Gid, AccountError> {
    if let Ok(Some(group)) = Group::from_name(name) {
        return Ok(group.gid);
    }
    number(name)
        .map(Gid::from_raw)
        .ok_or_else(|| unknown("group", name))
}

fn unknown(key: &'static str, name: &str) -> AccountError {
    AccountError::Unknown {
        key,
        name: name.to_owned(),
    }
}

fn environment(user: &User) -> Vec<(&'static str, std::ffi::OsString)> {
    let text = |bytes: &[u8]| std::ffi::OsStr::from_bytes(bytes).to_owned();
    let name = text(user.name.as_bytes());
    vec![
        ("USER", name.clone()),
        ("LOGNAME", name),
        ("HOME", text(user.dir.as_os_str().as_bytes())),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_as(user: Option<&str>, group: Option<&str>) -> RunAs {
        RunAs {
            user: user.map(str::to_owned),
            group: group.map(str::to_owned),
        }
    }

    #[test]
    fn nobody_named_is_no_change() {
        assert_eq!(run_as(None, None).find(), Ok(None));
    }

    #[test]
    fn who_does_not_exist_is_told() {
        let error = run_as(Some("no-such-user"), None).find().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`user` cannot be no-such-user: there is no such user on this host; create it, or name another"
        );
        let error = run_as(Some("root"), Some("no-such-group")).find();
        assert_eq!(error, Err(unknown("group", "no-such-group")));
        // It means "no change" to the kernel.
        let error = run_as(Some("4294967295"), Some("0")).find();
        assert_eq!(error, Err(unknown("user", "4294967295")));
        let error = run_as(Some("3999999999"), None).find();
        assert_eq!(error, Err(AccountError::NoGroup("3999999999".to_owned())));
    }

    #[test]
    fn names_and_numbers_are_the_same_somebody() {
        if !geteuid().is_root() {
            let error = run_as(Some("root"), None).find().unwrap_err();
            assert!(matches!(error, AccountError::NotAllowed { .. }), "{error}");
            assert!(error.to_string().contains("CAP_SETUID"), "{error}");
            return;
        }
        let nobody = User::from_name("nobody").unwrap().unwrap();
        let by_name = run_as(Some("nobody"), None).find().unwrap().unwrap();
        let by_number = run_as(Some(&nobody.uid.to_string()), None).find();
        assert_eq!(by_number, Ok(Some(by_name.clone())));
        assert_eq!(by_name.identity.gid, nobody.gid.as_raw());
        assert!(by_name.identity.groups.contains(&nobody.gid.as_raw()));
        assert!(by_name.environment.contains(&("USER", "nobody".into())));
        let group = run_as(None, Some("4242")).find().unwrap().unwrap();
        let only = Identity {
            uid: 0,
            gid: 4242,
            groups: vec![4242],
        };
        assert_eq!(group.identity, only);
    }
}
