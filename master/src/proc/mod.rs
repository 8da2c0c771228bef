//! What the kernel knows about another process: `/proc/PID`, see proc(5).
//!
//! Everything here may be asked about a process that is stopped, spins or is gone: then there is no answer. A
//! pid is the child's own as long as nobody has waited for it; an answer about another process can only come
//! when the child is gone, and what is said of a child that is gone changes nothing.
//!
//! | file | idea |
//! |---|---|
//! | `family` | who lives below it |
//! | `memory` | how much a process has |
//! | `threads` | what each of its threads is doing |

mod family;
mod memory;
mod threads;

use std::fs;

pub(crate) use family::family;
pub(crate) use memory::{proportional, resident, together};
pub(crate) use threads::{Thread, threads};

/// Whether a debugger holds the process.
pub(crate) fn is_traced(pid: u32) -> bool {
    field(&format!("/proc/{pid}/status"), "TracerPid:").is_some_and(|tracer| tracer != "0")
}

/// When the process was created, in ticks since the host was started, and the letter of what it is doing.
pub(crate) fn birth(pid: u32) -> Option<(u64, char)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Its name may have parentheses of its own.
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((fields.nth(18)?.parse().ok()?, state))
}

/// The rest of the first line that begins with `name`.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_not_there_has_no_answers() {
        // Above the greatest pid that Linux gives out (PID_MAX_LIMIT).
        let nobody = 1 << 23;
        assert!(!is_traced(nobody));
        assert_eq!(resident(nobody), None);
        assert_eq!(proportional(nobody), None);
        assert!(threads(nobody).is_empty());
        assert_eq!(birth(nobody), None);
    }

    #[test]
    fn a_process_has_one_birth() {
        let (first, state) = birth(std::process::id()).unwrap();
        assert_eq!(birth(std::process::id()).unwrap().0, first);
        assert!("RSD".contains(state), "{state}");
        assert!(birth(1).is_none_or(|(oldest, _)| oldest <= first));
    }
}
