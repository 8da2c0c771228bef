//! What is the matter with a child that hangs: found out just before it is killed.
//!
//! Two halves. The kernel tells what each thread is doing, whoever is asked or not. The child's watch thread
//! tells what only the process can know: how long its runtime stands still and which requests it was working
//! on. A process that is stopped as a whole cannot answer; then there is the first half alone.
//!
//! Both go into the log as one block. The event gets the one sentence that says most.

use std::fmt::Write as _;
use std::time::Duration;

use hatchery_protocol::beside::beside;
use hatchery_protocol::diagnosis::{Diagnosis, MOST_REQUESTS};
use hatchery_protocol::id::ChildId;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::proc::{Thread, threads};
use crate::shell::Input;
use crate::supervisor::Event;

/// How long the child's half is waited for: half of the time that the child has left.
const ANSWER: Duration = Duration::from_secs(1);

/// Who hangs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patient {
    pub(crate) child: ChildId,
    pub(crate) pid: u32,
}

/// Gathers both halves, logs them and reports the sentence. The master goes on meanwhile.
pub(crate) async fn examine(
    patient: Patient,
    answer: oneshot::Receiver<Diagnosis>,
    inputs: mpsc::Sender<Input>,
) {
    // Before the wait: what the threads do is most interesting now.
    let (looked, threads) = oneshot::channel();
    let looking = beside(move || looked.send(self::threads(patient.pid)));
    let threads = threads.await.unwrap_or_default();
    let own = timeout(ANSWER, answer).await.ok().and_then(Result::ok);
    let block = block(patient, own.as_ref(), &threads);
    tracing::warn!(target: "hatchery", "{block}");
    let summary = match looking {
        Ok(_) => summary(own.as_ref(), &threads),
        Err(error) => format!("there is no thread to look at its threads: {error}"),
    };
    let child = patient.child;
    let _ = inputs
        .send(Input::Happened(Event::Diagnosed { child, summary }))
        .await;
}

/// The one sentence, without a subject of its own where there is none.
fn summary(own: Option<&Diagnosis>, threads: &[Thread]) -> String {
    if threads.is_empty() {
        return "its process is gone".to_owned();
    }
    if threads.iter().all(Thread::is_stopped) {
        return "it is stopped, by a signal from outside".to_owned();
    }
    let Some(own) = own else {
        return "it does not answer".to_owned();
    };
    let mut words = match (own.requests.first(), &own.hook) {
        (Some(longest), _) => format!(
            "its longest request is {} {} since {}",
            clean(&longest.method),
            clean(&longest.path),
            seconds(longest.age)
        ),
        (None, Some(hook)) => format!("{} is running", clean(hook)),
        (None, None) => "it answers no request".to_owned(),
    };
    let running = threads.iter().filter(|thread| thread.is_running()).count();
    if running > 0 {
        let _ = write!(words, ", it uses the CPU");
    }
    words
}

fn block(patient: Patient, own: Option<&Diagnosis>, threads: &[Thread]) -> String {
    let mut block = format!(
        "what {} (pid {}) is doing:",
        patient.child.seat, patient.pid
    );
    match own {
        Some(own) => describe(own, &mut block),
        None => block.push_str("\n    it does not tell: the whole process stands still"),
    }
    for thread in threads {
        let _ = write!(block, "\n    thread {thread}");
    }
    block
}

fn describe(own: &Diagnosis, block: &mut String) {
    let _ = write!(
        block,
        "\n    its runtime last ran {} ago, a timer was late by {} ms then; {} connections, {} requests in flight",
        seconds(own.runtime_age),
        own.lag.as_millis(),
        own.connections,
        own.in_flight,
    );
    if let Some(hook) = &own.hook {
        let _ = write!(block, "\n    {} is running", clean(hook));
    }
    // What a child says is not to be trusted with the size of the log.
    for request in own.requests.iter().take(MOST_REQUESTS) {
        let (method, path) = (clean(&request.method), clean(&request.path));
        let age = seconds(request.age);
        let _ = write!(block, "\n    request {method} {path}, since {age}");
    }
}

/// Nothing that a client has chosen breaks a line of the log.
fn clean(text: &str) -> String {
    text.chars()
        .take(256)
        .flat_map(char::escape_debug)
        .collect()
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use hatchery_protocol::diagnosis::RequestInFlight;
    use hatchery_protocol::id::Seat;

    use super::*;

    fn thread(state: &str) -> Thread {
        Thread {
            id: 7,
            name: "app:w0".into(),
            state: state.into(),
            ..Thread::default()
        }
    }

    fn spinning() -> Diagnosis {
        Diagnosis {
            runtime_age: Duration::from_millis(30_400),
            lag: Duration::from_millis(2),
            connections: 3,
            in_flight: 2,
            requests: vec![
                RequestInFlight {
                    method: "POST".into(),
                    path: "/re\nport".into(),
                    age: Duration::from_secs(31),
                },
                RequestInFlight {
                    method: "GET".into(),
                    path: "/".into(),
                    age: Duration::from_secs(9),
                },
            ],
            ..Diagnosis::default()
        }
    }

    #[test]
    fn the_sentence_says_what_matters_most() {
        let running = thread("R (running)");
        let asleep = thread("S (sleeping)");
        let stopped = thread("T (stopped)");
        let own = spinning();
        let idle = Diagnosis::default();
        let in_hook = Diagnosis {
            hook: Some("Agent::egg_ready".into()),
            ..Diagnosis::default()
        };
        for (own, threads, said) in [
            (
                Some(&own),
                vec![asleep.clone(), running],
                r"its longest request is POST /re\nport since 31.0 s, it uses the CPU",
            ),
            (Some(&idle), vec![asleep.clone()], "it answers no request"),
            (
                Some(&in_hook),
                vec![asleep.clone()],
                "Agent::egg_ready is running",
            ),
            (
                None,
                vec![stopped.clone(), stopped.clone()],
                "it is stopped, by a signal from outside",
            ),
            (None, vec![stopped, asleep], "it does not answer"),
            (None, vec![], "its process is gone"),
        ] {
            assert_eq!(summary(own, &threads), said);
        }
    }

    #[test]
    fn the_block_has_both_halves() {
        let patient = Patient {
            child: ChildId {
                seat: Seat::Worker(1),
                incarnation: 4,
            },
            pid: 7,
        };
        let threads = [thread("R (running)")];
        assert_eq!(
            block(patient, Some(&spinning()), &threads),
            "what worker 1 (pid 7) is doing:\n    \
             its runtime last ran 30.4 s ago, a timer was late by 2 ms then; 3 connections, 2 requests in flight\n    \
             request POST /re\\nport, since 31.0 s\n    \
             request GET /, since 9.0 s\n    \
             thread 7 app:w0          R (running)"
        );
        let stopped = block(patient, None, &threads);
        assert!(
            stopped.contains("the whole process stands still"),
            "{stopped}"
        );
    }
}
