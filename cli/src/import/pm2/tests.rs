//! Ecosystem files, and what becomes of them.

use serde_json::json;

use super::*;

fn imported(apps: &Value, env: Option<&str>) -> Vec<Application> {
    import(apps, Path::new("e.json"), None, env).unwrap()
}

/// The file that one application becomes.
fn toml_of(app: &Value) -> String {
    imported(&json!({ "apps": [app] }), None)[0].to_toml()
}

/// As the configuration is read.
fn table(text: &str) -> toml::Table {
    toml::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn each_option_that_has_a_counterpart_becomes_it() {
    for (option, value, expected) in [
        ("instances", json!(4), "workers = 4"),
        ("instances", json!("3"), "workers = 3"),
        ("instances", json!("max"), "workers = 'auto'"),
        ("instances", json!(0), "workers = 'auto'"),
        ("instances", json!(-1000), "workers = 1"),
        ("max_memory_restart", json!("300M"), "max_memory = '300MiB'"),
        ("maxMemoryRestart", json!("1G"), "max_memory = '1GiB'"),
        (
            "max_memory_restart",
            json!(5_000_000),
            "max_memory = '5000000B'",
        ),
        ("kill_timeout", json!(1600), "drain_timeout = '1600ms'"),
        ("kill_timeout", json!("3000"), "drain_timeout = '3s'"),
        ("kill_timeout", json!("2m"), "drain_timeout = '120s'"),
        ("listen_timeout", json!(8000), "worker_start_timeout = '8s'"),
        ("wait_ready", json!(true), "program_ready = 'accept'"),
        ("cwd", json!("/srv/api"), "program_dir = '/srv/api'"),
        ("port", json!(3000), "listen = ['0.0.0.0:3000']"),
        (
            "env",
            json!({"PORT": 80, "A": true}),
            "listen = ['0.0.0.0:80']\nprogram_env = ['A=true', 'PORT=80']",
        ),
        (
            "out_file",
            json!("/var/log/out"),
            "log_file = '/var/log/out'",
        ),
        ("error", json!("NULL"), "log_file = '/dev/null'"),
        ("pid_file", json!("/run/a.pid"), "pid_file = '/run/a.pid'"),
        ("log_type", json!("json"), "log_format = 'json'"),
        ("uid", json!("www"), "user = 'www'"),
        ("gid", json!(33), "group = '33'"),
    ] {
        let text = toml_of(&json!({"script": "server.js", option: value}));
        let table = table(&text);
        for (key, value) in toml::from_str::<toml::Table>(expected).unwrap() {
            assert_eq!(table.get(&key), Some(&value), "{option}: {text}");
        }
        assert!(!text.contains("Without a counterpart"), "{text}");
    }
}

#[test]
fn each_option_that_has_none_is_named_with_the_reason() {
    for (option, value, reason) in [
        ("watch", json!(true), "files are not watched"),
        ("watch", json!(["src"]), "files are not watched"),
        ("ignore_watch", json!(["x"]), "files are not watched"),
        (
            "cron_restart",
            json!("0 3 * * *"),
            "let cron or a systemd timer run `hatchery reload",
        ),
        ("autorestart", json!(false), "always replaced"),
        ("max_restarts", json!(10), "always replaced"),
        ("min_uptime", json!("60s"), "always replaced"),
        ("exp_backoff_restart_delay", json!(100), "grows by half"),
        ("merge_logs", json!(false), "one file"),
        ("exec_mode", json!("fork"), "accept from one socket"),
        ("shutdown_with_message", json!(true), "program_stop_signal"),
        ("instance_var", json!("N"), "HATCHERY_CHILD_SLOT"),
        (
            "env_production",
            json!({"A": 1}),
            "--env production takes these",
        ),
        ("colour", json!("red"), "no option of PM2's"),
    ] {
        let text = toml_of(&json!({"script": "server.js", option: value}));
        table(&text);
        let named = text
            .lines()
            .find(|line| line.starts_with(&format!("# - {option}: ")));
        assert!(
            named.is_some_and(|line| line.contains(reason)),
            "{option}: {text}"
        );
    }
    for silent in [
        json!({"watch": false}),
        json!({"autorestart": true}),
        json!({"merge_logs": true}),
        json!({"exec_mode": "cluster"}),
        json!({"cron_restart": "0"}),
        json!({"wait_ready": false}),
        json!({"namespace": "x"}),
        json!({"max_memory_restart": null}),
    ] {
        let mut app = silent.clone();
        app["script"] = json!("a.js");
        assert!(!toml_of(&app).contains("Without"), "{silent}");
    }
}

#[test]
fn the_command_line_is_what_pm2_would_run() {
    for (app, expected) in [
        (json!({"script": "./a.js"}), vec!["node", "./a.js"]),
        (
            json!({"script": "a.js", "args": "--x 'b c'", "node_args": "--inspect"}),
            vec!["node", "--inspect", "a.js", "--x", "b c"],
        ),
        (
            json!({"script": "a.py", "args": ["-v", 1]}),
            vec!["python3", "a.py", "-v", "1"],
        ),
        (
            json!({"script": "a.js", "interpreter": "bun"}),
            vec!["bun", "a.js"],
        ),
        (
            json!({"script": "a.js", "interpreter": "none"}),
            vec!["./a.js"],
        ),
        (json!({"script": "bin/server"}), vec!["bin/server"]),
        (
            json!({"script": "npm", "args": "start"}),
            vec!["npm", "start"],
        ),
        (
            json!({"cmd": "./a -x | cat"}),
            vec!["bash", "-c", "exec ./a -x | cat"],
        ),
    ] {
        let text = toml_of(&app);
        let program = table(&text)["program"].clone();
        assert_eq!(program, toml::Value::from(expected), "{text}");
    }
}

#[test]
fn variables_of_an_environment_lie_over_the_others() {
    let app = json!({"name": "my app", "script": "a.js", "env": {"A": "1", "B": "2"}, "env_production": {"B": "3"}});
    let all = imported(&json!([app]), Some("production"));
    let text = all[0].to_toml();
    let table = table(&text);
    assert_eq!(table["program_env"], toml::Value::from(vec!["A=1", "B=3"]));
    assert_eq!(table["name"].as_str(), Some("my-app"));
    assert!(!text.contains("Without"), "{text}");
}

#[test]
fn what_cannot_be_imported_has_a_sentence() {
    for (value, sentence) in [
        (json!({}), "e.json names no applications"),
        (json!({"apps": []}), "e.json names no applications"),
        (json!("x"), "e.json names no applications"),
        (json!([1]), "e.json: application 1 is not an object"),
        (
            json!([{"name": "a"}]),
            "e.json: application 1 has no `script`",
        ),
        (
            json!([{"name": "a", "script": "a.js", "instances": "many"}]),
            "e.json: `instances` of application a cannot be \"many\": it has to be a number or max",
        ),
        (
            json!([{"name": "a", "script": "a.js", "kill_timeout": true}]),
            "e.json: `kill_timeout` of application a cannot be true",
        ),
        (
            json!([{"name": "a", "script": "a.js", "max_memory_restart": "1T"}]),
            "it has to be bytes, or a size like 300M",
        ),
        (
            json!([{"name": "a", "script": "a.js", "args": "'x"}]),
            "a quote in it has no end",
        ),
        (
            json!([{"name": "a", "script": "a.js", "env": []}]),
            "it has to be an object of variables",
        ),
    ] {
        let error = import(&value, Path::new("e.json"), None, None).unwrap_err();
        assert!(error.to_string().contains(sentence), "{error}");
    }
    let apps = json!([{"name": "a", "script": "a.js"}, {"name": "b", "script": "b.js"}]);
    let one = import(&apps, Path::new("e.json"), Some("b"), None).unwrap();
    assert_eq!(one.len(), 1);
    let error = import(&apps, Path::new("e.json"), Some("c"), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "e.json has no application c; there is a, b"
    );
    let error = import(&apps, Path::new("e.json"), None, Some("test")).unwrap_err();
    assert!(error.to_string().contains("no such variables"), "{error}");
}

#[test]
fn every_option_stands_in_one_place() {
    let mut names: Vec<&str> = without::WITHOUT.iter().map(|(name, _)| *name).collect();
    names.extend(without::HARMLESS);
    names.extend(options::names());
    names.extend(command::NAMES);
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}
