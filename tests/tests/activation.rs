//! Sockets that a service manager hands over: which are served, as what, and what becomes of the others.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs::File;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;

use hatchery_tests::listeners::addresses;
use hatchery_tests::process::environment;
use hatchery_tests::{Plan, http, lines, playground};

fn tcp() -> (TcpListener, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

fn named(plan: Plan, names: &str) -> Plan {
    plan.through(["env", &format!("LISTEN_FDNAMES={names}")])
}

#[track_caller]
fn serves(address: SocketAddr) {
    assert_eq!(http::get(address, "/").unwrap().text(), "Hello World");
}

#[test]
fn all_are_served_in_their_order() {
    let (tcp, address) = tcp();
    let plan = playground!();
    let path = plan.path("unit.sock");
    let unix = UnixListener::bind(&path).unwrap();
    let cluster = plan
        .inherit(&unix)
        .inherit(&tcp)
        .listen("127.0.0.1:0")
        .listen("systemd")
        .start();
    // The cluster goes on when the one who opened them is gone.
    drop((tcp, unix));
    let shown = addresses(&cluster);
    let expected = [format!("unix:{}", path.display()), address.to_string()];
    assert_eq!(shown.get(1..), Some(expected.as_slice()));
    serves(address);
    let mut client = http::connect_unix(&path).unwrap();
    assert_eq!(client.get("/").unwrap().text(), "Hello World");
    drop(client);
    cluster.stop();
    assert!(path.exists(), "it is its creator's to remove");
}

#[test]
fn they_are_chosen_by_name_and_called_by_it() {
    let ((web, web_address), (raw, raw_address)) = (tcp(), tcp());
    let plan = playground!().inherit(&web).inherit(&raw);
    let cluster = named(plan, "web:raw")
        .listen("systemd:raw")
        .listen("systemd:web?backlog=16")
        .start();
    let shown = [raw_address, web_address].map(|a| a.to_string());
    assert_eq!(addresses(&cluster), shown);
    serves(web_address);
    // It is called as the service manager calls it, and so the application finds it.
    assert_eq!(lines::connect(raw_address).ask("hello"), "hello");
    cluster.stop();
}

#[test]
fn they_are_chosen_by_place_and_called_as_the_operator_says() {
    let ((first, first_address), (second, second_address)) = (tcp(), tcp());
    let cluster = playground!()
        .inherit(&first)
        .inherit(&second)
        .listen("systemd#1?name=raw")
        .listen("systemd#0")
        .start();
    assert_eq!(lines::connect(second_address).ask("hello"), "hello");
    serves(first_address);
    cluster.stop();
}

#[test]
fn what_no_address_means_is_closed() {
    let ((first, first_address), (second, second_address)) = (tcp(), tcp());
    for listen in ["systemd#0", "127.0.0.1:0"] {
        let plan = playground!().inherit(&first).inherit(&second);
        let cluster = plan.listen(listen).start();
        let ended = cluster.stop();
        ended.expect_stderr(&["inherited descriptor 4 (unknown) is closed"]);
    }
    let plan = playground!().inherit(&first).inherit(&second);
    let cluster = plan.listen("systemd#0").start();
    drop((first, second));
    // Nobody has a copy of it any more: neither the master nor a child.
    let refused = http::connect(second_address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    serves(first_address);
    cluster.stop();
}

#[test]
fn children_and_their_children_know_nothing_of_it() {
    let (socket, address) = tcp();
    let cluster = named(playground!().workers(1).inherit(&socket), "web")
        // Of newer service managers.
        .through(["env", "LISTEN_PIDFDID=4711"])
        .listen("systemd")
        .start();
    let grandchild: u32 = http::get(address, "/child")
        .unwrap()
        .text()
        .trim()
        .parse()
        .unwrap();
    let mut everybody = cluster.everybody();
    everybody.push(grandchild);
    for pid in everybody {
        let environment = environment(pid);
        assert!(!environment.contains("LISTEN_"), "{pid}: {environment}");
    }
    // Nor has it the socket.
    let links = std::fs::read_dir(format!("/proc/{grandchild}/fd")).unwrap();
    let links: Vec<PathBuf> = links
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .collect();
    assert!(
        links
            .iter()
            .all(|link| !link.to_string_lossy().contains("socket:")),
        "{links:?}"
    );
    cluster.stop();
}

/// The start ends with code 5 and these words, and nobody was started.
#[track_caller]
fn refused(plan: Plan, words: &[&str]) {
    plan.run_to_end()
        .expect_code(5)
        .expect_stderr(words)
        .expect_no("agent-spawned");
}

#[test]
fn what_is_meant_for_another_process_is_not_taken() {
    let (socket, _address) = tcp();
    let meant_for = |pid: &str| {
        let plan = playground!().inherit(&socket).listen("systemd");
        plan.through(["env", pid])
    };
    refused(
        meant_for("LISTEN_PID=1"),
        &["systemd", "no socket was inherited"],
    );
    refused(
        meant_for("--unset=LISTEN_PID"),
        &["no socket was inherited"],
    );
    refused(
        playground!().listen("systemd:web"),
        &["no socket was inherited", "socket unit"],
    );
}

#[test]
fn what_the_service_manager_says_wrongly_is_told() {
    for lie in [
        "LISTEN_FDS=many",
        "LISTEN_PID=me",
        "LISTEN_FDNAMES=one:too:many",
        // There is no third.
        "LISTEN_FDS=9",
    ] {
        let (socket, _address) = tcp();
        let plan = playground!().inherit(&socket).listen("systemd");
        refused(plan.through(["env", lie]), &["LISTEN_FDS", "do not fit"]);
    }
}

#[test]
fn one_that_is_not_there_is_told_with_those_that_are() {
    let (socket, _address) = tcp();
    let plan = named(playground!().inherit(&socket), "web");
    refused(
        plan.clone().listen("systemd:admin"),
        &["systemd:admin", "there are web"],
    );
    refused(plan.listen("systemd#1"), &["systemd#1", "there are web"]);
}

/// Nothing but a listening socket, or one of UDP, can be served.
#[track_caller]
fn of_wrong_kind(descriptor: &impl AsFd, what: &str) {
    let plan = named(playground!().inherit(descriptor), "odd").listen("systemd");
    refused(
        plan,
        &["inherited descriptor 3 (odd)", what, "ListenStream="],
    );
}

#[test]
fn what_is_no_listening_socket_is_refused_by_what_it_is() {
    let (listener, address) = tcp();
    of_wrong_kind(&File::open("/dev/null").unwrap(), "is not a socket");
    of_wrong_kind(&std::io::pipe().unwrap().0, "is not a socket");
    of_wrong_kind(&TcpStream::connect(address).unwrap(), "does not listen");
    of_wrong_kind(&UnixDatagram::unbound().unwrap(), "is neither a listening");
    drop(listener);
}

/// Has a file of this name, and says that it is from a service manager.
fn with_file(plan: Plan, name: &str) -> Plan {
    let script = format!("LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\" 3>{name}");
    plan.arg("--daemon").through(["sh", "-c", &script, "sh"])
}

#[test]
fn a_daemon_has_none_and_says_so() {
    let plan = with_file(playground!().listen("systemd"), "unit");
    let ran = plan.run_command();
    assert_eq!(ran.code, Some(5), "{ran:?}");
    assert!(ran.stderr.contains("in the foreground"), "{ran:?}");
}

#[test]
fn nothing_leaks_into_a_daemon() {
    let plan = playground!();
    let file = plan.path("unit");
    let daemon = with_file(plan, "unit").run_daemon();
    assert_eq!(daemon.ran.code, Some(0), "{:?}", daemon.ran);
    assert!(file.exists());
    let processes = daemon.survivors().list();
    assert_eq!(processes.len(), 4, "{processes:?}");
    for process in processes {
        let links = std::fs::read_dir(format!("/proc/{}/fd", process.pid)).unwrap();
        let mut links = links
            .flatten()
            .flat_map(|entry| std::fs::read_link(entry.path()));
        assert!(!links.any(|link| link == file), "{process:?}");
    }
    assert_eq!(daemon.verb(&["stop"]).code, Some(0));
}
