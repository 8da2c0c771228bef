//! A program that knows nothing of hatchery, only of systemd: it serves HTTP on the sockets of `LISTEN_FDS`, and finishes
//! on SIGTERM. Its first argument says what else it does, see [`main`].
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a fixture fails by panicking, and what it prints is looked for"
)]

use std::io::{BufRead, BufReader, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hatchery_tests::wait;
use listenfd::ListenFd;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};

/// - `serve [LABEL]`: serves; `GET /label` answers the label
/// - `notify`: the same, and says READY=1
/// - `stubborn`: the same, and finishes on nothing
/// - `parent`: the same, with a child in a session of its own
/// - `ignore`: lives, and accepts nowhere
/// - `exit CODE`: ends at once, with a word about it
/// - `away`: ends at once with code 0, and its child lives on, in a session of its own
/// - `park`: is such a child
fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let more = arguments.next().unwrap_or_default();
    match what.as_str() {
        "exit" => {
            eprintln!("there is no database");
            return more.parse::<u8>().unwrap().into();
        }
        "ignore" => park(),
        "park" => {
            rustix::process::setsid().unwrap();
            park();
        }
        "away" => {
            start_parked();
            return ExitCode::SUCCESS;
        }
        "parent" => start_parked(),
        _ => {}
    }
    if what == "notify" {
        say_ready();
    }
    serve(&more, what == "stubborn");
    ExitCode::SUCCESS
}

fn park() -> ! {
    loop {
        thread::park();
    }
}

/// Returns when the child has left this session.
fn start_parked() {
    let this = std::env::current_exe().unwrap();
    #[expect(
        clippy::zombie_processes,
        reason = "who goes on after its parent is the point"
    )]
    let child = Command::new(this).arg("park").spawn().unwrap();
    let stat = format!("/proc/{}/stat", child.id());
    // The session, as proc(5) has it: getsid(2) says 0 of one whose leader is outside of the pid namespace.
    let session = || {
        let stat = std::fs::read_to_string(&stat).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        assert!(!fields.starts_with('Z'), "it has ended instead");
        fields.split(' ').nth(3).map(str::to_owned)
    };
    while session() != Some(child.id().to_string()) {
        thread::yield_now();
    }
}

fn say_ready() {
    let name = std::env::var("NOTIFY_SOCKET").unwrap();
    let address = SocketAddr::from_abstract_name(name.strip_prefix('@').unwrap()).unwrap();
    let socket = UnixDatagram::unbound().unwrap();
    socket
        .send_to_addr(b"STATUS=warming up\nREADY=1", &address)
        .unwrap();
}

/// Serves until SIGTERM, and then every connection that was accepted.
fn serve(label: &str, stubborn: bool) {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.thread_block().unwrap();
    let signals = SignalFd::new(&signals).unwrap();
    let listeners = listeners();
    println!("serving {label}");
    let label: Arc<str> = label.into();
    let mut connections = Vec::new();
    loop {
        let mut fds = vec![PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
        fds.extend(
            listeners
                .iter()
                .map(|listener| PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)),
        );
        if stubborn {
            fds.swap_remove(0);
        }
        poll(&mut fds, None).unwrap();
        if !stubborn && fds.first().is_some_and(|fd| !fd.revents().is_empty()) {
            break;
        }
        for listener in &listeners {
            // Another worker may have been faster.
            while let Ok(stream) = rustix::net::accept(listener) {
                let label = Arc::clone(&label);
                connections.push(thread::spawn(move || answer(stream, &label)));
            }
        }
    }
    drop(listeners);
    for connection in connections {
        let _ = connection.join();
    }
    println!("finished");
}

fn listeners() -> Vec<OwnedFd> {
    let mut given = ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..given.len() {
        let listener = match given.take_tcp_listener(index) {
            Ok(listener) => listener.map(OwnedFd::from),
            Err(_) => given.take_unix_listener(index).unwrap().map(OwnedFd::from),
        };
        listeners.extend(listener);
    }
    listeners
}

/// One connection, one request.
fn answer(stream: OwnedFd, label: &str) {
    let stream = std::os::unix::net::UnixStream::from(stream);
    stream.set_nonblocking(false).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut first = String::new();
    let mut length = 0;
    if read_line(&mut reader, &mut first) == 0 {
        return;
    }
    loop {
        let mut line = String::new();
        if read_line(&mut reader, &mut line) <= 2 {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    let _ = reader.read_exact(&mut body);
    let path = first.split(' ').nth(1).unwrap_or_default();
    if let Some(name) = path.strip_prefix("/env/") {
        body = std::env::var(name).unwrap_or_default().into_bytes();
    } else if let Some(time) = path.strip_prefix("/slow/") {
        wait::pass(Duration::from_millis(time.parse().unwrap()));
        body = b"slow".to_vec();
    } else if let Some(bytes) = path.strip_prefix("/grow/") {
        Box::leak(vec![1_u8; bytes.parse().unwrap()].into_boxed_slice());
    } else if path == "/label" {
        body = label.as_bytes().to_vec();
    } else if path == "/cwd" {
        body = std::env::current_dir()
            .unwrap()
            .to_string_lossy()
            .into_owned()
            .into_bytes();
    }
    let head = format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\nx-worker: {}\r\ncontent-length: {}\r\n\r\n",
        std::process::id(),
        body.len()
    );
    let _ = (&stream).write_all(head.as_bytes());
    let _ = (&stream).write_all(&body);
}

fn read_line(reader: &mut impl BufRead, line: &mut String) -> usize {
    match reader.read_line(line) {
        Ok(count) => count,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
        Err(error) => panic!("{error}"),
    }
}
