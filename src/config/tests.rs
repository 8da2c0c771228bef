//! The sources together: who beats whom, and what comes out.

use std::time::Duration;

use super::*;
use crate::config::value::Workers;

struct Case {
    file: Option<String>,
    environment: Vec<(&'static str, &'static str)>,
    flags: Layer,
}

impl Case {
    fn new() -> Self {
        Self {
            file: None,
            environment: Vec::new(),
            flags: Layer::default(),
        }
    }

    fn load(self) -> (Settings, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let config = self.file.map(|text| {
            std::fs::write(dir.path().join("app.toml"), text).unwrap();
            PathBuf::from("app.toml")
        });
        let (settings, problems) = load(Inputs {
            app: "app",
            flags: self.flags,
            config,
            has_section: false,
            environment: self
                .environment
                .iter()
                .map(|(name, value)| (name.into(), value.into())),
            cwd: dir.path(),
        });
        (settings, problems.iter().map(ToString::to_string).collect())
    }
}

fn listen(settings: &Settings) -> Vec<String> {
    settings
        .config
        .listen
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn the_defaults() {
    let (settings, problems) = Case::new().load();
    assert_eq!(problems, [""; 0]);
    let config = &settings.config;
    assert_eq!(config.name, "app");
    assert_eq!(config.workers, Workers::Auto.count());
    assert_eq!(config.threads, 1);
    assert_eq!(listen(&settings), ["127.0.0.1:7001"]);
    assert_eq!(config.worker_start_timeout, Duration::from_secs(60));
    assert_eq!(config.drain_timeout, Duration::from_secs(30));
    assert_eq!(config.lame_duck, Duration::from_secs(2));
    assert_eq!(config.orphan_grace, Duration::from_secs(5));
    assert_eq!(config.master_timeout, Duration::from_secs(15));
    assert_eq!(config.log_level, "info");
    assert!(!settings.front.daemon);
}

#[test]
fn default_below_file_below_environment_below_flag() {
    for (file, variable, flag, expected) in [
        (None, None, None, 60),
        (Some("1s"), None, None, 1),
        (None, Some("2s"), None, 2),
        (None, None, Some(3), 3),
        (Some("1s"), Some("2s"), None, 2),
        (Some("1s"), None, Some(3), 3),
        (None, Some("2s"), Some(3), 3),
        (Some("1s"), Some("2s"), Some(3), 3),
    ] {
        let mut case = Case::new();
        case.file = file.map(|value| format!("agent_start_timeout = '{value}'"));
        case.environment
            .extend(variable.map(|value| ("HATCHERY_AGENT_START_TIMEOUT", value)));
        case.flags.agent_start_timeout = flag.map(Duration::from_secs);
        let (settings, problems) = case.load();
        assert_eq!(problems, [""; 0]);
        assert_eq!(
            settings.config.agent_start_timeout,
            Duration::from_secs(expected)
        );
    }
}

#[test]
fn a_higher_source_replaces_all_addresses_of_a_lower_one() {
    let file = "listen = ['127.0.0.1:1', '127.0.0.1:2']";
    let mut case = Case::new();
    case.file = Some(file.into());
    assert_eq!(listen(&case.load().0), ["127.0.0.1:1", "127.0.0.1:2"]);

    let mut case = Case::new();
    case.file = Some(file.into());
    case.environment.push(("HATCHERY_PORT", "3"));
    let (settings, problems) = case.load();
    assert_eq!(
        (listen(&settings), problems),
        (vec!["127.0.0.1:3".into()], vec![])
    );
    assert_eq!(
        settings
            .sources
            .get("listen")
            .map(ToString::to_string)
            .as_deref(),
        Some("environment variable HATCHERY_PORT")
    );

    let mut case = Case::new();
    case.file = Some("port = 4".into());
    case.flags.listen = Some(vec!["[::1]:5".parse().unwrap()]);
    assert_eq!(listen(&case.load().0), ["[::1]:5"]);
}

#[test]
fn a_bad_value_is_told_even_where_a_higher_source_gives_a_good_one() {
    let mut case = Case::new();
    case.file = Some("workers = 0".into());
    case.flags.workers = Some(Workers::Count(2));
    let (settings, problems) = case.load();
    assert_eq!(settings.config.workers, 2);
    assert_eq!(problems.len(), 1);
}

#[test]
fn the_file_may_be_named_by_a_variable_and_has_to_be_there() {
    let mut case = Case::new();
    case.environment
        .push(("HATCHERY_CONFIG", "/nowhere/app.toml"));
    let (_, problems) = case.load();
    assert_eq!(problems.len(), 1);
    let start = "cannot read the configuration file /nowhere/app.toml (environment variable HATCHERY_CONFIG): ";
    assert!(problems[0].starts_with(start), "{}", problems[0]);
}

#[test]
fn relative_paths_are_made_absolute() {
    let mut case = Case::new();
    case.flags.events = Some("events.jsonl".into());
    case.flags.runtime_dir = Some("run".into());
    case.environment.push(("HATCHERY_LOG_FILE", "log/app.log"));
    let (settings, _) = case.load();
    assert!(settings.config.events.unwrap().is_absolute());
    assert!(settings.config.runtime_dir.is_absolute());
    assert!(settings.front.log_file.unwrap().ends_with("log/app.log"));
}

#[test]
fn what_is_printed_loads_as_the_same_configuration() {
    let mut case = Case::new();
    case.file = Some("workers = 3\ndrain-timeout = '90s'\nlog_level = 'info,a=debug'".into());
    case.environment
        .push(("HATCHERY_LISTEN", "127.0.0.1:0,unix:/run/\"odd\".sock"));
    case.environment.push(("HATCHERY_ON_MASTER_DEATH", "kill"));
    case.flags.log_format = Some(hatchery_protocol::boot::LogFormat::Json);
    case.flags.lame_duck = Some(Duration::from_millis(1500));
    case.flags.pid_file = Some("/run/app.pid".into());
    case.flags.weights = Some(vec![3, 1]);
    let plain = Case::new().load();
    for (settings, problems) in [case.load(), plain] {
        assert_eq!(problems, [""; 0]);
        let text = to_toml(&settings);
        let mut again = Case::new();
        again.file = Some(text.clone());
        let (again, problems) = again.load();
        assert_eq!(problems, [""; 0], "{text}");
        assert_eq!(again.config, settings.config, "{text}");
        assert_eq!(again.front, settings.front, "{text}");
    }
}

#[test]
fn each_printed_value_names_its_source() {
    let mut case = Case::new();
    case.file = Some("threads = 2".into());
    case.environment.push(("WEB_CONCURRENCY", "3"));
    case.flags.port = Some(80);
    let text = to_toml(&case.load().0);
    assert!(
        text.contains("workers = 3 # environment variable WEB_CONCURRENCY\n"),
        "{text}"
    );
    assert!(
        text.contains("listen = [\"127.0.0.1:80\"] # flag --port\n"),
        "{text}"
    );
    assert!(
        text.contains("drain_timeout = \"30s\" # default\n"),
        "{text}"
    );
    assert!(text.contains("# events is not set\n"), "{text}");
    assert!(
        text.lines()
            .any(|l| l.starts_with("threads = 2 # file /") && l.ends_with("/app.toml"))
    );
    assert!(to_toml(&Case::new().load().0).contains(" # default: auto\n"));
}

#[test]
fn a_problem_elsewhere_does_not_hide_where_the_application_is() {
    let mut case = Case::new();
    case.file = Some("workers = 0\nname = 'x/y'".into());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.toml");
    std::fs::write(&path, case.file.take().unwrap()).unwrap();
    let (_, problems) = load(Inputs {
        app: "app",
        flags: Layer::default(),
        config: Some(path),
        has_section: false,
        environment: [],
        cwd: dir.path(),
    });
    let concerned: Vec<_> = problems.iter().filter(|p| p.concerns(&["name"])).collect();
    assert_eq!((problems.len(), concerned.len()), (2, 1));
}

#[test]
fn unusable_places_are_told_each_in_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let mut case = Case::new();
    case.flags.runtime_dir = Some(dir.path().join("run"));
    case.flags.events = Some(file.clone());
    assert_eq!(unusable_places(&case.load().0), [""; 0]);

    let (base, long) = (dir.path().display(), dir.path().join("x".repeat(100)));
    for (key, path, sentence) in [
        (
            "log_file",
            dir.path().into(),
            format!("`log_file` cannot be {base}: it is a directory"),
        ),
        (
            "events",
            dir.path().join("no/file"),
            format!("`events` cannot be {base}/no/file: there is no directory {base}/no"),
        ),
        (
            "runtime_dir",
            file.join("sub"),
            format!(
                "the runtime directory {base}/file/sub cannot be made: {base}/file is not a directory"
            ),
        ),
        (
            "runtime_dir",
            long.clone(),
            format!("the runtime directory {} is too long", long.display()),
        ),
        (
            "runtime_dir",
            file.clone(),
            format!("the runtime directory {base}/file "),
        ),
    ] {
        let mut case = Case::new();
        case.flags.runtime_dir = Some(dir.path().join("run"));
        match key {
            "log_file" => case.flags.log_file = Some(path),
            "events" => case.flags.events = Some(path),
            _ => case.flags.runtime_dir = Some(path),
        }
        let told = unusable_places(&case.load().0);
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with(&sentence), "{told:?}");
    }
    assert!(!long.exists());
}

#[test]
fn contradictions_are_told_each_in_a_sentence() {
    for (file, sentences) in [
        (
            "strategy = 'weighted'\nworkers = 2\nweights = [3, 1]",
            vec![],
        ),
        (
            "strategy = 'weighted'\nworkers = 3\nweights = [3, 1]",
            vec![],
        ),
        ("strategy = 'weighted'", vec![]),
        (
            "workers = 2\nweights = [3, 1]\nlisten = ['127.0.0.1:1', '127.0.0.1:2?strategy=weighted']",
            vec![],
        ),
        (
            "strategy = 'weighted'\nworkers = 1\nweights = [3, 1]",
            vec!["there are 2 of them for 1 worker; leave out those without a worker"],
        ),
        (
            "workers = 2\nweights = [3, 1]",
            vec!["no address has the strategy weighted"],
        ),
        (
            "strategy = 'weighted'\nlisten = '127.0.0.1:1?strategy=rr'\nworkers = 1\nweights = [3, 1]",
            vec![
                "there are 2 of them",
                "no address has the strategy weighted",
            ],
        ),
        (
            "strategy = 'reuse-port'\nlisten = ['127.0.0.1:1', 'unix:/a']",
            vec!["`listen` cannot be unix:/a with the strategy reuse-port: it needs a TCP address"],
        ),
        (
            "strategy = 'reuse-port'\nlisten = ['127.0.0.1:1', 'unix:/a?strategy=shared']",
            vec![],
        ),
    ] {
        let mut case = Case::new();
        case.file = Some(file.to_owned());
        let (settings, problems) = case.load();
        assert_eq!(problems, [""; 0], "{file}");
        let told = contradictions(&settings);
        assert_eq!(told.len(), sentences.len(), "{file}: {told:?}");
        for (told, sentence) in told.iter().zip(sentences) {
            assert!(told.contains(sentence), "{file}: {told}");
        }
    }
}

#[test]
fn a_contradiction_names_where_the_setting_stands() {
    let mut case = Case::new();
    case.environment.push(("HATCHERY_WEIGHTS", "3,1"));
    let told = contradictions(&case.load().0);
    assert!(
        told[0].starts_with("`weights` in environment variable HATCHERY_WEIGHTS: "),
        "{told:?}"
    );
}
