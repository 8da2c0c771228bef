//! Whoever dies, wherever a question is at that moment: who asked hears what became of it, once, and everybody else goes
//! on.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use hatchery_tests::http::Connection;
use hatchery_tests::mail::{ask, ask_all, error, expect_sent, mail, mail_on, outcome, post};
use hatchery_tests::process::kill;
use hatchery_tests::{Cluster, playground, step, wait};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Where a question is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// On its way: who is asked stands still.
    UnderWay,
    /// With the one who is asked.
    Taken,
    /// Answered; the answer is on its way to somebody who stands still.
    Answered,
}

const PLACES: [Place; 3] = [Place::UnderWay, Place::Taken, Place::Answered];

/// The worker in slot 0 asks the agent or the one in slot 1, and the one in slot 2 looks on.
struct Scene {
    cluster: Cluster,
    asked: &'static str,
    asked_pid: u32,
    asker: u32,
    /// Where the outcome comes.
    asking: Connection,
    beside: Connection,
    witness: Connection,
    book: PathBuf,
}

impl Scene {
    fn new(asked: &'static str) -> Self {
        let plan = playground!().workers(3).flag("--orphan-grace", "20s");
        let book = plan.path("book");
        let cluster = plan.env("PLAYGROUND_BOOK", &book).start();
        Self {
            asked,
            asked_pid: match asked {
                "agent" => cluster.agent(),
                _ => cluster.worker(1),
            },
            asker: cluster.worker(0),
            asking: cluster.connect_to(0).0,
            beside: cluster.connect_to(0).0,
            witness: cluster.connect_to(2).0,
            book,
            cluster,
        }
    }

    /// With a question that has come as far as that.
    fn with_question(asked: &'static str, place: Place) -> Self {
        let mut scene = Self::new(asked);
        let topic = match place {
            Place::UnderWay | Place::Answered => "book",
            Place::Taken => "hold",
        };
        if place != Place::Taken {
            kill(scene.asked_pid, Signal::STOP);
        }
        post(&mut scene.asking, &ask(asked, topic, "entry"));
        expect_sent(&mut scene.beside, &mut scene.witness, 2, "asked");
        if place == Place::Answered {
            kill(scene.asker, Signal::STOP);
            kill(scene.asked_pid, Signal::CONT);
            wait::expect("it is in the book", || scene.booked() == 1);
        }
        if place != Place::UnderWay {
            // What was asked later is answered, so the other question was taken, and its answer, if any, sent before.
            scene.expect_echo_of_asked();
        }
        scene
    }

    fn booked(&self) -> usize {
        let book = fs::read_to_string(&self.book).unwrap_or_default();
        book.lines().filter(|line| *line == "entry").count()
    }

    /// The one who looks on can ask the one who is asked.
    #[track_caller]
    fn expect_echo_of_asked(&mut self) {
        let answer = mail_on(&mut self.witness, &ask(self.asked, "echo", "witness"));
        assert_eq!(answer["answer"], "witness", "{answer}");
    }

    /// Whoever stands still goes on.
    fn go_on(&self) {
        for pid in [self.asker, self.asked_pid] {
            kill(pid, Signal::CONT);
        }
    }
}

fn who_asks_dies(asked: &'static str) {
    for place in PLACES {
        let mut scene = Scene::with_question(asked, place);
        kill(scene.asker, Signal::KILL);
        scene.cluster.wait(step("worker-exited").pid(scene.asker));
        scene.go_on();
        scene.cluster.wait(step("worker-replaced").slot(0));
        scene.expect_echo_of_asked();
        let booked = usize::from(place != Place::Taken);
        assert_eq!(
            scene.booked(),
            booked,
            "{place:?}: a message once sent goes on alone"
        );
        // Its replacement begins to count its questions anew, and gets no answer but its own.
        let answer = mail(&scene.cluster, 0, &ask(asked, "echo", "mine"));
        assert_eq!(answer["answer"], "mine", "{place:?}");
        scene.cluster.stop().expect_no("agent-replaced");
    }
}

#[test]
fn a_worker_dies_that_asks_the_agent() {
    who_asks_dies("agent");
}

#[test]
fn a_worker_dies_that_asks_another() {
    who_asks_dies("slot:1");
}

fn who_is_asked_dies(asked: &'static str) {
    for place in PLACES {
        let mut scene = Scene::with_question(asked, place);
        kill(scene.asked_pid, Signal::KILL);
        let exited = match asked {
            "agent" => "agent-exited",
            _ => "worker-exited",
        };
        scene.cluster.wait(step(exited).pid(scene.asked_pid));
        kill(scene.asker, Signal::CONT);
        let answer = outcome(&mut scene.asking);
        if place == Place::Answered {
            assert_eq!(answer["answer"], json!({ "Ok": null }), "{answer}");
        } else {
            let error = error(&answer);
            assert!(
                error.contains("left without an answer"),
                "{place:?}: {error}"
            );
        }
        assert_eq!(scene.booked(), usize::from(place == Place::Answered));
        wait::expect("the next one answers", || {
            mail_on(&mut scene.asking, &ask(asked, "echo", "next"))["answer"] == "next"
        });
    }
}

#[test]
fn the_agent_dies_that_a_worker_asks() {
    who_is_asked_dies("agent");
}

#[test]
fn a_worker_dies_that_another_asks() {
    who_is_asked_dies("slot:1");
}

/// Two workers need no agent to talk to each other.
#[test]
fn the_agent_dies_while_a_worker_asks_another() {
    for place in PLACES {
        let mut scene = Scene::new("slot:1");
        let gate = scene.cluster.plan().path("gate");
        if place == Place::UnderWay {
            kill(scene.asked_pid, Signal::STOP);
        }
        let gate = gate.to_str().unwrap();
        post(&mut scene.asking, &ask("slot:1", "until", gate));
        expect_sent(&mut scene.beside, &mut scene.witness, 2, "asked");
        if place == Place::Answered {
            kill(scene.asker, Signal::STOP);
            fs::write(gate, "").unwrap();
            scene.expect_echo_of_asked();
        }
        let agent = scene.cluster.agent();
        kill(agent, Signal::KILL);
        scene.cluster.wait(step("agent-exited").pid(agent));
        fs::write(gate, "").unwrap();
        scene.go_on();
        assert_eq!(outcome(&mut scene.asking)["answer"], gate, "{place:?}");
        scene.cluster.wait_nth("agent-ready", 2);
    }
}

/// With the master everybody goes, but what has been passed on is read.
fn the_master_dies(asked: &'static str) {
    for place in PLACES {
        let mut scene = Scene::with_question(asked, place);
        let killed = scene.cluster.kill_master();
        scene.go_on();
        let answer = outcome(&mut scene.asking);
        if place == Place::Answered {
            assert_eq!(answer["answer"], json!({ "Ok": null }), "{answer}");
        } else {
            assert_eq!(error(&answer), "the master is gone", "{place:?}");
        }
        let soon = Duration::from_secs(5);
        scene.cluster.expect_gone_within(soon, killed);
    }
}

#[test]
fn the_master_dies_while_a_worker_asks_the_agent() {
    the_master_dies("agent");
}

#[test]
fn the_master_dies_while_a_worker_asks_another() {
    the_master_dies("slot:1");
}

/// Everybody who was asked, by name, and what became of that, in order.
fn fates(answers: &Value) -> Vec<(String, Value)> {
    let answers = answers["answers"].as_array().unwrap();
    let fate = |answer: &Value| (answer[0].as_str().unwrap().to_owned(), answer[1].clone());
    let mut fates: Vec<_> = answers.iter().map(fate).collect();
    fates.sort_by(|one, other| one.0.cmp(&other.0));
    fates
}

fn is_gone(fate: &Value) -> bool {
    fate["error"]
        .as_str()
        .is_some_and(|e| e.contains("left without an answer"))
}

/// One dies before it has taken the question, one with it, one with the answer given: each of them has one fate.
#[test]
fn of_many_who_are_asked_each_has_one_fate() {
    let cluster = playground!().workers(4).start();
    let (mut asking, _) = cluster.connect_to(0);
    let (mut beside, _) = cluster.connect_to(0);
    let (mut witness, _) = cluster.connect_to(3);
    let stopped = cluster.worker(2);
    kill(stopped, Signal::STOP);
    let gate = cluster.plan().path("gate");
    let gate = gate.to_str().unwrap();
    post(&mut asking, &ask_all("all", "until", gate));
    expect_sent(&mut beside, &mut witness, 3, "asked");
    kill(stopped, Signal::KILL);
    for asked in ["slot:1", "agent"] {
        let answer = mail_on(&mut witness, &ask(asked, "echo", "it has the question"));
        assert_eq!(answer["answer"], "it has the question");
    }
    kill(cluster.worker(1), Signal::KILL);
    kill(cluster.agent(), Signal::KILL);
    fs::write(gate, "").unwrap();
    let fates = fates(&outcome(&mut asking));
    let names: Vec<&str> = fates.iter().map(|fate| fate.0.as_str()).collect();
    let wanted = ["agent", "worker 0", "worker 1", "worker 2", "worker 3"];
    assert_eq!(names, wanted, "{fates:?}");
    for (name, fate) in &fates {
        match name.as_str() {
            "worker 0" | "worker 3" => assert_eq!(fate, gate),
            _ => assert!(is_gone(fate), "{name}: {fate}"),
        }
    }
    // Each of them once again, with those who came for the dead.
    wait::expect("five answers", || {
        let answers = mail_on(&mut asking, &ask_all("all", "echo", "again"));
        let fates = self::fates(&answers);
        fates.len() == 5 && fates.iter().all(|fate| fate.1 == "again")
    });
}

/// Answers that came before their senders' deaths count.
#[test]
fn of_many_who_have_answered_the_dead_have_answered_too() {
    let plan = playground!().workers(3);
    let book = plan.path("book");
    let cluster = plan.env("PLAYGROUND_BOOK", &book).start();
    let (mut asking, _) = cluster.connect_to(0);
    let (mut beside, _) = cluster.connect_to(0);
    let (mut witness, _) = cluster.connect_to(2);
    let (asker, others) = (cluster.worker(0), [cluster.agent(), cluster.worker(1)]);
    for pid in others {
        kill(pid, Signal::STOP);
    }
    post(&mut asking, &ask_all("all", "book", "entry"));
    expect_sent(&mut beside, &mut witness, 2, "asked");
    kill(asker, Signal::STOP);
    for pid in others {
        kill(pid, Signal::CONT);
    }
    for asked in ["agent", "slot:1"] {
        let answer = mail_on(&mut witness, &ask(asked, "echo", "it has answered"));
        assert_eq!(answer["answer"], "it has answered");
    }
    for pid in others {
        kill(pid, Signal::KILL);
    }
    cluster.wait(step("agent-exited").pid(others[0]));
    cluster.wait(step("worker-exited").pid(others[1]));
    kill(asker, Signal::CONT);
    let fates = fates(&outcome(&mut asking));
    assert_eq!(fates.len(), 4, "{fates:?}");
    let done = json!({ "Ok": null });
    assert!(fates.iter().all(|fate| fate.1 == done), "{fates:?}");
}

/// Whoever asks many and dies is no trouble to them.
#[test]
fn a_worker_dies_that_asks_many() {
    let cluster = playground!().workers(3).start();
    let (mut asking, _) = cluster.connect_to(0);
    let (mut beside, _) = cluster.connect_to(0);
    let (mut witness, _) = cluster.connect_to(2);
    let gate = cluster.plan().path("gate");
    let gate = gate.to_str().unwrap();
    post(&mut asking, &ask_all("all", "until", gate));
    expect_sent(&mut beside, &mut witness, 2, "asked");
    kill(cluster.worker(0), Signal::KILL);
    cluster.wait(step("worker-replaced").slot(0));
    // From here on late answers are about, to numbers that are given out again.
    fs::write(gate, "").unwrap();
    for round in ["1", "2", "3"] {
        let answers = mail(&cluster, 0, &ask_all("all", "echo", round));
        let fates = fates(&answers);
        assert_eq!(fates.len(), 4, "{answers}");
        assert!(fates.iter().all(|fate| fate.1 == round), "{answers}");
    }
}

#[test]
fn the_master_dies_while_a_worker_asks_many() {
    let plan = playground!().workers(3).flag("--orphan-grace", "20s");
    let cluster = plan.start();
    let (mut asking, _) = cluster.connect_to(0);
    let (mut beside, _) = cluster.connect_to(0);
    let (mut witness, _) = cluster.connect_to(2);
    post(&mut asking, &ask_all("all", "hold", ""));
    expect_sent(&mut beside, &mut witness, 2, "asked");
    let killed = cluster.kill_master();
    let fates = fates(&outcome(&mut asking));
    assert_eq!(fates.len(), 4, "{fates:?}");
    assert!(
        fates
            .iter()
            .all(|fate| error(&fate.1) == "the master is gone")
    );
    cluster.expect_gone_within(Duration::from_secs(5), killed);
}
