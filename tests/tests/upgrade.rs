//! A new master takes over, and nobody outside notices.
#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too, and tells what it measured"
)]

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use hatchery_tests::control::Control;
use hatchery_tests::deploy::copy_program;
use hatchery_tests::event::position;
use hatchery_tests::listeners::{address, addresses};
use hatchery_tests::manager::Manager;
use hatchery_tests::process::Process;
use hatchery_tests::tls::{is_resumed, secure};
use hatchery_tests::{Traffic, each_strategy, http, playground, process, step};
use rustix::process::Signal;

const CLIENTS: u64 = 64;

#[test]
fn a_new_master_serves_and_the_old_one_leaves() {
    let cluster = playground!().upgradable().start();
    let old = (cluster.master(), cluster.everybody(), cluster.address());
    let ran = cluster.upgrade();
    assert!(ran.stderr.contains("upgrade-finished"), "{ran:?}");
    assert_ne!(cluster.master(), old.0);
    assert!(cluster.everybody().iter().all(|pid| !old.1.contains(pid)));
    let status = cluster.status();
    assert_eq!(status["generation"], 2, "{status}");
    assert_eq!(status["state"], "ready");
    assert_eq!(http::get(old.2, "/").unwrap().text(), "Hello World");
    old.1.into_iter().for_each(process::expect_dead);
    // In this order, by the words of both.
    let events = cluster.events();
    let order = [
        step("upgrade-started").pid(old.0),
        step("worker-ready").pid(cluster.worker(1)),
        step("standing-down"),
        step("egg-ready").pid(cluster.master()),
        step("upgrade-finished").pid(old.0),
        step("stopped").pid(old.0),
    ];
    let places = order.map(|step| position(&events, step));
    assert!(places.is_sorted(), "{places:?}");
    cluster.stop();
}

/// Three times, or as often as `HATCHERY_TESTS_UPGRADES` says.
fn under_load(strategy: &str) {
    let cluster = playground!()
        .upgradable()
        .workers(4)
        .strategy(strategy)
        .flag("--lame-duck", "2s")
        .flag("--drain-timeout", "20s")
        .start();
    let traffic = Traffic::of(cluster.address(), CLIENTS, CLIENTS);
    let rounds = std::env::var("HATCHERY_TESTS_UPGRADES");
    let rounds = rounds.map_or(3, |rounds| rounds.parse().unwrap());
    for _ in 0..rounds {
        traffic.expect_answers(500);
        cluster.upgrade();
    }
    traffic.expect_answers(500);
    let failures = traffic.end();
    assert!(failures.is_empty(), "{failures:#?}");
    assert_eq!(cluster.status()["generation"], rounds + 1);
    println!(
        "nobody in office for {:?} ms",
        cluster.expect_one_in_office()
    );
    cluster.stop();
}

each_strategy!(no_request_fails_in_upgrades => under_load);

/// Whatever the old agent makes of it, the new one is in office after it and never beside it.
#[test]
fn there_are_never_two_agents_in_office() {
    for what in [
        None,
        Some("ok"),
        Some("slow:300"),
        Some("fail"),
        Some("panic"),
    ] {
        let mut plan = playground!().upgradable();
        if let Some(what) = what {
            plan = plan.agent_stand_down(what);
        }
        let cluster = plan.start();
        let agent = cluster.agent();
        cluster.upgrade();
        cluster.expect("the new agent signs", || {
            let last = cluster.office().last().map(|line| line.pid);
            last == Some(cluster.agent())
        });
        assert_ne!(cluster.agent(), agent);
        let gaps = cluster.expect_one_in_office();
        println!("stand_down {what:?}: nobody in office for {gaps:?} ms");
        assert_eq!(gaps.len(), 1, "{what:?}");
        if what == Some("ok") {
            assert!(gaps[0] < 1000, "{gaps:?}");
        }
        cluster.stop();
    }
}

#[test]
fn an_agent_that_does_not_stand_down_is_killed() {
    let cluster = playground!().upgradable().agent_stand_down("hang").start();
    let agent = cluster.agent();
    cluster.upgrade();
    let exit = cluster.wait(step("agent-exited").pid(agent));
    assert!(exit.why().contains("did not stand down"), "{exit:?}");
    cluster.expect_one_in_office();
    cluster.stop();
}

#[test]
fn a_signal_does_it_too() {
    let cluster = playground!().upgradable().start();
    cluster.signal(Signal::USR2);
    assert_eq!(cluster.follow().code(), Some(0));
    assert_eq!(cluster.status()["generation"], 2);
    cluster.stop();
}

/// As in a reload: a number that the configuration says anew counts, else what somebody has scaled.
#[test]
fn what_was_scaled_stays_until_the_configuration_says_something_new() {
    let plan = playground!().upgradable().without("--workers");
    let file = plan.path("app.toml");
    fs::write(&file, "workers = 2\n").unwrap();
    let cluster = plan
        .listen("127.0.0.1:0?strategy=reuse-port")
        .flag("--config", &file)
        .start();
    let workers = || cluster.status()["workers"].as_array().unwrap().len();
    assert_eq!(cluster.verb(&["scale", "3"]).code, Some(0));
    for _ in 0..2 {
        cluster.upgrade();
        assert_eq!(workers(), 3);
    }
    assert_eq!(cluster.verb(&["reload"]).code, Some(0));
    assert_eq!(workers(), 3);
    assert_eq!(cluster.verb(&["scale", "1"]).code, Some(0));
    cluster.upgrade();
    assert_eq!(workers(), 1);
    fs::write(&file, "workers = 4\n").unwrap();
    cluster.upgrade();
    assert_eq!(workers(), 4);
    cluster.stop();
}

#[test]
fn the_executable_that_is_now_on_disk_runs() {
    let cluster = playground!().upgradable().start();
    let before = fs::metadata(cluster.plan().program()).unwrap().ino();
    let copy = cluster.plan().path("copy");
    copy_program(cluster.plan().program(), &copy);
    cluster.replace_program(&copy);
    cluster.upgrade();
    for pid in cluster.everybody().into_iter().chain([cluster.master()]) {
        let runs = fs::metadata(format!("/proc/{pid}/exe")).unwrap().ino();
        assert_ne!(runs, before);
    }
    cluster.stop();
}

#[test]
fn somebody_answers_operators_all_the_time() {
    let cluster = playground!().upgradable().start();
    let over = Arc::new(AtomicBool::new(false));
    let asking = std::thread::spawn({
        let (over, path) = (Arc::clone(&over), cluster.control_path());
        move || {
            let mut answers = 0;
            while !over.load(Relaxed) {
                let mut control = Control::connect(&path).unwrap();
                control.ask("status").unwrap();
                let status = control.receive().expect("an answer");
                assert_eq!(status["reply"], "status", "{status}");
                answers += 1;
            }
            answers
        }
    });
    for _ in 0..3 {
        cluster.upgrade();
    }
    over.store(true, Relaxed);
    assert!(asking.join().unwrap() > 10);
    cluster.stop();
}

#[test]
fn five_upgrades_leave_nothing_behind() {
    let cluster = playground!().upgradable().start();
    cluster.upgrade();
    cluster.expect("the old one is gone", || {
        cluster.survivors().list().len() == 4
    });
    let count = |pid| (process::descriptors(pid), process::threads(pid));
    let first = count(cluster.master());
    for _ in 0..4 {
        cluster.upgrade();
    }
    cluster.expect("nothing is left", || {
        cluster.survivors().list().len() == 4 && count(cluster.master()) == first
    });
    cluster.stop();
}

#[test]
fn every_kind_of_address_goes_on() {
    let plan = playground!().upgradable();
    let path = plan.path("app.sock");
    let unix = format!("unix:{}?mode=0660", path.display());
    let cluster = plan
        .listen("127.0.0.1:0")
        .listen("127.0.0.1:0?strategy=reuse-port")
        .listen(unix)
        .listen("udp:127.0.0.1:0?name=dns")
        .listen("[::1]:0")
        .start();
    let (before, file) = (addresses(&cluster), fs::metadata(&path).unwrap().ino());
    cluster.upgrade();
    assert_eq!(addresses(&cluster), before);
    assert_eq!(fs::metadata(&path).unwrap().ino(), file);
    for n in [0, 1, 4] {
        assert_eq!(
            http::get(address(&cluster, n), "/").unwrap().text(),
            "Hello World"
        );
    }
    let mut client = http::connect_unix(&path).unwrap();
    assert_eq!(client.get("/").unwrap().text(), "Hello World");
    drop(client);
    cluster.stop();
    assert!(!path.exists(), "the last one removes it");
}

#[test]
fn a_unix_socket_whose_file_is_gone_is_bound_anew() {
    let plan = playground!().upgradable();
    let path = plan.path("app.sock");
    let cluster = plan.listen(format!("unix:{}", path.display())).start();
    fs::remove_file(&path).unwrap();
    http::connect_unix(&path).unwrap_err();
    cluster.upgrade();
    let mut client = http::connect_unix(&path).unwrap();
    assert_eq!(client.get("/").unwrap().text(), "Hello World");
    drop(client);
    cluster.stop();
    assert!(!path.exists());
}

#[test]
fn inherited_sockets_go_on() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let served = socket.local_addr().unwrap();
    let cluster = playground!()
        .upgradable()
        .inherit(&socket)
        .listen("systemd#0")
        .start();
    drop(socket);
    for _ in 0..2 {
        cluster.upgrade();
        assert_eq!(http::get(served, "/").unwrap().text(), "Hello World");
    }
    cluster.stop();
}

#[test]
fn a_tls_session_goes_on() {
    let (plan, authority) = secure(playground!().upgradable());
    let cluster = plan.start();
    let client = authority.client();
    let mut first = client.connect(cluster.address()).unwrap();
    first.whoami().unwrap();
    drop(first);
    cluster.upgrade();
    let mut second = client.connect(cluster.address()).unwrap();
    second.whoami().unwrap();
    assert!(is_resumed(&second));
    drop(second);
    cluster.stop();
}

#[test]
fn the_pid_file_and_the_lock_name_the_new_master() {
    let plan = playground!().upgradable();
    let (file, lock) = (plan.path("app.pid"), plan.runtime_dir().join("master.lock"));
    let cluster = plan.flag("--pid-file", &file).start();
    cluster.upgrade();
    for path in [&file, &lock] {
        let pid = fs::read_to_string(path).unwrap();
        assert_eq!(pid.trim(), cluster.master().to_string());
    }
    // And the lock holds.
    let second = cluster.plan().run_command();
    assert_eq!(second.code, Some(6), "{second:?}");
    cluster.stop();
    assert!(!file.exists());
}

#[test]
fn a_daemon_is_followed_by_a_daemon() {
    let daemon = playground!().upgradable().arg("--daemon").run_daemon();
    assert_eq!(daemon.ran.code, Some(0), "{:?}", daemon.ran);
    let ran = daemon.verb(&["upgrade"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let status = daemon.verb(&["status", "--json"]).json();
    let pid = u32::try_from(status["master"]["pid"].as_u64().unwrap()).unwrap();
    let master = Process::find(pid).unwrap();
    assert_eq!(master.group, pid, "it leads a session of its own");
    assert_eq!(daemon.verb(&["stop"]).code, Some(0));
}

/// One speaks for the service at a time, and the service never looks as if it stopped.
#[test]
fn the_service_manager_is_told_of_the_new_main_process() {
    let (manager, plan) = Manager::of(playground!().upgradable());
    let cluster = plan.start();
    manager.expect_line("READY=1");
    cluster.upgrade();
    let main = format!("MAINPID={}", cluster.master());
    manager.expect_line(&main);
    cluster.expect("the old one is gone", || {
        cluster.survivors().list().len() == 4
    });
    let rest = manager.rest(Duration::from_millis(50));
    let ready = rest.iter().position(|told| told.has("READY=1"));
    assert!(ready.is_some(), "{rest:?}");
    assert!(!rest.iter().any(|told| told.has("STOPPING=1")), "{rest:?}");
    cluster.stop();
}
