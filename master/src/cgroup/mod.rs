//! What the control group of this process allows it, and what it has suffered.
//!
//! Both versions are read: v2, one hierarchy for everything, and v1, one for each controller; hosts may have
//! both at once. What cannot be found out is `None`, never an error: not every process is in a group, and not
//! every container shows it.
//!
//! | file | idea |
//! |---|---|
//! | `cpus` | how many CPUs there are to use |
//! | `oom` | whether the kernel killed for want of memory |

mod cpus;
mod oom;

use std::fs;
use std::path::{Path, PathBuf};

pub use cpus::usable_cpus;
pub(crate) use oom::OomCounter;

/// Where a process is in the hierarchy of one controller.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    version: Version,
    /// Its group's directory.
    group: PathBuf,
    /// The topmost directory that can be seen from here.
    top: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Place {
    /// By `cgroup` and `mountinfo` in a process's directory of proc(5). A controller that version 1 has is not
    /// in version 2 (cgroups(7)).
    fn find(process: &Path, controller: &str) -> Option<Self> {
        let groups = fs::read_to_string(process.join("cgroup")).ok()?;
        let mounts = fs::read_to_string(process.join("mountinfo")).ok()?;
        // `4:cpu,cpuacct:/path`, and for version 2 `0::/path`.
        let group = |wanted: &dyn Fn(&str) -> bool| {
            groups.lines().find_map(|line| {
                let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
                wanted(controllers).then_some(path)
            })
        };
        let has = |list: &str| list.split(',').any(|name| name == controller);
        if let Some(path) = group(&has)
            && let Some(mount) = Mount::find(&mounts, |mount| {
                mount.kind == "cgroup" && has(mount.options)
            })
        {
            return Some(mount.place(Version::V1, path));
        }
        let path = group(&str::is_empty)?;
        let mount = Mount::find(&mounts, |mount| mount.kind == "cgroup2")?;
        Some(mount.place(Version::V2, path))
    }

    /// The group and all above it: what holds for them holds for it.
    fn and_above(&self) -> impl Iterator<Item = &Path> {
        self.group
            .ancestors()
            .take_while(|dir| dir.starts_with(&self.top))
    }
}

/// One line of `mountinfo`.
struct Mount<'a> {
    /// Which directory of the file system is mounted.
    root: &'a str,
    point: &'a str,
    kind: &'a str,
    /// Those of the file system: for version 1, the controllers.
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn find(mounts: &'a str, wanted: impl Fn(&Self) -> bool) -> Option<Self> {
        mounts.lines().filter_map(Self::read).find(wanted)
    }

    /// `36 35 98:0 /root /point rw,noatime shared:1 - cgroup cgroup rw,cpu`
    fn read(line: &'a str) -> Option<Self> {
        let (mount, system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let mut system = system.split(' ');
        Some(Self {
            root: mount.next()?,
            point: mount.next()?,
            kind: system.next()?,
            options: system.nth(1)?,
        })
    }

    /// In a container the group's path may be outside of what is mounted: then the mount is the group.
    fn place(&self, version: Version, path: &str) -> Place {
        let top = PathBuf::from(self.point);
        let below = Path::new(path).strip_prefix(self.root).ok();
        let group = below
            .map(|below| top.join(below))
            .filter(|group| group.is_dir())
            .unwrap_or_else(|| top.clone());
        Place {
            version,
            group,
            top,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A process's directory and the hierarchies it tells of.
    pub(crate) struct Tree(pub(crate) tempfile::TempDir);

    impl Tree {
        /// `{}` in `mountinfo` stands for where the hierarchies are.
        pub(crate) fn new(cgroup: &str, mountinfo: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let tree = Self(folder);
            let mountinfo = mountinfo.replace("{}", &tree.path("").display().to_string());
            tree.write("cgroup", cgroup).write("mountinfo", &mountinfo)
        }

        pub(crate) fn path(&self, path: &str) -> PathBuf {
            self.0.path().join(path)
        }

        pub(crate) fn write(self, path: &str, text: &str) -> Self {
            let path = self.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            self
        }
    }

    pub(crate) const V2: &str =
        "30 25 0:26 / {}v2 rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    pub(crate) const V1: &str = "29 25 0:25 / {}v1/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
         28 25 0:24 / {}v1/memory rw - cgroup cgroup rw,memory\n";

    #[test]
    fn groups_are_found_in_both_versions_and_in_a_mixture() {
        let both = format!("{V2}{V1}");
        let tree = Tree::new("3:cpu,cpuacct:/a/b\n2:memory:/a\n0::/c\n", &both)
            .write("v1/cpu/a/b/x", "")
            .write("v2/c/x", "");
        let find = |controller| Place::find(tree.0.path(), controller).unwrap();
        let cpu = find("cpu");
        assert_eq!(
            (cpu.version, cpu.group.clone()),
            (Version::V1, tree.path("v1/cpu/a/b"))
        );
        assert_eq!(cpu.and_above().count(), 3);
        let memory = find("memory");
        assert_eq!(
            memory.group,
            tree.path("v1/memory"),
            "there is no such group here"
        );
        let pids = find("pids");
        assert_eq!((pids.version, pids.group), (Version::V2, tree.path("v2/c")));
    }

    #[test]
    fn a_container_that_sees_a_part_only() {
        let mount = "30 25 0:26 /docker/77 {}v2 rw - cgroup2 cgroup2 rw\n";
        let tree = Tree::new("0::/docker/77/app\n", mount).write("v2/app/x", "");
        let place = Place::find(tree.0.path(), "cpu").unwrap();
        assert_eq!(place.group, tree.path("v2/app"));
        let tree = Tree::new("0::/elsewhere\n", mount).write("v2/x", "");
        let place = Place::find(tree.0.path(), "cpu").unwrap();
        assert_eq!(place.group, tree.path("v2"));
    }

    #[test]
    fn no_group_is_no_error() {
        for (cgroup, mountinfo) in [
            ("", V2),
            ("nonsense\n", V2),
            ("0::/\n", "nonsense\n"),
            ("0::/\n", ""),
        ] {
            let tree = Tree::new(cgroup, mountinfo);
            assert_eq!(Place::find(tree.0.path(), "cpu"), None);
        }
        assert_eq!(Place::find(Path::new("/nonexistent"), "cpu"), None);
    }
}
