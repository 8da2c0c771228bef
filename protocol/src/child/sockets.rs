//! The sockets of a worker, as they come with its boot message.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use crate::boot::{Boot, ListenerBoot, Source};

/// Where a worker's connections come from.
#[derive(Debug, Default)]
pub struct Sockets {
    /// The worker's end of the lane on which the master hands connections over.
    pub lane: Option<OwnedFd>,
    /// For each of [`Boot::listeners`] the socket to accept from, if the worker is to accept.
    pub listeners: Vec<Option<OwnedFd>>,
}

impl Sockets {
    /// The descriptors that are left when all others of a boot message are taken; else what is wrong with them.
    pub(super) fn assign(boot: &Boot, mut fds: VecDeque<OwnedFd>) -> Result<Self, String> {
        let accepts = |listener: &&ListenerBoot| listener.source == Source::Accept;
        let lanes = usize::from(boot.lane.is_some());
        let expected = boot.listeners.iter().filter(accepts).count() + lanes;
        if fds.len() != expected {
            return Err(format!(
                "it names {expected} sockets and came with {}",
                fds.len()
            ));
        }
        let lane = boot.lane.and_then(|_| fds.pop_front());
        let mut socket = |listener| accepts(&listener).then(|| fds.pop_front()).flatten();
        let listeners = boot.listeners.iter().map(&mut socket).collect();
        Ok(Self { lane, listeners })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &OwnedFd> {
        self.lane.iter().chain(self.listeners.iter().flatten())
    }
}
