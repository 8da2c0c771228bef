//! A log file that was moved away is opened again on USR1, by everybody: no line is lost, and none is split.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;

use hatchery_tests::process::{descriptors_of_thread, kill};
use hatchery_tests::{Cluster, Plan, http, playground, step};
use rustix::process::Signal;

const REOPENED: &str = "the log file was opened again";

/// Moves the log file away and waits until everybody writes to a new one.
fn rotate(cluster: &Cluster, log: &Path, to: &Path) {
    fs::rename(log, to).unwrap();
    cluster.signal(Signal::USR1);
    cluster.expect("the master opens it again", || {
        fs::read_to_string(log).is_ok_and(|text| text.contains(REOPENED))
    });
    for pid in cluster.everybody() {
        cluster.expect("a child writes there", || writes_to(pid, log));
    }
}

/// By both its streams.
fn writes_to(pid: u32, log: &Path) -> bool {
    let links = [1, 2].map(|fd| fs::read_link(format!("/proc/{pid}/fd/{fd}")));
    links
        .iter()
        .all(|link| link.as_ref().is_ok_and(|to| to == log))
}

fn logging() -> (Plan, PathBuf) {
    let plan = playground!();
    let log = plan.path("log");
    (plan.flag("--log-file", &log), log)
}

#[test]
fn no_line_is_lost_or_split() {
    let (plan, log) = logging();
    let cluster = plan.start();
    let over = Arc::new(AtomicBool::new(false));
    let heard = Arc::new(AtomicUsize::new(0));
    let address = cluster.address();
    let speakers: Vec<_> = (0..4)
        .map(|speaker| {
            let (over, heard) = (Arc::clone(&over), Arc::clone(&heard));
            thread::spawn(move || {
                let mut connection = http::connect(address).unwrap();
                let mut words = 0;
                while !over.load(Relaxed) {
                    connection
                        .get(&format!("/say/{speaker}-{words}-end"))
                        .unwrap();
                    words += 1;
                    heard.fetch_add(1, Relaxed);
                }
                words
            })
        })
        .collect();
    let olds: Vec<_> = (0..5)
        .map(|n| cluster.plan().path(&format!("log.{n}")))
        .collect();
    for old in &olds {
        let enough = heard.load(Relaxed) + 20;
        cluster.expect("they are heard", || heard.load(Relaxed) >= enough);
        rotate(&cluster, &log, old);
    }
    over.store(true, Relaxed);
    let said: Vec<u32> = speakers.into_iter().map(|s| s.join().unwrap()).collect();
    cluster.stop();
    let mut lines = BTreeMap::<String, usize>::new();
    for file in olds.iter().chain([&log]) {
        let text = fs::read_to_string(file).unwrap();
        assert!(
            text.ends_with('\n'),
            "the last line of {} is whole",
            file.display()
        );
        for line in text.lines() {
            let words = line.rsplit(' ').next().unwrap_or_default();
            if line.contains("said ") || line.contains("logged ") {
                assert!(words.ends_with("-end"), "{line}");
                *lines.entry(words.to_owned()).or_default() += 1;
            }
        }
    }
    for (speaker, words) in said.iter().enumerate() {
        for word in 0..*words {
            let key = format!("{speaker}-{word}-end");
            assert_eq!(
                lines.get(&key),
                Some(&2),
                "{key}: said and logged once each"
            );
        }
    }
}

#[test]
fn a_process_that_starts_meanwhile_and_the_watch_thread_write_there_too() {
    let (plan, log) = logging();
    let cluster = plan.fragile().start();
    cluster.spoil_starts("slow:1500");
    kill(cluster.worker(0), Signal::KILL);
    cluster.wait_hooks("start", 4);
    let old = cluster.plan().path("log.1");
    fs::rename(&log, &old).unwrap();
    cluster.signal(Signal::USR1);
    cluster.wait(step("worker-replaced").slot(0));
    for pid in cluster.everybody() {
        cluster.expect("everybody writes there", || writes_to(pid, &log));
        cluster.expect("the watch thread, too", || {
            let table = descriptors_of_thread(pid, "hatchery-watch").unwrap_or_default();
            table.get(&2) == Some(&log)
        });
    }
    cluster.mend_starts();
    cluster.stop();
}

#[test]
fn the_events_file_is_opened_again_and_nothing_is_lost() {
    let cluster = playground!().start();
    let events = cluster.plan().events_file();
    let old = cluster.plan().path("events.old");
    cluster.wait_hooks("egg_ready", 3);
    let (worker, before) = (cluster.worker(0), cluster.events().len());
    fs::rename(&events, &old).unwrap();
    cluster.signal(Signal::USR1);
    cluster.expect("there is a new one", || events.exists());
    kill(worker, Signal::KILL);
    cluster.expect("a worker is replaced", || {
        fs::read_to_string(&events).is_ok_and(|text| text.contains("worker-replaced"))
    });
    let lines = |path: &Path| fs::read_to_string(path).unwrap().lines().count();
    assert_eq!(lines(&old), before);
    assert_eq!(lines(&events), 4, "exited, spawned, ready, replaced");
    cluster.expect_orderly_end();
}

#[test]
fn a_file_that_cannot_be_opened_leaves_the_old_one() {
    let (plan, log) = logging();
    let cluster = plan.start();
    let old = cluster.plan().path("log.1");
    fs::rename(&log, &old).unwrap();
    fs::create_dir(&log).unwrap();
    cluster.signal(Signal::USR1);
    cluster.expect("it is said", || {
        fs::read_to_string(&old).is_ok_and(|text| text.contains("cannot be opened again"))
    });
    cluster.get("/say/still-here");
    cluster.expect("workers still write", || {
        fs::read_to_string(&old).is_ok_and(|text| text.contains("logged still-here"))
    });
    cluster.stop();
}

#[test]
fn without_a_log_file_nothing_happens() {
    let cluster = playground!().start();
    cluster.signal(Signal::USR1);
    cluster.expect("it is said", || {
        cluster.stderr().contains("there is no log file")
    });
    cluster.stop();
}
