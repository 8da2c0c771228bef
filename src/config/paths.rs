//! Whether the paths and addresses of a configuration can be used, as far as looking tells.
//!
//! Nothing is created here: that is the start's own business, and it may still fail.

use std::path::Path;

use hatchery_master::{Address, CONTROL_SOCKET, check_addresses, check_runtime_dir};
use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::settings::Settings;

/// The longest path of a unix socket, in bytes: `sun_path` of unix(7) without its final zero.
const MAX_SOCKET_PATH: usize = 107;

/// One sentence for each path that cannot be used.
pub(crate) fn unusable_places(settings: &Settings) -> Vec<String> {
    let config = &settings.config;
    let files = [
        ("log_file", settings.front.log_file.as_deref()),
        ("events", config.events.as_deref()),
        ("pid_file", config.pid_file.as_deref()),
    ];
    let mut problems: Vec<String> = files
        .into_iter()
        .filter_map(|(key, path)| path.map(|path| (key, path)))
        .filter_map(|(key, path)| unusable_file(path).map(|why| told(key, path, &why)))
        .collect();
    let dir = &config.runtime_dir;
    problems.extend(unusable_dir(dir));
    problems.extend(check_addresses(&config.listen).err().map(|e| e.to_string()));
    for listen in &config.listen {
        if let Err(error) = listen.unix.check() {
            problems.push(format!("`listen` cannot be {listen}: {error}"));
        }
        if let Address::Unix(path) = &listen.address {
            problems.extend(unusable_parent(path).map(|why| told("listen", path, &why)));
        }
    }
    problems
}

fn told(key: &str, path: &Path, why: &str) -> String {
    format!("`{key}` cannot be {}: {why}", path.display())
}

/// A file that is appended to or made.
fn unusable_file(path: &Path) -> Option<String> {
    if path.is_dir() {
        return Some("it is a directory".into());
    }
    if path.exists() {
        let writable = accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS);
        return writable
            .err()
            .map(|error| format!("it cannot be written ({error})"));
    }
    unusable_parent(path)
}

fn unusable_parent(path: &Path) -> Option<String> {
    let parent = path.parent()?;
    if !parent.is_dir() {
        return Some(format!("there is no directory {}", parent.display()));
    }
    not_writable(parent)
}

/// The directory of the control socket: there, or to be made.
fn unusable_dir(dir: &Path) -> Option<String> {
    let length = dir.join(CONTROL_SOCKET).as_os_str().len();
    if length > MAX_SOCKET_PATH || dir.exists() {
        // Makes nothing here: what is there is not made, and what is too long is refused first.
        return check_runtime_dir(dir).err().map(|error| error.to_string());
    }
    let there = dir.ancestors().find(|ancestor| ancestor.exists())?;
    let why = if there.is_dir() {
        not_writable(there)?
    } else {
        format!("{} is not a directory", there.display())
    };
    Some(format!(
        "the runtime directory {} cannot be made: {why}",
        dir.display()
    ))
}

fn not_writable(dir: &Path) -> Option<String> {
    // By the effective user, as the start itself would be judged.
    accessat(
        CWD,
        dir,
        Access::WRITE_OK | Access::EXEC_OK,
        AtFlags::EACCESS,
    )
    .err()
    .map(|error| {
        format!(
            "the directory {} cannot be written ({error})",
            dir.display()
        )
    })
}
