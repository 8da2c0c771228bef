//! Unit files and manifests: what the commands print, what systemd says to it, and what the documentation shows.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hatchery_tests::command::{Ran, run};
use hatchery_tests::plan::bare;
use saphyr::{LoadableYamlNode as _, Yaml};

const PLAYGROUND: &str = env!("CARGO_BIN_EXE_playground");

fn units(arguments: &[&str]) -> Ran {
    let mut command = bare(PLAYGROUND);
    command.arg("systemd-unit").args(arguments);
    run(command)
}

fn documentation(page: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(page);
    fs::read_to_string(path).unwrap()
}

/// The blocks of a page in this language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let text = documentation(page);
    let blocks = text.split(&fence).skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

/// As an application of another name in another place would print it.
fn as_myapp(ran: &Ran) -> String {
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let program = fs::canonicalize(PLAYGROUND).unwrap().display().to_string();
    ran.stdout
        .replace(&program, "/usr/local/bin/myapp")
        .replace("playground", "myapp")
}

#[test]
fn the_documentation_shows_what_the_command_prints() {
    let shown = blocks("systemd.md", "ini");
    assert_eq!(shown[0], as_myapp(&units(&[])));
    assert_eq!(
        shown[1],
        as_myapp(&units(&["--sockets", "--listen", "0.0.0.0:80"]))
    );
}

/// What systemd itself says to a file, where it is installed.
#[track_caller]
fn verified(arguments: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().display().to_string();
    let ran = units(&[arguments, &["--output", &output]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let files: Vec<PathBuf> = ran.stdout.lines().map(PathBuf::from).collect();
    assert!(files.iter().all(|file| file.exists()), "{ran:?}");
    let again = units(&[arguments, &["--output", &output]].concat());
    assert_eq!(again.code, Some(4), "nothing is overwritten: {again:?}");
    let found = Command::new("systemd-analyze").arg("--version").output();
    if found.is_err() {
        return;
    }
    let mut analyze = Command::new("systemd-analyze");
    analyze.arg("verify").args(&files);
    let ran = run(analyze);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    // It says things about other units of the machine, too.
    let complaints: Vec<&str> = ran
        .stderr
        .lines()
        .filter(|line| line.contains("playground"))
        .collect();
    assert!(complaints.is_empty(), "{complaints:?}");
}

#[test]
fn systemd_has_nothing_to_say_against_a_service() {
    verified(&[]);
    verified(&[
        "--listen",
        "0.0.0.0:80",
        "--nice",
        "-5",
        "--cpu-affinity",
        "0;1",
        "--log-file",
        "/var/log/my app.log",
    ]);
    verified(&[
        "--user",
        "nobody",
        "--umask",
        "027",
        "--drain-timeout",
        "90500ms",
    ]);
}

#[test]
fn systemd_has_nothing_to_say_against_sockets() {
    verified(&["--sockets"]);
    verified(&[
        "--sockets",
        "--listen",
        "[::]:80?name=web&v6only=false",
        "--listen",
        "unix:/run/playground.sock?mode=0660",
    ]);
}

#[test]
fn what_systemd_cannot_open_is_bad_configuration() {
    let ran = units(&["--sockets", "--listen", "127.0.0.1:0"]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(
        ran.stderr.contains("--sockets") && ran.stdout.is_empty(),
        "{ran:?}"
    );
    let ran = units(&["--workers", "0"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
}

// Kubernetes.

fn seconds(text: &str) -> i64 {
    text.strip_suffix('s').unwrap().parse().unwrap()
}

/// The number that a unit for the same settings has.
fn of_unit(key: &str, flags: &[&str]) -> i64 {
    let ran = units(flags);
    let line = ran
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("no {key} in {ran:?}"))
        .parse()
        .unwrap()
}

#[test]
fn the_manifest_is_one_and_its_numbers_are_those_of_the_settings() {
    let blocks = blocks("kubernetes.md", "yaml");
    let documents = Yaml::load_from_str(&blocks[0]).unwrap();
    let [deployment, service] = documents.as_slice() else {
        panic!("{} documents", documents.len());
    };
    let number = |node: &Yaml<'_>| node.as_integer().unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let arguments: Vec<&str> = container["args"]
        .as_vec()
        .unwrap()
        .iter()
        .map(|a| a.as_str().unwrap())
        .collect();
    assert_eq!(arguments[0], "start");
    assert_eq!(
        number(&pod["terminationGracePeriodSeconds"]),
        of_unit("TimeoutStopSec", &arguments[1..])
    );
    // The time of a start, without the margin that a unit has.
    let startup = &container["startupProbe"];
    let patience = number(&startup["periodSeconds"]) * number(&startup["failureThreshold"]);
    assert_eq!(patience, of_unit("TimeoutStartSec", &arguments[1..]) - 10);
    // The delay outlasts the readiness check.
    let readiness = &container["readinessProbe"];
    let noticed = number(&readiness["periodSeconds"]) * number(&readiness["failureThreshold"]);
    let delay = arguments
        .iter()
        .position(|a| *a == "--pre-stop-delay")
        .unwrap();
    assert!(seconds(arguments[delay + 1]) >= noticed + 3);
    // The service leads to the port that the application listens on.
    let environment = |name: &str| {
        let variables = container["env"].as_vec().unwrap();
        let variable = variables
            .iter()
            .find(|variable| variable["name"].as_str() == Some(name));
        variable.unwrap()["value"].as_str().unwrap().to_owned()
    };
    let port = &container["ports"][0];
    let listen = format!("0.0.0.0:{}", number(&port["containerPort"]));
    assert_eq!(environment("HATCHERY_LISTEN"), listen);
    assert_eq!(
        service["spec"]["ports"][0]["targetPort"].as_str(),
        port["name"].as_str()
    );
    // What it says is what a cluster takes.
    let mut check = bare(PLAYGROUND);
    check
        .arg("print-config")
        .args(&arguments[1..])
        .env("HATCHERY_LISTEN", listen);
    check.env("HATCHERY_RUNTIME_DIR", environment("HATCHERY_RUNTIME_DIR"));
    let ran = run(check);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let probe: Vec<&str> = container["livenessProbe"]["exec"]["command"]
        .as_vec()
        .unwrap()
        .iter()
        .map(|a| a.as_str().unwrap())
        .collect();
    assert!(
        probe.contains(&environment("HATCHERY_RUNTIME_DIR").as_str()),
        "{probe:?}"
    );
}

#[test]
fn the_times_of_docker_are_those_of_the_defaults() {
    let page = documentation("kubernetes.md");
    let stop = of_unit("TimeoutStopSec", &[]);
    for words in [
        format!("--stop-timeout {stop}"),
        format!("stop_grace_period: {stop}s"),
    ] {
        assert!(page.contains(&words), "no {words}");
    }
}
