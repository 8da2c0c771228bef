//! Named pipes, for what happens when nobody reads, or nobody writes.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

/// A pipe at which whoever reads waits for somebody who writes.
pub fn make(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// A pipe that has a reader which never reads, and no room left. Whoever writes to it waits, until the
/// returned file is dropped; from then on there is no reader.
pub fn full(path: &Path) -> File {
    make(path);
    let mut pipe = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .unwrap();
    let junk = [b'\n'; 4096];
    while pipe.write(&junk).is_ok() {}
    pipe
}
