//! Large payloads that cannot be read: nobody waits for them, and no room is lost with them.

use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, memfd_create};

use super::*;
use crate::post::sealed;

const SIZE: u32 = 50_000;

impl Desk {
    /// Hears frames with large payloads in one packet, which has these files.
    fn hear_large(&self, kind: Kind, peer: u64, ids: &[u64], topic: &str, files: Vec<OwnedFd>) {
        let mut packet = Vec::new();
        for id in ids {
            let (topic, body) = (topic.as_bytes(), Body::Large(SIZE));
            let (id, flags) = (*id, 0);
            let head = Head {
                kind,
                flags,
                peer,
                id,
            };
            Frame { head, topic, body }.write(&mut packet);
        }
        intake::take_in(&self.office, &packet, files).unwrap();
    }
}

fn whole() -> OwnedFd {
    sealed(&vec![7; SIZE as usize]).unwrap()
}

/// As large as was said, and somebody can still change it.
fn unsealed() -> OwnedFd {
    let file = memfd_create(c"test", MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&file, u64::from(SIZE)).unwrap();
    file
}

/// One frame's worth of ways to be lost.
fn broken() -> [(Vec<OwnedFd>, &'static str); 4] {
    let (pipe, _) = std::io::pipe().unwrap();
    [
        (vec![], "this process has no descriptors left"),
        (vec![unsealed()], "in a file that is not sealed"),
        (vec![pipe.into()], "in a file that is not sealed"),
        (
            vec![sealed(&vec![0; 40_000]).unwrap()],
            "has 40000 bytes, and 50000",
        ),
    ]
}

#[test]
fn a_message_that_is_lost_gives_its_room_back() {
    let desk = Desk::open();
    let mut notes = desk.messenger.subscribe("note").unwrap();
    let cost = LIMITS.cost(4, SIZE as usize);
    for (files, _) in broken() {
        desk.hear_large(Kind::Message, 3, &[4], "note", files);
        assert!(notes.try_next().is_none());
        let said: Vec<_> = desk.said().into_iter().map(|s| (s.0, s.2, s.3)).collect();
        assert_eq!(said, [(Kind::Room, 3, cost as u64)]);
    }
    // The next one is none the worse for it.
    desk.hear_large(Kind::Message, 3, &[4], "note", vec![whole()]);
    assert_eq!(notes.try_next().unwrap().payload, vec![7; SIZE as usize]);
}

/// Descriptors that a process has no room for are missing at the end of a packet.
#[test]
fn of_several_payloads_the_last_ones_are_lost() {
    let desk = Desk::open();
    let mut notes = desk.messenger.subscribe("note").unwrap();
    let files = vec![whole(), whole()];
    desk.hear_large(Kind::Message, 3, &[1, 2, 3], "note", files);
    let there: Vec<_> = std::iter::from_fn(|| notes.try_next()).collect();
    assert_eq!(there.len(), 2);
}

#[test]
fn a_question_that_is_lost_is_not_waited_for() {
    let desk = Desk::open();
    let mut questions = desk.messenger.subscribe("q").unwrap();
    for (files, _) in broken() {
        desk.hear_large(Kind::Request, 2, &[7], "q", files);
        assert!(questions.try_next().is_none());
        let said: Vec<_> = desk.said().into_iter().map(|s| (s.0, s.2, s.3)).collect();
        assert!(said.contains(&(Kind::Unanswered, 2, 7)), "{said:?}");
    }
}

#[test]
fn an_answer_that_is_lost_says_why() {
    let desk = Desk::open();
    for (files, why) in broken() {
        let (number, mut answer) = desk.office.ask(Target::Agent, "q", &text("?")).unwrap();
        desk.said();
        desk.hear_large(Kind::Reply, 2, &[number], "", files);
        let Ok(Err(RequestError::Lost(reason))) = answer.try_recv() else {
            panic!("not lost: {why}");
        };
        assert!(reason.contains(why), "{reason}");
        let said: Vec<_> = desk.said().into_iter().map(|s| (s.0, s.1, s.2)).collect();
        assert_eq!(said, [(Kind::Room, flag::ANSWER, 2)], "{why}");
    }
}

/// Files that no frame asks for are closed.
#[test]
fn descriptors_that_nobody_asked_for_are_closed() {
    let desk = Desk::open();
    let mut notes = desk.messenger.subscribe("note").unwrap();
    let (mut end, theirs) = std::io::pipe().unwrap();
    let mut packet = Vec::new();
    let head = Head {
        kind: Kind::Message,
        flags: 0,
        peer: 3,
        id: 4,
    };
    let (topic, body) = (&b"note"[..], Body::Inline(b"x"));
    Frame { head, topic, body }.write(&mut packet);
    intake::take_in(&desk.office, &packet, vec![theirs.into()]).unwrap();
    assert_eq!(&notes.try_next().unwrap().payload[..], b"x");
    let mut rest = Vec::new();
    assert_eq!(std::io::Read::read_to_end(&mut end, &mut rest).unwrap(), 0);
}
