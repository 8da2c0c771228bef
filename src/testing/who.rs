//! Who has the other end of a connection: the kernel lists connections with the numbers of their sockets (proc(5), `net/tcp`), and the
//! sockets of each process (`PID/fd`).

use std::fs;
use std::io;
use std::net::{SocketAddr, SocketAddrV4, TcpStream};

use hatchery_protocol::id::Slot;

/// Which of the processes has the server's end of this connection.
pub(super) fn holds(connection: &TcpStream, workers: &[(Slot, u32)]) -> io::Result<Slot> {
    let (SocketAddr::V4(client), SocketAddr::V4(server)) =
        (connection.local_addr()?, connection.peer_addr()?)
    else {
        return Err(io::Error::other("the connection is not of IPv4"));
    };
    let table = fs::read_to_string("/proc/net/tcp")?;
    let Some(socket) = socket(&table, server, client) else {
        return Err(io::Error::other("the connection is closed again"));
    };
    let wanted = format!("socket:[{socket}]");
    let has = |pid: u32| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
        descriptors
            .into_iter()
            .flatten()
            .flatten()
            .any(|descriptor| {
                fs::read_link(descriptor.path())
                    .is_ok_and(|link| link.as_os_str() == wanted.as_str())
            })
    };
    let holder = workers.iter().find(|(_, pid)| has(*pid));
    let slot = holder.map(|(slot, _)| *slot);
    slot.ok_or_else(|| io::Error::other("no worker has the connection"))
}

/// Whether a process is there and no zombie.
pub(super) fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name before it may have anything in it.
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_some_and(|state| !state.starts_with(['Z', 'X']))
}

/// The number of the socket at `local` that is connected to `remote`.
fn socket(table: &str, local: SocketAddrV4, remote: SocketAddrV4) -> Option<u64> {
    let (local, remote) = (hex(local), hex(remote));
    let mut rows = table
        .lines()
        .map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.get(1) == Some(&&*local) && row.get(2) == Some(&&*remote))?;
    row.get(9)?.parse().ok()
}

/// As the table has it: the address as a number in the machine's order of bytes, and the port.
fn hex(address: SocketAddrV4) -> String {
    let ip = u32::from_ne_bytes(address.ip().octets());
    format!("{ip:08X}:{:04X}", address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_found_at_either_end() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_server, _) = listener.accept().unwrap();
        let me = std::process::id();
        assert_eq!(holds(&client, &[(3, me)]).unwrap(), 3);
        assert!(holds(&client, &[]).is_err());
    }

    #[test]
    fn who_runs_is_alive() {
        assert!(is_alive(std::process::id()));
        assert!(!is_alive(u32::MAX));
    }
}
