//! Control groups of the kernel's, where this machine lets a test have one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::plan::Plan;

/// A group for one cluster. Removed in the end, when nobody is in it any more.
#[derive(Debug)]
pub struct ControlGroup(PathBuf);

impl ControlGroup {
    /// One with this limit, as its file is called in the first version of control groups and in the second, or
    /// `None` where the kernel or the container refuses it.
    pub fn limited(controller: &str, files: [&str; 2], value: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Relaxed);
        let name = format!("hatchery-tests-{}-{number}", std::process::id());
        let places = [
            Path::new("/sys/fs/cgroup").join(controller),
            "/sys/fs/cgroup".into(),
        ];
        places.iter().zip(files).find_map(|(place, file)| {
            let group = place.join(&name);
            fs::create_dir(&group).ok()?;
            let group = Self(group);
            fs::write(group.0.join(file), value).ok().map(|()| group)
        })
    }

    /// A group in this one, without a limit of its own. To be dropped first.
    #[must_use]
    #[track_caller]
    pub fn below(&self) -> Self {
        let group = self.0.join("below");
        fs::create_dir(&group).unwrap();
        Self(group)
    }

    /// Writes to one of its files; whether that was possible.
    pub fn set(&self, file: &str, value: &str) -> bool {
        fs::write(self.0.join(file), value).is_ok()
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

impl Plan {
    /// Starts the master in that group.
    #[must_use]
    pub fn inside(self, group: &ControlGroup) -> Self {
        let script = format!("echo $$ > {}/cgroup.procs; exec \"$@\"", group.0.display());
        self.through(["sh", "-c", &script, "sh"])
    }
}
