//! How urgent agent and workers are.

use rustix::process::{Resource, getpriority_process, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};
use thiserror::Error;

/// More urgent than this process may make anything.
#[derive(Debug, PartialEq, Eq, Error)]
#[error(
    "`nice` cannot be {wanted}: without CAP_SYS_NICE, which root has, it is at least {least} here; start as root, \
     or raise the limit (RLIMIT_NICE, LimitNICE= in systemd)"
)]
pub struct NiceError {
    wanted: i32,
    least: i32,
}

/// Whether this process may have children that urgent: less urgent always, more only with a right or a limit
/// that allows it (setpriority(2)).
///
/// # Errors
///
/// It may not.
pub(super) fn check_nice(wanted: i32) -> Result<(), NiceError> {
    let capable =
        capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_NICE));
    let own = getpriority_process(None).unwrap_or(0);
    let limit = getrlimit(Resource::Nice).current;
    let least = least(own, limit);
    if capable || wanted >= least {
        Ok(())
    } else {
        Err(NiceError { wanted, least })
    }
}

/// The limit counts from 40 for the most urgent down to 1 (getrlimit(2)).
fn least(own: i32, limit: Option<u64>) -> i32 {
    let allowed = limit.map_or(-20, |limit| 20 - i32::try_from(limit.min(40)).unwrap_or(40));
    own.min(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_counts_downwards() {
        for (own, limit, expected) in [
            (0, Some(0), 0),
            (5, Some(0), 5),
            (5, Some(20), 0),
            (0, Some(30), -10),
            (0, Some(40), -20),
            (0, Some(1000), -20),
            (10, None, -20),
        ] {
            assert_eq!(least(own, limit), expected, "{own} {limit:?}");
        }
    }

    #[test]
    fn to_be_less_urgent_is_always_allowed() {
        assert_eq!(check_nice(19), Ok(()));
    }
}
