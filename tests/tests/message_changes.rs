//! Two generations and two agents at once: who reaches whom while a cluster changes hands.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use hatchery_tests::mail::{agent_mail, ask, ask_all, error, mail, mail_on, outcome, post};
use hatchery_tests::{Cluster, Plan, playground, wait};
use serde_json::{Value, json};

/// One line of the ledger: that a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Came {
    from: u32,
    to: u32,
    number: u32,
}

fn ledger(path: &Path) -> Vec<Came> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = |line: &str| {
        let numbers: Vec<u32> = line.split(' ').map(|n| n.parse().unwrap()).collect();
        Came {
            from: numbers[0],
            to: numbers[1],
            number: numbers[2],
        }
    };
    text.lines().map(line).collect()
}

/// What is sent to all, numbered through the whole test: by whom which numbers.
#[derive(Debug, Default)]
struct Sent {
    last: u32,
    by: BTreeMap<u32, BTreeSet<u32>>,
}

impl Sent {
    /// One message of a worker, whichever has the connection, and one of the agent.
    fn round(&mut self, cluster: &Cluster) {
        for through in [None, Some("agent")] {
            self.last += 1;
            let text = self.last.to_string();
            let send = json!({ "do": "send", "to": "all", "topic": "ledger", "text": text });
            let command = match through {
                None => send,
                Some(on) => json!({ "do": "let", "on": on, "then": send }),
            };
            let said = mail_on(&mut cluster.connect(), &command);
            // Nobody can tell an agent to send something that is not there.
            if let Some(from) = said["from"].as_u64() {
                assert_eq!(said["full"], 0, "{said}");
                let from = u32::try_from(from).unwrap();
                self.by.entry(from).or_default().insert(self.last);
            }
        }
    }

    /// Between each two what was sent came at most once, in order, and as a run without a gap. What a receiver has missed
    /// was sent before it came or, if it has left, when it left.
    fn expect_runs(&self, came: &[Came], left: &BTreeSet<u32>) {
        let mut sent = self.by.clone();
        let mut pairs: BTreeMap<(u32, u32), Vec<u32>> = BTreeMap::new();
        for Came { from, to, number } in came {
            // Whoever told the agent may not have heard of it.
            sent.entry(*from).or_default().insert(*number);
            pairs.entry((*from, *to)).or_default().push(*number);
        }
        for ((from, to), numbers) in pairs {
            let sent = sent[&from].range(numbers[0]..).copied();
            let whole: Vec<u32> = sent.collect();
            let what = format!("from {from} to {to}: {numbers:?} of {whole:?}");
            assert!(whole.starts_with(&numbers), "{what}");
            assert!(whole == numbers || left.contains(&to), "{what}");
        }
    }
}

fn booked(plan: Plan) -> (Plan, PathBuf) {
    let book = plan.path("book");
    (plan.env("PLAYGROUND_BOOK", &book), book)
}

/// Old and new ones are one cluster: everybody who runs is reached.
#[test]
fn in_a_reload_old_and_new_ones_hear_each_other() {
    let (plan, book) = booked(playground!().workers(2));
    let cluster = plan.start();
    let old: BTreeSet<u32> = cluster.everybody().into_iter().collect();
    let mut sent = Sent::default();
    sent.round(&cluster);
    let file = cluster.plan().path("reload.txt");
    let mut reload = cluster.spawn_verb(&["reload", "--agent"], &file);
    while reload.try_wait().unwrap().is_none() {
        sent.round(&cluster);
    }
    assert!(reload.wait().unwrap().success());
    sent.round(&cluster);
    let new: BTreeSet<u32> = cluster.everybody().into_iter().collect();
    assert!(old.is_disjoint(&new), "{old:?} {new:?}");
    wait::expect("the last one is with everybody", || {
        let came = ledger(&book);
        let last = came.iter().filter(|one| one.number == sent.last);
        last.map(|one| one.to).collect::<BTreeSet<u32>>() == new
    });
    let came = ledger(&book);
    sent.expect_runs(&came, &old);
    let across = came
        .iter()
        .filter(|one| old.contains(&one.from) != old.contains(&one.to));
    assert!(across.count() > 0, "no message between the generations");
}

/// A question is answered by one of the two agents, and booked by that one alone; or it is said that there was none, and
/// then it is not booked; or that the one who was asked has left, and then nobody else has booked it.
#[test]
fn in_a_reload_each_question_to_the_agent_is_answered_by_one() {
    let (plan, book) = booked(playground!().workers(2));
    let cluster = plan.start();
    let file = cluster.plan().path("reload.txt");
    let mut reload = cluster.spawn_verb(&["reload", "--agent"], &file);
    let mut asked = BTreeMap::new();
    let mut answered = 0;
    while reload.try_wait().unwrap().is_none() {
        let line = format!("line {}", asked.len());
        let answer = mail_on(&mut cluster.connect(), &ask("agent", "book", &line));
        let possible = if answer["answer"] == json!({ "Ok": null }) {
            answered += 1;
            1..=1
        } else if error(&answer) == "the agent is unavailable" {
            0..=0
        } else {
            assert!(
                error(&answer).contains("left without an answer"),
                "{answer}"
            );
            0..=1
        };
        asked.insert(line, possible);
    }
    assert!(reload.wait().unwrap().success());
    assert!(answered > 0, "{asked:?}");
    let lines = fs::read_to_string(book).unwrap();
    for (line, possible) in asked {
        let times = lines.lines().filter(|booked| *booked == line).count();
        assert!(
            possible.contains(&times),
            "{line}: {times} times, not {possible:?}"
        );
    }
}

fn pids(answers: &Value) -> BTreeSet<u32> {
    let answers = answers["answers"].as_array().unwrap().iter();
    let pid = |answer: &Value| answer[1].as_u64().and_then(|pid| u32::try_from(pid).ok());
    answers.filter_map(pid).collect()
}

/// What was sent last is with all of the new cluster, and nothing of either has ever come to the other.
#[track_caller]
fn expect_two_clusters(sent: &Sent, book: &Path, old: &BTreeSet<u32>, new: &BTreeSet<u32>) {
    wait::expect("the last one is with everybody", || {
        let came = ledger(book);
        let last = came.iter().filter(|one| one.number == sent.last);
        last.map(|one| one.to).collect::<BTreeSet<u32>>() == *new
    });
    let came = ledger(book);
    sent.expect_runs(&came, old);
    let across = came
        .iter()
        .filter(|one| old.contains(&one.from) != old.contains(&one.to));
    assert_eq!(across.count(), 0, "{came:?}");
}

/// Each master has a cluster of its own: who is left of the old one finds no agent, and says so.
#[test]
fn in_an_upgrade_nobody_hears_the_other_masters_processes() {
    let (plan, book) = booked(playground!().upgradable().workers(2));
    let cluster = plan.start();
    let old: BTreeSet<u32> = cluster.everybody().into_iter().collect();
    let mut sent = Sent::default();
    sent.round(&cluster);
    // As long as this takes, its worker stays.
    let (mut stays, who) = cluster.connect_to(0);
    let then = [
        ask_all("all", "pid", ""),
        ask("agent", "pid", ""),
        json!({ "do": "send", "to": "agent", "topic": "ledger", "text": "0" }),
    ];
    post(
        &mut stays,
        &json!({ "do": "after", "what": "left", "who": "agent", "then": then }),
    );
    cluster.upgrade();
    let said = outcome(&mut stays);
    let reached = pids(&said[0]);
    assert!(reached.contains(&who.pid), "{said}");
    assert!(reached.is_subset(&old), "{said}: {old:?}");
    for said in [&said[1], &said[2]] {
        assert_eq!(error(said), "the agent is unavailable");
    }
    let new: BTreeSet<u32> = cluster.everybody().into_iter().collect();
    assert_eq!(pids(&mail(&cluster, 0, &ask_all("all", "pid", ""))), new);
    assert_eq!(pids(&agent_mail(&cluster, &ask_all("all", "pid", ""))), new);
    sent.round(&cluster);
    expect_two_clusters(&sent, &book, &old, &new);
}

/// While one master follows the other, every message stays in one cluster, in order, at most once.
#[test]
fn messages_keep_their_promises_while_masters_change() {
    let (plan, book) = booked(playground!().upgradable().workers(2));
    let cluster = plan.start();
    let old: BTreeSet<u32> = cluster.everybody().into_iter().collect();
    let file = cluster.plan().path("upgrade.txt");
    let mut sent = Sent::default();
    let mut upgrade = cluster.spawn_verb(&["upgrade"], &file);
    while upgrade.try_wait().unwrap().is_none() {
        sent.round(&cluster);
    }
    assert!(upgrade.wait().unwrap().success());
    assert_eq!(cluster.follow().code(), Some(0));
    sent.round(&cluster);
    let new: BTreeSet<u32> = cluster.everybody().into_iter().collect();
    expect_two_clusters(&sent, &book, &old, &new);
}
