//! Clients that come once: a connection, a question, an answer, and again.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::http;
use crate::wait;

/// People at the door, one after the other in each of several queues.
#[derive(Debug)]
pub struct Visitors {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    queues: Vec<JoinHandle<Vec<Visit>>>,
}

/// One visit.
#[derive(Debug)]
pub struct Visit {
    /// Who answered, or why nobody did.
    pub outcome: io::Result<u32>,
    /// When it began.
    pub begun: Instant,
    /// How long it took.
    pub took: Duration,
}

impl Visitors {
    /// Lets so many queues form, and returns when somebody of each was answered.
    #[track_caller]
    pub fn begin(address: SocketAddr, queues: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let queue = |_| {
            let (over, answered) = (Arc::clone(&over), Arc::clone(&answered));
            thread::spawn(move || {
                let mut visits = Vec::new();
                while !over.load(Relaxed) {
                    let begun = Instant::now();
                    let outcome = visit(address);
                    if outcome.is_ok() {
                        answered.fetch_add(1, Relaxed);
                    }
                    visits.push(Visit {
                        outcome,
                        begun,
                        took: begun.elapsed(),
                    });
                }
                visits
            })
        };
        let queues: Vec<_> = (0..queues).map(queue).collect();
        let enough = queues.len() as u64;
        wait::expect("visitors are answered", || answered.load(Relaxed) >= enough);
        Self {
            over,
            answered,
            queues,
        }
    }

    /// How many were answered so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }

    /// Closes the door when each has what it waits for, and tells of all visits, in no order.
    #[track_caller]
    pub fn end(self) -> Vec<Visit> {
        self.over.store(true, Relaxed);
        let visits = self.queues.into_iter().map(|queue| queue.join().unwrap());
        visits.flatten().collect()
    }

    /// As [`end`](Self::end), for a door at which everybody has to be answered. How many were.
    #[track_caller]
    pub fn end_well(self) -> usize {
        let visits = self.end();
        let failed: Vec<_> = visits.iter().filter(|v| v.outcome.is_err()).collect();
        assert!(failed.is_empty(), "of {}: {failed:#?}", visits.len());
        visits.len()
    }
}

/// The process that answered.
fn visit(address: SocketAddr) -> io::Result<u32> {
    let response = http::get(address, "/whoami")?;
    let who: http::Whoami = serde_json::from_slice(&response.body)?;
    Ok(who.pid)
}
