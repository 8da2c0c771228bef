//! The example `chat`: rooms that clients of several workers are in.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use hatchery_tests::http::Connection;
use hatchery_tests::process::kill;
use hatchery_tests::redis::Redis;
use hatchery_tests::{Cluster, Plan, step, wait};
use rustix::process::Signal;

fn chat() -> Plan {
    Plan::new(env!("CARGO_BIN_EXE_chat"))
}

/// A client in a room, and the worker that it is connected to.
struct Client {
    connection: Connection,
    slot: String,
}

impl Client {
    fn enter(cluster: &Cluster, room: &str) -> Self {
        let mut connection = cluster.connect();
        let upgrade = format!(
            "GET /rooms/{room} HTTP/1.1\r\nHost: chat\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        connection.send(upgrade.as_bytes()).unwrap();
        assert_eq!(connection.receive_head().unwrap().status, 101);
        let slot = String::new();
        let mut client = Self { connection, slot };
        let welcome = client.hear();
        let (_, slot) = welcome.split_once("by worker ").unwrap();
        slot.clone_into(&mut client.slot);
        client
    }

    /// A client of this worker's. Who gets a connection is decided elsewhere, so there may have to be several.
    fn enter_at(cluster: &Cluster, room: &str, slot: &str) -> Self {
        let client = wait::until(wait::PATIENCE, || {
            let client = Self::enter(cluster, room);
            (client.slot == slot).then_some(client)
        });
        client.unwrap()
    }

    fn say(&mut self, text: &str) {
        let length = u8::try_from(text.len()).unwrap();
        // A short text frame, masked with zeros.
        let mut frame = vec![0x81, 0x80 | length, 0, 0, 0, 0];
        frame.extend(text.as_bytes());
        self.connection.send(&frame).unwrap();
    }

    /// Whether there is something to hear, as far as the kernel knows.
    fn is_spoken_to(&self) -> bool {
        let stream = self.connection.get_ref();
        stream.set_nonblocking(true).unwrap();
        let there = stream.peek(&mut [0]).is_ok();
        stream.set_nonblocking(false).unwrap();
        there
    }

    /// The next line, or what the server closes with.
    fn hear(&mut self) -> String {
        let head = self.connection.receive_exact(2).unwrap();
        let payload = self.connection.receive_exact(head[1].into()).unwrap();
        match head[0] {
            0x88 => format!(
                "closed with {}",
                u16::from_be_bytes([payload[0], payload[1]])
            ),
            _ => String::from_utf8(payload).unwrap(),
        }
    }
}

#[test]
fn clients_of_two_workers_hear_each_other() {
    let cluster = chat().start();
    let mut alice = Client::enter_at(&cluster, "tea", "0");
    let mut bob = Client::enter_at(&cluster, "tea", "1");
    let mut carol = Client::enter_at(&cluster, "coffee", "1");
    for (round, text) in ["hello", "who is there?", "nobody"].iter().enumerate() {
        let speaker = if round == 1 { &mut bob } else { &mut alice };
        speaker.say(text);
        assert_eq!(alice.hear(), *text);
        assert_eq!(bob.hear(), *text);
    }
    // Nothing of it was said in the other room: the first that is heard there is what is said there.
    carol.say("quiet here");
    assert_eq!(carol.hear(), "quiet here");
    cluster.signal(Signal::TERM);
    for client in [&mut alice, &mut bob, &mut carol] {
        assert_eq!(client.hear(), "closed with 1001");
    }
    cluster.expect_exit().expect_code(0);
}

#[test]
fn what_one_says_all_hear_in_the_same_order() {
    let cluster = chat().workers(3).start();
    let slots = ["0", "1", "2"];
    let mut clients = slots.map(|slot| Client::enter_at(&cluster, "tea", slot));
    for line in 0..30 {
        clients[0].say(&line.to_string());
    }
    for client in &mut clients {
        let heard: Vec<String> = (0..30).map(|_| client.hear()).collect();
        let said: Vec<String> = (0..30).map(|line| line.to_string()).collect();
        assert_eq!(heard, said);
    }
    cluster.stop();
}

#[test]
fn rooms_go_on_when_a_worker_is_killed() {
    let cluster = chat().start();
    let mut alice = Client::enter_at(&cluster, "tea", "0");
    let mut bob = Client::enter_at(&cluster, "tea", "1");
    let mark = cluster.mark();
    kill(cluster.worker(1), Signal::KILL);
    assert!(bob.connection.drain().is_empty(), "he is cut off");
    cluster.wait_since(mark, step("worker-ready").slot(1));
    let mut bob = Client::enter_at(&cluster, "tea", "1");
    bob.say("here I am again");
    assert_eq!(alice.hear(), "here I am again");
    assert_eq!(bob.hear(), "here I am again");
    cluster.stop();
}

/// Speaks until the other one hears it.
fn reach(speaker: &mut Client, listener: &mut Client) {
    wait::expect("it is heard", || {
        speaker.say("can you hear me?");
        assert_eq!(speaker.hear(), "can you hear me?");
        listener.is_spoken_to() && listener.hear() == "can you hear me?"
    });
    speaker.say("good");
    assert_eq!(speaker.hear(), "good");
    while listener.hear() != "good" {}
}

#[test]
fn rooms_span_hosts_and_go_on_without_redis() {
    let mut redis = Redis::start(&[]);
    let hosts = [(); 2].map(|()| chat().flag("--fleet", redis.url()).start());
    let mut alice = Client::enter_at(&hosts[0], "tea", "0");
    let mut carol = Client::enter_at(&hosts[0], "tea", "1");
    let mut bob = Client::enter_at(&hosts[1], "tea", "0");
    reach(&mut alice, &mut bob);
    while carol.hear() != "good" {}
    for number in 0..50 {
        let line = number.to_string();
        alice.say(&line);
        for client in [&mut alice, &mut carol, &mut bob] {
            assert_eq!(client.hear(), line, "once for everybody");
        }
    }
    bob.say("and back");
    for client in [&mut bob, &mut alice, &mut carol] {
        assert_eq!(client.hear(), "and back");
    }

    redis.kill();
    for line in ["alone", "but together"] {
        carol.say(line);
        assert_eq!((alice.hear(), carol.hear()), (line.into(), line.into()));
        bob.say(line);
        assert_eq!(bob.hear(), line, "this one's, not the others'");
    }
    redis.revive();
    reach(&mut bob, &mut alice);
    while carol.hear() != "good" {}
    for host in hosts {
        host.stop();
    }
}

#[test]
fn rooms_go_on_while_redis_stands_still() {
    let redis = Redis::start(&[]);
    let cluster = chat().flag("--fleet", redis.url()).start();
    let mut alice = Client::enter_at(&cluster, "tea", "0");
    let mut carol = Client::enter_at(&cluster, "tea", "1");
    redis.pause();
    for number in 0..200 {
        let line = number.to_string();
        alice.say(&line);
        assert_eq!((alice.hear(), carol.hear()), (line.clone(), line));
    }
    redis.resume();
    cluster.stop();
}
