//! What processes of the playground say to each other, when they are told to (`POST /mail`).

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::http::Connection;
use crate::wait;

/// Lets the worker in a slot follow a command.
#[track_caller]
pub fn mail(cluster: &Cluster, slot: u32, command: &Value) -> Value {
    let (mut connection, _) = cluster.connect_to(slot);
    mail_on(&mut connection, command)
}

/// Lets whoever has this connection follow a command.
#[track_caller]
pub fn mail_on(connection: &mut Connection, command: &Value) -> Value {
    post(connection, command);
    outcome(connection)
}

/// The same, without waiting for what comes of it.
pub fn post(connection: &mut Connection, command: &Value) {
    let body = command.to_string();
    let length = body.len();
    let head = "POST /mail HTTP/1.1\r\nHost: playground\r\nContent-Type: application/json\r\n";
    let request = format!("{head}Content-Length: {length}\r\n\r\n{body}");
    connection.send(request.as_bytes()).unwrap();
}

/// What came of it.
#[track_caller]
pub fn outcome(connection: &mut Connection) -> Value {
    let response = connection.receive().unwrap();
    assert_eq!(response.status, 200, "{}", response.text());
    serde_json::from_slice(&response.body).unwrap()
}

/// Lets the agent follow a command, on behalf of the worker in slot 0.
#[track_caller]
pub fn agent_mail(cluster: &Cluster, command: &Value) -> Value {
    let command = json!({ "do": "let", "on": "agent", "then": command });
    mail(cluster, 0, &command)
}

/// Sends a text that is noted.
pub fn send(to: &str, text: &str) -> Value {
    json!({ "do": "send", "to": to, "topic": "note", "text": text })
}

/// Asks one process.
pub fn ask(to: &str, topic: &str, text: &str) -> Value {
    json!({ "do": "ask", "to": to, "topic": topic, "text": text, "within_ms": 20_000 })
}

/// Asks many.
pub fn ask_all(to: &str, topic: &str, text: &str) -> Value {
    json!({ "do": "ask-all", "to": to, "topic": topic, "text": text, "within_ms": 20_000 })
}

/// Why there is no answer.
#[track_caller]
pub fn error(answer: &Value) -> &str {
    answer["error"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"))
}

/// The texts that the worker in a slot has noted from somebody, in order.
#[track_caller]
pub fn noted(cluster: &Cluster, slot: u32, from: &str) -> Vec<String> {
    texts(&mail(cluster, slot, &json!({ "do": "noted" })), from)
}

/// The texts among notes that are from somebody.
pub fn texts(notes: &Value, from: &str) -> Vec<String> {
    let notes = notes.as_array().unwrap().iter();
    let mine = notes.filter(|note| note[0] == from);
    mine.map(|note| note[2].as_str().unwrap().to_owned())
        .collect()
}

/// Everything that the worker behind `from` has sent so far is on its way: the one behind `to`, which is the one in that
/// slot, has something that was sent later.
#[track_caller]
pub fn expect_sent(from: &mut Connection, to: &mut Connection, slot: u32, text: &str) {
    let sent = mail_on(from, &send(&format!("slot:{slot}"), text));
    assert_eq!(sent["accepted"], 1, "{sent}");
    wait::expect("what was sent last", || {
        let notes = mail_on(to, &json!({ "do": "noted" }));
        let mut notes = notes.as_array().unwrap().iter();
        notes.any(|note| note[2] == text)
    });
}
