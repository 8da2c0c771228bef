//! Workers of two clusters on this machine, which reach each other through their agents and one Redis.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::thread;

use hatchery_tests::hosts::{
    ask, ask_at, count, count_while, heard, meet, notes, numbers, say, who,
};
use hatchery_tests::process::kill;
use hatchery_tests::redis::Redis;
use hatchery_tests::{Cluster, Plan, playground, step, trace};
use rustix::process::Signal;
use serde_json::{Value, json};

fn alone() -> Plan {
    let plan = playground!();
    let notes = plan.path("hosts");
    plan.env("PLAYGROUND_HOSTS", notes)
}

fn host(redis: &Redis) -> Plan {
    alone().flag("--fleet", redis.url())
}

/// Two hosts whose workers hear each other.
fn two(redis: &Redis) -> [Cluster; 2] {
    let hosts = [host(redis).start(), host(redis).start()];
    meet(&hosts);
    hosts
}

#[test]
fn every_worker_of_every_host_hears_it_once_and_in_order() {
    let redis = Redis::start(&[]);
    let hosts = two(&redis);
    assert_eq!(ask(&hosts[0], &count(1, 200)), json!({"Ok": 200}));
    let all: Vec<u64> = (1..=200).collect();
    let senders: Vec<String> = hosts
        .iter()
        .map(|cluster| {
            cluster.expect("all are heard", || {
                let numbers = numbers(cluster);
                cluster
                    .worker_pids()
                    .iter()
                    .all(|pid| numbers[pid].len() >= all.len())
            });
            let numbers = numbers(cluster);
            assert!(numbers.values().all(|heard| *heard == all), "{numbers:?}");
            let notes = notes(cluster).into_iter();
            let mut senders = notes.filter(|note| note.said.is_u64());
            senders.next().unwrap().from
        })
        .collect();
    assert_eq!(
        senders[0], senders[1],
        "who has sent it is the same everywhere"
    );

    // What goes elsewhere is not heard here.
    let elsewhere =
        json!({"do": "broadcast", "topic": "said", "payload": "there", "elsewhere": true});
    assert_eq!(ask(&hosts[0], &elsewhere), json!({"Ok": 1}));
    assert_eq!(say(&hosts[0], &json!("everywhere")), json!({"Ok": 2}));
    let everywhere = |cluster: &Cluster| {
        let heard = heard(cluster);
        let heard = |pid| heard[pid].contains(&json!("everywhere"));
        cluster.worker_pids().iter().all(heard)
    };
    for cluster in &hosts {
        cluster.expect("all hear the last", || everywhere(cluster));
    }
    let there = |cluster| {
        let heard = heard(cluster).into_values().flatten();
        heard.filter(|said| *said == "there").count()
    };
    assert_eq!((there(&hosts[0]), there(&hosts[1])), (0, 2));
}

#[test]
fn agents_and_workers_hear_each_other() {
    let redis = Redis::start(&[]);
    let talking = || {
        let plan = host(&redis);
        let notes = plan.path("fleet");
        plan.env("PLAYGROUND_FLEET", notes).start()
    };
    let hosts = [talking(), talking()];
    meet(&hosts);
    // Each agent says its process id, again and again.
    let agents = hosts.each_ref().map(|cluster| u64::from(cluster.agent()));
    for cluster in &hosts {
        cluster.expect("its workers hear both agents", || {
            let numbers = numbers(cluster);
            let hears = |pid| agents.iter().all(|agent| numbers[pid].contains(agent));
            cluster.worker_pids().iter().all(hears)
        });
    }
    let here = json!({"do": "broadcast", "topic": "here", "payload": 42});
    assert_eq!(ask(&hosts[0], &here), json!({"Ok": 2}));
    for cluster in &hosts {
        cluster.expect("its agent hears the worker", || {
            let notes: Vec<Value> = trace::read(&cluster.plan().path("fleet"));
            notes.contains(&json!({"heard": 42}))
        });
    }
}

#[test]
fn a_question_has_one_answer_of_each_host() {
    let redis = Redis::start(&[]);
    let hosts = two(&redis);
    for _ in 0..10 {
        let said = ask(&hosts[0], &who("who", 20_000));
        let answers = said["Ok"]["answers"].as_array().unwrap().clone();
        assert_eq!((answers.len(), &said["Ok"]["missing"]), (2, &json!(0)));
        for cluster in &hosts {
            let pids = cluster.worker_pids();
            let own = answers.iter().filter(|answer| {
                let pid = answer[1]["pid"].as_u64().unwrap();
                pids.contains(&pid)
            });
            assert_eq!(own.count(), 1, "{answers:?}");
        }
    }
    // Nobody listens: the end comes at once, not with the deadline.
    let nobody = ask(&hosts[0], &who("nothing", 3_600_000));
    assert_eq!(nobody, json!({"Ok": {"answers": [], "missing": 0}}));
    // Taken and dropped without an answer: so, too.
    let ignored = ask(&hosts[0], &who("ignored", 3_600_000));
    assert_eq!(ignored, json!({"Ok": {"answers": [], "missing": 0}}));

    let mut agents = hosts.each_ref().map(|cluster| u64::from(cluster.agent()));
    agents.sort_unstable();
    // How many workers there are is told every few seconds.
    hosts[1].expect("both are members, with all their workers", || {
        let members = ask(&hosts[1], &json!({"do": "members"}));
        let members = members["Ok"].as_array().unwrap();
        let mut pids: Vec<u64> = members.iter().map(|m| m["pid"].as_u64().unwrap()).collect();
        pids.sort_unstable();
        pids == agents && members.iter().all(|member| member["workers"] == 2)
    });
}

/// Strictly one after the other, without a hole.
fn assert_whole(numbers: &[u64]) {
    for pair in numbers.windows(2) {
        assert_eq!(pair[0] + 1, pair[1], "{numbers:?}");
    }
}

#[test]
fn a_reload_of_workers_and_agent_costs_no_message_and_doubles_none() {
    let redis = Redis::start(&[]);
    let hosts = two(&redis);
    let [speaker, listener] = &hosts;
    let before = listener.worker_pids();
    let last = count_while(speaker, || {
        for _ in 0..3 {
            assert_eq!(listener.verb(&["reload", "--agent"]).code, Some(0));
        }
    });
    let after = listener.worker_pids();
    assert!(before.iter().all(|pid| !after.contains(pid)));
    listener.expect("who is there hears the last", || {
        let numbers = numbers(listener);
        let heard = |pid| {
            numbers
                .get(pid)
                .is_some_and(|all| all.last() == Some(&last))
        };
        after.iter().all(heard)
    });
    // Each generation of workers lives through the change of its agents.
    let numbers = numbers(listener);
    assert!(numbers.len() >= 8, "{numbers:?}");
    for heard in numbers.values() {
        assert_whole(heard);
    }
}

#[test]
fn subscriptions_outlive_an_agent_that_is_killed() {
    let redis = Redis::start(&[]);
    let hosts = two(&redis);
    let [speaker, listener] = &hosts;
    let workers = listener.worker_pids();
    let last = count_while(speaker, || {
        for round in 0..3 {
            let mark = listener.mark();
            kill(listener.agent(), Signal::KILL);
            listener.wait_since(mark, step("agent-ready"));
            listener.expect("they hear on", || {
                say(speaker, &json!(["round", round]));
                let heard = heard(listener);
                workers
                    .iter()
                    .all(|pid| heard[pid].contains(&json!(["round", round])))
            });
        }
    });
    listener.expect("all hear the last", || {
        let numbers = numbers(listener);
        workers.iter().all(|pid| numbers[pid].last() == Some(&last))
    });
    assert_eq!(listener.worker_pids(), workers);
    // What was said while there was no agent is lost, and nothing comes twice or too late.
    for heard in numbers(listener).values() {
        assert!(heard.is_sorted_by(|a, b| a < b), "{heard:?}");
    }
}

/// Asks what is held and not answered, and lets something happen when a worker of each host is at it.
fn ask_while(hosts: &[Cluster; 2], within_ms: u64, work: impl FnOnce()) -> Value {
    let held = |cluster| {
        let heard = heard(cluster).into_values().flatten();
        heard.filter(|said| *said == "held").count()
    };
    let before = hosts.each_ref().map(held);
    let asker = hosts[0].address();
    thread::scope(|scope| {
        let answers = scope.spawn(move || ask_at(asker, &who("held", within_ms)));
        for (cluster, before) in hosts.iter().zip(before) {
            cluster.expect("it is held", || held(cluster) == before + 1);
        }
        work();
        answers.join().unwrap()
    })
}

#[test]
fn a_question_ends_with_who_is_at_it() {
    let redis = Redis::start(&[]);
    let hosts = two(&redis);
    // The agent that has asked takes the answers along.
    let said = ask_while(&hosts, 3_600_000, || kill(hosts[0].agent(), Signal::KILL));
    assert_eq!(said, json!({"Ok": {"answers": [], "missing": 2}}));
    hosts[0].expect("there is another agent", || {
        ask(&hosts[0], &who("who", 10_000))["Ok"]["answers"]
            .as_array()
            .is_some_and(|answers| answers.len() == 2)
    });
    // A host whose worker dies has said all it has to say.
    let said = ask_while(&hosts, 10_000, || {
        for slot in 0..2 {
            kill(hosts[1].worker(slot), Signal::KILL);
        }
    });
    assert_eq!(said, json!({"Ok": {"answers": [], "missing": 1}}));
}

#[test]
fn without_redis_a_call_says_so_and_it_goes_on_when_it_is_back() {
    let mut redis = Redis::start(&[]);
    let hosts = two(&redis);
    redis.kill();
    hosts[0].expect("it says so", || {
        say(&hosts[0], &json!("nobody hears it")) == json!({"Err": "disconnected"})
    });
    let disconnected = json!({"Err": "disconnected"});
    assert_eq!(ask(&hosts[0], &json!({"do": "members"})), disconnected);
    assert_eq!(ask(&hosts[0], &who("who", 1000)), disconnected);
    let subscribe = json!({"do": "subscribe", "topic": "later"});
    assert_eq!(ask(&hosts[0], &subscribe), json!({"Ok": "later"}));
    assert_eq!(hosts[0].get("/"), "Hello World");
    // Meanwhile there is a new agent, which finds no Redis either.
    let mark = hosts[0].mark();
    kill(hosts[0].agent(), Signal::KILL);
    hosts[0].wait_since(mark, step("agent-ready"));
    redis.revive();
    hosts[0].expect("they hear each other again", || {
        say(&hosts[1], &json!("again"));
        let heard = heard(&hosts[0]);
        let pids = hosts[0].worker_pids();
        pids.iter().all(|pid| heard[pid].contains(&json!("again")))
    });
}

#[test]
fn a_worker_that_stands_still_costs_others_nothing() {
    let redis = Redis::start(&[]);
    let hosts = [
        host(&redis).flag("--message-queue", "64KiB").start(),
        host(&redis).start(),
    ];
    meet(&hosts);
    let [listener, speaker] = &hosts;
    let (stopped, other) = (listener.worker(0), u64::from(listener.worker(1)));
    kill(stopped, Signal::STOP);
    let large = json!({"do": "large", "topic": "said", "bytes": 16384});
    let size = json!(16384);
    let sizes = |pid: u64| {
        let heard = heard(listener).remove(&pid).unwrap_or_default();
        heard.iter().filter(|said| **said == size).count()
    };
    for number in 1..=40 {
        assert_eq!(ask(speaker, &large), json!({"Ok": 2}));
        listener.expect("the other one hears all", || sizes(other) == number);
    }
    assert_eq!(sizes(stopped.into()), 0);
    kill(stopped, Signal::CONT);
    assert_eq!(say(speaker, &json!("last")), json!({"Ok": 2}));
    listener.expect("it hears on", || {
        let sent = say(speaker, &json!("last"));
        assert_eq!(sent, json!({"Ok": 2}));
        heard(listener)[&u64::from(stopped)].contains(&json!("last"))
    });
    let got = sizes(stopped.into());
    assert!(
        got > 0 && got < 40,
        "what did not fit is lost for it: {got}"
    );
}

#[test]
fn without_a_fleet_every_call_says_so() {
    let cluster = playground!().start();
    let none = json!({"Err": "not-configured"});
    assert_eq!(say(&cluster, &json!("hello")), none);
    assert_eq!(ask(&cluster, &who("who", 1000)), none);
    assert_eq!(ask(&cluster, &json!({"do": "members"})), none);
    assert_eq!(
        ask(&cluster, &json!({"do": "subscribe", "topic": "t"})),
        none
    );
    assert_eq!(ask(&cluster, &count(1, 2)), none);
    cluster.stop();
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let redis = Redis::start(&[]);
    let cluster = host(&redis).flag("--max-message", "64KiB").start();
    let large = |bytes: usize| json!({"do": "large", "topic": "t", "bytes": bytes});
    cluster.expect("there is a fleet", || {
        ask(&cluster, &large(1)) == json!({"Ok": 1})
    });
    let most = 62 * 1024;
    assert_eq!(ask(&cluster, &large(most)), json!({"Ok": 1}));
    assert_eq!(
        ask(&cluster, &large(most + 1)),
        json!({"Err": {"too-large": {"len": most + 1, "max": most}}})
    );
    let empty = json!({"do": "subscribe", "topic": ""});
    assert_eq!(ask(&cluster, &empty), json!({"Err": {"name": {"len": 0}}}));
    let long = json!({"do": "broadcast", "topic": "x".repeat(256), "payload": 1});
    assert_eq!(ask(&cluster, &long), json!({"Err": {"name": {"len": 256}}}));
    // Half a million clients of Redis would be one each: it has those of the agent, and this one.
    let clients = redis.ask("CLIENT LIST");
    assert_eq!(clients.lines().count(), 3, "{clients}");
}
