//! What a master has, to see whether something is left over.

use crate::process;

/// What a process has at one moment.
#[derive(Debug)]
pub struct Holdings {
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// Children, zombies included.
    pub children: usize,
    /// Resident memory in bytes.
    pub memory: u64,
}

impl Holdings {
    /// Of this process.
    pub fn of(pid: u32) -> Self {
        Self {
            descriptors: process::descriptors(pid),
            threads: process::threads(pid),
            children: process::children(pid).len(),
            memory: process::resident_bytes(pid),
        }
    }

    /// Whether there is no more than before, memory aside: what its allocator keeps is not nothing.
    pub fn is_no_more_than(&self, before: &Self) -> bool {
        self.descriptors <= before.descriptors
            && self.threads <= before.threads
            && self.children == before.children
    }
}
