//! The addresses of a cluster, and what the kernel knows of its sockets.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;

use crate::cluster::Cluster;
use crate::command::run;

/// What is served, as `status` shows it, in the order of the command line.
#[track_caller]
pub fn addresses(cluster: &Cluster) -> Vec<String> {
    let status = cluster.status();
    let listeners = status["listeners"].as_array().unwrap();
    let address = |listener: &serde_json::Value| listener["address"].as_str().unwrap().to_owned();
    listeners.iter().map(address).collect()
}

/// The n-th of them, counted from 0, which is one of TCP or UDP.
#[track_caller]
pub fn address(cluster: &Cluster, n: usize) -> SocketAddr {
    let shown = &addresses(cluster)[n];
    let address = shown.strip_prefix("udp:").unwrap_or(shown);
    address.parse().unwrap()
}

/// How many connections came from the n-th of them.
#[track_caller]
pub fn accepted(cluster: &Cluster, n: usize) -> u64 {
    cluster.status()["listeners"][n]["accepted"]
        .as_u64()
        .unwrap()
}

/// The timer that runs for a connection over IPv4, seen from `local`'s end (proc_pid_net(5)): its kind, 2 for
/// keep-alive, and how many ticks are left, a hundred a second. `None`: there is no such connection.
pub fn timer(local: SocketAddr, remote: SocketAddr) -> Option<(u32, u64)> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let (local, remote) = (in_table(local)?, in_table(remote)?);
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        if *fields.get(1)? != local || *fields.get(2)? != remote {
            return None;
        }
        let (kind, left) = fields.get(5)?.split_once(':')?;
        let left = u64::from_str_radix(left, 16).ok()?;
        Some((u32::from_str_radix(kind, 16).ok()?, left))
    })
}

/// The numbers of the sockets that listen at an address over IPv4 (proc_pid_net(5)).
pub fn listening(local: SocketAddr) -> BTreeSet<u64> {
    const LISTEN: &str = "0A";
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let local = in_table(local);
    let number = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let listens = Some(*fields.get(1)?) == local.as_deref() && *fields.get(3)? == LISTEN;
        listens.then(|| fields.get(9)?.parse().ok()).flatten()
    };
    table.lines().filter_map(number).collect()
}

/// What the kernel tells of the sockets that listen at an address (ss(8)): for each how many connections wait
/// to be accepted, and how many may.
fn queues(local: SocketAddr) -> Vec<(u32, u32)> {
    let mut ss = Command::new("ss");
    ss.args(["-H", "-l", "-t", "-n", &format!("src {local}")]);
    let ran = run(ss);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let queue = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let mut number = || fields.next().unwrap().parse().unwrap();
        (number(), number())
    };
    ran.stdout.lines().map(queue).collect()
}

/// How many connections wait at an address to be accepted.
pub fn queued(local: SocketAddr) -> u32 {
    queues(local).into_iter().map(|(waiting, _)| waiting).sum()
}

/// How long the queue of each socket may be that listens at an address.
pub fn backlogs(local: SocketAddr) -> Vec<u32> {
    let queues = queues(local).into_iter();
    queues.map(|(_, most)| most).collect()
}

/// Those of them that a process has among its descriptors.
pub fn held(pid: u32, sockets: &BTreeSet<u64>) -> BTreeSet<u64> {
    let table = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let number = |entry: fs::DirEntry| {
        let target = fs::read_link(entry.path()).ok()?;
        let number = target.to_str()?.strip_prefix("socket:[")?;
        number.strip_suffix(']')?.parse().ok()
    };
    let all: BTreeSet<u64> = table.filter_map(number).collect();
    all.intersection(sockets).copied().collect()
}

/// As in `/proc/net/tcp`: the bytes of the address as one number of this machine.
fn in_table(address: SocketAddr) -> Option<String> {
    let IpAddr::V4(ip) = address.ip() else {
        return None;
    };
    let ip: Ipv4Addr = ip;
    let number = u32::from_ne_bytes(ip.octets());
    Some(format!("{number:08X}:{:04X}", address.port()))
}
