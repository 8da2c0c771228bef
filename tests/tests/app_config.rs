//! The application's own configuration: the example `configured`, from outside.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs;
use std::path::Path;

use hatchery_tests::http::get;
use hatchery_tests::plan::NOBODY;
use hatchery_tests::process::{field, kill};
use hatchery_tests::{Cluster, Plan, Ran, step};
use rustix::process::Signal;
use serde_json::Value;

/// What nobody may see.
const SECRET: &str = "hunter2-and-more";

fn plan() -> Plan {
    Plan::new(env!("CARGO_BIN_EXE_configured")).flag("--name", "configured")
}

/// `[app]` with this greeting and region; the token comes from elsewhere.
fn section(greeting: &str, region: &str) -> String {
    format!(
        "[app]\ngreeting = \"{greeting}\"\nnames = [\"World\"]\n[app.upstream]\nregion = \"{region}\"\ntoken = \"{SECRET}\"\n"
    )
}

/// The plan with this as its file.
fn with_file(plan: Plan, text: &str) -> Plan {
    let file = plan.path("app.toml");
    fs::write(&file, text).unwrap();
    plan.flag("--config", file)
}

fn started(text: &str) -> Cluster {
    with_file(plan(), text).start()
}

fn put_file(cluster: &Cluster, text: &str) {
    fs::write(cluster.plan().path("app.toml"), text).unwrap();
}

#[track_caller]
fn reload(cluster: &Cluster, flags: &[&str]) -> Ran {
    let verb = [&["reload"], flags].concat();
    let ran = cluster.verb(&verb);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran
}

fn ask(cluster: &Cluster, path: &str) -> String {
    get(cluster.address(), path).unwrap().text().to_owned()
}

/// What the agent works with.
fn agent(cluster: &Cluster) -> Value {
    serde_json::from_str(&ask(cluster, "/agent")).unwrap()
}

/// Connections in a row go to all workers in turn: these are more than enough for each.
#[track_caller]
fn everybody_says(cluster: &Cluster, words: &str) {
    for _ in 0..8 {
        assert_eq!(ask(cluster, "/"), words);
    }
}

/// Waits until the agent that is there now works with this greeting.
#[track_caller]
fn expect_agent(cluster: &Cluster, greeting: &str) -> Value {
    cluster.expect("the agent has the new values", || {
        let answer = get(cluster.address(), "/agent").unwrap();
        answer.status == 200
            && answer
                .text()
                .contains(&format!("\"greeting\":\"{greeting}\""))
    });
    agent(cluster)
}

#[track_caller]
fn refused(ran: &Ran, words: &[&str]) {
    assert_eq!(ran.code, Some(4), "{ran:?}");
    for word in words {
        assert!(ran.stderr.contains(word), "no `{word}` in {ran:?}");
    }
    assert!(!ran.stderr.contains(SECRET), "a value is shown: {ran:?}");
}

// Where values come from, and who gets them.

#[test]
fn both_roles_have_what_file_and_environment_say() {
    let cluster = with_file(plan(), &section("Hello", "north"))
        .env("HATCHERY_APP__NAMES", "World, moon")
        .env("HATCHERY_APP__UPSTREAM__ATTEMPTS", "7")
        .env("HATCHERY_APP__UPSTREAM__PATIENCE", "short")
        // A password that looks like a number stays text.
        .env("HATCHERY_APP__UPSTREAM__TOKEN", "007")
        .start();
    everybody_says(&cluster, "Hello World and moon");
    let agent = agent(&cluster);
    assert_eq!(
        (&agent["region"], &agent["attempts"]),
        (&"north".into(), &7.into())
    );
    assert_eq!(
        (&agent["token_length"], &agent["patience_seconds"]),
        (&3.into(), &1.into())
    );
    cluster.stop();
}

#[test]
fn the_environment_alone_is_enough() {
    let cluster = plan()
        .env("HATCHERY_APP__GREETING", "Hi")
        .env("HATCHERY_APP__UPSTREAM__REGION", "south")
        .env("HATCHERY_APP__UPSTREAM__TOKEN", SECRET)
        .start();
    everybody_says(&cluster, "Hi ");
    assert_eq!(agent(&cluster)["region"], "south");
    // Who takes another's place has it, too.
    kill(cluster.worker(0), Signal::KILL);
    cluster.wait_nth("worker-ready", 3);
    everybody_says(&cluster, "Hi ");
    cluster.expect_orderly_end();
}

/// Workers without rights have it from the master.
#[test]
fn a_file_that_children_cannot_read_serves_them() {
    use std::os::unix::fs::PermissionsExt as _;
    let plan = with_file(plan().children_of("nobody"), &section("Hello", "north"));
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(plan.path("app.toml"), private).unwrap();
    let cluster = plan.start();
    let user = field(cluster.worker(0), "Uid:").unwrap();
    assert_eq!(user[0], NOBODY.to_string());
    everybody_says(&cluster, "Hello World");
    assert_eq!(agent(&cluster)["token_length"], SECRET.len());
    cluster.stop();
}

#[test]
fn secrets_are_on_no_command_line_in_no_file_and_in_no_answer() {
    let cluster = with_file(
        plan().flag("--log-level", "trace"),
        &section("Hello", "north"),
    )
    .start();
    put_file(&cluster, &section("Hi", "north"));
    reload(&cluster, &[]);
    expect_agent(&cluster, "Hi");
    let pids = [cluster.master(), cluster.agent(), cluster.worker(0)];
    for pid in pids {
        for file in ["cmdline", "environ"] {
            let text = fs::read(format!("/proc/{pid}/{file}")).unwrap();
            assert!(
                !String::from_utf8_lossy(&text).contains(SECRET),
                "{file} of {pid}"
            );
        }
    }
    for verb in [&["status"][..], &["status", "--json"], &["metrics"]] {
        let ran = cluster.verb(verb);
        assert!(!ran.stdout.contains(SECRET), "{ran:?}");
    }
    let plan = cluster.plan().clone();
    let printed = plan.run_instead("print-config");
    assert_eq!(printed.code, Some(0), "{printed:?}");
    assert!(
        printed
            .stdout
            .contains("# app.upstream.token is set and not shown # file "),
        "{printed:?}"
    );
    assert!(!printed.stdout.contains(SECRET), "{printed:?}");
    let ended = cluster.stop();
    let said = [ended.stdout, ended.stderr, format!("{:?}", ended.events)];
    assert!(!said.concat().contains(SECRET), "{said:?}");
    let mut folders = vec![plan.path("")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("app.toml") {
                let text = fs::read(&path).unwrap_or_default();
                assert!(
                    !String::from_utf8_lossy(&text).contains(SECRET),
                    "{}",
                    path.display()
                );
            }
        }
    }
}

// What is wrong.

/// A file, variables, and words of the sentence.
type Mistake<'a> = (String, &'a [(&'a str, &'a str)], &'a [&'a str]);

#[test]
fn a_section_that_is_wrong_is_told_by_check_and_by_start() {
    let good = section("Hello", "north");
    let rows: [Mistake<'_>; 9] = [
        (
            good.replace("greeting", "greetign"),
            &[],
            &[
                "unknown key `app.greetign` in file ",
                "app.toml; it may be `greeting`",
            ],
        ),
        (
            good.replace("\"Hello\"", "5"),
            &[],
            &[
                "bad value for `app.greeting` in file ",
                "it must be a string, and it is a whole number",
            ],
        ),
        (
            good.replace("greeting = \"Hello\"\n", ""),
            &[],
            &[
                "`app.greeting` is missing: set it under [app] of file ",
                "HATCHERY_APP__GREETING",
            ],
        ),
        (
            good.clone() + "attempts = 11\n",
            &[],
            &[
                "bad value for `app.upstream.attempts` in file ",
                "it must be at most 10",
            ],
        ),
        (
            good.clone(),
            &[("HATCHERY_APP__UPSTREAM__ATTEMPTS", SECRET)],
            &[
                "bad value for `app.upstream.attempts` in environment variable HATCHERY_APP__UPSTREAM__ATTEMPTS: it must be a \
                 whole number from 0 to 255",
            ],
        ),
        (
            good.clone(),
            &[("HATCHERY_APP__UPSTREAM__PATIENCE", SECRET)],
            &["HATCHERY_APP__UPSTREAM__PATIENCE: it must be one of `short`, `long`"],
        ),
        (
            good.clone(),
            &[("HATCHERY_APP__GREETIGN", SECRET)],
            &["unknown key `app.greetign` in environment variable HATCHERY_APP__GREETIGN"],
        ),
        (
            good.clone(),
            &[("HATCHERY_APP_GREETING", SECRET)],
            &["did you mean HATCHERY_APP__GREETING?"],
        ),
        (
            good.replace("\"World\"", &format!("\"{}\"", "x".repeat(70_000))),
            &[],
            &["bad value for `app` in file ", "at most 65536 are allowed"],
        ),
    ];
    for (text, variables, words) in rows {
        let mut plan = with_file(plan(), &text);
        for (name, value) in variables {
            plan = plan.env(name, *value);
        }
        refused(&plan.run_instead("check"), words);
        refused(&plan.run_command(), words);
        assert!(!plan.events_file().exists(), "something was started");
    }
    let ran = with_file(plan(), &good).run_instead("check");
    assert_eq!(
        (ran.code, ran.stdout.trim()),
        (Some(0), "configuration ok"),
        "{ran:?}"
    );
}

#[test]
fn an_application_without_a_type_refuses_a_section() {
    let plan = with_file(
        Plan::new(env!("CARGO_BIN_EXE_hello")),
        &format!("[app]\ntoken = \"{SECRET}\"\n"),
    );
    let why = "this application has no configuration of its own";
    refused(&plan.run_instead("check"), &["`app`", "app.toml", why]);
    let plan = Plan::new(env!("CARGO_BIN_EXE_hello")).env("HATCHERY_APP__TOKEN", SECRET);
    refused(&plan.run_command(), &["HATCHERY_APP__TOKEN", why]);
}

// Reloads.

#[test]
fn a_reload_brings_new_values_to_new_workers_and_to_the_agents_hook() {
    let cluster = started(&section("Hello", "north"));
    let before = agent(&cluster);
    assert_eq!(before["changes"], 0);
    put_file(&cluster, &section("Hi", "north"));
    reload(&cluster, &[]);
    everybody_says(&cluster, "Hi World");
    let after = expect_agent(&cluster, "Hi");
    assert_eq!(
        (&after["pid"], &after["changes"]),
        (&before["pid"], &1.into())
    );
    // Nothing of it has changed: no hook.
    reload(&cluster, &[]);
    put_file(&cluster, &section("Hey", "north"));
    reload(&cluster, &[]);
    let last = expect_agent(&cluster, "Hey");
    assert_eq!(
        (&last["pid"], &last["changes"]),
        (&before["pid"], &2.into())
    );
    // A worker that comes later, of itself.
    kill(cluster.worker(1), Signal::KILL);
    cluster.wait_nth("worker-ready", 9);
    everybody_says(&cluster, "Hey World");
    cluster.expect_orderly_end();
}

#[test]
fn an_agent_that_comes_with_the_reload_begins_with_the_new_values() {
    let cluster = started(&section("Hello", "north"));
    let before = agent(&cluster);
    put_file(&cluster, &section("Hi", "north"));
    reload(&cluster, &["--agent"]);
    let after = expect_agent(&cluster, "Hi");
    assert_ne!(after["pid"], before["pid"]);
    assert_eq!(after["changes"], 0);
    cluster.stop();
}

/// What cannot change in place: the hook says so, and an agent that begins anew takes over.
#[test]
fn an_agent_whose_hook_fails_is_replaced_by_one_that_has_the_new_values() {
    let cluster = started(&section("Hello", "north"));
    let before = agent(&cluster);
    put_file(&cluster, &section("Hi", "south"));
    reload(&cluster, &[]);
    let after = expect_agent(&cluster, "Hi");
    assert_ne!(after["pid"], before["pid"]);
    assert_eq!(
        (&after["region"], &after["changes"]),
        (&"south".into(), &0.into())
    );
    assert!(
        cluster
            .stderr()
            .contains("Agent::config_changed failed: the region has changed")
    );
    cluster.expect_orderly_end();
}

/// A deploy that brings another type, too, without the agent.
#[test]
fn an_agent_that_cannot_read_what_a_newer_build_reads_goes_on_with_what_it_has() {
    let cluster = with_file(plan().own_copy(), &section("Hi", "north")).start();
    let before = agent(&cluster);
    // A build that wants nothing of the section.
    cluster.deploy(Path::new(env!("CARGO_BIN_EXE_hello")));
    put_file(&cluster, "[app]\ncolour = \"red\"\n");
    reload(&cluster, &[]);
    everybody_says(&cluster, "Hello World");
    cluster.expect("the agent says so", || {
        let log = cluster.stderr();
        log.contains(
            "is not for this build, which goes on with the old one: unknown key `app.colour`",
        )
    });
    cluster.deploy(Path::new(env!("CARGO_BIN_EXE_configured")));
    put_file(&cluster, &section("Hey", "north"));
    reload(&cluster, &[]);
    let after = expect_agent(&cluster, "Hey");
    assert_eq!(
        (&after["pid"], &after["changes"]),
        (&before["pid"], &1.into())
    );
    cluster.stop();
}

#[test]
fn a_section_that_is_wrong_fails_the_reload_and_changes_nothing() {
    let good = section("Hello", "north");
    let cluster = started(&good);
    let (workers, before) = (cluster.worker_pids(), agent(&cluster));
    let rows = [
        (
            good.replace("greeting", "greetign"),
            "unknown key `app.greetign` in file ",
        ),
        (
            good.replace("\"Hello\"", "5"),
            "bad value for `app.greeting` in file ",
        ),
        (
            "[app]\n".to_owned(),
            "`app.greeting` is missing: set it under [app] of file ",
        ),
        (
            good.clone() + "attempts = 11\n",
            "bad value for `app.upstream.attempts` in file ",
        ),
        ("app = 5\n".to_owned(), "bad value for `app` in file "),
        ("[app\n".to_owned(), "is not TOML"),
    ];
    for (text, words) in rows {
        put_file(&cluster, &text);
        let ran = cluster.verb(&["reload"]);
        cluster.expect_failed(&ran, &[words, "app.toml"]);
        assert_eq!(cluster.worker_pids(), workers);
        everybody_says(&cluster, "Hello World");
        assert_eq!(agent(&cluster), before);
    }
    assert!(!cluster.stderr().contains(SECRET));
    put_file(&cluster, &section("Hi", "north"));
    reload(&cluster, &[]);
    everybody_says(&cluster, "Hi World");
    assert_eq!(expect_agent(&cluster, "Hi")["changes"], 1);
    cluster.stop();
}

/// Who replaces a worker after a failed reload has what the cluster runs with, whatever the file says.
#[test]
fn what_holds_is_what_was_read_last_with_success() {
    let cluster = started(&section("Hello", "north"));
    put_file(&cluster, "[app]\n");
    assert_eq!(cluster.verb(&["reload"]).code, Some(7));
    let (agent_before, worker) = (cluster.agent(), cluster.worker(0));
    kill(worker, Signal::KILL);
    kill(agent_before, Signal::KILL);
    cluster.wait_nth(step("agent-ready"), 2);
    cluster.expect_status("both are there again", |status| {
        let ready = |process: &Value| process["state"] == "ready";
        let workers = status["workers"].as_array().unwrap();
        ready(&status["agent"]) && workers.iter().all(ready)
    });
    everybody_says(&cluster, "Hello World");
    expect_agent(&cluster, "Hello");
    cluster.expect_orderly_end();
}

// Upgrades.

#[test]
fn an_upgrade_reads_everything_anew_or_fails() {
    let cluster = with_file(plan().upgradable(), &section("Hello", "north")).start();
    put_file(&cluster, "[app]\n");
    cluster.fail_upgrade(&[]);
    cluster.expect("the log says it", || {
        cluster.stderr().contains("`app.greeting` is missing")
    });
    everybody_says(&cluster, "Hello World");
    put_file(&cluster, &section("Hi", "south"));
    cluster.upgrade();
    everybody_says(&cluster, "Hi World");
    assert_eq!(agent(&cluster)["region"], "south");
    cluster.expect_orderly_end();
}
