//! Several hosts that share a schedule, each with an agent of its own, with the clock paused.

mod world;

use hatchery_protocol::schedule::{Cause, Command, Turn as Whose};
use proptest::prelude::*;

use self::world::{FREE_AFTER_THAT, Fleet, Host, LOST, Ran, S};
use super::*;
use crate::schedule::{Missed, Schedule};

fn cron() -> Schedule {
    Schedule::cron("a", "*/10 * * * * *")
}

/// Lets every task do what it can, at this very moment.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(2)).await;
}

/// No time was run twice, and whoever ran later had the larger token.
#[track_caller]
fn judge(runs: &[Ran]) {
    // What an agent has left to the next one of its host has lost its time's name.
    let named = |run: &&Ran| run.due_ms.is_multiple_of(10_000);
    let times: Vec<&Ran> = runs.iter().filter(named).collect();
    for pair in times.windows(2) {
        let [first, second] = pair else { continue };
        assert!(first.due_ms < second.due_ms, "{runs:#?}");
        assert!(first.token <= second.token, "{runs:#?}");
        assert!(
            first.host == second.host || first.token < second.token,
            "{runs:#?}"
        );
    }
    assert!(runs.iter().all(|run| run.token.is_some()), "{runs:#?}");
}

#[tokio::test(start_paused = true)]
async fn each_time_is_run_by_one_host_of_many() {
    let fleet = Fleet::new();
    let hosts = [0, 1, 2].map(|number| Host::new(number, &fleet));
    let _runners = hosts.each_ref().map(|host| host.start(&cron()));
    tokio::time::sleep(55 * S).await;
    let runs = fleet.runs();
    judge(&runs);
    assert_eq!(runs.len(), 5);
    let holder = fleet.holder().unwrap();
    for host in &hosts {
        let here = host.number == holder;
        let status = host.status();
        let turn = if here { Whose::Here } else { Whose::Elsewhere };
        assert_eq!(status.turn, Some(turn));
        assert_eq!(
            (status.next_ms.is_some(), status.runs),
            (here, 5 * u64::from(here))
        );
        assert_eq!((status.missed, status.skipped), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_stops_in_order_hands_over_and_no_time_is_missed() {
    for schedule in [cron(), Schedule::every("a", 10 * S)] {
        let fleet = Fleet::new();
        let hosts = [0, 1].map(|number| Host::new(number, &fleet));
        let mut runners = hosts.each_ref().map(|host| host.start(&schedule));
        tokio::time::sleep(25 * S).await;
        let first = fleet.holder().unwrap();
        runners[first].close(20 * S).await;
        settle().await;
        assert_eq!(fleet.holder(), Some(1 - first));
        tokio::time::sleep(20 * S).await;
        let runs = fleet.runs();
        judge(&runs);
        let by: Vec<_> = runs.iter().map(|run| run.host).collect();
        assert_eq!(by, [first, first, 1 - first, 1 - first], "{runs:#?}");
        assert!(runs.iter().all(|run| run.cause == Cause::Due), "{runs:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn times_between_two_holders_are_missed_ones() {
    // (policy, the causes of the runs after the cut, how many are counted as missed)
    let cases = [
        (Missed::Once, vec![Cause::Missed, Cause::Due], 1),
        (Missed::Skip, vec![Cause::Due], 2),
    ];
    for (policy, causes, missed) in cases {
        let fleet = Fleet::new();
        let hosts = [0, 1].map(|number| Host::new(number, &fleet));
        let schedule = cron().missed(policy);
        let _runners = hosts.each_ref().map(|host| host.start(&schedule));
        tokio::time::sleep(17 * S).await;
        let first = fleet.holder().unwrap();
        let other = &hosts[1 - first];
        fleet.cut_off(first);
        // The time at 20 s comes while nobody can say whose it is, that at 30 s while nobody has the turn.
        tokio::time::sleep(16 * S).await;
        assert_eq!(fleet.holder(), Some(other.number));
        assert_eq!(hosts[first].status().turn, Some(Whose::Elsewhere));
        tokio::time::sleep(13 * S).await;
        let runs = fleet.runs();
        judge(&runs);
        let (before, after) = runs.split_at(1);
        assert_eq!(before[0].host, first);
        let told: Vec<_> = after.iter().map(|run| (run.host, run.cause)).collect();
        let expected: Vec<_> = causes.iter().map(|cause| (1 - first, *cause)).collect();
        assert_eq!(told, expected, "{runs:#?}");
        assert_eq!(other.status().missed, missed);
        // Back again it is one of those who look on.
        fleet.heal(first);
        let count = fleet.runs().len();
        tokio::time::sleep(20 * S).await;
        judge(&fleet.runs());
        assert_eq!(fleet.runs().len(), count + 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_cut_only_delays() {
    let fleet = Fleet::new();
    let host = Host::new(0, &fleet);
    let _runner = host.start(&cron());
    tokio::time::sleep(8 * S).await;
    fleet.cut_off(0);
    tokio::time::sleep(5 * S).await;
    assert_eq!(fleet.runs(), []);
    fleet.heal(0);
    settle().await;
    assert_eq!(fleet.runs().len(), 1);
    tokio::time::sleep(20 * S).await;
    judge(&fleet.runs());
    assert_eq!(fleet.runs().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn clocks_that_differ_run_no_time_twice() {
    let fleet = Fleet::new();
    let hosts = [0, 1].map(|number| Host {
        skew: [4000, -4000][number],
        ..Host::new(number, &fleet)
    });
    let mut runners = hosts.each_ref().map(|host| Some(host.start(&cron())));
    for round in 0..6 {
        tokio::time::sleep(13 * S).await;
        let holder = fleet.holder().unwrap();
        if let Some(mut runner) = runners[holder].take() {
            runner.close(S).await;
        }
        settle().await;
        assert_eq!(fleet.holder(), Some(1 - holder), "round {round}");
        runners[holder] = Some(hosts[holder].start(&cron()));
    }
    judge(&fleet.runs());
    assert!(fleet.runs().len() >= 6, "{:#?}", fleet.runs());
}

#[tokio::test(start_paused = true)]
async fn who_has_no_worker_or_is_switched_off_leaves_it_to_others() {
    let fleet = Fleet::new();
    let hosts = [0, 1].map(|number| Host::new(number, &fleet));
    let runners = hosts.each_ref().map(|host| host.start(&cron()));
    tokio::time::sleep(15 * S).await;
    let first = fleet.holder().unwrap();
    hosts[first].workers.send_replace(0);
    settle().await;
    assert_eq!(fleet.holder(), Some(1 - first));
    let switch = |host: usize, command| {
        let asked = Event::Asked {
            name: "a".to_owned(),
            command,
            order: 1,
        };
        runners[host].teller().send(asked).unwrap();
    };
    hosts[first].workers.send_replace(2);
    switch(1 - first, Command::Disable);
    settle().await;
    assert_eq!(fleet.holder(), Some(first));
    // By command it runs where the turn is.
    switch(1 - first, Command::Run);
    switch(first, Command::Run);
    settle().await;
    let refused = hosts[1 - first].answers.lock().unwrap().clone();
    let [Ok(()), Err(sentence)] = refused.as_slice() else {
        panic!("{refused:?}")
    };
    assert!(
        sentence.contains("`a` is run by another host"),
        "{sentence}"
    );
    assert_eq!(hosts[first].answers.lock().unwrap().as_slice(), [Ok(())]);
    assert!(fleet.runs().last().unwrap().token.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_was_begun_is_finished_before_the_turn_is_given_back() {
    let fleet = Fleet::new();
    let host = Host {
        takes: 30 * S,
        ..Host::new(0, &fleet)
    };
    let runner = host.start(&cron());
    tokio::time::sleep(15 * S).await;
    let asked = Event::Asked {
        name: "a".to_owned(),
        command: Command::Disable,
        order: 1,
    };
    runner.teller().send(asked).unwrap();
    tokio::time::sleep(20 * S).await;
    assert_eq!(fleet.holder(), Some(0));
    tokio::time::sleep(10 * S).await;
    assert_eq!(fleet.holder(), None);
}

#[tokio::test(start_paused = true)]
async fn a_run_in_the_agent_hears_that_the_turn_is_over() {
    let fleet = Fleet::new();
    let host = Host::new(0, &fleet);
    let heard = watch::Sender::new(None);
    let job_heard = heard.clone();
    let _runner = host.start(&cron().in_agent(move |job| {
        let job_heard = job_heard.clone();
        async move {
            job.closing().cancelled().await;
            job_heard.send_replace(job.fleet_token());
            Ok(())
        }
    }));
    tokio::time::sleep(12 * S).await;
    fleet.cut_off(0);
    tokio::time::sleep(9 * S).await;
    assert_eq!(*heard.borrow(), None);
    tokio::time::sleep(2 * S).await;
    assert_eq!(*heard.borrow(), Some(1));
}

/// The fleet said yes when the agent was about to leave already: nobody else will run it.
#[tokio::test(start_paused = true)]
async fn what_was_claimed_by_an_agent_that_leaves_is_run_by_the_next_one() {
    let fleet = Fleet::new();
    let host = Host::new(0, &fleet);
    let mut runner = host.start(&cron());
    tokio::time::sleep(8 * S).await;
    fleet.cut_off(0);
    tokio::time::sleep(3 * S).await;
    let closing = runner.close(20 * S);
    let healing = async {
        tokio::time::sleep(S / 10).await;
        fleet.heal(0);
    };
    tokio::join!(closing, healing);
    assert_eq!(fleet.runs(), []);
    assert!(host.status().queued);
    let _next = host.start(&cron());
    settle().await;
    let runs = fleet.runs();
    assert_eq!(runs.len(), 1);
    assert_eq!((runs[0].cause, runs[0].token), (Cause::Missed, Some(2)));
}

#[tokio::test(start_paused = true)]
async fn without_a_fleet_it_is_run_by_each_host() {
    let fleet = Fleet::new();
    let hosts = [0, 1].map(|number| Host {
        fleet: None,
        ..Host::new(number, &fleet)
    });
    let _runners = hosts.each_ref().map(|host| host.start(&cron()));
    tokio::time::sleep(25 * S).await;
    assert_eq!(fleet.runs().len(), 4);
    assert!(fleet.runs().iter().all(|run| run.token.is_none()));
    assert_eq!(hosts[0].status().turn, None);
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Pass(u64),
    CutOff(usize),
    Heal(usize),
    /// The agent is replaced in order.
    Replace(usize),
    /// It dies, and the next one comes; what it held is lost to everybody for a while.
    Die(usize),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever happens to whom: no time is run twice, and when all is well again, each time is run.
    #[test]
    fn a_time_is_run_once_in_a_fleet(
        steps in proptest::collection::vec(prop_oneof![
            4 => (0..20_000_u64).prop_map(Step::Pass),
            2 => (0..3_usize).prop_map(Step::CutOff),
            2 => (0..3_usize).prop_map(Step::Heal),
            1 => (0..3_usize).prop_map(Step::Replace),
            1 => (0..3_usize).prop_map(Step::Die),
        ], 1..40)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let fleet = Fleet::new();
            let hosts = [0, 1, 2].map(|number| Host {
                skew: [0, 700, -700][number],
                ..Host::new(number, &fleet)
            });
            let mut runners = hosts.each_ref().map(|host| Some(host.start(&cron())));
            for step in steps {
                match step {
                    Step::Pass(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
                    Step::CutOff(host) => fleet.cut_off(host),
                    Step::Heal(host) => fleet.heal(host),
                    Step::Replace(host) => {
                        if let Some(mut runner) = runners[host].take() {
                            runner.close(S).await;
                        }
                        runners[host] = Some(hosts[host].start(&cron()));
                    }
                    Step::Die(host) => {
                        drop(runners[host].take());
                        fleet.cut_off(host);
                        settle().await;
                        fleet.heal(host);
                        if fleet.holder() == Some(host) {
                            tokio::time::sleep(LOST + FREE_AFTER_THAT).await;
                            fleet.known.send_modify(|known| {
                                known.holder.take_if(|holder| holder.0 == host);
                            });
                        }
                        runners[host] = Some(hosts[host].start(&cron()));
                    }
                }
                judge(&fleet.runs());
            }
            for host in 0..3 {
                fleet.heal(host);
            }
            tokio::time::sleep(40 * S).await;
            let before = fleet.runs().len();
            tokio::time::sleep(100 * S).await;
            judge(&fleet.runs());
            assert_eq!(fleet.runs().len(), before + 10);
        });
    }
}
