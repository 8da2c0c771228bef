//! Clients that never rest: each keeps its connection as long as it may, posts, compares, and writes down
//! what went wrong.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::http;
use crate::wait::{self, PATIENCE};

/// A crowd of clients.
#[derive(Debug)]
pub struct Traffic {
    over: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Vec<Failure>>>,
}

/// A request that was not answered, or a connection that could not be made.
#[derive(Debug)]
pub struct Failure {
    /// Which process had answered on this connection before; `None`: nobody had.
    pub worker: Option<u32>,
    /// What the client saw.
    pub error: io::Error,
    /// When.
    pub when: Instant,
}

impl Traffic {
    /// Lets so many clients begin, and returns when each of them was answered.
    #[track_caller]
    pub fn begin(address: SocketAddr, clients: u64) -> Self {
        Self::of(address, clients, 0)
    }

    /// The same with further clients who come anew for each request.
    #[track_caller]
    pub fn of(address: SocketAddr, staying: u64, coming: u64) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let answers = Arc::new(AtomicU64::new(0));
        let client = |number: u64| {
            let mut client = Client {
                address,
                number,
                stays: number < staying,
                over: Arc::clone(&over),
                answers: Arc::clone(&answers),
                sent: 0,
                worker: None,
                failures: Vec::new(),
            };
            thread::spawn(move || {
                client.live();
                client.failures
            })
        };
        let clients = (0..staying + coming).map(client).collect();
        let traffic = Self {
            over,
            answers,
            clients,
        };
        traffic.expect_answers(traffic.clients.len());
        traffic
    }

    /// How many requests were answered so far.
    pub fn answers(&self) -> u64 {
        self.answers.load(Relaxed)
    }

    /// Waits for so many answers from now on.
    #[track_caller]
    pub fn expect_answers(&self, count: usize) {
        let enough = self.answers() + count as u64;
        wait::expect("clients are answered", || self.answers() >= enough);
    }

    /// Stops the clients, once each has what it waits for, and tells what failed.
    #[track_caller]
    pub fn end(self) -> Vec<Failure> {
        self.over.store(true, Relaxed);
        self.gather()
    }

    /// Waits until the clients end by themselves, because nobody listens any more.
    #[track_caller]
    pub fn end_with_the_service(self) -> Vec<Failure> {
        let ended = wait::until(PATIENCE, || {
            self.clients
                .iter()
                .all(JoinHandle::is_finished)
                .then_some(())
        });
        assert!(ended.is_some(), "there are clients who are still served");
        self.gather()
    }

    fn gather(self) -> Vec<Failure> {
        let failures = self
            .clients
            .into_iter()
            .map(|client| client.join().unwrap());
        failures.flatten().collect()
    }
}

struct Client {
    address: SocketAddr,
    number: u64,
    /// Whether it keeps a connection for its next request.
    stays: bool,
    over: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    sent: u64,
    /// Who answered last on this connection.
    worker: Option<u32>,
    failures: Vec<Failure>,
}

impl Client {
    /// Goes on until it is told to stop, or nobody listens any more.
    fn live(&mut self) {
        while !self.over.load(Relaxed) {
            let Err(error) = self.use_a_connection() else {
                continue;
            };
            let refused = error.kind() == io::ErrorKind::ConnectionRefused;
            self.failures.push(Failure {
                worker: self.worker,
                error,
                when: Instant::now(),
            });
            if refused {
                return;
            }
        }
    }

    /// Posts on one connection until it is asked to leave.
    fn use_a_connection(&mut self) -> io::Result<()> {
        self.worker = None;
        let mut connection = http::connect(self.address)?;
        while !self.over.load(Relaxed) {
            let body = format!("{}/{} ", self.number, self.sent).repeat(100);
            self.sent += 1;
            let response = connection.post("/echo", body.as_bytes())?;
            assert_eq!((response.status, response.text()), (200, body.as_str()));
            self.worker = response.header("x-worker").and_then(|pid| pid.parse().ok());
            assert!(self.worker.is_some(), "nobody signed: {response:?}");
            self.answers.fetch_add(1, Relaxed);
            if response.closes() || !self.stays {
                return Ok(());
            }
        }
        Ok(())
    }
}
