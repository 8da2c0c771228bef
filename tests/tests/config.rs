//! What an operator may say, where, and what is answered to mistakes: the code, the key and the source.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

use hatchery_tests::loopback::privileged_address;
use hatchery_tests::plan::{NOBODY, bare};
use hatchery_tests::process::kill;
use hatchery_tests::{Cluster, Plan, Ran, command::run, http, playground};
use rustix::process::Signal;

const PLAYGROUND: &str = env!("CARGO_BIN_EXE_playground");

/// The playground with these arguments and variables, and nothing else said.
fn playground(args: &[&str], env: &[(&str, &str)]) -> Ran {
    let mut command = bare(PLAYGROUND);
    command.args(args).envs(env.iter().copied());
    run(command)
}

#[track_caller]
fn refused(ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!(ran.code, Some(code), "{ran:?}");
    for word in words {
        assert!(ran.stderr.contains(word), "no `{word}` in {ran:?}");
    }
    assert!(ran.stdout.is_empty(), "a refusal is no answer: {ran:?}");
}

// The command line.

#[test]
fn mistakes_on_the_command_line_are_usage_errors_that_name_the_flag() {
    let rows: [(&[&str], &[&str]); 24] = [
        (&["--bogus"], &["--bogus"]),
        (&["start", "--bogus"], &["--bogus"]),
        (&["frobnicate"], &["frobnicate"]),
        (&["start", "frobnicate"], &["frobnicate"]),
        (&["status", "--workers", "2"], &["--workers"]),
        (&["--workers"], &["--workers"]),
        (&["--workers", "0"], &["--workers", "0"]),
        (&["--workers", "-1"], &["-1"]),
        (&["--workers", "many"], &["--workers", "many", "auto"]),
        (&["--workers", "99999999999"], &["--workers"]),
        (&["--workers", "1", "--workers", "2"], &["--workers"]),
        (&["--threads", "0"], &["--threads"]),
        (
            &["--listen", "nonsense"],
            &["--listen", "nonsense", "127.0.0.1:7001"],
        ),
        (&["--listen", "127.0.0.1"], &["--listen"]),
        (&["--listen", "127.0.0.1:99999"], &["--listen"]),
        (&["--listen", "unix:relative"], &["--listen", "absolute"]),
        (&["--listen", ""], &["--listen"]),
        (
            &["--port", "80", "--listen", "127.0.0.1:80"],
            &["--port", "--listen"],
        ),
        (&["--drain-timeout", "5"], &["--drain-timeout", "unit"]),
        (&["--drain-timeout", "soon"], &["--drain-timeout", "soon"]),
        (&["--master-timeout", "1s"], &["--master-timeout", "2s"]),
        (&["--log-format", "xml"], &["--log-format", "xml", "json"]),
        (&["--strategy", "luck"], &["--strategy", "luck"]),
        (&["--name", "../up"], &["--name"]),
    ];
    for (args, words) in rows {
        refused(&playground(args, &[]), 2, words);
    }
}

#[test]
fn an_argument_that_is_no_text_is_refused() {
    use std::os::unix::ffi::OsStrExt as _;
    let mut command = bare(PLAYGROUND);
    command
        .arg("--workers")
        .arg(std::ffi::OsStr::from_bytes(b"\xff\xfe"));
    assert_eq!(run(command).code, Some(2));
}

#[test]
fn help_and_version_are_answers() {
    for args in [["--help"], ["-h"], ["help"], ["--version"], ["-V"]] {
        let ran = playground(&args, &[]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(!ran.stdout.is_empty() && ran.stderr.is_empty(), "{ran:?}");
    }
}

// The environment.

#[test]
fn mistakes_in_the_environment_are_configuration_errors_that_name_the_variable() {
    let rows: [(&str, &str, &[&str]); 8] = [
        ("HATCHERY_WORKERS", "zero", &["HATCHERY_WORKERS", "zero"]),
        ("HATCHERY_WORKERS", "", &["HATCHERY_WORKERS"]),
        (
            "HATCHERY_WORKRS",
            "2",
            &["HATCHERY_WORKRS", "HATCHERY_WORKERS"],
        ),
        (
            "HATCHERY_LISTEN",
            "nonsense",
            &["HATCHERY_LISTEN", "nonsense"],
        ),
        (
            "HATCHERY_DRAIN_TIMEOUT",
            "5",
            &["HATCHERY_DRAIN_TIMEOUT", "unit"],
        ),
        (
            "HATCHERY_DAEMON",
            "perhaps",
            &["HATCHERY_DAEMON", "perhaps"],
        ),
        (
            "HATCHERY_CONFIG",
            "/nowhere.toml",
            &["HATCHERY_CONFIG", "/nowhere.toml"],
        ),
        ("WEB_CONCURRENCY", "lots", &["WEB_CONCURRENCY", "lots"]),
    ];
    for (name, value, words) in rows {
        for verb in ["start", "check", "print-config"] {
            refused(&playground(&[verb], &[(name, value)]), 4, words);
        }
    }
}

#[test]
fn whoever_pretends_to_be_a_child_is_refused() {
    let role = "HATCHERY_CHILD_ROLE";
    refused(&playground(&[], &[(role, "bogus")]), 2, &[role, "bogus"]);
    refused(&playground(&[], &[(role, "")]), 2, &[role]);
    refused(&playground(&[], &[(role, "master")]), 2, &[role, "master"]);
    let ran = playground(&[], &[(role, "worker")]);
    assert!(
        ran.code != Some(0) && ran.stderr.contains("protocol"),
        "{ran:?}"
    );
    let another_master = [
        (role, "worker"),
        ("HATCHERY_CHILD_PROTOCOL", "1"),
        ("HATCHERY_CHILD_MASTER", "1"),
    ];
    refused(&playground(&[], &another_master), 110, &["master", "gone"]);
    let ours = std::process::id().to_string();
    let no_link = [
        (role, "agent"),
        ("HATCHERY_CHILD_PROTOCOL", "1"),
        ("HATCHERY_CHILD_MASTER", ours.as_str()),
    ];
    let ran = playground(&[], &no_link);
    refused(&ran, 70, &["standard input"]);
}

// The file.

fn with_file(content: &str, verb: &str) -> Ran {
    let plan = playground!();
    let file = plan.path("app.toml");
    fs::write(&file, content).unwrap();
    playground(&[verb, "--config", file.to_str().unwrap()], &[])
}

#[test]
fn mistakes_in_the_file_are_configuration_errors_that_name_key_and_file() {
    let rows: [(&str, &[&str]); 7] = [
        ("workers = 0", &["workers", "app.toml"]),
        (
            "wrokers = 2",
            &["wrokers", "did you mean `workers`", "app.toml"],
        ),
        ("drain_timeout = 30", &["drain_timeout", "unit", "app.toml"]),
        ("listen = [1, 2]", &["listen", "app.toml"]),
        ("[section]\nworkers = 2", &["section", "app.toml"]),
        ("workers = 2\nthis is no TOML", &["app.toml", "line 2"]),
        (
            "port = 1\nlisten = '127.0.0.1:2'",
            &["port", "listen", "app.toml"],
        ),
    ];
    for (content, words) in rows {
        for verb in ["start", "check", "print-config"] {
            refused(&with_file(content, verb), 4, words);
        }
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let plan = playground!();
    let file = plan.path("app.toml");
    fs::write(&file, "workers = 0\ncolour = 'red'\n").unwrap();
    let ran = playground(
        &["check", "--config", file.to_str().unwrap()],
        &[("HATCHERY_THREADS", "none")],
    );
    refused(&ran, 4, &["workers", "colour", "HATCHERY_THREADS"]);
}

#[test]
fn a_file_that_is_not_there_is_told() {
    let ran = playground(&["--config", "/nowhere.toml"], &[]);
    refused(&ran, 4, &["/nowhere.toml", "--config"]);
}

// Which one holds.

/// `key = value # source` of print-config.
fn printed(ran: &Ran, key: &str) -> (String, String) {
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let line = ran
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "))
        .unwrap_or_else(|| panic!("no {key} in {}", ran.stdout));
    let (value, source) = line.split_once(" # ").unwrap();
    (value.to_owned(), source.to_owned())
}

#[test]
fn flags_beat_the_environment_which_beats_the_file_which_beats_the_default() {
    let plan = playground!();
    let path = plan.path("app.toml");
    let file = path.to_str().unwrap();
    fs::write(&path, "threads = 2\nworkers = 3\nlame_duck = '3s'\n").unwrap();
    let env = [("HATCHERY_WORKERS", "4"), ("HATCHERY_LAME_DUCK", "4s")];
    let args = ["print-config", "--config", file, "--lame-duck", "5s"];
    let ran = playground(&args, &env);
    let rows = [
        ("drain_timeout", "\"30s\"", "default"),
        ("threads", "2", "app.toml"),
        ("workers", "4", "HATCHERY_WORKERS"),
        ("lame_duck", "\"5s\"", "--lame-duck"),
    ];
    for (key, value, source) in rows {
        let (shown, from) = printed(&ran, key);
        assert_eq!(shown, value, "{key}");
        assert!(from.contains(source), "{key} from {from}");
    }
}

#[test]
fn what_print_config_prints_is_a_configuration() {
    let plan = playground!();
    let first = playground(&["print-config", "--workers", "3"], &[]);
    let file = plan.path("app.toml");
    fs::write(&file, &first.stdout).unwrap();
    let second = playground(&["print-config", "--config", file.to_str().unwrap()], &[]);
    assert_eq!(printed(&second, "workers").0, "3");
    assert!(printed(&second, "drain_timeout").1.contains("app.toml"));
}

#[test]
fn platforms_may_say_how_many_workers_there_are() {
    let web_concurrency = ("WEB_CONCURRENCY", "5");
    let ran = playground(&["print-config"], &[web_concurrency]);
    assert_eq!(printed(&ran, "workers").0, "5");
    let ran = playground(
        &["print-config"],
        &[web_concurrency, ("HATCHERY_WORKERS", "6")],
    );
    assert_eq!(printed(&ran, "workers").0, "6");
}

#[test]
fn a_cluster_is_what_was_said_in_all_the_places() {
    let plan = playground!();
    let file = plan.path("app.toml");
    fs::write(&file, "workers = 1\nlog_format = 'json'\n").unwrap();
    let cluster = plan
        .without("--workers")
        .env("HATCHERY_WORKERS", "3")
        .flag("--config", file)
        .start();
    assert_eq!(cluster.status()["workers"].as_array().unwrap().len(), 3);
    assert!(cluster.stderr().starts_with('{'), "{}", cluster.stderr());
    cluster.stop();
}

#[test]
fn check_says_yes_or_no_and_starts_nothing() {
    let plan = playground!();
    let yes = plan.run_verb(&["check"]);
    assert_eq!(yes.code, Some(0), "{yes:?}");
    assert!(!plan.runtime_dir().exists(), "a look changes nothing");
    refused(
        &playground(&["check", "--events", "/nowhere/events"], &[]),
        4,
        &["/nowhere"],
    );
}

#[test]
fn check_does_not_mind_a_running_application() {
    let cluster = playground!().start();
    let ran = cluster.verb(&["check"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(cluster.status()["state"], "ready");
    cluster.stop();
}

// Places that cannot be used.

/// The start ends with code 4, says why, and nobody was started.
fn place_is_refused(plan: Plan, words: &[&str]) {
    let ended = plan.run_to_end();
    ended.expect_code(4).expect_stderr(words);
    assert_eq!(ended.events, []);
    assert_eq!(ended.trace, []);
}

#[test]
fn a_runtime_directory_that_is_too_long_is_refused() {
    let plan = playground!();
    let path = plan.path(&"x".repeat(120));
    place_is_refused(plan.flag("--runtime-dir", path), &["runtime", "107"]);
}

#[test]
fn a_runtime_directory_that_is_a_file_is_refused() {
    let plan = playground!();
    let path = plan.path("file");
    fs::write(&path, "").unwrap();
    place_is_refused(plan.flag("--runtime-dir", path), &["runtime", "directory"]);
}

#[test]
fn a_runtime_directory_that_others_may_write_to_is_refused() {
    let plan = playground!();
    let path = plan.path("open");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    place_is_refused(plan.flag("--runtime-dir", path), &["others"]);
}

#[test]
fn a_runtime_directory_of_another_user_is_refused() {
    let plan = playground!();
    let path = plan.path("foreign");
    fs::create_dir(&path).unwrap();
    chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
    place_is_refused(plan.flag("--runtime-dir", path), &["another user"]);
}

#[test]
fn a_runtime_directory_that_is_a_link_is_refused() {
    let plan = playground!();
    let (real, link) = (plan.path("real"), plan.path("link"));
    fs::create_dir(&real).unwrap();
    symlink(&real, &link).unwrap();
    place_is_refused(plan.flag("--runtime-dir", link), &["directory"]);
}

#[test]
fn a_runtime_directory_that_may_not_be_written_is_refused() {
    let plan = playground!().own_copy();
    let path = plan.path("locked");
    fs::create_dir(&path).unwrap();
    chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o500)).unwrap();
    place_is_refused(
        plan.flag("--runtime-dir", path).as_nobody(),
        &["runtime", "ermission"],
    );
}

#[test]
fn files_that_cannot_be_written_are_refused() {
    for key in ["--events", "--log-file", "--pid-file"] {
        let plan = playground!().flag(key, "/nowhere/file");
        place_is_refused(plan, &[&key[2..].replace('-', "_"), "/nowhere"]);
    }
}

#[test]
fn a_privileged_port_is_not_for_everybody() {
    let address = privileged_address();
    let plan = playground!().own_copy().listen(address).as_nobody();
    let ended = plan.run_to_end();
    ended
        .expect_code(5)
        .expect_stderr(&[&address.to_string(), "ermission"])
        .expect_no("agent-spawned");
}

// Full disks: a cluster serves on without its files.

fn serves_and_heals_and_stops(cluster: &Cluster) {
    cluster.expect_status("it is ready", |status| status["state"] == "ready");
    let status = cluster.status();
    let address = status["listeners"][0]["address"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(http::get(address, "/").unwrap().text(), "Hello World");
    let worker = u32::try_from(status["workers"][0]["pid"].as_u64().unwrap()).unwrap();
    kill(worker, Signal::KILL);
    cluster.expect_status("it is ready again", |status| {
        let now = &status["workers"][0];
        now["state"] == "ready" && now["pid"] != worker
    });
    cluster.signal(Signal::TERM);
    cluster.expect_exit().expect_code(0);
}

#[test]
fn a_full_disk_under_the_events_harms_nobody() {
    let cluster = playground!().flag("--events", "/dev/full").launch();
    serves_and_heals_and_stops(&cluster);
    assert!(
        cluster.stderr().contains("/dev/full"),
        "but it is told: {}",
        cluster.stderr()
    );
}

#[test]
fn a_full_disk_under_the_log_harms_nobody() {
    let cluster = playground!().flag("--log-file", "/dev/full").launch();
    serves_and_heals_and_stops(&cluster);
}

#[test]
fn events_that_nobody_reads_harm_nobody() {
    let plan = playground!();
    let path = plan.path("fifo");
    let _reader = hatchery_tests::fifo::full(&path);
    let cluster = plan.flag("--events", &path).launch();
    serves_and_heals_and_stops(&cluster);
}

#[test]
fn a_log_that_nobody_reads_harms_nobody() {
    let plan = playground!();
    let path = plan.path("fifo");
    let _reader = hatchery_tests::fifo::full(&path);
    let cluster = plan.flag("--log-file", &path).launch();
    serves_and_heals_and_stops(&cluster);
}

#[test]
fn a_log_whose_reader_is_gone_harms_nobody() {
    let plan = playground!();
    let path = plan.path("fifo");
    let reader = hatchery_tests::fifo::full(&path);
    let cluster = plan.flag("--log-file", &path).launch();
    cluster.wait("egg-ready");
    drop(reader);
    serves_and_heals_and_stops(&cluster);
}

#[test]
fn a_cluster_needs_no_file_but_its_runtime_directory() {
    let cluster = playground!().without("--events").launch();
    serves_and_heals_and_stops(&cluster);
}
