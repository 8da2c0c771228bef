//! What the playground's workers do with the shared state, when they are told to (`POST /state`).

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::http::Connection;

/// One operation by whichever worker gets the request: the status and what it says.
#[track_caller]
pub fn ask(cluster: &Cluster, operation: &Value) -> (u16, Value) {
    let mut connection = cluster.connect();
    send(&mut connection, operation);
    answer(&mut connection)
}

/// The same, without waiting for what comes of it.
pub fn send(connection: &mut Connection, operation: &Value) {
    let body = operation.to_string();
    let head = format!(
        "POST /state HTTP/1.1\r\nHost: playground\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    connection.send(head.as_bytes()).unwrap();
    connection.send(body.as_bytes()).unwrap();
}

/// What came of it.
#[track_caller]
pub fn answer(connection: &mut Connection) -> (u16, Value) {
    let response = connection.receive().unwrap();
    let text = response.text();
    let value = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
    (response.status, value)
}

/// One that is done.
#[track_caller]
pub fn done(cluster: &Cluster, operation: &Value) -> Value {
    let (status, value) = ask(cluster, operation);
    assert_eq!(status, 200, "{operation}: {value}");
    value
}

/// To say what a key has.
pub fn get(key: &str) -> Value {
    json!({ "do": "get", "key": key })
}

/// To add to a counter.
pub fn add(key: &str, by: i64) -> Value {
    json!({ "do": "add", "key": key, "by": by })
}
