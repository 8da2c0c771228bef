//! Addresses and their options: what a client can reach, and what an operator is told.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use hatchery_tests::command::run;
use hatchery_tests::listeners::{address, addresses, timer};
use hatchery_tests::loopback::unique_address;
use hatchery_tests::plan::{NOBODY, bare};
use hatchery_tests::wait::{self, PATIENCE, until};
use hatchery_tests::{Plan, http, playground, process};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::Signal;

fn local_v4(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn local_v6(port: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port))
}

#[track_caller]
fn serves(address: SocketAddr) {
    let response = http::get(address, "/").unwrap();
    assert_eq!(response.text(), "Hello World", "{address}");
}

// TCP.

#[test]
fn every_worker_serves_the_one_port_that_the_kernel_chose() {
    let cluster = playground!()
        .workers(3)
        .listen("127.0.0.1:0")
        .listen("127.0.0.1:0?name=another")
        .start();
    let ports: BTreeSet<u16> = (0..2).map(|n| address(&cluster, n).port()).collect();
    assert!(ports.len() == 2 && !ports.contains(&0), "{ports:?}");
    let ready = cluster.wait("egg-ready");
    for n in 0..2 {
        let address = address(&cluster, n);
        assert!(ready.why().contains(&address.to_string()), "{ready:?}");
        let mut slots = BTreeSet::new();
        let all = until(PATIENCE, || {
            // Several at once, or one worker could be quick enough for all.
            let mut clients: Vec<_> = (0..8).map(|_| http::connect(address).unwrap()).collect();
            slots.extend(clients.iter_mut().map(|c| c.whoami().unwrap().slot));
            (slots.len() == 3).then_some(())
        });
        assert!(all.is_some(), "only {slots:?}");
    }
}

#[test]
fn ipv6_leaves_ipv4_to_others() {
    let ipv4 = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = ipv4.local_addr().unwrap().port();
    let cluster = playground!().listen(format!("[::]:{port}")).start();
    serves(local_v6(port));
    cluster.stop();
    drop(ipv4);

    let cluster = playground!().listen("[::]:0").start();
    let port = address(&cluster, 0).port();
    serves(local_v6(port));
    let refused = http::connect(local_v4(port)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    cluster.stop();
}

#[test]
fn ipv6_takes_ipv4_when_it_is_told_to() {
    let cluster = playground!().listen("[::]:0?v6only=false").start();
    let port = address(&cluster, 0).port();
    assert_eq!(addresses(&cluster), [format!("[::]:{port}")]);
    serves(local_v6(port));
    serves(local_v4(port));
    cluster.stop();
}

#[test]
fn ipv6_that_takes_ipv4_needs_both() {
    let ipv4 = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = ipv4.local_addr().unwrap().port();
    let plan = playground!().listen(format!("[::]:{port}?v6only=false"));
    plan.run_to_end()
        .expect_code(5)
        .expect_stderr(&[&format!("[::]:{port}"), "in use"]);
}

#[test]
fn an_address_that_was_in_use_can_be_had_later() {
    let address = unique_address();
    let owner = TcpListener::bind(address).unwrap();
    let plan = playground!().listen(address);
    plan.clone().run_to_end().expect_code(5);
    drop(owner);
    let cluster = plan.start();
    serves(address);
    cluster.stop();
}

#[test]
fn silent_clients_are_asked_whether_they_are_there_if_that_is_wanted() {
    let cluster = playground!()
        .listen("127.0.0.1:0")
        .listen("127.0.0.1:0?keepalive=200s")
        .start();
    let timer_of = |n: usize| {
        let server = address(&cluster, n);
        let stream = std::net::TcpStream::connect(server).unwrap();
        let client = stream.local_addr().unwrap();
        let mut connection = http::Connection::new(stream).unwrap();
        connection.whoami().unwrap();
        let mut seen = None;
        // A moment after the answer the kernel still waits for its acknowledgement, with another timer.
        wait::expect("nothing is under way", || {
            seen = timer(server, client);
            seen.is_some_and(|(kind, _)| kind == 0 || kind == 2)
        });
        seen.unwrap()
    };
    assert_eq!(timer_of(0).0, 0, "no timer");
    let (kind, left) = timer_of(1);
    assert_eq!(kind, 2, "the timer of keep-alive");
    assert!((10_000..=20_000).contains(&left), "{left} ticks");
    cluster.stop();
}

// Unix sockets.

fn unix(path: &Path, options: &str) -> String {
    format!("unix:{}{options}", path.display())
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The cluster's umask is this one.
fn with_umask(plan: Plan, umask: &str) -> Plan {
    plan.through(["sh", "-c", &format!("umask {umask}; exec \"$@\""), "sh"])
}

#[test]
fn a_unix_socket_has_its_mode_before_anybody_can_connect() {
    for (umask, options, wanted) in [
        ("077", "?mode=0666", 0o666),
        ("000", "?mode=600", 0o600),
        ("027", "", 0o750),
    ] {
        let plan = || {
            let plan = playground!();
            let path = plan.path("app.sock");
            let plan = plan.listen(unix(&path, options));
            (with_umask(plan, umask), path)
        };
        let (starting, path) = plan();
        let cluster = starting.agent_start("hang").launch();
        cluster.wait("agent-spawned");
        let early = http::connect_unix(&path).unwrap_err();
        assert_eq!(early.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(mode(&path), wanted, "{options}");
        cluster.stop();

        let (started, path) = plan();
        let cluster = started.start();
        let mut client = http::connect_unix(&path).unwrap();
        assert_eq!(client.get("/").unwrap().text(), "Hello World");
        assert_eq!(mode(&path), wanted, "{options}");
        drop(client);
        cluster.stop();
    }
}

#[test]
fn a_unix_socket_may_belong_to_another() {
    let plan = playground!();
    let [user, group, both] = ["user.sock", "group.sock", "both.sock"].map(|name| plan.path(name));
    let cluster = plan
        .listen(unix(&user, "?owner=nobody"))
        .listen(unix(&group, &format!("?owner=:{NOBODY}&mode=0660")))
        .listen(unix(&both, "?mode=0640&owner=nobody:nogroup"))
        .start();
    let owner = |path: &Path| {
        let meta = fs::symlink_metadata(path).unwrap();
        (meta.uid(), meta.gid())
    };
    let us = rustix::process::getegid().as_raw();
    assert_eq!(owner(&user), (NOBODY, us));
    assert_eq!(owner(&group).1, NOBODY);
    assert_eq!(mode(&group), 0o660);
    assert_eq!(owner(&both), (NOBODY, NOBODY));
    assert_eq!(mode(&both), 0o640);
    cluster.stop();
    assert!(!user.exists() && !group.exists() && !both.exists());
}

#[test]
fn who_is_nobody_cannot_give_a_socket_away() {
    let plan = playground!().own_copy();
    let path = plan.path("app.sock");
    let ended = plan
        .listen(unix(&path, "?owner=root"))
        .as_nobody()
        .run_to_end();
    ended
        .expect_code(5)
        .expect_stderr(&["app.sock", "owner", "not permitted"])
        .expect_no("agent-spawned");
    assert!(!path.exists(), "nothing is left");
}

#[test]
fn the_longest_path_there_is_works() {
    let plan = playground!();
    let room = 107 - plan.path("").as_os_str().len();
    let path = plan.path(&"x".repeat(room));
    assert_eq!(path.as_os_str().len(), 107);
    let cluster = plan.listen(unix(&path, "")).start();
    let mut client = http::connect_unix(&path).unwrap();
    assert_eq!(client.get("/").unwrap().text(), "Hello World");
    drop(client);
    cluster.stop();
    assert!(!path.exists());
}

/// How many connections a unix socket takes that nobody accepts from.
fn queue(path: &Path) -> usize {
    let address = SocketAddrUnix::new(path).unwrap();
    let mut connected = Vec::new();
    loop {
        let client = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        match rustix::net::connect(&client, &address) {
            Ok(()) => connected.push(client),
            Err(rustix::io::Errno::AGAIN) => return connected.len(),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn the_backlog_is_as_long_as_it_is_to_be() {
    let plan = playground!();
    let [ours, inherited] = ["ours.sock", "inherited.sock"].map(|name| plan.path(name));
    let socket = std::os::unix::net::UnixListener::bind(&inherited).unwrap();
    let cluster = plan
        .workers(1)
        .inherit(&socket)
        .listen(unix(&ours, "?backlog=5&strategy=shared"))
        .listen("systemd?backlog=3&strategy=shared")
        .start();
    let worker = cluster.worker(0);
    process::kill(worker, Signal::STOP);
    wait::expect("it is suspended", || {
        process::Process::find(worker).is_some_and(|p| p.state == 'T')
    });
    // The kernel takes one more than it was told.
    assert_eq!(queue(&ours), 6);
    assert_eq!(queue(&inherited), 4);
    process::kill(worker, Signal::CONT);
    cluster.stop();
}

// Several addresses that exclude each other, and options that make no sense.

#[test]
fn addresses_that_exclude_each_other_are_refused_before_anything_is_bound() {
    for (first, second, words) in [
        (
            "127.0.0.1:7001",
            "127.0.0.1:7001",
            "127.0.0.1:7001 cannot be served twice",
        ),
        (
            "unix:/run/a?name=a",
            "unix:/run/a?name=b",
            "unix:/run/a cannot be served twice",
        ),
        (
            "0.0.0.0:7001",
            "127.0.0.1:7001",
            "127.0.0.1:7001 cannot be served beside 0.0.0.0:7001",
        ),
        (
            "[::]:7001?v6only=false",
            "0.0.0.0:7001",
            "0.0.0.0:7001 cannot be served beside [::]:7001",
        ),
        (
            "udp:[::]:53",
            "udp:[::1]:53",
            "udp:[::1]:53 cannot be served beside udp:[::]:53",
        ),
        (
            "systemd",
            "systemd:web",
            "systemd:web cannot be served beside systemd",
        ),
    ] {
        let plan = playground!().listen(first).listen(second);
        let check = plan.run_verb(&["check", "--listen", first, "--listen", second]);
        assert_eq!(check.code, Some(4), "{check:?}");
        assert!(check.stderr.contains(words), "{check:?}");
        let ended = plan.run_to_end();
        ended.expect_code(4).expect_stderr(&[words]);
        assert_eq!(ended.events, []);
    }
}

#[test]
fn an_owner_that_there_is_not_is_refused() {
    for (owner, words) in [
        ("no-such-user", "no user `no-such-user`"),
        ("root:no-such-group", "no group `no-such-group`"),
    ] {
        let plan = playground!();
        let address = unix(&plan.path("app.sock"), &format!("?owner={owner}"));
        let ended = plan.listen(address).run_to_end();
        ended
            .expect_code(4)
            .expect_stderr(&["listen", "app.sock", words]);
        assert_eq!(ended.events, []);
    }
}

#[test]
fn options_that_make_no_sense_are_refused_wherever_they_stand() {
    for (address, words) in [
        (
            "127.0.0.1:0?mode=0660",
            "`mode` is an option of unix sockets only",
        ),
        (
            "127.0.0.1:0?owner=root",
            "`owner` is an option of unix sockets only",
        ),
        (
            "127.0.0.1:0?v6only=false",
            "`v6only` is an option of IPv6 addresses only",
        ),
        (
            "unix:/run/a?nodelay=false",
            "`nodelay` is an option of TCP addresses only",
        ),
        ("unix:/run/a?mode=rw-r--r--", "it must be octal"),
        ("unix:/run/a?mode=1777", "at most 0777"),
        ("unix:/run/a?owner=", "USER:GROUP"),
        ("127.0.0.1:0?keepalive=30", "it must be a time"),
        ("127.0.0.1:0?nodelay=no", "it must be true or false"),
        (
            "udp:127.0.0.1:0?backlog=5",
            "`backlog` is an option of addresses that take connections",
        ),
        (
            "udp:127.0.0.1:0?strategy=round-robin",
            "shared: every worker has the one socket",
        ),
        ("udp:127.0.0.1", "`udp:127.0.0.1` is not an address"),
        ("systemd:", "does not say which socket"),
        ("systemd#first", "does not say which socket"),
        (&format!("unix:/{}", "x".repeat(107)), "108 bytes long"),
        (
            "127.0.0.1:0?colour=red",
            "`colour` is no option of an address; known are: name, ",
        ),
    ] {
        let check = |arguments: &[&str], environment: &[(&str, &str)]| {
            let mut command = bare(env!("CARGO_BIN_EXE_playground"));
            command.arg("check").args(arguments);
            command.envs(environment.iter().copied());
            run(command)
        };
        let flag = check(&["--listen", address], &[]);
        assert_eq!(flag.code, Some(2), "{flag:?}");
        let variable = check(&[], &[("HATCHERY_LISTEN", address)]);
        assert_eq!(variable.code, Some(4), "{variable:?}");
        assert!(variable.stderr.contains("HATCHERY_LISTEN"), "{variable:?}");
        for told in [flag, variable] {
            assert!(told.stderr.contains(words), "no `{words}` in {told:?}");
        }
    }
}

#[test]
fn a_limit_of_connections_lets_no_address_starve() {
    let cluster = playground!()
        .workers(1)
        .flag("--max-connections", "1")
        .listen("127.0.0.1:0?strategy=shared")
        .listen("127.0.0.1:0?strategy=shared")
        .start();
    // One that waits for clients must not keep the only place meanwhile.
    for n in [1, 1, 0, 0] {
        serves(address(&cluster, n));
    }
    cluster.stop();
}
