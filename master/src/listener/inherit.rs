//! Sockets that a service manager opened for us: sd_listen_fds(3).

use std::os::fd::OwnedFd;

use hatchery_protocol::boot::Family;
use listenfd::ListenFd;
use rustix::io::{FdFlags, fcntl_setfd};

use super::bind::{BindError, Bound};

/// Every inherited socket, in the order of the socket unit. They listen already: connections that come
/// before the workers are ready wait in the backlog.
pub(super) fn inherited() -> Result<Vec<Bound>, BindError> {
    let mut sockets = ListenFd::from_env();
    if sockets.len() == 0 {
        return Err(BindError::NothingInherited);
    }
    (0..sockets.len()).map(|i| take(&mut sockets, i)).collect()
}

fn take(sockets: &mut ListenFd, index: usize) -> Result<Bound, BindError> {
    let (address, family, socket) = match sockets.take_tcp_listener(index) {
        Ok(Some(tcp)) => {
            let address = tcp
                .local_addr()
                .map_err(|e| BindError::system("systemd", e))?;
            (address.to_string(), Family::Tcp, OwnedFd::from(tcp))
        }
        _ => match sockets.take_unix_listener(index) {
            Ok(Some(unix)) => {
                let path = unix
                    .local_addr()
                    .ok()
                    .and_then(|a| a.as_pathname().map(|p| p.display().to_string()));
                let address = format!("unix:{}", path.unwrap_or_default());
                (address, Family::Unix, OwnedFd::from(unix))
            }
            _ => return Err(BindError::WrongKind(3 + index)),
        },
    };
    let prepare = || -> rustix::io::Result<bool> {
        fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        rustix::net::sockopt::socket_acceptconn(&socket)
    };
    match prepare() {
        Ok(true) => Ok(Bound {
            address,
            family,
            socket,
            listening: true,
            file: None,
        }),
        Ok(false) => Err(BindError::WrongKind(3 + index)),
        Err(e) => Err(BindError::system(&address, e.into())),
    }
}
