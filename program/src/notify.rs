//! What a program says of itself: sd_notify(3), over a datagram socket of its keeper's.
//!
//! The socket has no file, so nothing is left of it whoever is killed. Its name cannot be guessed, and what
//! comes from another user than ours is not heard.

use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram as StdDatagram};

use nix::cmsg_space;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, UnixAddr, UnixCredentials, recvmsg, setsockopt, sockopt,
};
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// The longest message that is read.
const LONGEST: usize = 4096;

/// A keeper's ear.
#[derive(Debug)]
pub(crate) struct Notify {
    socket: UnixDatagram,
    name: String,
}

impl Notify {
    /// Opens it, on the runtime.
    ///
    /// # Errors
    ///
    /// No descriptors, or no memory.
    pub(crate) fn open() -> io::Result<Self> {
        let mut random = [0; 16];
        getrandom(&mut random, GetRandomFlags::empty())?;
        let name = format!("hatchery/{:032x}", u128::from_ne_bytes(random));
        let socket = StdDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        setsockopt(&socket, sockopt::PassCred, &true)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: UnixDatagram::from_std(socket)?,
            name: format!("@{name}"),
        })
    }

    /// The value of `NOTIFY_SOCKET`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Waits until the program says that it is ready. What else it says is passed over, but for its status.
    pub(crate) async fn ready(&self) {
        loop {
            let heard = self.socket.async_io(Interest::READABLE, || self.receive());
            match heard.await {
                Ok(Some(message)) => {
                    log_status(&message);
                    if is_ready(&message) {
                        return;
                    }
                }
                Ok(None) => {}
                // The socket is ours alone: only the end of the runtime breaks it.
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// One message; `None` if it is somebody's whom we do not believe.
    fn receive(&self) -> io::Result<Option<String>> {
        let mut bytes = [0; LONGEST];
        let mut pieces = [IoSliceMut::new(&mut bytes)];
        let mut space = cmsg_space!(UnixCredentials);
        let received = recvmsg::<UnixAddr>(
            self.socket.as_raw_fd(),
            &mut pieces,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        )?;
        let ours = rustix::process::geteuid().as_raw();
        let is_ours = received.cmsgs()?.any(|control| {
            matches!(control, ControlMessageOwned::ScmCredentials(who) if who.uid() == ours || who.uid() == 0)
        });
        let length = received.bytes;
        let text = bytes.get(..length).unwrap_or_default();
        Ok(is_ours.then(|| String::from_utf8_lossy(text).into_owned()))
    }
}

fn is_ready(message: &str) -> bool {
    message.lines().any(|line| line == "READY=1")
}

fn log_status(message: &str) {
    let mut lines = message.lines();
    if let Some(status) = lines.find_map(|line| line.strip_prefix("STATUS=")) {
        tracing::info!("the program says: {status}");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn only_the_word_that_means_it_is_heard() {
        let notify = Notify::open().unwrap();
        let name = notify.name().strip_prefix('@').unwrap();
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let program = StdDatagram::unbound().unwrap();
        for message in ["", "READY=0", "STATUS=READY=1", "MAINPID=1\nX=READY=1"] {
            program.send_to_addr(message.as_bytes(), &address).unwrap();
        }
        let early = tokio::time::timeout(Duration::from_millis(50), notify.ready()).await;
        assert!(early.is_err(), "nothing of that means it");
        program
            .send_to_addr(b"STATUS=up\nREADY=1\n", &address)
            .unwrap();
        notify.ready().await;
    }
}
