//! One process's office, with a master made of a list of frames.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tokio::sync::oneshot::error::TryRecvError;

use super::requests::Answer;
use super::*;
use crate::id::Seat;
use crate::post::{Body, Frame, Frames, Head, Kind, Limits, flag};

mod lost;
mod room;
mod targets;

const LIMITS: Limits = Limits {
    max_message: 64 * 1024,
    window: 64 * 1024,
};

/// A frame as the master wrote or read it: kind, flags, peer, id, topic, payload.
type Said = (Kind, u8, u64, u64, String, Vec<u8>);

struct Desk {
    messenger: Messenger,
    office: Arc<Office>,
}

impl Desk {
    fn new() -> Self {
        let me = Peer {
            incarnation: 1,
            seat: Seat::Worker(0),
            pid: 10,
        };
        let office = Arc::new(Office::new(me, LIMITS));
        let messenger = Messenger::new(Arc::clone(&office));
        Self { messenger, office }
    }

    /// An office that knows itself (1), the agent (2) and two more workers (3, 4).
    fn open() -> Self {
        let desk = Self::new();
        desk.introduce();
        desk
    }

    fn introduce(&self) {
        for (incarnation, slot) in [(1, 1), (2, 0), (3, 2), (4, 3)] {
            self.hear(
                Kind::Joined,
                0,
                incarnation,
                (10 + incarnation) | (slot << 32),
            );
        }
        self.hear(Kind::Open, 0, 0, 4);
    }

    fn hear(&self, kind: Kind, flags: u8, peer: u64, id: u64) {
        self.hear_payload(kind, flags, peer, id, "", b"");
    }

    fn hear_payload(&self, kind: Kind, flags: u8, peer: u64, id: u64, topic: &str, payload: &[u8]) {
        let mut packet = Vec::new();
        let head = Head {
            kind,
            flags,
            peer,
            id,
        };
        let (topic, body) = (topic.as_bytes(), Body::Inline(payload));
        Frame { head, topic, body }.write(&mut packet);
        intake::take_in(&self.office, &packet, Vec::new()).unwrap();
    }

    /// What was sent since the last call.
    fn said(&self) -> Vec<Said> {
        let mut said = Vec::new();
        let flushed = self.office.flush(|bytes, _| {
            for frame in Frames::new(bytes) {
                let Frame { head, topic, body } = frame.unwrap();
                let Body::Inline(payload) = body else {
                    panic!("no large payloads here");
                };
                let topic = String::from_utf8(topic.to_vec()).unwrap();
                let payload = payload.to_vec();
                said.push((head.kind, head.flags, head.peer, head.id, topic, payload));
            }
            Ok::<_, ()>(true)
        });
        assert_eq!(flushed, Ok(true));
        said
    }
}

fn text(payload: &str) -> Packed {
    Packed::Inline(Bytes::copy_from_slice(payload.as_bytes()))
}

#[derive(Debug, Clone)]
enum Step {
    Ask(u64),
    /// An answer from a process to any number, true or made up.
    Answer(u64, u64, Kind),
    Unanswered(u64, u64),
    Forget(u64),
    Left(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let peer = 2u64..=4;
    let number = 1u64..20;
    let kind = prop::sample::select(vec![Kind::Reply, Kind::Refusal]);
    let step = prop_oneof![
        8 => peer.clone().prop_map(Step::Ask),
        8 => (peer.clone(), number.clone(), kind).prop_map(|(p, n, k)| Step::Answer(p, n, k)),
        2 => (peer.clone(), number.clone()).prop_map(|(p, n)| Step::Unanswered(p, n)),
        2 => number.prop_map(Step::Forget),
        1 => peer.prop_map(Step::Left),
    ];
    prop::collection::vec(step, 1..60)
}

/// What is to become of a request.
#[derive(Debug, PartialEq)]
enum Fate {
    Waiting,
    Answered,
    Refused,
    Unanswered,
    Gone,
    Forgotten,
}

fn fate(answer: Result<Answer, TryRecvError>, peer: u64, number: u64) -> Fate {
    let own = format!("{peer} to {number}");
    match answer {
        Ok(Ok(reply)) => {
            assert_eq!(
                (reply.from.incarnation, &reply.payload[..]),
                (peer, own.as_bytes())
            );
            Fate::Answered
        }
        Ok(Err(RequestError::Refused { from, reason })) => {
            assert_eq!((from.incarnation, reason), (peer, own));
            Fate::Refused
        }
        Ok(Err(RequestError::Unanswered(from))) => {
            assert_eq!(from.incarnation, peer);
            Fate::Unanswered
        }
        Ok(Err(RequestError::PeerGone(from))) => {
            assert_eq!(from.incarnation, peer);
            Fate::Gone
        }
        Err(TryRecvError::Empty) => Fate::Waiting,
        Err(TryRecvError::Closed) => Fate::Forgotten,
        Ok(Err(other)) => panic!("{other}"),
    }
}

fn live(steps: Vec<Step>) {
    let desk = Desk::open();
    let mut requests = BTreeMap::new();
    let mut fates: BTreeMap<u64, (u64, Fate)> = BTreeMap::new();
    let settle = |fates: &mut BTreeMap<u64, (u64, Fate)>, number, peer: Option<u64>, fate| {
        if let Some((asked, now)) = fates.get_mut(&number)
            && *now == Fate::Waiting
            && peer.is_none_or(|peer| peer == *asked)
        {
            *now = fate;
        }
    };
    for step in steps {
        match step {
            Step::Ask(peer) => {
                let asked = desk.office.ask(Target::Process(peer), "t", &text("?"));
                if let Ok((number, answer)) = asked {
                    assert!(requests.insert(number, answer).is_none(), "a number twice");
                    fates.insert(number, (peer, Fate::Waiting));
                }
            }
            Step::Answer(peer, number, kind) => {
                let payload = format!("{peer} to {number}");
                desk.hear_payload(kind, 0, peer, number, "", payload.as_bytes());
                let here = desk.messenger.peers().iter().any(|p| p.incarnation == peer);
                let fate = if kind == Kind::Reply {
                    Fate::Answered
                } else {
                    Fate::Refused
                };
                if here {
                    settle(&mut fates, number, Some(peer), fate);
                }
            }
            Step::Unanswered(peer, number) => {
                desk.hear(Kind::Unanswered, 0, peer, number);
                settle(&mut fates, number, Some(peer), Fate::Unanswered);
            }
            Step::Forget(number) => {
                desk.office.forget(number);
                settle(&mut fates, number, None, Fate::Forgotten);
            }
            Step::Left(peer) => {
                desk.hear(Kind::Left, 0, peer, 0);
                for number in requests.keys() {
                    settle(&mut fates, *number, Some(peer), Fate::Gone);
                }
            }
        }
    }
    for (number, (peer, wanted)) in fates {
        let answer = requests.get_mut(&number).unwrap().try_recv();
        assert_eq!(
            fate(answer, peer, number),
            wanted,
            "request {number} to {peer}"
        );
    }
}

proptest! {
    /// Over any deaths, and whatever others make up: an answer reaches the request that it is for, or nobody.
    #[test]
    fn no_answer_reaches_another_request(steps in steps()) {
        live(steps);
    }
}

#[test]
fn what_is_sent_early_is_kept_in_order_and_bounded() {
    let desk = Desk::new();
    let reach = desk.messenger.send(Target::Agent, "t", "0").unwrap();
    assert!(reach.kept);
    let (_, mut answer) = desk.office.ask(Target::Slot(9), "t", &text("?")).unwrap();
    for number in 1..=3 {
        desk.messenger.broadcast("t", &number.to_string()).unwrap();
    }
    assert_eq!(desk.said(), []);
    desk.introduce();
    let said: Vec<_> = desk.said().into_iter().map(|s| (s.2, s.5)).collect();
    let all = u64::MAX;
    let wanted = [(2, "\"0\""), (all, "\"1\""), (all, "\"2\""), (all, "\"3\"")];
    let wanted = wanted.map(|(to, text)| (to, text.as_bytes().to_vec()));
    assert_eq!(said, wanted);
    // Whom a request meant is found out then, too.
    assert!(matches!(
        answer.try_recv(),
        Ok(Err(RequestError::Send(SendError::NoSuchPeer(_))))
    ));

    let desk = Desk::new();
    let kept = (0..200).take_while(|_| {
        desk.messenger
            .send_bytes(Target::Agent, "t", vec![0; 1000])
            .is_ok()
    });
    assert_eq!(kept.count(), 64, "one over the window");
}

/// Whoever stopped waiting before egg-ready must not find out later that it was done all the same.
#[tokio::test(start_paused = true)]
async fn a_request_given_up_before_egg_ready_is_never_sent() {
    let desk = Desk::new();
    let second = Duration::from_secs(1);
    let asked = desk
        .messenger
        .request::<_, ()>(Target::Agent, "q", "timed out", second);
    assert!(matches!(asked.await, Err(RequestError::Timeout)));
    let (given_up, _) = desk
        .office
        .ask(Target::Agent, "q", &text("given up"))
        .unwrap();
    let (waiting, _answer) = desk.office.ask(Target::Slot(1), "q", &text("?")).unwrap();
    desk.messenger.send(Target::Agent, "t", "1").unwrap();
    desk.office.forget(given_up);
    desk.introduce();
    let said: Vec<_> = desk.said().into_iter().map(|s| (s.0, s.2, s.3)).collect();
    assert_eq!(said, [(Kind::Request, 3, waiting), (Kind::Message, 2, 4)]);
}

#[test]
fn a_request_given_up_before_egg_ready_makes_room() {
    let desk = Desk::new();
    let ask = || {
        let payload = Packed::Inline(vec![0; 1000].into());
        desk.office.ask(Target::Agent, "q", &payload)
    };
    let asked: Vec<_> = (0..200).map_while(|_| ask().ok()).collect();
    assert_eq!(asked.len(), 64, "one over the window");
    desk.office.forget(asked[0].0);
    assert!(ask().is_ok());
    assert!(ask().is_err());
}

/// Whatever it is meant for, and in what way it is sent.
#[test]
fn every_kind_of_early_message_is_kept() {
    let desk = Desk::new();
    let messenger = &desk.messenger;
    let kept = [
        messenger.broadcast("t", "0"),
        messenger.send_to_agent("t", "1"),
        messenger.send_to_workers("t", "2"),
        messenger.send_to(1, "t", "3"),
        messenger.send_to_own_side("t", "4"),
        messenger.send_random("t", "5"),
    ];
    assert!(kept.iter().all(|reach| reach.as_ref().unwrap().kept));
    desk.introduce();
    let said: Vec<_> = desk
        .said()
        .into_iter()
        .map(|said| (said.2, said.5))
        .collect();
    let (random, others) = said.split_last().unwrap();
    let (all, workers) = (u64::MAX, u64::MAX - 1);
    let wanted = [
        (all, "0"),
        (2, "1"),
        (workers, "2"),
        (3, "3"),
        (workers, "4"),
    ];
    let wanted = wanted.map(|(to, text)| (to, format!("\"{text}\"").into_bytes()));
    assert_eq!(others, wanted);
    assert!([1, 3, 4].contains(&random.0), "{random:?}");
}

#[test]
fn nobody_is_an_error() {
    let desk = Desk::new();
    desk.hear(Kind::Open, 0, 0, 0);
    let send = |target| desk.messenger.send(target, "t", &1).unwrap_err();
    for target in [
        Target::All,
        Target::Workers,
        Target::RandomWorker,
        Target::OwnSide,
        Target::Slot(0),
        Target::Process(1),
    ] {
        assert!(matches!(send(target), SendError::NoSuchPeer(none) if none == target));
    }
    assert!(matches!(send(Target::Agent), SendError::AgentUnavailable));
}

#[test]
fn a_window_fills_and_is_given_room_back() {
    let desk = Desk::open();
    let send = || {
        desk.messenger
            .send_bytes(Target::Slot(1), "t", vec![0; 1000])
    };
    let mut accepted = 0;
    let refused = loop {
        match send() {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, SendError::Full(Target::Slot(1))));
    assert_eq!(accepted, 64);
    // Others have room, and those with room are told apart from those without.
    let reach = desk
        .messenger
        .send_bytes(Target::Workers, "t", "x")
        .unwrap();
    assert_eq!((reach.accepted, reach.full), (2, 1));
    let to: Vec<u64> = desk
        .said()
        .iter()
        .skip(accepted)
        .map(|said| said.2)
        .collect();
    assert_eq!(to, [1, 4]);
    // Room for answers is another room.
    desk.hear(Kind::Room, flag::ANSWER, 3, 30_000);
    assert!(send().is_err());
    desk.hear(Kind::Room, 0, 3, 3000);
    assert!(send().is_ok());
}

#[test]
fn room_is_given_back_when_a_message_is_taken() {
    let desk = Desk::open();
    let mut notes = desk.messenger.subscribe("note").unwrap();
    let mut same = desk.messenger.subscribe("note").unwrap();
    for _ in 0..40 {
        desk.hear_payload(Kind::Message, 0, 3, 4, "note", &[0; 1000]);
    }
    assert_eq!(desk.said(), []);
    for _ in 0..40 {
        notes.try_next().unwrap();
    }
    assert_eq!(desk.said(), [], "the other one has not taken them");
    for _ in 0..20 {
        same.try_next().unwrap();
    }
    let said = desk.said();
    assert_eq!((said[0].0, said[0].2), (Kind::Room, 3));
    assert!(said[0].3 >= u64::from(LIMITS.window) / 4);
    // What nobody will take any more counts as taken, and so does what nobody listens to.
    drop((notes, same));
    desk.hear_payload(Kind::Message, 0, 3, 4, "note", &[0; 10_000]);
    let given: u64 = said.iter().chain(&desk.said()).map(|said| said.3).sum();
    let left = 40 * LIMITS.cost(4, 1000) + LIMITS.cost(4, 10_000) - usize::try_from(given).unwrap();
    assert!(left < LIMITS.window as usize / 4, "{left}");
    // What came for free is not given back.
    for _ in 0..40 {
        desk.hear_payload(Kind::Message, flag::FREE, 4, 4, "note", &[0; 1000]);
    }
    assert_eq!(desk.said(), []);
}

#[tokio::test]
async fn a_question_is_answered_once_and_never_forgotten() {
    let desk = Desk::open();
    let mut questions = desk.messenger.subscribe("q").unwrap();
    let mut same = desk.messenger.subscribe("q").unwrap();
    desk.hear_payload(Kind::Request, 0, 2, 7, "q", b"1");
    let (first, second) = (questions.try_next().unwrap(), same.try_next().unwrap());
    first.reply(&42).await.unwrap();
    assert!(matches!(second.reply(&43).await, Err(ReplyError::Answered)));
    drop((first, second));
    let said = desk.said();
    assert_eq!(said.len(), 1);
    assert_eq!(
        (said[0].0, said[0].2, said[0].3, &said[0].5[..]),
        (Kind::Reply, 2, 7, &b"42"[..])
    );
    // Dropped by all, or heard by none.
    desk.hear_payload(Kind::Request, 0, 2, 8, "q", b"1");
    drop((questions.try_next(), same.try_next()));
    desk.hear_payload(Kind::Request, 0, 2, 9, "unheard", b"1");
    let said: Vec<_> = desk.said().into_iter().map(|s| (s.0, s.2, s.3)).collect();
    assert_eq!(said, [(Kind::Unanswered, 2, 8), (Kind::Unanswered, 2, 9)]);
    // Who asked is gone.
    desk.hear_payload(Kind::Request, 0, 2, 10, "q", b"1");
    desk.hear(Kind::Left, 0, 2, 0);
    let question = questions.try_next().unwrap();
    assert!(matches!(question.reply(&1).await, Err(ReplyError::Gone)));
    let message = Message {
        question: None,
        ..question
    };
    assert!(matches!(message.reply(&1).await, Err(ReplyError::NotAsked)));
}

/// A handler that fails costs its own question an answer, and no other one.
#[tokio::test]
async fn a_handler_that_panics_is_no_answer() {
    let desk = Desk::open();
    let mut questions = desk.messenger.subscribe("q").unwrap();
    desk.hear_payload(Kind::Request, 0, 2, 7, "q", b"1");
    desk.hear_payload(Kind::Request, 0, 2, 8, "q", b"1");
    let question = questions.try_next().unwrap();
    let handler = tokio::spawn(async move {
        let _question = question;
        panic!("as a handler may");
    });
    assert!(handler.await.is_err());
    questions.try_next().unwrap().reply(&1).await.unwrap();
    let mut said: Vec<_> = desk.said().into_iter().map(|s| (s.0, s.3)).collect();
    said.sort_by_key(|said| said.1);
    assert_eq!(said, [(Kind::Unanswered, 7), (Kind::Reply, 8)]);
}

/// Room for answers is given back as that for messages is: in large pieces.
#[tokio::test]
async fn room_for_answers_is_given_back_in_large_pieces() {
    let desk = Desk::open();
    let cost = LIMITS.cost(0, 1000);
    let (mut given, mut frames) = (0, 0);
    for number in 1..=100 {
        let asked = desk.office.ask(Target::Agent, "t", &text("?"));
        assert_eq!(asked.unwrap().0, number);
        desk.hear_payload(Kind::Reply, 0, 2, number, "", &[0; 1000]);
        for said in desk.said() {
            if said.0 == Kind::Room {
                assert_eq!((said.1, said.2), (flag::ANSWER, 2));
                given += usize::try_from(said.3).unwrap();
                frames += 1;
            }
        }
        assert!(cost * usize::try_from(number).unwrap() - given < LIMITS.window as usize / 4);
    }
    assert!((1..=10).contains(&frames), "{frames}");
}

#[tokio::test(start_paused = true)]
async fn a_request_ends_with_its_deadline_or_with_the_master() {
    let desk = Desk::open();
    let second = Duration::from_secs(1);
    let ask = || {
        desk.messenger
            .request::<_, ()>(Target::Agent, "q", &(), second)
    };
    assert!(matches!(ask().await, Err(RequestError::Timeout)));
    assert!(desk.office.state().requests.is_empty());
    let close = async { desk.office.close() };
    let (answer, ()) = tokio::join!(ask(), close);
    assert!(matches!(answer, Err(RequestError::Send(SendError::Closed))));
    assert!(matches!(
        ask().await,
        Err(RequestError::Send(SendError::Closed))
    ));
    let mut notes = desk.messenger.subscribe("note").unwrap();
    assert!(notes.next().await.is_none());
}

#[test]
fn bad_topics_and_payloads_are_refused() {
    let desk = Desk::open();
    let send = |topic: &str| desk.messenger.send(Target::All, topic, &1).map(|_| ());
    assert!(matches!(send(""), Err(SendError::Topic(TopicError::Empty))));
    assert!(matches!(
        send(&"t".repeat(256)),
        Err(SendError::Topic(TopicError::TooLong(256)))
    ));
    assert!(send(&"t".repeat(255)).is_ok());
    assert!(desk.messenger.subscribe("").is_err());
    let large = desk
        .messenger
        .send_bytes(Target::All, "t", vec![0; 64 * 1024 + 1]);
    assert!(matches!(
        large,
        Err(SendError::TooLarge {
            size: 65_537,
            limit: 65_536
        })
    ));
    let map = BTreeMap::from([((1, 2), 3)]);
    assert!(matches!(
        desk.messenger.send(Target::All, "t", &map),
        Err(SendError::Encode(_))
    ));
}

#[tokio::test]
async fn topics_of_applications_and_of_the_framework_are_kept_apart() {
    let desk = Desk::open();
    let (theirs, ours) = (&desk.messenger, desk.messenger.reserved());
    let second = Duration::from_secs(1);
    for (messenger, topic) in [(theirs, "hatchery/x"), (&ours, "x")] {
        let reserved = |sent: &SendError| matches!(sent, SendError::Topic(TopicError::Reserved));
        let subscribed = messenger.subscribe(topic).unwrap_err();
        assert_eq!(subscribed, TopicError::Reserved);
        let sent = messenger.send(Target::All, topic, &1).unwrap_err();
        assert!(reserved(&sent));
        let asked = messenger.request::<_, u8>(Target::Agent, topic, &1, second);
        assert!(matches!(asked.await, Err(RequestError::Send(error)) if reserved(&error)));
        let asked = messenger.request_all(Target::All, topic, &1, second).await;
        assert!(matches!(asked, Err(RequestError::Send(error)) if reserved(&error)));
    }
    assert!(theirs.subscribe("hatchery").is_ok());
    assert!(ours.subscribe("hatchery/x").is_ok());
    assert!(ours.send(Target::All, "hatchery/x", &1).is_ok());
}
