//! Every option that is not about the command line.

use std::time::Duration;

use serde_json::{Map, Value};

use super::draft::Draft;
use super::without::{HARMLESS, WITHOUT};
use super::{Refused, command};

/// What an option becomes.
type Drawing = fn(&str, &Value, &mut Draft) -> Result<(), Refused>;

/// Options with a counterpart. Others stand in [`WITHOUT`].
const WITH: &[(&str, Drawing)] = &[
    ("instances", instances),
    ("exec_mode", exec_mode),
    ("cwd", |option, value, draft| {
        text(option, value).map(|text| draft.set("program_dir", text))
    }),
    ("port", |option, value, draft| port(option, value, draft)),
    ("max_memory_restart", memory),
    ("kill_timeout", |option, value, draft| {
        millis(option, value).map(|time| draft.set("drain_timeout", time))
    }),
    ("listen_timeout", |option, value, draft| {
        draft.set("worker_start_timeout", millis(option, value)?);
        draft.remark(
            "in PM2 a program counts as ready when this is over; here its start has failed then",
        );
        Ok(())
    }),
    ("wait_ready", |_, value, draft| {
        if is_on(value) {
            draft.set("program_ready", "accept");
            draft.remark(
                "process.send('ready') is heard by nobody: readiness is seen when somebody accepts; for a program \
                 that says it, take notify and have it send READY=1 to NOTIFY_SOCKET",
            );
        }
        Ok(())
    }),
    ("out_file", log_file),
    ("error_file", log_file),
    ("log_file", log_file),
    ("pid_file", |option, value, draft| {
        text(option, value).map(|text| draft.set("pid_file", text))
    }),
    ("log_type", |_, value, draft| {
        if value == "json" {
            draft.set("log_format", "json");
            draft.remark("of hatchery's own lines; those of the program stay as they are");
        }
        Ok(())
    }),
    ("user", |option, value, draft| {
        text(option, value).map(|text| draft.set("user", text))
    }),
    ("uid", |option, value, draft| {
        text(option, value).map(|text| draft.set("user", text))
    }),
    ("gid", |option, value, draft| {
        text(option, value).map(|text| draft.set("group", text))
    }),
];

/// Other names of the same.
const ALIASES: &[(&str, &str)] = &[
    ("out", "out_file"),
    ("output", "out_file"),
    ("error", "error_file"),
    ("err_file", "error_file"),
    ("err_log", "error_file"),
    ("log", "log_file"),
    ("pid", "pid_file"),
    ("combine_logs", "merge_logs"),
    ("watch_ignore", "ignore_watch"),
    ("restart_at", "cron_restart"),
    ("cron", "cron_restart"),
];

/// Draws everything but the command line. `env` names the variables that are taken beside those of `env`.
pub(super) fn draw(
    app: &Map<String, Value>,
    env: Option<&str>,
    draft: &mut Draft,
) -> Result<(), Refused> {
    // PM2's own number, also where nothing is said.
    draft.set("workers", 1);
    environment(app, env, draft)?;
    for (said, value) in app {
        let aliased = ALIASES.iter().find(|(alias, _)| alias == said);
        let name = aliased.map_or(said.as_str(), |(_, name)| name);
        let known = command::NAMES.contains(&name)
            || matches!(name, "name" | "env")
            || name.starts_with("env_");
        if known || value.is_null() {
            continue;
        }
        if let Some((_, drawing)) = WITH.iter().find(|(option, _)| *option == name) {
            drawing(said, value, draft)?;
        } else if HARMLESS.contains(&name) || says_nothing(name, value) {
            // As it is here, too.
        } else {
            let reason = WITHOUT.iter().find(|(option, _)| *option == name);
            draft.without(
                said,
                reason.map_or(
                    "it is no option of PM2's that is known here",
                    |(_, reason)| reason,
                ),
            );
        }
    }
    if !draft.has("listen") {
        draft.set("listen", vec!["127.0.0.1:7001"]);
        draft.remark("the file does not say where the program listens: put its address here");
    }
    Ok(())
}

/// The variables, and the port that most programs find there.
fn environment(
    app: &Map<String, Value>,
    env: Option<&str>,
    draft: &mut Draft,
) -> Result<(), Refused> {
    let chosen = env.map(|name| format!("env_{name}"));
    let mut all = Map::new();
    for option in std::iter::once("env").chain(chosen.as_deref()) {
        match app.get(option) {
            Some(Value::Object(variables)) => all.extend(variables.clone()),
            None | Some(Value::Null) if option == "env" => {}
            None => {
                return Err(Refused::new(
                    option,
                    &Value::Null,
                    "this application has no such variables",
                ));
            }
            Some(other) => {
                return Err(Refused::new(
                    option,
                    other,
                    "it has to be an object of variables",
                ));
            }
        }
    }
    for other in app
        .keys()
        .filter(|name| name.starts_with("env_") && Some(*name) != chosen.as_ref())
    {
        let name = other.trim_start_matches("env_");
        draft.without(
            other,
            &format!("a configuration has one set of variables; --env {name} takes these"),
        );
    }
    let written = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let variables: Vec<String> = all
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| format!("{name}={}", written(value)))
        .collect();
    if !variables.is_empty() {
        draft.set("program_env", variables);
    }
    match all.get("PORT") {
        Some(value) => port("PORT", value, draft),
        None => Ok(()),
    }
}

fn port(option: &str, value: &Value, draft: &mut Draft) -> Result<(), Refused> {
    let said = text(option, value)?;
    let port: u16 = said
        .parse()
        .map_err(|_| Refused::new(option, value, "it has to be a port, a number up to 65535"))?;
    draft.set("listen", vec![format!("0.0.0.0:{port}")]);
    draft.remark("the master listens here, for all hosts as Node does by default");
    Ok(())
}

fn instances(option: &str, value: &Value, draft: &mut Draft) -> Result<(), Refused> {
    let refused = || Refused::new(option, value, "it has to be a number or max");
    let said = text(option, value)?;
    if said == "max" || said == "0" {
        draft.set("workers", "auto");
        return Ok(());
    }
    let count: i64 = said.parse().map_err(|_| refused())?;
    if count > 0 {
        draft.set("workers", count);
        return Ok(());
    }
    let cpus = std::thread::available_parallelism()
        .map_or(1, |cpus| i64::try_from(cpus.get()).unwrap_or(1));
    draft.set("workers", (cpus + count).max(1));
    draft.remark(format!(
        "{count} of the {cpus} CPUs of the machine that this was imported on"
    ));
    Ok(())
}

fn exec_mode(option: &str, value: &Value, draft: &mut Draft) -> Result<(), Refused> {
    match value.as_str() {
        // All workers share their sockets here.
        Some("cluster" | "cluster_mode") => Ok(()),
        Some("fork" | "fork_mode") => {
            draft.without(
                option,
                "processes that share no socket are no cluster; with more than one worker, all accept from one socket",
            );
            Ok(())
        }
        _ => Err(Refused::new(option, value, "it has to be cluster or fork")),
    }
}

fn memory(option: &str, value: &Value, draft: &mut Draft) -> Result<(), Refused> {
    let refused = || Refused::new(option, value, "it has to be bytes, or a size like 300M");
    let said = text(option, value)?;
    let (number, unit) = match said.char_indices().find(|(_, c)| !c.is_ascii_digit()) {
        Some((at, _)) => said.split_at(at),
        None => (said.as_str(), "B"),
    };
    let unit = match unit.to_ascii_uppercase().as_str() {
        "B" => "B",
        "K" | "KB" => "KiB",
        "M" | "MB" => "MiB",
        "G" | "GB" => "GiB",
        _ => return Err(refused()),
    };
    let number: u64 = number.parse().map_err(|_| refused())?;
    draft.set("max_memory", format!("{number}{unit}"));
    Ok(())
}

fn log_file(option: &str, value: &Value, draft: &mut Draft) -> Result<(), Refused> {
    let path = match text(option, value)?.as_str() {
        "NULL" => "/dev/null".to_owned(),
        path => path.to_owned(),
    };
    if draft.has("log_file") {
        draft.without(
            option,
            "everything that is printed goes to one file, which is `log_file`",
        );
    } else {
        draft.set("log_file", path);
        draft.remark("output, errors and hatchery's own lines");
    }
    Ok(())
}

/// Whether this is what would be the case anyway.
fn says_nothing(name: &str, value: &Value) -> bool {
    let off = matches!(value, Value::Bool(false)) || *value == 0 || *value == "0";
    match name {
        "autorestart" | "autostart" | "treekill" | "merge_logs" => is_on(value),
        "watch"
        | "cron_restart"
        | "shutdown_with_message"
        | "force"
        | "time"
        | "disable_logs"
        | "vizion"
        | "automation"
        | "pmx"
        | "trace"
        | "filter_env"
        | "append_env_to_name"
        | "restart_delay"
        | "exp_backoff_restart_delay"
        | "source_map_support" => off || *value == Value::Array(Vec::new()),
        "stop_exit_codes" => *value == Value::Array(Vec::new()),
        _ => false,
    }
}

fn is_on(value: &Value) -> bool {
    *value == true || *value == "true"
}

fn text(option: &str, value: &Value) -> Result<String, Refused> {
    super::word(value)
        .ok_or_else(|| Refused::new(option, value, "it has to be a string or a number"))
}

/// A number of milliseconds, or a time like 3s, 2m or 1h.
fn millis(option: &str, value: &Value) -> Result<String, Refused> {
    let refused = || {
        Refused::new(
            option,
            value,
            "it has to be milliseconds, or a time like 3s",
        )
    };
    let said = text(option, value)?;
    let (number, unit) = match said.char_indices().find(|(_, c)| !c.is_ascii_digit()) {
        Some((at, _)) => said.split_at(at),
        None => (said.as_str(), "ms"),
    };
    let number: u64 = number.parse().map_err(|_| refused())?;
    let time = match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.saturating_mul(60)),
        "h" => Duration::from_secs(number.saturating_mul(3600)),
        _ => return Err(refused()),
    };
    Ok(match time.subsec_millis() {
        0 => format!("{}s", time.as_secs()),
        _ => format!("{}ms", time.as_millis()),
    })
}

/// The options that are drawn here.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    WITH.iter().map(|(name, _)| *name)
}
