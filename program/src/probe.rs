//! Finding out whether anybody accepts at an address, as a client would.
//!
//! The kernel completes a connection that nobody has accepted, so to be connected proves nothing. The probe
//! says at once that it has nothing to say (`shutdown`), and a server that accepts it answers that by closing, or by
//! a greeting; one that waits in the queue hears nothing.
//!
//! With `shared` the answer may be another worker's. It tells that the address is served, not by whom.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use hatchery_protocol::boot::Family;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

/// After a connection that could not be made.
const PAUSE: Duration = Duration::from_millis(50);

/// Where to knock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Door {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Door {
    /// The address of a listening socket. `None` if none can be reached: a datagram socket, or one without a
    /// path.
    pub(crate) fn of(family: Family, socket: &OwnedFd) -> io::Result<Option<Self>> {
        Ok(match family {
            Family::Tcp => {
                let mut address = TcpListener::from(socket.try_clone()?).local_addr()?;
                match address.ip() {
                    IpAddr::V4(ip) if ip.is_unspecified() => {
                        address.set_ip(Ipv4Addr::LOCALHOST.into());
                    }
                    IpAddr::V6(ip) if ip.is_unspecified() => {
                        address.set_ip(Ipv6Addr::LOCALHOST.into());
                    }
                    IpAddr::V4(_) | IpAddr::V6(_) => {}
                }
                Some(Self::Tcp(address))
            }
            Family::Unix => {
                let address = UnixListener::from(socket.try_clone()?).local_addr()?;
                address
                    .as_pathname()
                    .map(|path| Self::Unix(path.to_owned()))
            }
            Family::Udp => None,
        })
    }

    /// Waits until somebody has accepted.
    pub(crate) async fn opened(&self) {
        loop {
            let answered = match self {
                Self::Tcp(address) => match TcpStream::connect(address).await {
                    Ok(stream) => answered(stream).await,
                    Err(_) => false,
                },
                Self::Unix(path) => match UnixStream::connect(path).await {
                    Ok(stream) => answered(stream).await,
                    Err(_) => false,
                },
            };
            if answered {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Whether the other end did anything. A reset counts: a queue that nobody empties does not send one.
async fn answered(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> bool {
    if stream.shutdown().await.is_err() {
        return true;
    }
    let _ = stream.read(&mut [0; 64]).await;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_open(door: &Door) -> bool {
        let patience = Duration::from_millis(100);
        tokio::time::timeout(patience, door.opened()).await.is_ok()
    }

    #[tokio::test]
    async fn a_queue_is_told_from_a_server() {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let door = Door::of(Family::Tcp, &listener.try_clone().unwrap().into());
        let door = door.unwrap().unwrap();
        assert_eq!(door, Door::Tcp(([127, 0, 0, 1], port).into()));
        assert!(!is_open(&door).await, "nobody accepts");
        let serving = tokio::task::spawn_blocking(move || {
            // The one that gave up, and the next.
            for _ in 0..2 {
                drop(listener.accept().unwrap());
            }
        });
        door.opened().await;
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_unix_socket_is_found_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("s")).unwrap();
        let door = Door::of(Family::Unix, &listener.try_clone().unwrap().into());
        let door = door.unwrap().unwrap();
        assert!(!is_open(&door).await);
        let serving = tokio::task::spawn_blocking(move || {
            for _ in 0..2 {
                drop(listener.accept().unwrap());
            }
        });
        door.opened().await;
        serving.await.unwrap();
    }
}
