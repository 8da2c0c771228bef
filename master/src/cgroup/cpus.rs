//! How many CPUs there are to use.
//!
//! `std::thread::available_parallelism` knows the same things and rounds a quota of 1.5 CPUs down: half a CPU
//! would be left to nobody. Here it is rounded up, as other runtimes do.

use std::fs;
use std::path::Path;

use rustix::thread::sched_getaffinity;

use super::{Place, Version};

/// How many CPUs this process may use: those of its affinity, which a cpuset(7) narrows, and no more than the
/// quota of its control group or any above it, rounded up. At least 1.
pub fn usable_cpus() -> u32 {
    let allowed = sched_getaffinity(None).map_or_else(
        |_| std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1)),
        |set| set.count(),
    );
    let quota = quota(Path::new("/proc/self")).unwrap_or(u32::MAX);
    allowed.min(quota).max(1)
}

/// The narrowest of all quotas, in CPUs.
fn quota(process: &Path) -> Option<u32> {
    let place = Place::find(process, "cpu")?;
    let quotas = place.and_above().filter_map(|group| match place.version {
        // `max 100000` or `150000 100000`
        Version::V2 => {
            let text = fs::read_to_string(group.join("cpu.max")).ok()?;
            let (quota, period) = text.trim().split_once(' ')?;
            cpus(quota, period)
        }
        // No quota is -1.
        Version::V1 => {
            let read = |name| fs::read_to_string(group.join(name)).ok();
            let quota = read("cpu.cfs_quota_us")?;
            cpus(quota.trim(), read("cpu.cfs_period_us")?.trim())
        }
    });
    quotas.min()
}

fn cpus(quota: &str, period: &str) -> Option<u32> {
    let quota: u64 = quota.parse().ok()?;
    let period: u64 = period.parse().ok().filter(|period| *period > 0)?;
    u32::try_from(quota.div_ceil(period).max(1)).ok()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Tree, V1, V2};
    use super::*;

    fn of_v2(files: &[(&str, &str)]) -> Option<u32> {
        let tree = Tree::new("0::/a/b\n", V2).write("v2/a/b/x", "");
        let tree = files
            .iter()
            .fold(tree, |tree, (path, text)| tree.write(path, text));
        quota(tree.0.path())
    }

    #[test]
    fn a_part_of_a_cpu_counts_as_one() {
        for (text, expected) in [
            ("max 100000\n", None),
            ("100000 100000\n", Some(1)),
            ("150000 100000\n", Some(2)),
            ("200000 100000\n", Some(2)),
            ("5000 100000\n", Some(1)),
            ("50000 20000\n", Some(3)),
            ("nonsense\n", None),
            ("100000 0\n", None),
            ("", None),
        ] {
            assert_eq!(of_v2(&[("v2/a/b/cpu.max", text)]), expected, "{text:?}");
        }
        assert_eq!(of_v2(&[]), None);
    }

    #[test]
    fn the_narrowest_of_all_above_counts() {
        let narrow_above = [
            ("v2/a/b/cpu.max", "800000 100000"),
            ("v2/a/cpu.max", "300000 100000"),
            ("v2/cpu.max", "max 100000"),
        ];
        assert_eq!(of_v2(&narrow_above), Some(3));
        let narrow_below = [
            ("v2/a/b/cpu.max", "max 100000"),
            ("v2/cpu.max", "100000 100000"),
        ];
        assert_eq!(of_v2(&narrow_below), Some(1));
    }

    #[test]
    fn the_older_version_has_it_too() {
        let of_v1 = |quota_us: &str, above: &str| {
            let tree = Tree::new("3:cpu,cpuacct:/a\n", V1)
                .write("v1/cpu/a/cpu.cfs_quota_us", quota_us)
                .write("v1/cpu/a/cpu.cfs_period_us", "100000\n")
                .write("v1/cpu/cpu.cfs_quota_us", above)
                .write("v1/cpu/cpu.cfs_period_us", "100000\n");
            quota(tree.0.path())
        };
        assert_eq!(of_v1("-1\n", "-1\n"), None);
        assert_eq!(of_v1("250000\n", "-1\n"), Some(3));
        assert_eq!(of_v1("250000\n", "200000\n"), Some(2));
    }

    #[test]
    fn there_is_one_at_least_and_no_more_than_the_affinity_allows() {
        let most = sched_getaffinity(None).unwrap().count();
        assert!((1..=most).contains(&usable_cpus()));
    }
}
