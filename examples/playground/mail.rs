//! What processes say to each other when asked, and what they heard.
//!
//! Every process follows commands that come as requests of the topic `do`; `POST /mail` follows one in the worker
//! that answers it. Topics that every process answers:
//!
//! | topic | what becomes of it |
//! |---|---|
//! | `note`, `bulk` | noted, in order, for the command `noted`; `bulk` by its length and its sum |
//! | `echo` | answered with itself |
//! | `slow` | answered with itself, after so many milliseconds |
//! | `until` | answered with itself, as soon as there is a file of that name |
//! | `hold` | never answered |
//! | `drop` | let go without an answer |
//! | `refuse` | refused, with the text as the reason |
//! | `die` | the process ends |
//! | `book` | a line of the file `PLAYGROUND_BOOK` |
//! | `ledger` | the same, with the process ids of who sent it and who has it in front |
//! | `back` | a `note` with the same text goes to just the process that sent it |
//! | `pid` | answered with the process's id |

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hatchery::messenger::{Message, PeerEvent, Target};
use hatchery::{BoxError, Messenger, WorkerContext};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{fault, trace};

/// Between two looks at something that tells nobody.
const PAUSE: Duration = Duration::from_millis(5);

/// What a process is asked to do.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub(crate) enum Command {
    /// Sends a text, or several, numbered from 0.
    Send {
        to: String,
        topic: String,
        text: String,
        count: Option<u32>,
    },
    /// Sends so many bytes.
    Bulk { to: String, size: usize },
    /// Asks one process.
    Ask {
        to: String,
        topic: String,
        text: String,
        within_ms: u64,
    },
    /// Asks many.
    AskAll {
        to: String,
        topic: String,
        text: String,
        within_ms: u64,
    },
    /// Sends texts of a certain size for a while, as fast as they are accepted.
    Flood {
        to: String,
        size: usize,
        for_ms: u64,
    },
    /// Sends so many texts of a certain size, and waits for room whenever there is none.
    Push { to: String, size: usize, count: u64 },
    /// Follows commands once it was heard that somebody has come, is leaving or has left.
    After {
        what: String,
        who: String,
        then: Vec<Command>,
    },
    /// Lets another process follow a command.
    Let { on: String, then: Box<Command> },
    /// What was heard so far, and by whom.
    Noted,
    /// Who came and went so far.
    Peers,
    /// Subscribes to the topic `deaf` and never takes a message from it.
    Deafen,
}

/// What this process has heard.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mail {
    notes: Arc<Mutex<Vec<Value>>>,
    peers: Arc<Mutex<Vec<Value>>>,
    deaf: Arc<Mutex<Vec<hatchery::messenger::Subscription>>>,
}

/// Begins to listen. To be called in `start`.
pub(crate) fn open(messenger: &Messenger) -> Result<Mail, BoxError> {
    let mail = Mail::default();
    for topic in [
        "note", "bulk", "echo", "slow", "until", "hold", "drop", "refuse", "die", "book", "ledger",
        "back", "pid", "do",
    ] {
        let mut messages = messenger.subscribe(topic)?;
        let (mail, messenger) = (mail.clone(), messenger.clone());
        tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                answer(topic, message, &mail, &messenger).await;
            }
        });
    }
    let mut events = messenger.peer_events();
    let peers = Arc::clone(&mail.peers);
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            let (what, peer) = match event {
                PeerEvent::Joined(peer) => ("joined", peer),
                PeerEvent::Leaving(peer) => ("leaving", peer),
                PeerEvent::Left(peer) => ("left", peer),
            };
            note(&peers, json!([what, peer.seat.to_string(), peer.pid]));
        }
    });
    if let Some(count) = std::env::var("PLAYGROUND_EARLY")
        .ok()
        .and_then(|n| n.parse().ok())
    {
        send(messenger, "all", "note", "early ", Some(count))?;
    }
    Ok(mail)
}

/// Lets the agent write down that this worker is about to leave.
pub(crate) async fn last_words(context: &WorkerContext) -> Result<(), BoxError> {
    let words = format!("last words of worker {}", context.slot());
    let deadline = Duration::from_secs(10);
    let messenger = context.messenger();
    let booked: Result<(), String> = messenger
        .request(Target::Agent, "book", &words, deadline)
        .await?;
    Ok(booked?)
}

async fn answer(topic: &str, message: Message, mail: &Mail, messenger: &Messenger) {
    let text = || message.json::<String>().unwrap_or_default();
    let from = message.from;
    match topic {
        "note" => note(
            &mail.notes,
            json!([from.seat.to_string(), from.pid, text()]),
        ),
        "bulk" => {
            let sum: u64 = message.payload.iter().map(|byte| u64::from(*byte)).sum();
            let length = message.payload.len();
            note(
                &mail.notes,
                json!([from.seat.to_string(), from.pid, length, sum]),
            );
        }
        // What goes wrong here shows where somebody waits for an answer.
        "echo" => drop(message.reply_bytes(message.payload.clone()).await),
        "slow" => {
            let time = Duration::from_millis(text().parse().unwrap_or_default());
            tokio::spawn(async move {
                tokio::time::sleep(time).await;
                message.reply_bytes(message.payload.clone()).await
            });
        }
        "until" => {
            let file = PathBuf::from(text());
            tokio::spawn(async move {
                while !file.exists() {
                    tokio::time::sleep(PAUSE).await;
                }
                message.reply_bytes(message.payload.clone()).await
            });
        }
        "hold" => std::mem::forget(message),
        "refuse" => drop(message.refuse(text()).await),
        "die" => fault::exit(9),
        "book" => {
            let booked = trace::book(&text()).map_err(|error| error.to_string());
            // What nobody asked for needs no answer.
            drop(message.reply(&booked).await);
        }
        "ledger" => {
            let line = format!("{} {} {}", from.pid, std::process::id(), text());
            // A test misses the line.
            drop(trace::book(&line));
        }
        // It may be gone.
        "back" => drop(messenger.send(from.into(), "note", &text())),
        "pid" => drop(message.reply(&std::process::id()).await),
        "do" => {
            let (mail, messenger) = (mail.clone(), messenger.clone());
            tokio::spawn(async move {
                let done = match message.json::<Command>() {
                    Ok(command) => follow(command, &mail, &messenger).await,
                    Err(error) => json!({ "error": error.to_string() }),
                };
                message.reply(&done).await
            });
        }
        _ => {}
    }
}

fn note(notes: &Mutex<Vec<Value>>, what: Value) {
    let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
    notes.push(what);
}

fn noted(notes: &Mutex<Vec<Value>>) -> Value {
    let notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
    Value::Array(notes.clone())
}

fn has_heard(mail: &Mail, what: &str, who: &str) -> bool {
    let events = mail.peers.lock().unwrap_or_else(PoisonError::into_inner);
    events
        .iter()
        .any(|event| event[0] == what && event[1] == who)
}

/// Does it, and says what came of it; an error is `{"error": "..."}`.
pub(crate) async fn follow(command: Command, mail: &Mail, messenger: &Messenger) -> Value {
    match attempt(command, mail, messenger).await {
        Ok(done) => done,
        Err(error) => json!({ "error": error.to_string() }),
    }
}

async fn attempt(command: Command, mail: &Mail, messenger: &Messenger) -> Result<Value, BoxError> {
    match command {
        Command::Send {
            to,
            topic,
            text,
            count,
        } => send(messenger, &to, &topic, &text, count),
        Command::Bulk { to, size } => {
            let bytes: Vec<u8> = (0..=250).cycle().take(size).collect();
            let reach = messenger.send_bytes(target(&to)?, "bulk", bytes)?;
            Ok(json!({ "accepted": reach.accepted, "full": reach.full }))
        }
        Command::Ask {
            to,
            topic,
            text,
            within_ms,
        } => {
            let deadline = Duration::from_millis(within_ms);
            let answer: Value = messenger
                .request(target(&to)?, &topic, &text, deadline)
                .await?;
            Ok(json!({ "answer": answer }))
        }
        Command::AskAll {
            to,
            topic,
            text,
            within_ms,
        } => {
            let deadline = Duration::from_millis(within_ms);
            let mut replies = messenger
                .request_all(target(&to)?, &topic, &text, deadline)
                .await?;
            let mut answers = Vec::new();
            while let Some(reply) = replies.next().await {
                let from = reply.from.seat.to_string();
                answers.push(match reply.json::<Value>() {
                    Ok(answer) => json!([from, answer]),
                    Err(error) => json!([from, { "error": error.to_string() }]),
                });
            }
            Ok(json!({ "answers": answers }))
        }
        Command::Flood { to, size, for_ms } => {
            flood(messenger, target(&to)?, size, Duration::from_millis(for_ms)).await
        }
        Command::Push { to, size, count } => push(messenger, target(&to)?, size, count).await,
        Command::After { what, who, then } => {
            while !has_heard(mail, &what, &who) {
                tokio::time::sleep(PAUSE).await;
            }
            let mut done = Vec::new();
            for command in then {
                done.push(Box::pin(follow(command, mail, messenger)).await);
            }
            Ok(Value::Array(done))
        }
        Command::Let { on, then } => {
            let deadline = Duration::from_secs(30);
            let answer: Value = messenger
                .request(target(&on)?, "do", &*then, deadline)
                .await?;
            Ok(answer)
        }
        Command::Noted => Ok(noted(&mail.notes)),
        Command::Peers => Ok(noted(&mail.peers)),
        Command::Deafen => {
            let subscription = messenger.subscribe("deaf")?;
            let mut deaf = mail.deaf.lock().unwrap_or_else(PoisonError::into_inner);
            deaf.push(subscription);
            Ok(Value::Null)
        }
    }
}

fn send(
    messenger: &Messenger,
    to: &str,
    topic: &str,
    text: &str,
    count: Option<u32>,
) -> Result<Value, BoxError> {
    let (mut accepted, mut full, mut kept) = (0, 0, 0);
    for number in 0..count.unwrap_or(1) {
        let text = match count {
            Some(_) => format!("{text}{number}"),
            None => text.to_owned(),
        };
        let reach = messenger.send(target(to)?, topic, &text)?;
        accepted += reach.accepted;
        full += reach.full;
        kept += u32::from(reach.kept);
    }
    let from = std::process::id();
    Ok(json!({ "accepted": accepted, "full": full, "kept": kept, "from": from }))
}

/// Never waits for room, but lets others have the thread now and then.
async fn flood(
    messenger: &Messenger,
    to: Target,
    size: usize,
    time: Duration,
) -> Result<Value, BoxError> {
    let begun = Instant::now();
    let payload = vec![b'x'; size];
    let (mut accepted, mut full) = (0_u64, 0_u64);
    while begun.elapsed() < time {
        for _ in 0..100 {
            match messenger.send_bytes(to, "flood", payload.clone()) {
                Ok(_) => accepted += 1,
                Err(hatchery::messenger::SendError::Full(_)) => full += 1,
                Err(error) => return Err(error.into()),
            }
        }
        tokio::task::yield_now().await;
    }
    Ok(json!({ "accepted": accepted, "full": full }))
}

async fn push(
    messenger: &Messenger,
    to: Target,
    size: usize,
    count: u64,
) -> Result<Value, BoxError> {
    let payload = vec![b'x'; size];
    let (mut accepted, mut full) = (0_u64, 0_u64);
    while accepted < count {
        match messenger.send_bytes(to, "flood", payload.clone()) {
            Ok(_) => accepted += 1,
            Err(hatchery::messenger::SendError::Full(_)) => {
                full += 1;
                messenger.room(to).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(json!({ "accepted": accepted, "full": full }))
}

/// `all`, `agent`, `workers`, `random`, `own`, `slot:1`, `process:7`.
fn target(text: &str) -> Result<Target, BoxError> {
    Ok(match text.split_once(':') {
        None => match text {
            "all" => Target::All,
            "agent" => Target::Agent,
            "workers" => Target::Workers,
            "random" => Target::RandomWorker,
            "own" => Target::OwnSide,
            _ => return Err(format!("{text:?} is no target").into()),
        },
        Some(("slot", slot)) => Target::Slot(slot.parse()?),
        Some(("process", incarnation)) => Target::Process(incarnation.parse()?),
        Some(_) => return Err(format!("{text:?} is no target").into()),
    })
}
