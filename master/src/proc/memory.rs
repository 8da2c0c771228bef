//! How much memory a process has.

use std::fs;

use super::field;

/// Resident memory in bytes: all pages of the process that are in memory, shared ones included. The second
/// field of `/proc/PID/statm`. Costs a few microseconds, however large the process is.
pub(crate) fn resident(pid: u32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Proportional memory in bytes: a page that several processes have counts for each of them in part only. Never
/// more than [`resident`]. The kernel walks all pages for it, which takes milliseconds for a large process.
///
/// `None` where it is not told: to another user, say.
pub(crate) fn proportional(pid: u32) -> Option<u64> {
    let size = field(&format!("/proc/{pid}/smaps_rollup"), "Pss:")?;
    let kilobytes: u64 = size.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// The sum over several processes; `None` if there is none for the first, which is gone then.
pub(crate) fn together(pids: &[u32], measure: fn(u32) -> Option<u64>) -> Option<u64> {
    let (first, others) = pids.split_first()?;
    let others: u64 = others.iter().filter_map(|pid| measure(*pid)).sum();
    Some(measure(*first)? + others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared_counts_in_part() {
        let own = std::process::id();
        let (all, part) = (resident(own).unwrap(), proportional(own).unwrap());
        // The kernel counts in batches for each CPU, so one may be a little behind the other.
        assert!(part > 0 && part <= all + (1 << 20), "{part} of {all}");
        let nobody = 1 << 23;
        assert!(together(&[own, own, nobody], resident) > Some(all));
        assert_eq!(together(&[nobody, own], resident), None);
    }
}
