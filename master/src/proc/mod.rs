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
    stat(pid, |mut fields| {
        let state = fields.next()?.chars().next()?;
        Some((fields.nth(18)?.parse().ok()?, state))
    })
}

/// Whether it is in execve(2), between the point of no return and the new program's first step: the old memory is gone,
/// and in the new one there are neither arguments nor variables yet. Not said of a process that may not be looked into,
/// nor of a zombie, which has no memory either.
pub(crate) fn is_becoming(pid: u32) -> bool {
    // The file that says so to whoever may look: for others, `stat` has no addresses.
    let is_bare = fs::read(format!("/proc/{pid}/environ")).is_ok_and(|bytes| bytes.is_empty());
    let has_no_end = |mut fields: std::str::Split<'_, char>| {
        let state = fields.next()?;
        (!matches!(state, "Z" | "X") && fields.nth(47)? == "0").then_some(())
    };
    is_bare && stat(pid, has_no_end).is_some()
}

/// What `read` finds in the fields of `/proc/PID/stat`, from the third on, which is the state.
fn stat<T>(pid: u32, read: impl FnOnce(std::str::Split<'_, char>) -> Option<T>) -> Option<T> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Its name may have parentheses of its own.
    let (_, rest) = text.rsplit_once(") ")?;
    read(rest.split(' '))
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
        assert!(!is_becoming(nobody));
    }

    #[test]
    fn who_has_no_variables_is_not_becoming_anything() {
        let mut bare = std::process::Command::new("sleep");
        let mut bare = bare.arg("60").env_clear().spawn().unwrap();
        while is_becoming(bare.id()) {}
        let environment = fs::read(format!("/proc/{}/environ", bare.id())).unwrap();
        assert!(environment.is_empty(), "it has none, and is told apart");
        bare.kill().unwrap();
        while birth(bare.id()).unwrap().1 != 'Z' {}
        assert!(!is_becoming(bare.id()), "a zombie has no memory");
        bare.wait().unwrap();
    }

    #[test]
    fn a_process_has_one_birth() {
        let (first, state) = birth(std::process::id()).unwrap();
        assert_eq!(birth(std::process::id()).unwrap().0, first);
        assert!("RSD".contains(state), "{state}");
        assert!(birth(1).is_none_or(|(oldest, _)| oldest <= first));
    }
}
