//! A build of another time: as a child, and as a master that is to take over, it greets whoever started it with a
//! version that nobody speaks, and stays. As a command it does nothing.
#![expect(clippy::unwrap_used, reason = "a fixture fails by panicking")]

use std::os::fd::AsFd as _;

use hatchery_protocol::boot::{ENV_ROLE, ENV_SUCCESSOR};
use hatchery_protocol::fd;
use hatchery_protocol::message::{FromChild, write_message};

fn main() {
    let is_set = |name| std::env::var_os(name).is_some();
    if !is_set(ENV_ROLE) && !is_set(ENV_SUCCESSOR) {
        return;
    }
    // Both conversations begin with the same words: they are for ever.
    let mut hello = Vec::new();
    write_message(&FromChild::Hello { version: 4711 }, 0, &mut hello).unwrap();
    let link = std::io::stdin();
    fd::send(link.as_fd(), &hello, &[]).unwrap();
    loop {
        std::thread::park();
    }
}
