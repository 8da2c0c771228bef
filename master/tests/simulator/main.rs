//! Lives many random lives of a cluster in virtual time: the real supervisor, model children.
//!
//! A life is a seed. The seed draws a policy, a world (`scenario`) and everything that happens in it:
//! children boot, die, hang and lie (`child`), events are late, double and wrong (`world`), and after
//! every step a judge that knows the rules but not the code (`judge`, `hearing`) looks at what was done
//! (`verdict`: `births`, `words`, `ends`, `rollout`) and at what was not (`duties`).
//!
//! `HATCHERY_SIM_SEEDS` is how many lives to live; a seed that fails is printed with the last it did
//! and becomes a test here. Draws are made in a fixed order, so a change of the worlds changes what a
//! seed means: named seeds are a memory of what was found, the table tests in `rules` keep it found.

#![expect(
    clippy::panic,
    clippy::expect_used,
    reason = "a test says what it found by panicking"
)]

mod agenda;
mod births;
mod child;
mod duties;
mod ends;
mod hearing;
mod judge;
mod known;
mod operators;
mod rng;
mod rollout;
mod scenario;
mod shell;
mod tally;
mod trace;
mod verdict;
mod words;
mod world;

use std::time::Instant;

use tally::Tally;
use trace::Trace;
use world::World;

/// Lives a life again that once broke a rule.
fn replay(seed: u64) {
    live(seed);
}

fn live(seed: u64) -> Tally {
    match World::new(seed, &mut Trace::off()).run() {
        Ok(tally) => tally,
        Err(broken) => {
            // The same life again, with somebody writing.
            let mut trace = Trace::on();
            let again = World::new(seed, &mut trace).run();
            assert_eq!(
                again,
                Err(broken.clone()),
                "seed {seed} is not deterministic"
            );
            panic!("seed {seed}: {broken}; the last of it:\n{}", trace.text());
        }
    }
}

/// Fewer where every step takes ten times as long.
fn seeds() -> u64 {
    let default = if cfg!(debug_assertions) {
        5_000
    } else {
        200_000
    };
    match std::env::var("HATCHERY_SIM_SEEDS") {
        Ok(count) => count.parse().expect("HATCHERY_SIM_SEEDS is a number"),
        Err(_) => default,
    }
}

#[test]
fn every_life_keeps_the_rules() {
    let begin = Instant::now();
    let mut all = Tally::default();
    for seed in 0..seeds() {
        all += live(seed);
    }
    println!("{all:?} in {:.1} s", begin.elapsed().as_secs_f64());
    if all.schedules >= 1_000 {
        assert!(
            all.counts().iter().all(|&n| n > 0),
            "the worlds are too tame: {all:?}"
        );
    }
}

#[test]
fn a_seed_is_a_life() {
    for seed in 0..50 {
        assert_eq!(live(seed), live(seed));
    }
}

/// A slot that was given up in a row of deaths was wanted again: its first process had to wait (84). A worker
/// that was sent away in its start made room for another one to boot, and nobody used it (731).
#[test]
fn seeds_84_and_731_slots_come_and_go() {
    replay(84);
    replay(731);
}

/// A new agent took the place of one in a crash loop, and had been well for long enough already.
#[test]
fn seed_9658_a_new_agent_ends_a_crash_loop() {
    replay(9658);
}

/// A committed master was gone, and the agent that had become ready meanwhile was not told egg-ready.
#[test]
fn seed_59703_an_agent_is_back_on_duty() {
    replay(59703);
}
