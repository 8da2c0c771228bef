//! Starting where something is already: another master, somebody else's port, what a dead master left.
#![expect(
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt as _, chown};
use std::os::unix::net::UnixListener;

use hatchery_tests::event::count;
use hatchery_tests::loopback::unique_address;
use hatchery_tests::plan::NOBODY;
use hatchery_tests::process::{self, kill};
use hatchery_tests::wait::{PATIENCE, until};
use hatchery_tests::{Cluster, Ended, http, playground};
use rustix::process::Signal;

#[test]
fn a_second_start_is_refused_and_the_first_untouched() {
    let cluster = playground!().start();
    let before = (cluster.everybody(), cluster.events());
    let second = cluster.plan().clone().run_command();
    assert_eq!(second.code, Some(6), "{second:?}");
    let master = cluster.master().to_string();
    assert!(
        second.stderr.contains(&master),
        "it says who runs: {second:?}"
    );
    assert_eq!((cluster.everybody(), cluster.events()), before);
    assert_eq!(cluster.get("/"), "Hello World");
    assert_eq!(cluster.status()["state"], "ready");
    cluster.stop();
}

#[test]
fn a_second_start_is_refused_while_the_first_still_starts() {
    let cluster = playground!().agent_start("hang").launch();
    cluster.wait("agent-spawned");
    let second = cluster.plan().clone().run_command();
    assert_eq!(second.code, Some(6), "{second:?}");
    cluster.stop();
}

#[test]
fn a_port_that_somebody_else_serves_ends_the_start() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let ended = playground!().listen(address).run_to_end();
    ended
        .expect_code(5)
        .expect_stderr(&[&address.to_string(), "in use"])
        .expect_no("agent-spawned");
}

#[test]
fn one_bad_address_of_several_ends_the_start() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let free = unique_address();
    let plan = playground!();
    let path = plan.path("app.sock");
    let unix = format!("unix:{}", path.display());
    let ended = plan.listen(free).listen(unix).listen(address).run_to_end();
    ended.expect_code(5).expect_stderr(&[&address.to_string()]);
    TcpListener::bind(free).unwrap();
    assert!(!path.exists(), "nor is a unix socket left");
}

#[test]
fn a_port_that_another_master_serves_ends_the_start() {
    let first = playground!().start();
    let address = first.address();
    let ended = playground!().listen(address).run_to_end();
    ended
        .expect_code(5)
        .expect_stderr(&[&address.to_string(), "in use"]);
    assert_eq!(http::get(address, "/").unwrap().text(), "Hello World");
    first.stop();
}

/// The sockets of such a port let each other in, and nobody else's.
#[test]
fn a_port_of_a_socket_for_each_slot_is_shared_with_no_second_master() {
    let first = playground!().strategy("reuse-port").start();
    let address = first.address();
    for strategy in ["reuse-port", "shared", "round-robin"] {
        let ended = playground!()
            .listen(address)
            .strategy(strategy)
            .run_to_end();
        ended
            .expect_code(5)
            .expect_stderr(&[&address.to_string(), "in use"]);
    }
    assert_eq!(http::get(address, "/").unwrap().text(), "Hello World");
    first.stop();
}

#[test]
fn of_two_masters_that_bind_one_port_before_they_listen_one_wins() {
    let address = unique_address();
    let slow = playground!()
        .listen(address)
        .agent_start("slow:1000")
        .launch();
    slow.wait("agent-spawned");
    // It can bind, for nobody listens yet; and it is ready first.
    let fast = playground!().listen(address).start();
    let ended = slow.expect_exit();
    ended
        .expect_code(5)
        .expect_stderr(&[&address.to_string()])
        .expect_no("egg-ready");
    assert_eq!(count(&ended.events, "stopped"), 1);
    assert_eq!(http::get(address, "/").unwrap().text(), "Hello World");
    fast.stop();
}

#[test]
fn of_two_masters_that_bind_one_unix_path_before_they_listen_one_wins() {
    let plan = playground!();
    let path = plan.path("app.sock");
    let address = format!("unix:{}", path.display());
    let slow = plan.listen(&address).agent_start("slow:1000").launch();
    slow.wait("agent-spawned");
    let fast = playground!().listen(&address).launch();
    fast.wait_where("either", |event| {
        matches!(event.event.as_str(), "egg-ready" | "stopped")
    });
    // Whichever it is, the other one does not believe that it serves.
    let (winner, loser) = match fast.exit_status() {
        Some(_) => (slow, fast),
        None => (fast, slow),
    };
    let ended = loser.expect_exit();
    ended
        .expect_code(5)
        .expect_stderr(&["app.sock"])
        .expect_no("egg-ready");
    winner.wait("egg-ready");
    let mut connection = http::connect_unix(&path).unwrap();
    assert_eq!(connection.get("/").unwrap().text(), "Hello World");
    winner.stop();
}

#[test]
fn of_two_starts_at_the_same_moment_one_wins() {
    for _ in 0..10 {
        let plan = playground!();
        let clusters = [plan.clone().launch(), plan.launch()];
        let loser = until(PATIENCE, || {
            (0..2).find(|n| clusters[*n].exit_status().is_some())
        })
        .unwrap();
        assert_eq!(clusters[loser].expect_loss().code, Some(6));
        let winner = &clusters[1 - loser];
        winner.wait("egg-ready");
        assert_eq!(winner.get("/"), "Hello World");
        winner.stop();
    }
}

#[test]
fn a_start_right_after_a_stop_works() {
    let plan = playground!().listen(unique_address());
    for n in 1..=5 {
        let cluster = plan.clone().launch();
        cluster.wait_nth("egg-ready", n);
        let mut connection = cluster.connect();
        connection.whoami().unwrap();
        assert_eq!(cluster.verb(&["stop"]).code, Some(0));
        cluster.expect_exit().expect_code(0);
    }
}

#[test]
fn an_address_that_is_not_of_this_host_ends_the_start() {
    // Reserved for documentation (RFC 5737): nobody has it.
    let ended = playground!().listen("192.0.2.1:0").run_to_end();
    ended.expect_code(5).expect_stderr(&["192.0.2.1"]);
}

#[test]
fn a_live_unix_socket_is_not_taken_over() {
    let plan = playground!();
    let path = plan.path("app.sock");
    let _owner = UnixListener::bind(&path).unwrap();
    let ended = plan.listen(format!("unix:{}", path.display())).run_to_end();
    ended.expect_code(5).expect_stderr(&["app.sock"]);
    assert!(path.exists());
}

#[test]
fn a_stale_unix_socket_is_reclaimed() {
    let plan = playground!();
    let path = plan.path("app.sock");
    drop(UnixListener::bind(&path).unwrap());
    let cluster = plan.listen(format!("unix:{}", path.display())).start();
    let mut connection = http::connect_unix(&path).unwrap();
    assert_eq!(connection.get("/").unwrap().text(), "Hello World");
    cluster.stop();
}

#[test]
fn a_file_that_is_no_socket_is_not_removed_for_one() {
    let plan = playground!();
    let path = plan.path("app.sock");
    fs::write(&path, "precious").unwrap();
    let ended = plan.listen(format!("unix:{}", path.display())).run_to_end();
    ended.expect_code(5).expect_stderr(&["app.sock"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

/// A master that was killed leaves its files, and the next one starts all the same.
fn expect_restart(killed: &Cluster) {
    let cluster = killed.plan().clone().launch();
    // The file of events is the same one, so the first egg-ready in it is not ours.
    cluster.wait_nth("egg-ready", 2);
    cluster.expect_status("it is ready", |status| status["state"] == "ready");
    assert_eq!(cluster.status()["master"]["pid"], cluster.master());
    cluster.expect_orderly_end();
}

#[test]
fn what_a_killed_master_left_does_not_keep_the_next_one_from_starting() {
    let plan = playground!();
    let pid_file = plan.path("pid");
    let socket = plan.path("app.sock");
    let cluster = plan
        .flag("--pid-file", &pid_file)
        .listen(format!("unix:{}", socket.display()))
        .start();
    let killed = cluster.kill_master();
    cluster.expect_gone_within(PATIENCE, killed);
    assert!(cluster.control_path().exists() && pid_file.exists() && socket.exists());
    let status = cluster.verb(&["status"]);
    assert_eq!(status.code, Some(6), "nobody answers: {status:?}");
    expect_restart(&cluster);
    assert!(!pid_file.exists() && !socket.exists());
}

#[test]
fn children_that_outlive_their_master_for_a_moment_do_not_disturb_the_next_one() {
    let address = unique_address();
    let cluster = playground!()
        .before_close("slow:1500")
        .listen(address)
        .start();
    cluster.kill_master();
    // They are still closing, and must not hold the address or the lock while they do.
    cluster.wait_hooks("before_close", 3);
    assert!(!cluster.survivors().list().is_empty());
    expect_restart(&cluster);
}

/// Nothing tells it that its master is gone: the test adopts it, and is of its session, so the kernel does not wake it.
#[test]
fn who_was_suspended_when_the_master_died_is_woken_by_the_next_one() {
    // An adopter of the same session: by one of another the kernel would wake it (setpgid(2), orphaned groups).
    process::adopt_orphans();
    let cluster = playground!()
        .strategy("shared")
        .listen(unique_address())
        .start();
    let suspended = cluster.worker(1);
    kill(suspended, Signal::STOP);
    cluster.kill_master();
    cluster.expect("the others are gone", || {
        let left = cluster.survivors().list();
        left.iter().all(|process| process.pid == suspended)
    });
    assert!(process::is_alive(suspended));
    // And has the socket of the address.
    expect_restart(&cluster);
    process::expect_dead(suspended);
}

#[test]
fn a_pid_file_is_written_and_removed() {
    let plan = playground!();
    let path = plan.path("pid");
    let cluster = plan.flag("--pid-file", &path).start();
    let pid = fs::read_to_string(&path).unwrap();
    assert_eq!(pid.trim(), cluster.master().to_string());
    cluster.stop();
    assert!(!path.exists());
}

#[test]
fn a_pid_file_that_is_gone_already_is_no_error() {
    let plan = playground!();
    let path = plan.path("pid");
    let cluster = plan.flag("--pid-file", &path).start();
    fs::remove_file(&path).unwrap();
    cluster.stop();
}

#[test]
fn a_pid_file_of_another_process_is_replaced_and_never_believed() {
    let plan = playground!();
    let path = plan.path("pid");
    // A live process that is no master of ours, as after a reboot that gave the number to somebody else.
    fs::write(&path, std::process::id().to_string()).unwrap();
    let cluster = plan.flag("--pid-file", &path).start();
    assert_eq!(
        fs::read_to_string(&path).unwrap().trim(),
        cluster.master().to_string()
    );
    // And if a later master took the file over, it is not ours to remove.
    fs::write(&path, "1").unwrap();
    cluster.stop();
    assert_eq!(fs::read_to_string(&path).unwrap(), "1");
}

/// A cluster that starts, and is stopped then, or one that refuses to and has ended.
#[track_caller]
fn ready_or_gone(cluster: &Cluster) -> Option<Ended> {
    cluster.expect("it is ready or gone", || {
        count(&cluster.events(), "egg-ready") > 0 || cluster.exit_status().is_some()
    });
    if cluster.exit_status().is_some() {
        return Some(cluster.expect_exit());
    }
    cluster.stop();
    None
}

#[test]
fn a_pid_file_that_is_no_file_is_not_replaced() {
    let plan = playground!();
    let path = plan.path("fifo");
    let _reader = hatchery_tests::fifo::full(&path);
    // As root somebody might name /dev/null. Refused or not, it is there afterwards, and what it was.
    let cluster = plan.flag("--pid-file", &path).launch();
    if let Some(refused) = ready_or_gone(&cluster) {
        refused.expect_code(4);
    }
    let kind = fs::symlink_metadata(&path).unwrap().file_type();
    assert!(kind.is_fifo(), "{kind:?}");
}

#[test]
fn a_pid_file_that_cannot_be_written_leaves_nothing_behind() {
    let plan = playground!().own_copy();
    let folder = plan.path("locked");
    let path = folder.join("pid");
    fs::create_dir(&folder).unwrap();
    fs::write(&path, "").unwrap();
    chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
    // The file may be written, but no other beside it.
    let cluster = plan.flag("--pid-file", &path).as_nobody().launch();
    if let Some(refused) = ready_or_gone(&cluster) {
        refused.expect_code(4).expect_stderr(&["pid"]);
    }
}

#[test]
fn a_stale_lock_with_the_number_of_a_live_process_is_no_lock() {
    let plan = playground!();
    fs::create_dir(plan.runtime_dir()).unwrap();
    fs::write(
        plan.runtime_dir().join("master.lock"),
        std::process::id().to_string(),
    )
    .unwrap();
    fs::write(plan.runtime_dir().join("control.sock"), "not even a socket").unwrap();
    plan.start().stop();
}

#[test]
fn two_names_are_two_applications() {
    let first = playground!().flag("--name", "first").start();
    let second = playground!().flag("--name", "second").start();
    assert_ne!(first.address(), second.address());
    assert_eq!(first.verb(&["stop"]).code, Some(0));
    first.expect_exit().expect_code(0);
    assert_eq!(second.get("/"), "Hello World", "the other one is untouched");
    second.stop();
}

#[test]
fn a_master_started_with_sigchld_ignored_notices_deaths() {
    let cluster = playground!()
        .through(["env", "--ignore-signal=CHLD"])
        .start();
    hatchery_tests::process::kill(cluster.worker(0), Signal::KILL);
    let exited = cluster.wait("worker-exited");
    assert!(exited.why().contains("signal 9"), "{exited:?}");
    cluster.wait("worker-replaced");
    cluster.stop();
}

#[test]
fn a_master_started_with_signals_blocked_stops_when_told() {
    let cluster = playground!()
        .through([
            "env",
            "--block-signal=TERM",
            "--block-signal=INT",
            "--block-signal=CHLD",
        ])
        .start();
    let worker = cluster.worker(0);
    hatchery_tests::process::kill(worker, Signal::TERM);
    cluster.wait(hatchery_tests::step("worker-exited").pid(worker));
    cluster.wait("worker-replaced");
    cluster.stop();
}

#[test]
fn a_master_started_with_signals_ignored_stops_when_told() {
    let ignored = [
        "env",
        "--ignore-signal=TERM",
        "--ignore-signal=INT",
        "--ignore-signal=HUP",
    ];
    let cluster = playground!().through(ignored).start();
    // Its children do not ignore it either.
    let worker = cluster.worker(0);
    hatchery_tests::process::kill(worker, Signal::TERM);
    cluster.wait(hatchery_tests::step("worker-exited").pid(worker));
    cluster.wait("worker-replaced");
    cluster.stop();
}

#[test]
fn a_master_started_without_a_standard_stream_works() {
    let cluster = playground!()
        .through(["sh", "-c", "exec \"$@\" <&- >&- 2>&-", "sh"])
        .start();
    hatchery_tests::process::kill(cluster.worker(0), Signal::KILL);
    cluster.wait("worker-replaced");
    assert_eq!(cluster.get("/"), "Hello World");
    cluster.stop();
}
