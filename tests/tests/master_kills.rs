//! Masters killed at any moment of what they do: nobody is ever left without a master.
//!
//! `HATCHERY_TESTS_KILLS` is how many of each kind (12), `HATCHERY_TESTS_KILLS_SEED` repeats the moments of a run.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hatchery_tests::chance::{Chance, number};
use hatchery_tests::control::Control;
use hatchery_tests::event::{count, names};
use hatchery_tests::order::Pending;
use hatchery_tests::process::{self, kill};
use hatchery_tests::wait::{self, PATIENCE};
use hatchery_tests::{Cluster, Plan, http, playground};
use rustix::process::Signal;
use serde_json::json;

/// How long children may take that have nothing to finish.
const SOON: Duration = Duration::from_secs(3);
/// Master, agent, two workers.
const EVERYBODY: usize = 4;

fn kills() -> u64 {
    number("HATCHERY_TESTS_KILLS", 12)
}

/// Moments at random of something that takes so long.
struct Moments {
    chance: Chance,
    window: Duration,
}

impl Moments {
    fn of(mut what: impl FnMut()) -> Self {
        let begin = Instant::now();
        what();
        Self {
            window: begin.elapsed(),
            chance: Chance::of("HATCHERY_TESTS_KILLS_SEED"),
        }
    }

    /// Lets one come, early ones more often: on a machine that was busy with other things the first one took long. A
    /// bit later than the end, too.
    fn pass(&mut self) {
        let share = self.chance.below(110) * self.chance.below(110) / 110;
        wait::moment(self.window * u32::try_from(share).unwrap() / 100);
    }
}

#[test]
fn at_a_moment_of_its_start() {
    let mut first = None;
    let mut moments = Moments::of(|| first = Some(playground!().start()));
    drop(first);
    for _ in 0..kills() {
        let cluster = playground!().launch();
        moments.pass();
        let killed = cluster.kill_master();
        cluster.expect_gone_within(SOON, killed);
    }
}

#[test]
fn at_a_moment_of_a_reload() {
    let plan = || playground!().own_copy();
    let reload = |cluster: &Cluster, agent| {
        let order = cluster.order(json!({"request": "reload", "agent": agent}));
        // From the moment on at which the master knows.
        cluster.wait("reload-started");
        order
    };
    let mut moments = {
        let cluster = plan().start();
        Moments::of(|| reload(&cluster, true).outcome().unwrap())
    };
    for n in 0..kills() {
        let cluster = plan().start();
        let order = reload(&cluster, n % 2 == 0);
        moments.pass();
        let killed = cluster.kill_master();
        cluster.expect_gone_within(SOON, killed);
        order.forget();
    }
}

fn upgradable() -> Plan {
    playground!().upgradable()
}

/// Orders an upgrade, and lets a moment of it come.
fn upgrade(cluster: &Cluster, moments: &mut Moments) -> Pending {
    let order = cluster.order(json!({"request": "upgrade"}));
    cluster.wait("upgrade-started");
    moments.pass();
    order
}

fn moments_of_an_upgrade() -> Moments {
    let cluster = upgradable().start();
    let upgrade = || cluster.order(json!({"request": "upgrade"}));
    let moments = Moments::of(|| upgrade().outcome().unwrap());
    cluster.follow();
    moments
}

/// Masters that follow, wherever they are in their life: children have names of their own.
fn followers(cluster: &Cluster) -> Vec<u32> {
    let mut masters = cluster.survivors().list();
    masters.retain(|process| process.name == "playground" && process.pid != cluster.master());
    masters.iter().map(|process| process.pid).collect()
}

/// Waits until exactly one generation serves, or nobody is left. Whether somebody serves.
#[track_caller]
fn comes_to_rest(cluster: &Cluster) -> bool {
    let serves = wait::until(PATIENCE, || {
        if cluster.survivors().gone_within(Duration::ZERO) {
            return Some(false);
        }
        let mut control = Control::connect(&cluster.control_path()).ok()?;
        control.ask("status").ok()?;
        let ready = control.receive()?["state"] == "ready";
        (ready && cluster.survivors().list().len() == EVERYBODY).then_some(true)
    });
    let serves = serves.unwrap_or_else(|| panic!("{:?}", cluster.survivors().list()));
    if serves {
        let answer = http::get(cluster.address(), "/").unwrap();
        assert_eq!(answer.text(), "Hello World");
    }
    cluster.expect_one_in_office();
    serves
}

/// Kills whatever master there is, and sees everybody go.
#[track_caller]
fn end(cluster: &Cluster, order: Pending) {
    let killed = cluster.kill_master();
    process::expect_dead(cluster.master());
    for pid in followers(cluster) {
        kill(pid, Signal::KILL);
    }
    cluster.expect_gone_within(SOON, killed);
    order.forget();
    // This process is the parent of those who have none.
    for pid in cluster.events().iter().filter_map(|event| event.pid) {
        if pid != cluster.master() {
            process::wait_for_orphan(pid);
        }
    }
}

#[test]
fn the_old_one_at_a_moment_of_an_upgrade() {
    let mut moments = moments_of_an_upgrade();
    let mut outcomes = BTreeMap::new();
    for _ in 0..kills() {
        let cluster = upgradable().start();
        let order = upgrade(&cluster, &mut moments);
        cluster.kill_master();
        let serves = comes_to_rest(&cluster);
        *outcomes.entry(serves).or_insert(0) += 1;
        end(&cluster, order);
    }
    eprintln!("whether a new master served: {outcomes:?}");
}

#[test]
fn the_new_one_at_a_moment_of_an_upgrade() {
    let mut moments = moments_of_an_upgrade();
    let mut outcomes = BTreeMap::new();
    for _ in 0..kills() {
        let cluster = upgradable().start();
        let order = upgrade(&cluster, &mut moments);
        // Found faster than `followers` are: an upgrade is over soon.
        let mut children = process::children(cluster.master());
        children.retain(|child| child.name == "playground");
        for new in &children {
            kill(new.pid, Signal::KILL);
        }
        let serves = comes_to_rest(&cluster);
        // Until the new one serves, the old one goes on. At some moments there is no new one yet, or no old one any more.
        let too_late = count(&cluster.events(), "upgrade-finished") > 0 && !children.is_empty();
        assert_eq!(serves, !too_late, "{}", names(&cluster.events()));
        *outcomes.entry(serves).or_insert(0) += 1;
        end(&cluster, order);
    }
    eprintln!("whether a master served: {outcomes:?}");
}

#[test]
fn both_each_at_a_moment_of_an_upgrade() {
    let mut moments = moments_of_an_upgrade();
    for _ in 0..kills() {
        let cluster = upgradable().start();
        let order = upgrade(&cluster, &mut moments);
        cluster.kill_master();
        moments.pass();
        end(&cluster, order);
    }
}
