//! The example `image-server` under load: work for the processor that keeps nobody from being served, and processes that are
//! killed in the middle of it.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use hatchery_tests::event::count;
use hatchery_tests::http::{self, Connection};
use hatchery_tests::pictures::{encode, picture};
use hatchery_tests::process::kill;
use hatchery_tests::{Plan, step, wait};
use image::ImageFormat;
use rustix::process::Signal;

fn server() -> Plan {
    Plan::new(env!("CARGO_BIN_EXE_image-server"))
}

fn file() -> Vec<u8> {
    encode(&picture(120, 90), ImageFormat::Jpeg)
}

/// A request whose answer is awaited elsewhere.
#[track_caller]
fn begin(connection: &mut Connection, file: &[u8]) {
    let length = file.len();
    let head = format!("POST /flip HTTP/1.1\r\nHost: images\r\nContent-Length: {length}\r\n\r\n");
    connection.send(head.as_bytes()).unwrap();
    connection.send(file).unwrap();
}

/// A flip that takes twice as long as a worker may stand still, done as it should be: on a thread of its own.
#[test]
fn a_long_flip_is_no_hang_and_keeps_nobody_waiting() {
    let plan = server().workers(1).flag("--worker-timeout", "3s");
    let cluster = plan.env("IMAGES_COST_MS", "10000").start();
    let worker = cluster.worker(0);
    let mut flipping = cluster.connect();
    begin(&mut flipping, &file());
    let answer = thread::spawn(move || flipping.receive().unwrap());
    let mut answers = 0;
    while !answer.is_finished() {
        assert!(cluster.get("/").contains(&worker.to_string()));
        answers += 1;
        wait::pass(Duration::from_millis(20));
    }
    assert_eq!(answer.join().unwrap().status, 200);
    // One that had to wait for the flip would be the last.
    assert!(answers > 10, "{answers}");
    assert_eq!(count(&cluster.events(), "hung"), 0);
    assert_eq!(cluster.worker(0), worker);
    cluster.stop();
}

/// The same on the thread that serves: nobody else is served, no beat is answered, and the master takes the worker for hung.
#[test]
fn a_long_flip_on_the_thread_that_serves_is_a_hang() {
    let plan = server().workers(1).flag("--worker-timeout", "3s");
    let plan = plan.env("IMAGES_INLINE", "1");
    let cluster = plan.env("IMAGES_COST_MS", "600000").start();
    let worker = cluster.worker(0);
    let mut flipping = cluster.connect();
    begin(&mut flipping, &file());
    cluster.wait(step("hung").pid(worker));
    let exited = cluster.wait(step("worker-exited").pid(worker));
    assert_eq!(exited.exit.as_deref(), Some("hung"));
    assert!(exited.why().contains("POST /flip"), "{exited:?}");
    assert!(flipping.receive().is_err(), "it is lost with the worker");
    cluster.wait(step("worker-replaced").slot(0));
    assert!(cluster.get("/").contains("Hello World"));
    cluster.stop();
}

/// One picture that was sent, and what came of it.
#[derive(Debug)]
struct Attempt {
    /// The process that had the connection.
    worker: u32,
    outcome: io::Result<u16>,
}

/// Clients that send one picture after the other, each on its connection as long as that lasts.
struct Clients {
    over: Arc<AtomicBool>,
    done: Vec<Arc<AtomicU64>>,
    threads: Vec<thread::JoinHandle<Vec<Attempt>>>,
}

impl Clients {
    fn begin(address: SocketAddr, number: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let done: Vec<_> = (0..number).map(|_| Arc::default()).collect();
        let client = |done: &Arc<AtomicU64>| {
            let (over, done) = (Arc::clone(&over), Arc::clone(done));
            thread::spawn(move || send_pictures(address, &over, &done))
        };
        let threads = done.iter().map(client).collect();
        Self {
            over,
            done,
            threads,
        }
    }

    /// Waits until each of them has got so many more.
    #[track_caller]
    fn expect_each(&self, more: u64) {
        let now = self.done.iter().map(|done| done.load(Relaxed));
        let enough: Vec<u64> = now.map(|done| done + more).collect();
        wait::expect("every client gets its pictures", || {
            let mut pairs = self.done.iter().zip(&enough);
            pairs.all(|(done, enough)| done.load(Relaxed) >= *enough)
        });
    }

    fn end(self) -> Vec<Vec<Attempt>> {
        self.over.store(true, Relaxed);
        let threads = self.threads.into_iter();
        threads.map(|thread| thread.join().unwrap()).collect()
    }
}

fn send_pictures(address: SocketAddr, over: &AtomicBool, done: &AtomicU64) -> Vec<Attempt> {
    let file = file();
    let mut attempts = Vec::new();
    while !over.load(Relaxed) {
        let mut connection = http::connect(address).unwrap();
        // A worker that is killed before it has said who it is cannot be told from the others.
        let Ok(who) = connection.get("/") else {
            continue;
        };
        let worker = who.text().trim_end().rsplit(' ').next().unwrap();
        let worker = worker.parse().unwrap();
        while !over.load(Relaxed) {
            let outcome = connection.post("/flip", &file).map(|answer| answer.status);
            let goes_on = outcome.is_ok();
            attempts.push(Attempt { worker, outcome });
            if !goes_on {
                break;
            }
            done.fetch_add(1, Relaxed);
        }
    }
    attempts
}

/// As `forever` starts a server again when it has crashed, but one process of several, and at once.
#[test]
fn of_a_killed_process_only_the_pictures_in_its_hands_are_lost() {
    let cluster = server().workers(2).env("IMAGES_COST_MS", "30").start();
    let clients = Clients::begin(cluster.address(), 6);
    clients.expect_each(1);
    let mut killed = Vec::new();
    for slot in [0, 1, 0] {
        let mark = cluster.mark();
        let worker = cluster.worker(slot);
        kill(worker, Signal::KILL);
        killed.push(worker);
        cluster.wait_since(mark, step("worker-replaced").slot(slot));
        // The next attempt of everybody succeeds.
        clients.expect_each(2);
    }
    // Nobody's picture is in the agent's hands.
    let mark = cluster.mark();
    kill(cluster.agent(), Signal::KILL);
    cluster.wait_since(mark, "agent-ready");
    clients.expect_each(2);
    for attempts in clients.end() {
        let mut failed_before = false;
        for attempt in &attempts {
            if let Ok(status) = attempt.outcome {
                assert_eq!(status, 200, "{attempt:?}");
            } else {
                let worker = attempt.worker;
                assert!(killed.contains(&worker), "{attempt:?} of {killed:?}");
                assert!(!failed_before, "twice in a row: {attempts:?}");
            }
            failed_before = attempt.outcome.is_err();
        }
        let failed = attempts.iter().filter(|a| a.outcome.is_err()).count();
        assert!(failed <= killed.len(), "{attempts:?}");
    }
    cluster.expect_orderly_end();
}

#[test]
fn when_the_master_is_killed_pictures_under_way_are_finished() {
    let cluster = server().env("IMAGES_COST_MS", "300").start();
    let file = file();
    let mut clients: Vec<_> = (0..4).map(|_| cluster.connect()).collect();
    for client in &mut clients {
        let length = file.len();
        let head = format!(
            "POST /flip HTTP/1.1\r\nHost: images\r\nContent-Length: {length}\r\n\
             Expect: 100-continue\r\n\r\n"
        );
        client.send(head.as_bytes()).unwrap();
        // Somebody reads it, so it is under way.
        assert_eq!(client.receive_head().unwrap().status, 100);
    }
    let since = cluster.kill_master();
    for client in &mut clients {
        client.send(&file).unwrap();
        assert_eq!(client.receive().unwrap().status, 200);
    }
    drop(clients);
    cluster.expect_gone_within(Duration::from_secs(2), since);
}
