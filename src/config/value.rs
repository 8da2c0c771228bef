//! How values are written: text in, a checked value or one sentence out.
//!
//! The same functions serve flags, variables and the file, so a value means the same wherever it stands.
//! The sentences say what is expected; who reports them adds the key, the value and the source.

mod number;
mod process;
mod size;
mod time;

use hatchery_master::{Listen, Strategy};
use hatchery_protocol::boot::{LogFormat, OnMasterDeath};

pub(crate) use number::{
    Workers, count_of_requests, jitter, limit, port, scale, surge, threads, weight, workers,
};
pub(crate) use process::{
    Umask, account, cpu_affinity, cpu_scheduling, descriptor, name, nice, path, umask,
};
pub(crate) use size::{Size, header_size, memory, message_size};
pub(crate) use time::{duration, master_timeout, timeout, worker_timeout};

/// What a parser answers; the error completes "bad value ...: ".
pub(crate) type Parsed<T> = Result<T, String>;

pub(crate) fn listen(text: &str) -> Parsed<Listen> {
    text.trim().parse().map_err(sentence)
}

pub(crate) fn strategy(text: &str) -> Parsed<Strategy> {
    text.parse().map_err(sentence)
}

fn sentence(error: impl std::error::Error) -> String {
    error.to_string()
}

pub(crate) fn switch(text: &str) -> Parsed<bool> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("it must be true or false".to_owned()),
    }
}

pub(crate) fn log_format(text: &str) -> Parsed<LogFormat> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("it must be text or json".to_owned()),
    }
}

pub(crate) fn on_master_death(text: &str) -> Parsed<OnMasterDeath> {
    match text {
        "drain" => Ok(OnMasterDeath::Drain),
        "kill" => Ok(OnMasterDeath::Kill),
        _ => Err("it must be drain or kill".to_owned()),
    }
}

/// Checks a filter without keeping what was parsed: it travels to the children as text.
pub(crate) fn log_level(text: &str) -> Parsed<String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    // A word alone is a valid filter (everything of that crate, nothing else), but is never meant:
    // `--log-level inof` would turn the log off without a word.
    let word = !text.contains(['=', ',', '[']);
    if word && !LEVELS.iter().any(|level| level.eq_ignore_ascii_case(text)) {
        return Err(format!(
            "it must be one of {}, or a filter like info,my_app=debug",
            LEVELS.join(", ")
        ));
    }
    tracing_subscriber::EnvFilter::builder()
        .parse(text)
        .map(|_| text.to_owned())
        .map_err(|error| format!("it is not a log filter ({error})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_filters() {
        for text in [
            "info",
            "OFF",
            "info,my_app=debug",
            "my_app[span]=trace",
            "my_app=debug",
        ] {
            assert_eq!(log_level(text), Ok(text.to_owned()));
        }
        for text in ["inof", "", "my_app", "info,a=b=c", "my_app=loud"] {
            assert!(log_level(text).is_err(), "{text:?}");
        }
    }
}
