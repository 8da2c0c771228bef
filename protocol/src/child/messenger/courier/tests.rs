//! A courier on a real socket, with the test in the master's place.

use tokio::time::timeout;

use super::*;
use crate::child::messenger::{Messenger, Peer, Subscription, Target};
use crate::id::Seat;
use crate::post::{Body, Frame, Frames, Head, Kind, Limits, pair};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

struct Desk {
    messenger: Messenger,
    courier: Courier,
    master: OwnedFd,
}

/// With packets that are there before the courier looks: the kernel tells of all of them once.
fn desk(window: u32, packets: &[Vec<u8>], listen: impl FnOnce(&Messenger)) -> Desk {
    let me = Peer {
        incarnation: 1,
        seat: Seat::Worker(0),
        pid: 10,
    };
    let limits = Limits {
        window,
        ..Limits::default()
    };
    let office = Arc::new(Office::new(me, limits));
    let messenger = Messenger::new(Arc::clone(&office));
    listen(&messenger);
    let (master, ours) = pair().unwrap();
    for packet in packets {
        send_packet(&master, packet, &[]).unwrap();
    }
    let egg_ready = CancellationToken::new();
    egg_ready.cancel();
    Desk {
        messenger,
        courier: Courier::start(office, ours, egg_ready).unwrap(),
        master,
    }
}

fn frame(kind: Kind, peer: u64, id: u64, topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let head = Head {
        kind,
        flags: 0,
        peer,
        id,
    };
    let (topic, body) = (topic.as_bytes(), Body::Inline(payload));
    Frame { head, topic, body }.write(&mut packet);
    packet
}

/// This process, the agent (2), and that this is everybody.
fn introduction() -> Vec<Vec<u8>> {
    vec![
        frame(Kind::Joined, 1, 10 + (1 << 32), "", b""),
        frame(Kind::Joined, 2, 12, "", b""),
        frame(Kind::Open, 0, 2, "", b""),
    ]
}

async fn next(notes: &mut Subscription) -> Vec<u8> {
    let note = timeout(PATIENCE, notes.next()).await.unwrap().unwrap();
    note.payload.to_vec()
}

#[tokio::test]
async fn packets_behind_a_short_one_are_taken_too() {
    let long = vec![b'x'; LONG];
    let notes = (0..3 * TURN).map(|number| match number % 3 {
        0 => long.clone(),
        _ => number.to_string().into_bytes(),
    });
    let notes: Vec<Vec<u8>> = notes.collect();
    let mut packets = introduction();
    packets.extend(
        notes
            .iter()
            .map(|note| frame(Kind::Message, 2, 2, "note", note)),
    );
    let mut heard = None;
    let desk = desk(1 << 20, &packets, |messenger| {
        heard = Some(messenger.subscribe("note").unwrap());
    });
    let mut heard = heard.unwrap();
    for note in &notes {
        assert_eq!(&next(&mut heard).await, note);
    }
    // And those that come when it has settled.
    for _ in 0..3 {
        tokio::task::yield_now().await;
        let late = frame(Kind::Message, 2, 2, "note", b"late");
        send_packet(&desk.master, &late, &[]).unwrap();
        assert_eq!(next(&mut heard).await, b"late");
    }
    drop(desk.master);
    assert!(timeout(PATIENCE, heard.next()).await.unwrap().is_none());
}

#[tokio::test]
async fn what_a_full_socket_has_no_room_for_is_sent_later_and_in_order() {
    let desk = desk(8 << 20, &introduction(), |_| {});
    // Far more than the kernel keeps. The first of them before it is known who is there.
    for number in 0..4000_u32 {
        let mut payload = vec![0; 1000];
        payload[..4].copy_from_slice(&number.to_le_bytes());
        desk.messenger
            .send_bytes(Target::Agent, "t", payload)
            .unwrap();
        if number % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let master = sys::readable(desk.master).unwrap();
    let mut numbers = Vec::new();
    let mut packet = vec![0; MAX_PACKET];
    while numbers.len() < 4000 {
        let mut readable = timeout(PATIENCE, master.readable()).await.unwrap().unwrap();
        let read = |master: &AsyncFd<OwnedFd>| {
            receive_packet(master.get_ref(), &mut packet, &mut Vec::new())
        };
        let Ok(length) = readable.try_io(read) else {
            continue;
        };
        for frame in Frames::new(&packet[..length.unwrap().unwrap()]) {
            let Body::Inline(payload) = frame.unwrap().body else {
                panic!("no large payloads here");
            };
            numbers.push(u32::from_le_bytes(*payload.first_chunk().unwrap()));
        }
    }
    assert!(numbers.into_iter().eq(0..4000));
    timeout(PATIENCE, desk.courier.finish()).await.unwrap();
}
