//! Who hears of whom, and when.

use super::bench::Bench;

#[test]
fn before_egg_ready_the_agent_hears_of_workers_one_by_one_and_workers_of_nobody() {
    let mut bench = Bench::booting(2);
    bench.ready("w1").does(&["tell agent: w1 up"]);
    bench.ready("w0").does(&["tell agent: w0 up", "listen"]);
}

#[test]
fn at_egg_ready_workers_hear_of_all_workers_before_anything_else() {
    let mut bench = Bench::ready_to_listen(2);
    let done = bench.listening().0;
    assert_eq!(done.first().unwrap(), "tell w0 w1: w0 up, w1 up");
}

#[test]
fn a_death_is_told_to_the_living_and_to_the_replacement() {
    let mut bench = Bench::serving(3);
    bench
        .exits("w1", 1)
        .does(&["spawn w1.2", "tell agent w0 w1.2 w2: slot 1 down"]);
}

#[test]
fn a_replacement_is_told_to_everybody_and_then_hatches() {
    let mut bench = Bench::serving(2);
    bench.exits("w1", 1).whatever();
    bench
        .becomes_ready("w1.2")
        .does(&["tell agent w0 w1.2: w1.2 up", "egg-ready w1.2"]);
}

#[test]
fn workers_hear_that_the_agent_is_gone_and_that_there_is_one_again() {
    let mut bench = Bench::serving(2);
    bench
        .exits("agent", 1)
        .does(&["spawn agent.2", "tell w0 w1: no agent"]);
    bench
        .becomes_ready("agent.2")
        .does(&["tell w0 w1: agent.2", "egg-ready agent.2"]);
}

/// It was told in its boot message who is ready; what changes while it boots is told as to everybody.
#[test]
fn a_booting_replacement_hears_what_changes_meanwhile() {
    let mut bench = Bench::serving(3);
    bench.exits("w0", 1).whatever();
    bench.spawned("w0.2").whatever();
    bench
        .exits("w2", 1)
        .does(&["spawn w2.2", "tell agent w0.2 w1 w2.2: slot 2 down"]);
    bench
        .exits("agent", 1)
        .does(&["spawn agent.2", "tell w0.2 w1 w2.2: no agent"]);
    bench
        .becomes_ready("agent.2")
        .does(&["tell w0.2 w1 w2.2: agent.2", "egg-ready agent.2"]);
}

#[test]
fn a_process_that_leaves_counts_as_gone_at_once_and_hears_nothing_more() {
    let mut bench = Bench::serving(3);
    bench
        .hook_fails("w1")
        .does(&["tell agent w0 w2: slot 1 down"]);
    bench
        .link_breaks("w2")
        .does(&["kill w2", "tell agent w0: slot 2 down"]);
    bench.hook_fails("agent").does(&["tell w0: no agent"]);
}

#[test]
fn the_last_worker_s_death_is_news_too() {
    let mut bench = Bench::serving(1);
    bench
        .exits("w0", 1)
        .does(&["spawn w0.2", "tell agent w0.2: slot 0 down"]);
}

#[test]
fn a_cluster_that_stops_has_no_news() {
    let mut bench = Bench::serving(2);
    bench.stop().whatever();
    bench.exits("w0", 0).does_nothing();
}
