//! What a child is for the kernel: whose process it is, where it runs, and how urgent it is.
//!
//! Numbers only: names are looked up once, by the master. A child that looked them up itself could meet
//! another answer, and would open files and sockets before it has given up its rights.

use serde::{Deserialize, Serialize};

/// What a child has to take on before it does anything else. What is not said stays as it was inherited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Whose process it is to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// How willing it is to wait for others, from -20 to 19 (setpriority(2)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nice: Option<i32>,
    /// The CPUs it may run on, by number; empty: those of its master.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u32>,
    /// Whether it has the policy `SCHED_BATCH` in place of the usual one (sched(7)).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub batch: bool,
}

impl Attributes {
    /// Whether there is nothing to take on.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A user, a group, and the further groups of that user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The user, real, effective and saved.
    pub uid: u32,
    /// The group, real, effective and saved.
    pub gid: u32,
    /// The supplementary groups, and no others.
    pub groups: Vec<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_not_written() {
        assert_eq!(serde_json::to_string(&Attributes::default()).unwrap(), "{}");
        let all = Attributes {
            identity: Some(Identity {
                uid: 33,
                gid: 33,
                groups: vec![33, 4],
            }),
            nice: Some(-5),
            cpus: vec![0, 2],
            batch: true,
        };
        let json = r#"{"identity":{"uid":33,"gid":33,"groups":[33,4]},"nice":-5,"cpus":[0,2],"batch":true}"#;
        assert_eq!(serde_json::to_string(&all).unwrap(), json);
        assert_eq!(serde_json::from_str::<Attributes>(json).unwrap(), all);
    }
}
