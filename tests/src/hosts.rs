//! Hosts of a fleet, as their workers live in it: what they say and hear.
//!
//! The workers of the playground do what `POST /fleet` says, and write what they hear into the file `hosts` of their plan,
//! if `PLAYGROUND_HOSTS` names it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::wait::pass;
use crate::{http, trace};

/// Between some messages and the next.
const BREATH: Duration = Duration::from_millis(5);

/// What a worker has heard.
#[derive(Debug, Deserialize)]
pub struct Note {
    /// The worker.
    pub pid: u64,
    /// The member that has sent it.
    pub from: String,
    /// What was said.
    pub said: Value,
}

/// All that a host's workers have heard, each in order.
pub fn notes(cluster: &Cluster) -> Vec<Note> {
    trace::read(&cluster.plan().path("hosts"))
}

/// What each worker, by its pid, has heard, in order.
pub fn heard(cluster: &Cluster) -> BTreeMap<u64, Vec<Value>> {
    let mut heard = BTreeMap::<u64, Vec<Value>>::new();
    for note in notes(cluster) {
        heard.entry(note.pid).or_default().push(note.said);
    }
    heard
}

/// The numbers among it.
pub fn numbers(cluster: &Cluster) -> BTreeMap<u64, Vec<u64>> {
    let heard = heard(cluster).into_iter();
    let numbers = heard.map(|(pid, said)| (pid, said.iter().filter_map(Value::as_u64).collect()));
    numbers.collect()
}

/// Has a worker, whichever it is, do something with the fleet: what came of it, as `{"Ok": ..}` or `{"Err": ..}`.
#[track_caller]
pub fn ask(cluster: &Cluster, command: &Value) -> Value {
    ask_at(cluster.address(), command)
}

/// The same of the cluster at this address.
#[track_caller]
pub fn ask_at(address: SocketAddr, command: &Value) -> Value {
    let body = command.to_string();
    let head = format!(
        "POST /fleet HTTP/1.1\r\nHost: playground\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut connection = http::connect(address).unwrap();
    connection.send(head.as_bytes()).unwrap();
    connection.send(body.as_bytes()).unwrap();
    let response = connection.receive().unwrap();
    assert_eq!(response.status, 200, "{}", response.text());
    serde_json::from_slice(&response.body).unwrap()
}

/// Says something to all workers of all hosts.
#[track_caller]
pub fn say(cluster: &Cluster, payload: &Value) -> Value {
    let broadcast = json!({"do": "broadcast", "topic": "said", "payload": payload});
    ask(cluster, &broadcast)
}

/// To say these numbers, one after the other.
pub fn count(from: u64, to: u64) -> Value {
    json!({"do": "count", "topic": "said", "from": from, "to": to})
}

/// To ask all hosts.
pub fn who(topic: &str, within_ms: u64) -> Value {
    json!({"do": "ask", "topic": topic, "within_ms": within_ms})
}

/// Until what either says is heard by all workers of both.
#[track_caller]
pub fn meet(hosts: &[Cluster; 2]) {
    for (number, speaker) in hosts.iter().enumerate() {
        let hello = json!(["hello", number]);
        for cluster in hosts {
            cluster.expect("all hear it", || {
                let sent = say(speaker, &hello);
                assert!(sent["Ok"].is_u64() || is_passing(&sent["Err"]), "{sent}");
                let heard = heard(cluster);
                cluster.worker_pids().iter().all(|pid| {
                    let heard = heard.get(pid);
                    heard.is_some_and(|all| all.contains(&hello))
                })
            });
        }
    }
}

/// What is so for the time of a start.
fn is_passing(error: &Value) -> bool {
    ["disconnected", "agent-unavailable", "unanswered"].contains(&error.as_str().unwrap_or(""))
}

/// Says numbers from 1 on one host while something happens. Returns the last one.
#[track_caller]
pub fn count_while(speaker: &Cluster, work: impl FnOnce()) -> u64 {
    let over = AtomicBool::new(false);
    let speaker = speaker.address();
    thread::scope(|scope| {
        let counting = scope.spawn(|| {
            let mut last = 0;
            while !over.load(Relaxed) {
                let said = ask_at(speaker, &count(last + 1, last + 10));
                last += 10;
                assert_eq!(said, json!({"Ok": last}));
                // No flood: what does not fit in a queue would be lost.
                pass(BREATH);
            }
            last
        });
        let ends = Ends(&over);
        work();
        drop(ends);
        counting.join().unwrap()
    })
}

/// Also when what happens fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}
