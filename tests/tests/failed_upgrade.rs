//! A new master that cannot take over, whatever the reason and the moment: the old one serves on as if nothing
//! had been. And an old master that dies on the way: the new one goes on alone.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use hatchery_tests::deploy::copy_program;
use hatchery_tests::event::count;
use hatchery_tests::{Cluster, Plan, Traffic, http, playground, process, step};
use rustix::process::Signal;

/// As many processes as there were before: master, agent and two workers.
#[track_caller]
fn nobody_is_left_over(cluster: &Cluster) {
    cluster.expect("nobody of the new generation is left", || {
        cluster.survivors().list().len() == 4
    });
}

/// Serves on, can be upgraded afterwards, and ends in order.
#[track_caller]
fn is_as_before(cluster: &Cluster) {
    nobody_is_left_over(cluster);
    assert_eq!(cluster.get("/"), "Hello World");
    cluster.expect_one_in_office();
}

#[test]
fn a_worker_that_does_not_start_is_quoted() {
    let cluster = playground!().upgradable().start();
    let traffic = Traffic::begin(cluster.address(), 16);
    let descriptors = process::descriptors(cluster.master());
    cluster.spoil_starts("exit:7");
    cluster.fail_upgrade(&["the new master is gone", "worker", "exited with code 7"]);
    cluster.spoil_starts("fail");
    cluster.fail_upgrade(&["Worker::start failed: this was asked for"]);
    is_as_before(&cluster);
    assert_eq!(cluster.status()["generation"], 1);
    cluster.expect("no descriptor is left over", || {
        process::descriptors(cluster.master()) <= descriptors
    });
    cluster.mend_starts();
    cluster.upgrade();
    assert!(traffic.end().is_empty());
    cluster.stop();
}

#[test]
fn a_worker_that_hangs_is_given_up_in_time() {
    let cluster = playground!()
        .upgradable()
        .flag("--worker-start-timeout", "1s")
        .start();
    cluster.spoil_starts("hang");
    cluster.fail_upgrade(&["did not finish within"]);
    is_as_before(&cluster);
    cluster.stop();
}

/// Replaces the program by this, and gets an upgrade that fails with these words.
#[track_caller]
fn with_program(put: impl Fn(&Path), words: &[&str]) {
    let cluster = playground!().upgradable().start();
    let program = cluster.plan().program().to_owned();
    let aside = program.with_extension("old");
    fs::rename(&program, &aside).unwrap();
    put(&program);
    let status = cluster.status();
    let control = {
        let mut control = cluster.control();
        control.ask("upgrade").unwrap();
        loop {
            let reply = control.receive().expect("an outcome");
            if reply["reply"] == "finished" {
                break reply;
            }
        }
    };
    let failure = control["error"].as_str().unwrap();
    for word in words {
        assert!(failure.contains(word), "no `{word}` in {failure}");
    }
    assert_eq!(cluster.status()["master"], status["master"]);
    is_as_before(&cluster);
    // For the harness's own commands, and to see that it can be done now.
    fs::rename(&aside, &program).unwrap();
    cluster.upgrade();
    cluster.stop();
}

#[test]
fn there_is_no_executable() {
    with_program(|_| {}, &["there is no"]);
}

#[test]
fn it_is_no_program() {
    with_program(
        |path| {
            fs::write(path, "no program").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        },
        &["not an ELF file"],
    );
}

#[test]
fn it_may_not_be_executed() {
    with_program(
        |path| {
            fs::write(path, "").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        },
        &["not executable"],
    );
}

#[test]
fn it_is_another_program() {
    with_program(
        |path| copy_program(Path::new("/bin/ls"), path),
        &["exited with code 2", "the last it wrote"],
    );
}

fn configured(text: &str) -> (Plan, std::path::PathBuf) {
    let plan = playground!().upgradable();
    let file = plan.path("app.toml");
    fs::write(&file, text).unwrap();
    let flag = file.clone();
    (plan.flag("--config", flag), file)
}

#[test]
fn its_configuration_is_wrong() {
    let (plan, file) = configured("");
    let cluster = plan.start();
    fs::write(&file, "wrokers = 3").unwrap();
    cluster.fail_upgrade(&["exited with code 4", "wrokers"]);
    is_as_before(&cluster);
    fs::write(&file, "").unwrap();
    cluster.upgrade();
    cluster.stop();
}

#[test]
fn an_address_that_it_adds_is_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (plan, file) = configured("listen = [\"127.0.0.1:0\"]");
    let cluster = plan.without_default_address().start();
    let both = format!("listen = [\"127.0.0.1:0\", \"{address}\"]");
    fs::write(&file, both).unwrap();
    cluster.fail_upgrade(&[&address.to_string(), "in use"]);
    is_as_before(&cluster);
    drop(taken);
    cluster.upgrade();
    assert_eq!(http::get(address, "/").unwrap().text(), "Hello World");
    // What it no longer names is closed.
    fs::write(&file, "listen = [\"127.0.0.1:0\"]").unwrap();
    cluster.upgrade();
    http::get(address, "/").unwrap_err();
    cluster.stop();
}

#[test]
fn the_new_master_is_killed_on_its_way() {
    let cluster = playground!().upgradable().start();
    cluster.spoil_starts("slow:20000");
    let output = cluster.plan().path("upgrade.out");
    let mut command = cluster.spawn_verb(&["upgrade"], &output);
    let new = cluster.wait_nth("master-started", 2).pid.unwrap();
    cluster.wait_nth("worker-spawned", 4);
    process::kill(new, Signal::KILL);
    assert_eq!(command.wait().unwrap().code(), Some(7));
    let said = fs::read_to_string(&output).unwrap();
    assert!(said.contains("killed by signal 9"), "{said}");
    is_as_before(&cluster);
    cluster.stop();
}

#[test]
fn the_new_master_hangs_on_its_way() {
    let cluster = playground!()
        .upgradable()
        .flag("--agent-start-timeout", "1s")
        .flag("--worker-start-timeout", "1s")
        .start();
    cluster.spoil_starts("slow:700");
    let output = cluster.plan().path("upgrade.out");
    let mut command = cluster.spawn_verb(&["upgrade"], &output);
    let new = cluster.wait_nth("master-started", 2).pid.unwrap();
    cluster.wait_nth("worker-spawned", 4);
    process::kill(new, Signal::STOP);
    assert_eq!(command.wait().unwrap().code(), Some(7));
    let said = fs::read_to_string(&output).unwrap();
    assert!(said.contains("was not ready within"), "{said}");
    process::expect_dead(new);
    is_as_before(&cluster);
    cluster.stop();
}

/// The old agent is out of office by then, so there is a fresh one, and not before the new one is dead.
#[test]
fn the_new_master_hangs_when_it_is_to_begin() {
    let cluster = playground!()
        .upgradable()
        .agent_stand_down("slow:500")
        .start();
    let agent = cluster.agent();
    let output = cluster.plan().path("upgrade.out");
    let mut command = cluster.spawn_verb(&["upgrade"], &output);
    cluster.wait("standing-down");
    let new = cluster.wait_nth("master-started", 2).pid.unwrap();
    process::kill(new, Signal::STOP);
    assert_eq!(command.wait().unwrap().code(), Some(7));
    let said = fs::read_to_string(&output).unwrap();
    assert!(said.contains("did not serve in time"), "{said}");
    process::expect_dead(new);
    cluster.wait(step("agent-exited").pid(agent));
    cluster.wait_nth("agent-ready", 3);
    cluster.expect("the fresh one is in office", || {
        cluster.office().last().map(|line| line.pid) == Some(cluster.agent())
    });
    is_as_before(&cluster);
    cluster.stop();
}

/// Kills the old master when the new one has come so far, and sees the new one serve, alone.
#[track_caller]
fn old_one_dies(cluster: &Cluster, when: impl Fn(&Cluster)) {
    let old = (cluster.master(), cluster.agent(), cluster.address());
    let output = cluster.plan().path("upgrade.out");
    let mut command = cluster.spawn_verb(&["upgrade"], &output);
    when(cluster);
    let mark = cluster.mark();
    process::kill(old.0, Signal::KILL);
    assert_eq!(command.wait().unwrap().code(), Some(7));
    let ended = cluster.follow();
    assert_eq!(ended.code(), None, "it was killed");
    cluster.wait_since(mark, step("egg-ready").pid(cluster.master()));
    assert_eq!(http::get(old.2, "/").unwrap().text(), "Hello World");
    assert!(!process::is_alive(old.1), "the old agent went first");
    is_as_before(cluster);
    assert_eq!(cluster.status()["generation"], 2);
    assert_eq!(count(&cluster.events(), "upgrade-finished"), 0);
    // It is a master like any other.
    cluster.upgrade();
    cluster.stop();
}

#[test]
fn the_old_master_dies_at_once() {
    let cluster = playground!().upgradable().start();
    old_one_dies(&cluster, |cluster| {
        cluster.wait_nth("master-started", 2);
    });
}

#[test]
fn the_old_master_dies_while_the_new_one_starts_its_workers() {
    let cluster = playground!().upgradable().start();
    cluster.spoil_starts("slow:700");
    old_one_dies(&cluster, |cluster| {
        cluster.wait_nth("worker-spawned", 4);
    });
}

#[test]
fn the_old_master_dies_while_its_agent_stands_down() {
    let cluster = playground!()
        .upgradable()
        .agent_stand_down("slow:700")
        .start();
    old_one_dies(&cluster, |cluster| {
        cluster.wait("standing-down");
    });
}

#[test]
fn one_upgrade_at_a_time() {
    let cluster = playground!().upgradable().start();
    cluster.spoil_starts("slow:1000");
    let output = cluster.plan().path("upgrade.out");
    let mut command = cluster.spawn_verb(&["upgrade"], &output);
    cluster.wait("upgrade-started");
    let second = cluster.verb(&["upgrade"]);
    cluster.expect_failed(&second, &["an upgrade is going on"]);
    assert_eq!(command.wait().unwrap().code(), Some(0));
    cluster.follow();
    cluster.stop();
}

#[test]
fn a_stop_wins() {
    let cluster = playground!().upgradable().start();
    cluster.spoil_starts("slow:20000");
    let output = cluster.plan().path("upgrade.out");
    let mut command = cluster.spawn_verb(&["upgrade"], &output);
    cluster.wait_nth("worker-spawned", 4);
    cluster.expect_orderly_end();
    assert_eq!(command.wait().unwrap().code(), Some(7));
}

#[test]
fn a_stop_is_not_upgraded() {
    let cluster = playground!()
        .upgradable()
        .flag("--pre-stop-delay", "5s")
        .start();
    cluster.signal(Signal::TERM);
    cluster.wait("stopping");
    let ran = cluster.verb(&["upgrade"]);
    cluster.expect_failed(&ran, &["stopping"]);
    cluster.stop();
}

#[test]
fn process_one_is_not_upgraded() {
    let cluster = playground!().as_process_one().start();
    let ran = cluster.verb(&["upgrade"]);
    cluster.expect_failed(&ran, &["process 1", "reload"]);
    cluster.stop();
}
