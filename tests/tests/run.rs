//! Programs that know nothing of hatchery, as workers: `hatchery run -- PROGRAM`.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use hatchery_tests::command::run;
use hatchery_tests::process::{self, Process};
use hatchery_tests::{Cluster, Plan, Traffic, http, plan, playground, step, wait};
use rustix::process::Signal;

const PROGRAM: &str = env!("CARGO_BIN_EXE_activated");

/// A cluster of whatever program, with times that tests have.
fn hatchery() -> Plan {
    Plan::new(env!("CARGO_BIN_EXE_hatchery-command")).flag("--program-settle", "10ms")
}

/// A cluster of the fixture.
fn program(words: &[&str]) -> Plan {
    let plan = hatchery().arg("--").arg(PROGRAM);
    words.iter().fold(plan, |plan, word| plan.arg(*word))
}

/// Writes an executable into the directory of the cluster, in place of the one that is there.
fn script(plan: &Plan, text: &str) {
    let (new, path) = (plan.path("server.new"), plan.path("server"));
    fs::write(&new, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&new, Permissions::from_mode(0o755)).unwrap();
    fs::rename(new, path).unwrap();
}

/// The program below a worker.
#[track_caller]
fn kept(keeper: u32) -> Process {
    let children = process::children(keeper);
    assert_eq!(children.len(), 1, "{children:?}");
    children[0].clone()
}

#[test]
fn sockets_come_by_the_book() {
    let plan = hatchery();
    let (socket, folder) = (plan.path("web.sock"), plan.path(""));
    let plan = plan
        .listen("127.0.0.1:0?name=web")
        .listen(format_args!("unix:{}", socket.display()))
        .flag("--program-env", "GREETING=hello = world")
        .flag("--program-dir", &folder)
        .arg("--")
        .arg(PROGRAM)
        .arg("serve")
        .arg("--")
        .arg("x");
    let cluster = plan.start();
    let program = kept(cluster.worker(0));
    assert_eq!(program.name, "activated");
    assert_eq!(program.group, cluster.worker(0), "it goes with its keeper");
    assert_eq!(cluster.get("/env/LISTEN_FDNAMES"), "web:unknown");
    assert_eq!(cluster.get("/env/GREETING"), "hello = world");
    assert!(cluster.get("/env/NOTIFY_SOCKET").starts_with("@hatchery/"));
    assert_eq!(cluster.get("/label"), "--");
    let folder = fs::canonicalize(folder).unwrap();
    assert_eq!(cluster.get("/cwd"), folder.to_str().unwrap());
    let slot = http::connect_unix(&socket)
        .unwrap()
        .get("/env/HATCHERY_CHILD_SLOT")
        .unwrap();
    assert!(["0", "1"].contains(&slot.text()), "{slot:?}");
    cluster.stop();
    assert!(
        cluster.stdout().contains("serving --\n"),
        "what it prints is seen"
    );
    assert_eq!(
        cluster.stdout().matches("finished\n").count(),
        2,
        "also at its end"
    );
}

#[test]
fn a_reload_under_load_fails_nobody() {
    let cluster = program(&["serve"]).start();
    let before = cluster.worker_pids();
    let traffic = Traffic::of(cluster.address(), 0, 4);
    for _ in 0..3 {
        let ran = cluster.verb(&["reload"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        traffic.expect_answers(50);
    }
    let failures = traffic.end();
    assert!(failures.is_empty(), "{failures:?}");
    let after = cluster.worker_pids();
    assert!(
        after.iter().all(|pid| !before.contains(pid)),
        "{before:?} {after:?}"
    );
    cluster.stop();
}

#[test]
fn a_reload_runs_what_is_on_disk_now_and_turns_back_if_it_does_not_work() {
    let plan = hatchery();
    script(&plan, &format!("exec {PROGRAM} notify one"));
    // With `accept`, the old programs would vouch for a new one that is slow to fail.
    let plan = plan.flag("--program-ready", "notify");
    let cluster = plan.arg("--").arg("./server").start();
    assert_eq!(cluster.get("/label"), "one");
    script(cluster.plan(), &format!("exec {PROGRAM} notify two"));
    assert_eq!(cluster.verb(&["reload"]).code, Some(0));
    assert_eq!(cluster.get("/label"), "two");
    let workers = cluster.worker_pids();
    for (text, words) in [
        ("exit 3", "the program ended by itself with code 3"),
        (
            "sleep 1000 & exit 0",
            "the program went into the background",
        ),
    ] {
        script(cluster.plan(), text);
        let ran = cluster.verb(&["reload"]);
        assert_eq!(ran.code, Some(7), "{ran:?}");
        assert!(ran.stderr.contains(words), "{ran:?}");
    }
    fs::remove_file(cluster.plan().path("server")).unwrap();
    let ran = cluster.verb(&["reload"]);
    assert_eq!(ran.code, Some(7), "{ran:?}");
    assert!(ran.stderr.contains("there is no program"), "{ran:?}");
    assert_eq!(cluster.worker_pids(), workers, "nobody was touched");
    assert_eq!(cluster.get("/label"), "two");
    cluster.stop();
}

/// What a start that cannot succeed ends with.
#[track_caller]
fn expect_refusal(plan: Plan, code: i32, words: &[&str]) {
    plan.run_to_end().expect_code(code).expect_stderr(words);
}

#[test]
fn a_program_that_ends_at_once_is_quoted() {
    let words = [
        "the program ended by itself with code 4",
        "there is no database",
    ];
    expect_refusal(program(&["exit", "4"]), 3, &words);
}

#[test]
fn a_program_that_goes_into_the_background_is_told_not_to_and_leaves_nobody() {
    let words = ["ended with code 0 and left 1 process behind; start it in the foreground"];
    expect_refusal(program(&["away"]), 3, &words);
}

#[test]
fn a_program_that_ignores_its_socket_is_found_out() {
    let plan = program(&["ignore"]).flag("--worker-start-timeout", "3s");
    let words = ["nobody accepted a connection at 127.0.0.1:", "LISTEN_FDS"];
    expect_refusal(plan, 3, &words);
    // Where it is not asked for, it is not noticed.
    let plan = program(&["ignore"]).flag("--program-ready", "alive");
    plan.start().stop();
}

#[test]
fn readiness_can_be_said() {
    // Only by its word it is ready here.
    let plan = program(&["notify"]).flag("--program-ready", "notify");
    let cluster = plan.start();
    // Lines of the log are written by a thread of their own.
    cluster.expect("its words are in the log", || {
        cluster.stderr().contains("the program says: warming up")
    });
    cluster.stop();
    let plan = program(&["serve"])
        .flag("--program-ready", "notify")
        .flag("--worker-start-timeout", "3s");
    expect_refusal(plan, 3, &["did not say READY=1 to its NOTIFY_SOCKET"]);
}

#[test]
fn what_cannot_be_run_is_said_before_anything_starts() {
    let plan = || hatchery().flag("--strategy", "shared");
    let unexecutable = plan();
    fs::write(unexecutable.path("server.js"), "").unwrap();
    for (plan, code, words) in [
        (plan(), 2, "no program is named"),
        (plan().arg("--").arg("./none"), 4, "there is no program"),
        (
            plan().arg("--").arg("hatchery-none"),
            4,
            "in the folders of PATH",
        ),
        (
            unexecutable.arg("--").arg("./server.js"),
            4,
            "is not executable for this user",
        ),
        (
            program(&["serve"]).strategy("round-robin"),
            4,
            "accepts from one that all workers share",
        ),
        (
            program(&["serve"]).strategy("reuse-port"),
            4,
            "accepts from one that all workers share",
        ),
        (
            program(&["serve"]).flag("--pass-fds", "3"),
            4,
            "expects its sockets as descriptors 3 to 3",
        ),
    ] {
        for verb in ["start", "check"] {
            let ran = plan.run_instead(verb);
            assert_eq!(ran.code, Some(code), "{ran:?}");
            assert!(ran.stderr.contains(words), "{ran:?}");
            assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
        }
    }
    // Only the kernel can tell.
    let broken = hatchery();
    fs::write(broken.path("server"), "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(broken.path("server"), Permissions::from_mode(0o755)).unwrap();
    expect_refusal(
        broken.arg("--").arg("./server"),
        3,
        &["server cannot be run", "in its first line or as its loader"],
    );
}

#[test]
fn whoever_is_killed_is_replaced_and_takes_the_others_along() {
    let cluster = program(&["parent"]).start();
    let (keeper, other) = (cluster.worker(0), cluster.worker(1));
    let children = process::children(keeper);
    let server = children
        .iter()
        .find(|child| child.name == "activated")
        .unwrap()
        .pid;
    // The program itself.
    let mark = cluster.mark();
    process::kill(server, Signal::KILL);
    let exited = cluster.wait_since(mark, step("worker-exited").slot(0));
    assert!(
        exited.why().contains("the program was killed by signal 9"),
        "{exited:?}"
    );
    cluster.wait_since(mark, step("worker-ready").slot(0));
    // Its keeper.
    let mark = cluster.mark();
    let (keeper, server) = (cluster.worker(0), kept_server(&cluster, 0));
    process::kill(keeper, Signal::KILL);
    process::expect_dead(server);
    cluster.wait_since(mark, step("worker-ready").slot(0));
    assert_eq!(cluster.worker(1), other, "nobody else was concerned");
    assert_eq!(cluster.get("/label"), "");
    cluster.stop();
}

/// The program of a slot, when it has children itself.
fn kept_server(cluster: &Cluster, slot: u32) -> u32 {
    process::children(cluster.worker(slot))[0].pid
}

#[test]
fn nothing_is_left_when_the_master_is_killed() {
    for words in [["parent"], ["stubborn"]] {
        let cluster = program(&words).start();
        let when = cluster.kill_master();
        cluster.expect_gone_within(Duration::from_secs(2), when);
    }
}

#[test]
fn a_stop_lets_requests_finish_and_kills_who_does_not() {
    let cluster = program(&["serve"]).start();
    let mut slow = cluster.connect();
    slow.ask("/slow/300").unwrap();
    wait::expect("it is being served", || {
        cluster.everybody().into_iter().any(|keeper| {
            let programs = process::children(keeper);
            programs
                .iter()
                .any(|program| process::threads(program.pid) > 1)
        })
    });
    cluster.signal(Signal::TERM);
    assert_eq!(slow.receive().unwrap().text(), "slow");
    cluster.expect_exit().expect_code(0);

    let cluster = program(&["stubborn"])
        .flag("--drain-timeout", "300ms")
        .start();
    let begun = Instant::now();
    cluster.stop_killing();
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

#[test]
fn the_memory_of_the_program_counts() {
    let cluster = program(&["serve"])
        .workers(1)
        .flag("--max-memory", "150MiB")
        .start();
    let before = cluster.worker(0);
    cluster.get(&format!("/grow/{}", 200 << 20));
    let exited = cluster.wait(step("worker-exited").pid(before));
    assert_eq!(exited.exit.as_deref(), Some("recycled"), "{exited:?}");
    assert_ne!(cluster.worker(0), before);
    let status = cluster.status();
    let bytes = status["workers"][0]["rss_bytes"].as_u64().unwrap();
    assert!(bytes < 150 << 20, "{bytes}");
    cluster.stop();
}

#[test]
fn the_verbs_find_an_application_by_its_name() {
    let cluster = program(&["serve"]).start();
    let mut scale = cluster.verb(&["scale", "3"]);
    assert_eq!(scale.code, Some(0), "{scale:?}");
    cluster.expect_status("three workers", |status| {
        status["workers"].as_array().unwrap().len() == 3
    });
    scale = cluster.verb(&["scale", "1", "--app", "whatever"]);
    assert_eq!(scale.code, Some(0), "{scale:?}");
    let mut nameless = plan::bare(env!("CARGO_BIN_EXE_hatchery-command"));
    nameless.arg("status");
    let ran = hatchery_tests::command::run(nameless);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("Give --app NAME"), "{ran:?}");
    cluster.stop();
}

/// A server of Python's standard library on an inherited socket: it finishes what it has on SIGTERM.
const PYTHON: &str = r#"
import http.server, os, signal, socket, socketserver, threading
assert os.environ["LISTEN_PID"] == str(os.getpid())
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("x-worker", str(os.getpid()))
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
class Server(socketserver.ThreadingTCPServer):
    daemon_threads = False
server = Server(("127.0.0.1", 0), Handler, bind_and_activate=False)
server.socket.close()
server.socket = socket.socket(fileno=3)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever(poll_interval=0.05)
server.server_close()
"#;

/// The same with Node.
const NODE: &str = r"
const server = require('http').createServer((request, response) => {
  response.setHeader('x-worker', process.pid);
  response.setHeader('connection', 'close');
  request.pipe(response);
});
server.listen({ fd: 3 });
process.on('SIGTERM', () => server.close());
";

#[track_caller]
fn expect_reloads(plan: Plan) {
    let cluster = plan.start();
    let traffic = Traffic::of(cluster.address(), 0, 3);
    for _ in 0..2 {
        let ran = cluster.verb(&["reload"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        traffic.expect_answers(20);
    }
    let failures = traffic.end();
    assert!(failures.is_empty(), "{failures:?}");
    cluster.stop();
}

#[test]
fn a_python_server_is_reloaded_under_load() {
    let plan = hatchery();
    fs::write(plan.path("server.py"), PYTHON).unwrap();
    expect_reloads(plan.arg("--").arg("python3").arg("server.py"));
}

#[test]
fn a_node_server_is_reloaded_under_load() {
    if Command::new("node").arg("--version").output().is_err() {
        // Python's server goes the same way.
        return;
    }
    let plan = hatchery();
    fs::write(plan.path("server.js"), NODE).unwrap();
    expect_reloads(plan.arg("--").arg("node").arg("server.js"));
}

#[test]
fn an_ecosystem_file_of_pm2_becomes_a_cluster() {
    let plan = hatchery()
        .without("--name")
        .without("--workers")
        .without_default_address();
    let ecosystem = format!(
        "module.exports = {{ apps: [{{ name: 'api', script: '{PROGRAM}', args: 'serve imported', instances: 2,\n\
         exec_mode: 'cluster', env: {{ PORT: 0, A: 'b' }}, kill_timeout: 3000, watch: true }}] }};"
    );
    fs::write(plan.path("ecosystem.config.js"), ecosystem).unwrap();
    let mut import = plan::bare(env!("CARGO_BIN_EXE_hatchery-command"));
    import
        .args([
            "import",
            "pm2",
            "ecosystem.config.js",
            "--output",
            "api.toml",
        ])
        .current_dir(plan.path(""));
    let ran = hatchery_tests::command::run(import);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        fs::read_to_string(plan.path("api.toml"))
            .unwrap()
            .contains("# - watch: ")
    );
    let cluster = plan
        .without("--drain-timeout")
        .flag("--config", "api.toml")
        .start();
    assert_eq!(cluster.get("/label"), "imported");
    assert_eq!(cluster.get("/env/A"), "b");
    assert_eq!(cluster.status()["name"], "api");
    assert_eq!(cluster.worker_pids().len(), 2);
    cluster.stop();
}

#[test]
fn an_ecosystem_file_that_is_none_is_refused_in_a_sentence() {
    let plan = hatchery();
    let import = |text: &str, file: &str| {
        fs::write(plan.path(file), text).unwrap();
        let mut import = plan::bare(env!("CARGO_BIN_EXE_hatchery-command"));
        import
            .args(["import", "pm2", file])
            .current_dir(plan.path(""));
        hatchery_tests::command::run(import)
    };
    for (text, file, words) in [
        (
            "{\n \"apps\": [,] }",
            "e.json",
            "error: e.json, line 2, column 11: ",
        ),
        (
            "module.exports = { apps: [f()] }",
            "e.js",
            "let Node print what it comes to",
        ),
        (
            "apps:\n  - name: a\n",
            "e.yml",
            "application 1 has no `script`",
        ),
    ] {
        let ran = import(text, file);
        assert_eq!(ran.code, Some(4), "{ran:?}");
        assert!(ran.stderr.contains(words), "{ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    }
}

/// The end of a program that does not finish by itself.
trait StopKilling {
    fn stop_killing(&self);
}

impl StopKilling for Cluster {
    #[track_caller]
    fn stop_killing(&self) {
        self.expect_orderly_end();
        assert!(
            self.stderr().contains("did not end in the time it had"),
            "{}",
            self.stderr()
        );
    }
}

/// By its directory, whoever wrote it; and it is called by its own name.
#[test]
fn any_application_is_stopped() {
    let cluster = playground!().start();
    let mut stop = Command::new(env!("CARGO_BIN_EXE_hatchery-command"));
    stop.args(["stop", "--runtime-dir"])
        .arg(cluster.plan().runtime_dir());
    let ran = run(stop);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.ends_with("playground has stopped\n"), "{ran:?}");
    cluster.expect_exit();
}
