//! What is to be run once in a whole fleet: by which host, and what becomes of it when hosts come, go and are cut off.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs;
use std::path::{Path, PathBuf};

use hatchery_tests::cut::{Network, Weather};
use hatchery_tests::process::kill;
use hatchery_tests::redis::Redis;
use hatchery_tests::{Cluster, Plan, playground, trace};
use rustix::process::Signal;
use serde::Deserialize;
use serde_json::{Value, json};

/// Each second, whose name all hosts know.
const EACH_SECOND: &str = "a cron=*_*_*_*_*_* fleet";

/// A run that has begun or ended, on whichever host.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Line {
    step: String,
    due_ms: u64,
    pid: u32,
    token: Option<u64>,
}

/// A host that writes its runs where all others do.
fn plan(url: &str, schedules: &str, jobs: &Path) -> Plan {
    playground!()
        .flag("--fleet", url)
        .flag("--fleet-lease", "1s")
        .env("PLAYGROUND_SCHEDULES", schedules)
        .env("PLAYGROUND_JOBS", jobs)
}

/// Hosts that run the same schedules, and what they have run.
struct Hosts {
    _redis: Redis,
    networks: Vec<Network>,
    clusters: Vec<Cluster>,
    jobs: PathBuf,
    _folder: tempfile::TempDir,
}

impl Hosts {
    fn start(count: usize, schedules: &str) -> Self {
        let redis = Redis::start(&[]);
        let folder = tempfile::tempdir().unwrap();
        let jobs = folder.path().join("jobs");
        let networks: Vec<_> = (0..count).map(|_| Network::to(redis.port())).collect();
        let start = |network: &Network| {
            let plan = plan(&network.redis_url(), schedules, &jobs);
            plan.upgradable().start()
        };
        let clusters = networks.iter().map(start).collect();
        Self {
            _redis: redis,
            networks,
            clusters,
            jobs,
            _folder: folder,
        }
    }

    fn begun(&self) -> Vec<Line> {
        let mut lines: Vec<Line> = trace::read(&self.jobs);
        lines.retain(|line| line.step == "begin");
        lines
    }

    /// Waits until so many more runs have begun, on whichever host.
    #[track_caller]
    fn expect_more(&self, count: usize) {
        let before = self.begun().len();
        self.clusters[0].expect("runs begin", || self.begun().len() >= before + count);
    }

    /// Waits until a host that is none of these has the turn.
    #[track_caller]
    fn holder_but(&self, not: &[usize]) -> usize {
        let mut holder = None;
        self.clusters[0].expect("a host has the turn", || {
            let mut others = (0..self.clusters.len()).filter(|host| !not.contains(host));
            holder = others.find(|host| turn(&self.clusters[*host]) == "here");
            holder.is_some()
        });
        holder.unwrap()
    }

    /// No time was run twice, and later times with no smaller token.
    #[track_caller]
    fn judge(&self) {
        let mut runs = self.begun();
        runs.sort_by_key(|run| run.due_ms);
        for pair in runs.windows(2) {
            assert!(pair[0].due_ms < pair[1].due_ms, "{runs:#?}");
            assert!(pair[0].token <= pair[1].token, "{runs:#?}");
        }
        assert!(runs.iter().all(|run| run.token.is_some()), "{runs:#?}");
    }
}

/// What status says of the first schedule.
fn schedule(cluster: &Cluster) -> Value {
    cluster.status()["schedules"][0].clone()
}

fn turn(cluster: &Cluster) -> String {
    schedule(cluster)["turn"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn each_time_is_run_by_one_host_whatever_becomes_of_it() {
    let hosts = Hosts::start(3, EACH_SECOND);
    hosts.expect_more(2);
    // It dies.
    let first = hosts.holder_but(&[]);
    kill(hosts.clusters[first].agent(), Signal::KILL);
    hosts.expect_more(2);
    // It is cut off, serves on, and is back.
    let second = hosts.holder_but(&[]);
    hosts.networks[second].set(Weather::Silent);
    let third = hosts.holder_but(&[second]);
    hosts.clusters[second].expect("it knows that its turn is over", || {
        turn(&hosts.clusters[second]) == "elsewhere"
    });
    assert_eq!(hosts.clusters[second].get("/"), "Hello World");
    hosts.expect_more(2);
    hosts.networks[second].set(Weather::Fine);
    // Its agent is replaced, by a reload and by an upgrade.
    let ran = hosts.clusters[third].verb(&["reload", "--agent"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    hosts.expect_more(2);
    let next = hosts.holder_but(&[]);
    hosts.clusters[next].upgrade();
    hosts.expect_more(2);
    // It stops.
    let last = hosts.holder_but(&[]);
    hosts.clusters[last].stop();
    hosts.holder_but(&[last]);
    hosts.expect_more(2);
    hosts.judge();
}

#[test]
fn a_paused_holder_that_wakes_up_late_runs_nothing_twice() {
    let hosts = Hosts::start(2, "a cron=*_*_*_*_*_* fleet agent");
    hosts.expect_more(1);
    let first = hosts.holder_but(&[]);
    let agent = hosts.clusters[first].agent();
    kill(agent, Signal::STOP);
    hosts.holder_but(&[first]);
    hosts.expect_more(2);
    kill(agent, Signal::CONT);
    hosts.clusters[first].expect("it knows that its turn is over", || {
        turn(&hosts.clusters[first]) == "elsewhere"
    });
    hosts.expect_more(2);
    hosts.judge();
}

/// Nobody else is let in, so nothing is done with other rights.
#[test]
fn the_rights_in_the_documentation_suffice() {
    let redis = Redis::start(&[]);
    redis.allow("someone", "hunter2", "playground");
    redis.ask("ACL SETUSER default off");
    let password = redis.folder().join("password");
    fs::write(&password, "hunter2").unwrap();
    let jobs = redis.folder().join("jobs");
    let schedules = format!("{EACH_SECOND};b every=200 fleet agent");
    let start = || {
        let plan = plan(&redis.url(), &schedules, &jobs);
        plan.flag("--fleet-user", "someone")
            .flag("--fleet-password-file", &password)
            .start()
    };
    let lines = || trace::read::<Line>(&jobs);
    let [first, second] = [start(), start()];
    let expect_runs = |of: &Cluster| {
        let before = lines().len();
        of.expect("runs begin", || lines().len() >= before + 12);
    };
    expect_runs(&first);
    // The turn goes from one to the other.
    first.stop();
    expect_runs(&second);
    assert!(lines().iter().all(|line| line.token.is_some()));
    let fleet = second.status()["fleet"].clone();
    assert_eq!(
        (&fleet["state"], &fleet["trouble"]),
        (&json!("connected"), &Value::Null)
    );
    second.stop();
}

#[test]
fn the_list_says_that_another_host_runs_it() {
    let hosts = Hosts::start(2, "a cron=30_2_*_*_* fleet");
    let here = hosts.holder_but(&[]);
    let (here, elsewhere) = (&hosts.clusters[here], &hosts.clusters[1 - here]);
    let listed = elsewhere.verb(&["schedule", "list"]);
    assert!(listed.stdout.contains("on another host"), "{listed:?}");
    let listed = here.verb(&["schedule", "list"]);
    assert!(!listed.stdout.contains("on another host"), "{listed:?}");
    assert_eq!(schedule(elsewhere)["next_ms"], Value::Null);
    // By command it runs where the turn is.
    let refused = elsewhere.verb(&["schedule", "run", "a"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("another host"), "{refused:?}");
    let ran = here.verb(&["schedule", "run", "a"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(hosts.begun().len(), 1);
    // Switched off here, it is left to the other one.
    let ran = here.verb(&["schedule", "disable", "a"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    elsewhere.expect("it has the turn", || turn(elsewhere) == "here");
    assert_eq!(turn(here), "elsewhere");
}

#[test]
fn without_a_fleet_it_is_run_by_the_host_alone() {
    let folder = tempfile::tempdir().unwrap();
    let jobs = folder.path().join("jobs");
    let plan = plan("", "a every=50 fleet", &jobs)
        .without("--fleet")
        .without("--fleet-lease");
    let cluster = plan.start();
    let lines = || trace::read::<Line>(&jobs);
    cluster.expect("it runs", || lines().len() >= 4);
    assert!(lines().iter().all(|line| line.token.is_none()));
    assert_eq!(schedule(&cluster)["turn"], Value::Null);
    cluster.expect("the log says it", || {
        cluster.stderr().contains("it is run by this host")
    });
    cluster.stop();
}

#[test]
fn a_fleet_has_no_start_to_run_at() {
    let redis = Redis::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    for schedules in ["a fleet", "a every=1000 immediate fleet"] {
        let plan = plan(&redis.url(), schedules, &folder.path().join("jobs"));
        let ended = plan.run_to_end();
        ended
            .expect_code(3)
            .expect_stderr(&["schedule `a` runs once per fleet, and a fleet has no start"]);
    }
}
