//! The page of every setting.

use std::fmt::Write as _;
use std::path::Path;

use clap::{Args as _, Command};

use super::render::{cell, explained, origin};
use crate::config::{self, Form, Inputs, Key, Layer};

/// Where the book says more about a setting.
const SEE: &[(&str, &str, &str)] = &[
    ("single", "a single process", "../single.md"),
    ("listen", "addresses", "../configuration.md#addresses"),
    ("strategy", "strategies", "../strategies.md"),
    ("weights", "strategies", "../strategies.md"),
    ("user", "privileges", "../privileges.md"),
    ("group", "privileges", "../privileges.md"),
    ("umask", "privileges", "../privileges.md"),
    ("nice", "privileges", "../privileges.md"),
    ("cpu_affinity", "privileges", "../privileges.md"),
    (
        "cpu_scheduling",
        "whom workers interrupt",
        "../tuning.md#whom-workers-interrupt",
    ),
    ("pass_fds", "privileges", "../privileges.md"),
    (
        "daemon",
        "in the background",
        "../commands.md#in-the-background",
    ),
    (
        "runtime_dir",
        "the runtime directory",
        "../configuration.md#the-runtime-directory",
    ),
    ("events", "events", "../commands.md#events"),
    ("log_format", "log lines", "../configuration.md#log-lines"),
    (
        "pre_stop_delay",
        "behind a load balancer",
        "../signals.md#behind-a-load-balancer",
    ),
    (
        "worker_timeout",
        "a process that stands still",
        "../supervision.md#a-process-that-stands-still",
    ),
    ("max_requests", "recycling", "../supervision.md#recycling"),
    ("max_lifetime", "recycling", "../supervision.md#recycling"),
    ("max_memory", "recycling", "../supervision.md#recycling"),
    (
        "max_memory_hard",
        "recycling",
        "../supervision.md#recycling",
    ),
    ("surge", "reload", "../deploys.md#reload"),
    (
        "exit_on_crash_loop",
        "a process that dies again and again",
        "../supervision.md#a-process-that-dies-again-and-again",
    ),
    ("max_message", "limits", "../messages.md#limits"),
    ("message_queue", "limits", "../messages.md#limits"),
    ("fleet", "a fleet of hosts", "../fleet.md"),
    ("program", "any program as a worker", "../run.md"),
    (
        "program_ready",
        "when it is ready",
        "../run.md#when-it-is-ready",
    ),
];

/// The settings that a feature brings begin with its name.
const FEATURES: [&str; 2] = ["fleet", "program"];

pub(super) fn page() -> String {
    let mut out = format!(
        "# Every setting\n\n{}\n\
         The same setting in the configuration file, on the command line and in the environment; how they are read and which one counts:\n\
         [Configuration](../configuration.md). `--config FILE` (`HATCHERY_CONFIG`) names the file.\n",
        origin("src/config")
    );
    let of_feature = |key: &Key| FEATURES.into_iter().find(|name| key.name.starts_with(name));
    table(&mut out, "For every application", |key| {
        of_feature(key).is_none()
    });
    for feature in FEATURES {
        let title = format!("With the feature `{feature}`");
        table(&mut out, &title, |key| of_feature(key) == Some(feature));
    }
    out
}

fn table(out: &mut String, title: &str, belongs: impl Fn(&Key) -> bool) {
    let _ = write!(
        out,
        "\n## {title}\n\n| file | as | flag | environment | default | meaning |\n|---|---|---|---|---|---|\n"
    );
    let flags = flags();
    for (key, arg) in config::keys().iter().zip(flags.get_arguments()) {
        if !belongs(key) {
            continue;
        }
        let (meaning, default) = explained(arg);
        // What is no value is told in words.
        let default = match default.unwrap_or_default() {
            default if default.is_empty() || default.contains([' ', '`']) => default,
            value => format!("`{value}`"),
        };
        let see = SEE.iter().find(|(name, ..)| *name == key.name);
        let see = see.map_or_else(String::new, |(_, words, page)| {
            format!(" See [{words}]({page}).")
        });
        let _ = writeln!(
            out,
            "| `{}` | {} | `{}` | `{}` | {default} | {meaning}{see} |",
            key.name,
            form(key.form),
            cell(&arg.to_string()),
            key.variable()
        );
    }
}

/// What stands in the file.
const fn form(form: Form) -> &'static str {
    match form {
        Form::Text => "string",
        Form::Number => "integer or string",
        Form::Time => "string, a time",
        Form::Size => "string, a size",
        Form::Switch => "boolean",
        Form::List | Form::Words => "string or array of strings",
        Form::Numbers => "integer, string or array of them",
    }
}

fn flags() -> Command {
    let mut flags = Layer::augment_args(Command::new("settings"));
    flags.build();
    flags
}

/// Of each setting that has a value when nobody says anything: its name, the value that `--help` tells, and that value.
pub(super) fn defaults() -> Vec<(&'static str, Option<String>, String)> {
    let held = |named: Option<(&str, &str)>| {
        let mut layer = Layer::default();
        if let Some((name, value)) = named {
            (find(name).read)(&mut layer, value).unwrap();
        }
        let (settings, problems) = config::load(Inputs {
            app: "app",
            has_section: false,
            flags: layer,
            config: None,
            environment: [],
            cwd: Path::new("/"),
        });
        assert_eq!(problems, []);
        settings.to_layer()
    };
    let bare = held(None);
    // Where there is neither fleet nor program, their other settings have no value.
    let fleet = held(Some(("fleet", "redis://localhost:6379")));
    let program = held(Some(("program", "server")));
    let flags = flags();
    let mut found = Vec::new();
    for (key, arg) in config::keys().iter().zip(flags.get_arguments()) {
        let layer = match key.name {
            // They depend on the host, on the application or on where the command was called.
            "workers" | "name" | "runtime_dir" | "fleet" | "program" | "program_dir" => continue,
            name if name.starts_with("fleet_") => &fleet,
            name if name.starts_with("program_") => &program,
            _ => &bare,
        };
        if let Some(held) = (key.show)(layer) {
            // As it would be shown: 60s is 1m.
            let told = explained(arg).1.and_then(|told| {
                let mut layer = Layer::default();
                (key.read)(&mut layer, &told).ok()?;
                (key.show)(&layer)
            });
            found.push((
                key.name,
                told.map(|told| told.to_string()),
                held.to_string(),
            ));
        }
    }
    found
}

fn find(name: &str) -> &'static Key {
    let mut keys = config::keys().iter();
    keys.find(|key| key.name == name).unwrap()
}

/// The settings of [`SEE`].
pub(super) fn pointing() -> impl Iterator<Item = &'static str> {
    SEE.iter().map(|(name, ..)| *name)
}
