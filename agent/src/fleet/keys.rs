//! What things are called in Redis. All of it begins alike, so that one rule of an ACL covers it.

/// The names of one fleet's keys and channels.
#[derive(Debug)]
pub(super) struct Keys {
    prefix: String,
    pub(super) members: String,
    pub(super) seen: String,
    /// The last fencing token of all leases together.
    pub(super) token: String,
    /// Where everybody listens.
    pub(super) everybody: String,
}

impl Keys {
    pub(super) fn new(application: &str) -> Self {
        // In braces: a cluster keeps all that is in the same braces in one place, as scripts need it.
        let prefix = format!("hatchery:{{{application}}}");
        Self {
            members: format!("{prefix}:members"),
            seen: format!("{prefix}:seen"),
            token: format!("{prefix}:token"),
            everybody: format!("{prefix}:all"),
            prefix,
        }
    }

    /// Where one member alone listens.
    pub(super) fn inbox(&self, member: &str) -> String {
        format!("{}:to:{member}", self.prefix)
    }

    /// Where it stands who has a lease.
    pub(super) fn lease(&self, name: &str) -> String {
        format!("{}:lease:{name}", self.prefix)
    }
}
