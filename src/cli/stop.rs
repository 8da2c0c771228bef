//! `stop`: asking the master to end, and staying until it has.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use hatchery_protocol::clock::monotonic;
use hatchery_protocol::control::{Reply, Request};
use hatchery_protocol::exit::Exit;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::client::{Client, Connection};
use super::{Outcome, events, say};

/// Stops the application and returns when its master is really gone, or after `timeout`.
pub(super) fn run(client: &Client, timeout: Duration) -> Outcome {
    let deadline = monotonic() + timeout;
    // A master that does not answer this would not answer the stop, and is told apart from one whose
    // children take their time.
    let Reply::Status(status) = client.ask(&Request::Status)? else {
        return Err(client.failed("the master answered something else than its status"));
    };
    let mut connection = client.connect()?;
    let pid = master_of(&connection).map_err(|error| client.broken(&error))?;
    // Before the request, so that it cannot be another process of the same number.
    let master = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    connection
        .send(&Request::Stop)
        .map_err(|error| client.broken(&error))?;
    if watch(&mut connection, master.as_ref(), deadline).map_err(|e| client.broken(&e))? {
        // A program that stops any application by its directory has another name.
        say::note(format_args!("{} has stopped", status.name));
        return Ok(Exit::Orderly);
    }
    let pid = pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
    let timeout = humantime::format_duration(timeout);
    Err(client.failed(&format!(
        "it is still stopping after {timeout} (master: pid {pid})"
    )))
}

/// Who listens on the other end; `None` for a process outside of this pid namespace.
pub(super) fn master_of(connection: &Connection) -> io::Result<Option<Pid>> {
    let peer = getsockopt(connection.stream(), PeerCredentials)?;
    Ok(Pid::from_raw(peer.pid()).filter(|pid| pid.as_raw_nonzero().get() > 0))
}

/// Shows progress until the master is gone. `false` at the deadline.
fn watch(
    connection: &mut Connection,
    master: Option<&OwnedFd>,
    deadline: Duration,
) -> io::Result<bool> {
    // A dead master's connection may be held by somebody else: never wait for that.
    connection.stream().set_nonblocking(true)?;
    let mut open = true;
    loop {
        let woken = wait(open.then_some(&*connection), master, deadline)?;
        if open && (woken.talks || woken.dead) {
            open = match connection.fill() {
                Ok(open) => open,
                Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            };
            while let Some(reply) = connection.buffered()? {
                match reply {
                    Reply::Event(event) => say::note(events::readable(&event)),
                    Reply::Error { message } => return Err(io::Error::other(message)),
                    Reply::Status(_)
                    | Reply::Metrics { .. }
                    | Reply::Note { .. }
                    | Reply::Finished { .. } => {}
                }
            }
        }
        // Without a descriptor of the process, the end of the conversation has to do.
        if woken.dead || (master.is_none() && !open) {
            return Ok(true);
        }
        if monotonic() >= deadline {
            return Ok(false);
        }
    }
}

struct Woken {
    talks: bool,
    dead: bool,
}

fn wait(
    connection: Option<&Connection>,
    master: Option<&OwnedFd>,
    deadline: Duration,
) -> io::Result<Woken> {
    let watched = [
        connection.map(|connection| connection.stream().as_fd()),
        master.map(|master| master.as_fd()),
    ];
    let mut fds: Vec<PollFd<'_>> = watched
        .into_iter()
        .flatten()
        .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
        .collect();
    let timeout = Timespec::try_from(deadline.saturating_sub(monotonic())).ok();
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let mut woken = fds.iter().map(|fd| !fd.revents().is_empty());
    Ok(Woken {
        talks: connection.is_some() && woken.next().unwrap_or(false),
        dead: master.is_some() && woken.next().unwrap_or(false),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::process::{Command, Stdio};

    use super::*;

    fn pidfd(pid: u32) -> OwnedFd {
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        pidfd_open(pid, PidfdFlags::empty()).unwrap()
    }

    /// A connection whose other end is in this process.
    fn connected() -> (tempfile::TempDir, UnixListener, Connection) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(hatchery_master::CONTROL_SOCKET);
        let listener = UnixListener::bind(path).unwrap();
        let connection = Client::new("app".into(), dir.path()).connect().unwrap();
        (dir, listener, connection)
    }

    #[test]
    fn the_master_is_who_listens() {
        let (_dir, _listener, connection) = connected();
        let pid = master_of(&connection).unwrap().unwrap();
        assert_eq!(pid, rustix::process::getpid());
    }

    /// The end of the conversation is not the end of the process, and the reverse.
    #[test]
    fn only_the_end_of_the_process_counts() {
        let (_dir, listener, mut connection) = connected();
        let mut process = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let master = pidfd(process.id());
        drop(listener);
        let soon = monotonic() + Duration::from_millis(30);
        assert!(!watch(&mut connection, Some(&master), soon).unwrap());

        let (_dir, _listener, mut connection) = connected();
        process.kill().unwrap();
        let late = monotonic() + Duration::from_secs(60);
        assert!(watch(&mut connection, Some(&master), late).unwrap());
        process.wait().unwrap();
    }

    #[test]
    fn without_a_process_to_watch_the_end_of_the_conversation_counts() {
        let (_dir, listener, mut connection) = connected();
        drop(listener);
        let late = monotonic() + Duration::from_secs(60);
        assert!(watch(&mut connection, None, late).unwrap());
    }
}
