//! What is on disk when a reload comes: a file that somebody writes to, one that was replaced, a link that was swapped.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use hatchery_tests::deploy::copy_program;
use hatchery_tests::{Cluster, playground, process, step};
use rustix::process::Signal;

/// The number of the file that each worker runs.
fn running(cluster: &Cluster) -> Vec<u64> {
    let pids = cluster.worker_pids().into_iter();
    pids.map(|pid| number(Path::new(&format!("/proc/{pid}/exe"))))
        .collect()
}

fn number(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

#[track_caller]
fn reload(cluster: &Cluster) {
    let ran = cluster.verb(&["reload"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn a_running_program_cannot_be_written_to_and_one_that_is_written_to_cannot_run() {
    let cluster = playground!().own_copy().start();
    let program = cluster.plan().program().to_owned();
    let busy = File::options().write(true).open(&program).unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::ExecutableFileBusy);
    let before = cluster.worker_pids();
    // A deploy that has not finished: its file is there, and still open.
    cluster.deploy(Path::new(env!("CARGO_BIN_EXE_playground")));
    let copying = File::options().append(true).open(&program).unwrap();
    let ran = cluster.verb(&["reload"]);
    let words = ["somebody is writing to the executable", "renaming"];
    cluster.expect_failed(&ran, &words);
    assert_eq!(cluster.worker_pids(), before);
    drop(copying);
    reload(&cluster);
    assert_eq!(running(&cluster), [number(&program); 2]);
    cluster.stop();
}

#[test]
fn a_file_that_is_renamed_over_the_running_one_is_taken() {
    let cluster = playground!().own_copy().start();
    let program = cluster.plan().program().to_owned();
    let first = number(&program);
    assert_eq!(running(&cluster), [first; 2]);
    cluster.deploy(Path::new(env!("CARGO_BIN_EXE_playground")));
    let second = number(&program);
    assert_ne!(first, second);
    assert_eq!(running(&cluster), [first; 2], "nobody has asked");
    reload(&cluster);
    assert_eq!(running(&cluster), [second; 2]);
    cluster.stop();
}

/// `current` leads to a release, and a deploy lets it lead to another one.
#[test]
fn a_link_that_is_swapped_is_followed() {
    let plan = playground!().upgradable();
    let program = plan.program().to_owned();
    let releases = ["one", "two", "three"].map(|name| {
        let release = plan.path(name);
        fs::create_dir(&release).unwrap();
        copy_program(&program, &release.join("playground"));
        release
    });
    let current = plan.path("current");
    let point_to = |release: &Path| {
        let beside = current.with_extension("new");
        symlink(release, &beside).unwrap();
        fs::rename(&beside, &current).unwrap();
    };
    let [one, two, three] = releases.each_ref().map(std::path::PathBuf::as_path);
    let of = |release: &Path| number(&release.join("playground"));
    point_to(one);
    let cluster = plan.program_at(current.join("playground")).start();
    assert_eq!(running(&cluster), [of(one); 2]);
    point_to(two);
    // A dead one is replaced by one of its own build.
    let mark = cluster.mark();
    process::kill(cluster.worker(0), Signal::KILL);
    cluster.wait_since(mark, step("worker-replaced").slot(0));
    assert_eq!(running(&cluster), [of(one); 2]);
    reload(&cluster);
    assert_eq!(running(&cluster), [of(two); 2]);
    // The release before may be removed, and one that is not there is no harm.
    fs::remove_dir_all(one).unwrap();
    point_to(one);
    let ran = cluster.verb(&["reload"]);
    cluster.expect_failed(&ran, &["there is no"]);
    assert_eq!(running(&cluster), [of(two); 2]);
    point_to(three);
    cluster.upgrade();
    assert_eq!(running(&cluster), [of(three); 2]);
    let master = format!("/proc/{}/exe", cluster.master());
    assert_eq!(number(Path::new(&master)), of(three));
    cluster.stop();
}
