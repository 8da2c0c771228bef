//! The loop survives everything, and closes nothing before its queue is empty.

use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use hatchery_protocol::boot::Family;
use rustix::io::Errno;
use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::Instant;

use super::*;
use crate::fixture::{Queue, settle};

fn connection() -> DuplexStream {
    duplex(1).1
}

#[tokio::test(start_paused = true)]
async fn no_error_ends_the_loop() {
    let (source, queue) = unbounded_channel();
    let (taken, mut connections) = unbounded_channel();
    let stop = CancellationToken::new();
    let running = tokio::spawn(run(
        Queue(queue),
        Room::default(),
        stop.clone(),
        move |accepted, _| {
            taken.send(accepted.stream).unwrap();
        },
    ));
    let begun = Instant::now();
    for errno in [Errno::CONNABORTED, Errno::PROTO] {
        source.send(Err(errno.into())).unwrap();
        source.send(Ok(connection())).unwrap();
        connections.recv().await.unwrap();
    }
    assert_eq!(
        begun.elapsed(),
        Duration::ZERO,
        "these are no reason to wait"
    );
    for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
        source.send(Err(errno.into())).unwrap();
        source.send(Ok(connection())).unwrap();
        connections.recv().await.unwrap();
    }
    // Each of the four waited, and each success began the waiting anew.
    assert!(begun.elapsed() >= FIRST_BACKOFF * 4);
    assert!(begun.elapsed() < MAX_BACKOFF);
    stop.cancel();
    running.await.unwrap();
}

/// A process that is out of descriptors.
struct Exhausted(Arc<AtomicUsize>);

impl Accept for Exhausted {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> io::Result<Accepted<DuplexStream>> {
        self.0.fetch_add(1, Relaxed);
        Err(Errno::MFILE.into())
    }

    fn close(self, _take: impl FnMut(Accepted<DuplexStream>)) {}
}

#[tokio::test(start_paused = true)]
async fn a_spell_of_failures_neither_spins_nor_outlives_the_stop() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let stop = CancellationToken::new();
    let source = Exhausted(Arc::clone(&attempts));
    let running = tokio::spawn(run(source, Room::default(), stop.clone(), |_, _| {}));
    tokio::time::sleep(Duration::from_secs(32)).await;
    // 5, 10, ... 160 ms, then every 320 ms.
    let attempts = attempts.load(Relaxed);
    assert!((100..110).contains(&attempts), "{attempts} attempts");
    stop.cancel();
    settle().await;
    assert!(running.is_finished(), "it slept on");
}

#[tokio::test]
async fn a_listener_empties_its_queue_before_it_closes() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut listener = SharedListener::open(0, Family::Tcp, socket.into()).unwrap();

    let _client = std::net::TcpStream::connect(address).unwrap();
    let accepted = listener.accept().await.unwrap().stream;
    assert!(accepted.peer_address().is_some());
    let flags = rustix::fs::fcntl_getfl(accepted.as_fd()).unwrap();
    assert!(flags.contains(rustix::fs::OFlags::NONBLOCK));

    let waiting: Vec<_> = (0..3)
        .map(|_| std::net::TcpStream::connect(address).unwrap())
        .collect();
    let mut taken = 0;
    listener.close(|_| taken += 1);
    assert_eq!(taken, waiting.len());
    std::net::TcpStream::connect(address).unwrap_err();
}

#[tokio::test]
async fn a_shared_socket_stays_open_for_the_others() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let ours = SharedListener::open(0, Family::Tcp, socket.try_clone().unwrap().into()).unwrap();
    ours.close(drop);
    let _client = std::net::TcpStream::connect(address).unwrap();
    // It was made non-blocking for everybody, and its queue is readable at once.
    socket.accept().unwrap();
    assert_eq!(
        socket.accept().unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
}

#[tokio::test]
async fn unix_sockets_are_served_too() {
    // An abstract name needs no file; the kernel picks it (autobind).
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::STREAM,
        None,
    )
    .unwrap();
    rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new_unnamed()).unwrap();
    rustix::net::listen(&socket, 8).unwrap();
    let listener = std::os::unix::net::UnixListener::from(socket);
    let address = listener.local_addr().unwrap();
    let mut listener = SharedListener::open(0, Family::Unix, listener.into()).unwrap();

    let mut client = std::os::unix::net::UnixStream::connect_addr(&address).unwrap();
    let mut accepted = listener.accept().await.unwrap().stream;
    assert!(accepted.peer_address().is_none());
    accepted.write_all(b"hello").await.unwrap();
    drop(accepted);
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
}
