//! A build of another time: as a child it greets its master with a version that no master speaks, and stays.
//! As a command it does nothing.
#![expect(clippy::unwrap_used, reason = "a fixture fails by panicking")]

use std::os::fd::AsFd as _;

use hatchery_protocol::boot::ENV_ROLE;
use hatchery_protocol::fd;
use hatchery_protocol::message::{FromChild, write_message};

fn main() {
    if std::env::var_os(ENV_ROLE).is_none() {
        return;
    }
    let mut hello = Vec::new();
    write_message(&FromChild::Hello { version: 4711 }, 0, &mut hello).unwrap();
    let link = std::io::stdin();
    fd::send(link.as_fd(), &hello, &[]).unwrap();
    loop {
        std::thread::park();
    }
}
