//! What is run at certain times: where, how often, and what becomes of it when processes come and go.

use std::fs;

use hatchery_tests::jobs::{
    assert_no_repetition, begun, expect_outcome, lines, schedule, wait_begun,
};
use hatchery_tests::{Cluster, Plan, playground, process};
use rustix::process::Signal;
use serde_json::Value;

fn plan(schedules: &str) -> Plan {
    playground!().schedules(schedules)
}

#[test]
fn one_worker_runs_it_and_not_always_the_same() {
    let cluster = plan("a every=20").start();
    cluster.expect("both have had a turn", || {
        [0, 1]
            .iter()
            .all(|slot| begun(&cluster).iter().any(|l| l.slot == Some(*slot)))
    });
    assert_no_repetition(&begun(&cluster));
    cluster.stop();
}

#[test]
fn all_workers_run_it_once_each() {
    let cluster = plan("a all disabled").start();
    let ran = cluster.verb(&["schedule", "run", "a"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let mut slots: Vec<_> = begun(&cluster).iter().map(|l| l.slot).collect();
    slots.sort_unstable();
    assert_eq!(slots, [Some(0), Some(1)]);
    cluster.stop();
}

#[test]
fn the_agent_runs_it_itself() {
    let cluster = plan("a every=20 agent").start();
    let agent = cluster.agent();
    let lines = wait_begun(&cluster, 3);
    assert!(
        lines.iter().all(|l| l.slot.is_none() && l.pid == agent),
        "{lines:?}"
    );
    cluster.stop();
}

#[test]
fn a_pattern_with_seconds_runs_each_second() {
    let cluster = plan("a cron=*_*_*_*_*_* zone=Europe/Berlin").start();
    let lines = wait_begun(&cluster, 2);
    assert!(lines.iter().all(|l| l.due_ms % 1000 == 0), "{lines:?}");
    assert_no_repetition(&lines);
    cluster.stop();
}

/// What makes no sense, and what is said of it.
const NONSENSE: [(&str, &str); 8] = [
    (
        "a every=0",
        "schedule `a`: the interval 0ns is not between 10ms and ",
    ),
    (
        "a every=9",
        "schedule `a`: the interval 9ms is not between 10ms and ",
    ),
    (
        "a cron=nonsense",
        "schedule `a`: `nonsense` is no cron pattern: Invalid pattern: Pattern must have between 5 and 7 fields.; ",
    ),
    (
        "a cron=0_0_30_2_*",
        "schedule `a`: no time to come matches the cron pattern `0 0 30 2 *`",
    ),
    (
        "a cron=@daily zone=Mars/Olympus",
        "schedule `a`: there is no time zone `Mars/Olympus`: use a name as `Europe/Berlin` or `UTC`",
    ),
    (
        "a every=50;a every=60",
        "two schedules have the name `a`: give each one its own",
    ),
    ("a/b every=50", "`a/b` is no name for a schedule or a job"),
    (
        "a every=50 job=unheard-of",
        "`unheard-of`, which this worker does not know",
    ),
];

/// Code 3, one sentence, and nobody is left: the harness sees to that.
#[test]
fn what_makes_no_sense_fails_the_start() {
    for (schedules, sentence) in NONSENSE {
        let ended = plan(schedules).run_to_end();
        ended.expect_code(3).expect_stderr(&[sentence]);
        ended.expect_no("egg-ready");
        let mut report = ended
            .stderr
            .lines()
            .filter(|l| l.contains(" ERROR master "));
        let said = report.next().unwrap();
        assert_eq!(said.matches(sentence).count(), 1, "{said}");
        assert_eq!(report.next(), None, "{}", ended.stderr);
    }
}

#[test]
fn what_makes_no_sense_fails_a_reload_and_everything_stays() {
    let plan = playground!();
    let file = plan.path("schedules");
    fs::write(&file, "a every=20").unwrap();
    let cluster = plan.schedules(&format!("@{}", file.display())).start();
    let agent = |cluster: &Cluster| cluster.status()["agent"]["pid"].clone();
    let before = agent(&cluster);
    for (schedules, sentence) in NONSENSE {
        fs::write(&file, schedules).unwrap();
        let ran = cluster.verb(&["reload", "--agent"]);
        assert_eq!(ran.code, Some(7), "{ran:?}");
        assert!(ran.stderr.contains(sentence), "{ran:?}");
    }
    assert_eq!(agent(&cluster), before);
    let count = begun(&cluster).len();
    wait_begun(&cluster, count + 2);
    assert_no_repetition(&begun(&cluster));
    cluster.stop();
}

#[test]
fn immediate_is_once_in_the_life_of_a_cluster() {
    let cluster = plan("a;b every=3600000 immediate agent")
        .upgradable()
        .start();
    cluster.expect("both have run", || begun(&cluster).len() == 2);
    let mark = cluster.mark();
    process::kill(cluster.agent(), Signal::KILL);
    cluster.wait_since(mark, "agent-ready");
    let ran = cluster.verb(&["reload", "--agent"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    cluster.upgrade();
    // Whatever the new agent wanted to run at once has been run when this has.
    cluster.expect("the new agent knows of the runs", || {
        schedule(&cluster, "a")["runs"] == 1 && schedule(&cluster, "b")["runs"] == 1
    });
    let ran = cluster.verb(&["schedule", "run", "b"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let names: Vec<_> = begun(&cluster)
        .into_iter()
        .map(|l| (l.schedule, l.number))
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert_eq!(names[2], ("b".to_owned(), 2));
    cluster.stop();
}

#[test]
fn failures_are_told_and_the_worker_goes_on() {
    let cases = [
        ("fail", "failed", Some("this was asked for")),
        ("panic", "failed", Some("panicked: this was asked for")),
        ("hang", "timed-out", None),
    ];
    for (job, outcome, reason) in cases {
        let cluster = plan(&format!("a job={job} timeout=100 disabled")).start();
        let workers = cluster.worker_pids();
        let ran = cluster.verb(&["schedule", "run", "a"]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        let run = expect_outcome(&cluster, "a", outcome);
        assert_eq!(run["reason"].as_str(), reason, "{run}");
        cluster.expect("the log says it", || {
            cluster.stderr().contains("run 1 of `a`")
        });
        assert_eq!(cluster.worker_pids(), workers);
        cluster.stop();
    }
}

#[test]
fn a_worker_that_dies_in_the_middle_is_noticed_at_once() {
    let cluster = plan("a job=die-once disabled").start();
    let ran = cluster.verb(&["schedule", "run", "a"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let run = expect_outcome(&cluster, "a", "lost");
    assert!(
        run["reason"].as_str().unwrap().starts_with("worker "),
        "{run}"
    );
    assert_eq!(begun(&cluster).len(), 1);
    cluster.wait("worker-replaced");
    cluster.stop();
}

#[test]
fn a_lost_run_is_tried_again_once_if_the_author_says_so() {
    let cluster = plan("a job=die-once retry disabled").start();
    let ran = cluster.verb(&["schedule", "run", "a"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let attempts: Vec<_> = begun(&cluster)
        .iter()
        .map(|l| (l.number, l.attempt))
        .collect();
    assert_eq!(attempts, [(1, 1), (1, 2)]);
    cluster.wait("worker-replaced");
    cluster.stop();
}

#[test]
fn an_overlapping_run_is_skipped_and_counted() {
    let cluster = plan("a every=50 job=slow").start();
    cluster.expect("some are skipped", || {
        schedule(&cluster, "a")["skipped"].as_u64() >= Some(3)
    });
    wait_begun(&cluster, 2);
    let lines = lines(&cluster);
    let steps: Vec<_> = lines.iter().map(|l| l.step.as_str()).collect();
    assert_eq!(&steps[..3], ["begin", "end", "begin"]);
    cluster.stop();
}

#[test]
fn an_operator_switches_it_off_and_a_new_agent_knows() {
    let cluster = plan("a every=50").start();
    wait_begun(&cluster, 1);
    let ran = cluster.verb(&["schedule", "disable", "a"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(schedule(&cluster, "a")["enabled"], false);
    let mark = cluster.mark();
    process::kill(cluster.agent(), Signal::KILL);
    cluster.wait_since(mark, "agent-ready");
    assert_eq!(schedule(&cluster, "a")["enabled"], false);
    // By command it runs all the same, and nothing has run in between.
    let before = schedule(&cluster, "a")["runs"].as_u64().unwrap();
    let ran = cluster.verb(&["schedule", "run", "a"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(schedule(&cluster, "a")["runs"], before + 1);
    let ran = cluster.verb(&["schedule", "enable", "a"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let count = begun(&cluster).len();
    wait_begun(&cluster, count + 2);
    cluster.stop();
}

#[test]
fn the_list_is_for_people_and_for_machines() {
    let cluster = plan("a every=3600000;b cron=30_2_*_*_* zone=Europe/Berlin all").start();
    cluster.expect("the agent has told", || schedule(&cluster, "b").is_object());
    let ran = cluster.verb(&["schedule", "list"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("30 2 * * * Europe/Berlin"), "{ran:?}");
    assert!(ran.stdout.contains("every 3600s"), "{ran:?}");
    let ran = cluster.verb(&["schedule", "list", "--json"]);
    let list: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(list[0]["name"], "a");
    assert_eq!(list[1]["place"], "all-workers");
    assert!(list[1]["next_ms"].is_u64(), "{list}");
    let ran = cluster.verb(&["schedule", "run", "c"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("there is no schedule `c`"), "{ran:?}");
    cluster.stop();
}

/// A reload lets a job end, and so does a stop.
#[test]
fn a_worker_that_leaves_finishes_its_job() {
    let cluster = plan("a job=slow disabled").start();
    let out = cluster.plan().path("out");
    let mut asked = cluster.spawn_verb(&["schedule", "run", "a"], &out);
    wait_begun(&cluster, 1);
    let ran = cluster.verb(&["reload"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let run = expect_outcome(&cluster, "a", "succeeded");
    assert!(run["duration_ms"].as_u64() >= Some(1500), "{run}");
    assert!(asked.wait().unwrap().success());
    let mut asked = cluster.spawn_verb(&["schedule", "run", "a"], &out);
    wait_begun(&cluster, 2);
    cluster.stop();
    asked.wait().unwrap();
    let steps: Vec<_> = lines(&cluster).into_iter().map(|l| l.step).collect();
    assert_eq!(steps, ["begin", "end", "begin", "end"]);
}
