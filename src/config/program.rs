//! The settings of a program that workers keep (feature `program`).

use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use hatchery_master::Strategy;
use hatchery_protocol::boot::{ProgramBoot, Readiness};
use nix::sys::signal::Signal;

use super::layer::Layer;
use super::settings::Settings;
use super::value::Parsed;

/// How long a program has to live before it counts as ready without having said so.
const SETTLE: Duration = Duration::from_secs(1);

/// The signal that most programs finish on.
const STOP: StopSignal = StopSignal(Signal::SIGTERM);

/// A variable of the program's environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    name: String,
    value: String,
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

/// The signal that asks a program to finish and leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StopSignal(Signal);

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

pub(crate) fn word(text: &str) -> Parsed<String> {
    if text.contains('\0') {
        return Err("a program and its arguments have no zero byte".to_owned());
    }
    Ok(text.to_owned())
}

pub(crate) fn variable(text: &str) -> Parsed<Variable> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !text.contains('\0') => Ok(Variable {
            name: name.to_owned(),
            value: value.to_owned(),
        }),
        _ => Err("it must be NAME=VALUE".to_owned()),
    }
}

pub(crate) fn readiness(text: &str) -> Parsed<Readiness> {
    match text {
        "accept" => Ok(Readiness::Accept),
        "notify" => Ok(Readiness::Notify),
        "alive" => Ok(Readiness::Alive),
        _ => Err("it must be accept, notify or alive".to_owned()),
    }
}

pub(crate) fn stop_signal(text: &str) -> Parsed<StopSignal> {
    let name = text.to_ascii_uppercase();
    let name = if name.starts_with("SIG") {
        name
    } else {
        format!("SIG{name}")
    };
    name.parse()
        .map(StopSignal)
        .map_err(|_| "it must be the name of a signal, like SIGTERM or SIGINT".to_owned())
}

/// As in the file.
pub(super) const fn readiness_name(readiness: Readiness) -> &'static str {
    match readiness {
        Readiness::Accept => "accept",
        Readiness::Notify => "notify",
        Readiness::Alive => "alive",
    }
}

/// What an application is called that is a program and was given no name: as the program's file, in letters that
/// names have.
pub(super) fn name_of(layer: &Layer) -> Option<String> {
    let program = Path::new(layer.program.as_ref()?.first()?);
    let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name: String = program
        .file_name()?
        .to_str()?
        .chars()
        .map(|c| if harmless(c) { c } else { '-' })
        .take(64)
        .collect();
    super::check_name(&name).ok()
}

/// What the settings come to: nothing, if no program is named.
pub(super) fn boot(layer: &Layer, cwd: &Path) -> Option<ProgramBoot> {
    let command = layer.program.clone()?;
    let environment = layer.program_env.iter().flatten();
    Some(ProgramBoot {
        command,
        directory: match &layer.program_dir {
            Some(directory) => cwd.join(directory),
            None => cwd.to_owned(),
        },
        environment: environment
            .map(|variable| (variable.name.clone(), variable.value.clone()))
            .collect(),
        readiness: layer.program_ready.unwrap_or_default(),
        settle: layer.program_settle.unwrap_or(SETTLE),
        stop_signal: layer.program_stop_signal.unwrap_or(STOP).0 as i32,
    })
}

/// The other way round.
pub(super) fn tell(boot: Option<&ProgramBoot>, layer: &mut Layer) {
    let Some(boot) = boot else {
        return;
    };
    layer.program = Some(boot.command.clone());
    layer.program_dir = Some(boot.directory.clone());
    let variables = boot.environment.iter().map(|(name, value)| Variable {
        name: name.clone(),
        value: value.clone(),
    });
    layer.program_env = Some(variables.collect()).filter(|all: &Vec<_>| !all.is_empty());
    layer.program_ready = Some(boot.readiness);
    layer.program_settle = Some(boot.settle);
    layer.program_stop_signal = Signal::try_from(boot.stop_signal).ok().map(StopSignal);
}

/// One sentence for each address that no program can be given.
pub(super) fn contradictions(settings: &Settings) -> Vec<String> {
    let config = &settings.config;
    if config.program.is_none() {
        return Vec::new();
    }
    let mut sentences = Vec::new();
    for listen in &config.listen {
        let strategy = listen.strategy.unwrap_or(config.strategy);
        if strategy != Strategy::SHARED {
            sentences.push(format!(
                "`listen` cannot be {listen} with the strategy {strategy}: a program that is given its sockets accepts \
                 from one that all workers share; leave the strategy out, or take {}",
                Strategy::SHARED
            ));
        }
        if listen.opening.proxy_protocol || listen.opening.cert.is_some() {
            sentences.push(format!(
                "`listen` cannot be {listen}: the program accepts by itself, so TLS and the PROXY protocol are its own \
                 affair; take `cert`, `key` and `proxy-protocol` away from that address"
            ));
        }
    }
    let last = i32::try_from(config.listen.len()).map_or(i32::MAX, |count| count.saturating_add(2));
    if let Some(fd) = config.pass_fds.iter().find(|fd| **fd <= last) {
        sentences.push(format!(
            "`pass_fds` cannot have {fd}: the program expects its sockets as descriptors 3 to {last}; choose a \
             greater number"
        ));
    }
    sentences
}

/// A sentence if the program cannot be run, as far as looking tells. The workers look again, as who they are.
pub(crate) fn unusable_program(settings: &Settings) -> Option<String> {
    let program = settings.config.program.as_ref()?;
    let name = program.command.first()?;
    let places: OsString = std::env::var_os("PATH").unwrap_or_default();
    let look = || hatchery_program::find(name, &program.directory, &places).err();
    let account = settings.config.children.run_as.find().ok()?;
    let error = match account {
        None => look()?,
        Some(account) => hatchery_master::look_as(&account, look).ok()??,
    };
    Some(match settings.sources.get("program") {
        Some(source) => format!("`program` in {source} cannot be run: {error}"),
        None => format!("`program` cannot be run: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Inputs, load};

    fn settings(text: &str) -> (Settings, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("app.toml"), text).unwrap();
        let (settings, problems) = load(Inputs {
            app: "hatchery",
            flags: Layer::default(),
            config: Some("app.toml".into()),
            has_section: false,
            environment: [],
            cwd: dir.path(),
        });
        (settings, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_program_is_read_with_all_that_belongs_to_it() {
        let (settings, problems) = settings(
            "program = ['./my server', '--port', '']\nprogram_dir = '/srv'\nprogram_env = ['A=b=c', 'D=']\n\
             program_ready = 'notify'\nprogram_settle = '2s'\nprogram_stop_signal = 'int'\n",
        );
        assert_eq!(problems, [""; 0]);
        let config = &settings.config;
        assert_eq!(config.name, "my-server");
        assert_eq!(config.strategy, Strategy::SHARED);
        let expected = ProgramBoot {
            command: vec!["./my server".into(), "--port".into(), String::new()],
            directory: "/srv".into(),
            environment: vec![("A".into(), "b=c".into()), ("D".into(), String::new())],
            readiness: Readiness::Notify,
            settle: Duration::from_secs(2),
            stop_signal: 2,
        };
        assert_eq!(config.program, Some(expected));
        assert_eq!(contradictions(&settings), [""; 0]);
        let mut again = Layer::default();
        tell(config.program.as_ref(), &mut again);
        assert_eq!(boot(&again, Path::new("/other")), config.program);
    }

    #[test]
    fn what_makes_no_sense_has_a_sentence() {
        for (text, part) in [
            ("program = []", "it must be an array of strings"),
            ("program = [1]", "it must be an array of strings"),
            (
                "program = 'a'\nprogram_env = ['A']",
                "it must be NAME=VALUE",
            ),
            (
                "program = 'a'\nprogram_env = ['=A']",
                "it must be NAME=VALUE",
            ),
            (
                "program = 'a'\nprogram_ready = 'soon'",
                "accept, notify or alive",
            ),
            (
                "program = 'a'\nprogram_stop_signal = 'SIGNAL'",
                "the name of a signal",
            ),
        ] {
            let (_, problems) = settings(text);
            assert!(problems.concat().contains(part), "{text}: {problems:?}");
        }
        for (text, part) in [
            ("strategy = 'round-robin'", "leave the strategy out"),
            (
                "listen = '127.0.0.1:1?strategy=reuse-port'",
                "leave the strategy out",
            ),
            (
                "listen = '127.0.0.1:1?cert=a&key=b'",
                "TLS and the PROXY protocol",
            ),
            (
                "listen = '127.0.0.1:1?proxy-protocol'",
                "TLS and the PROXY protocol",
            ),
            ("pass_fds = [3]", "descriptors 3 to 3"),
        ] {
            let (settings, problems) = settings(&format!("program = 'a'\n{text}"));
            assert_eq!(problems, [""; 0], "{text}");
            let said = contradictions(&settings);
            assert_eq!(said.len(), 1, "{text}: {said:?}");
            assert!(said[0].contains(part), "{said:?}");
        }
        let (settings, _) = settings("program = './none'\nprogram_dir = '/'");
        let said = unusable_program(&settings).unwrap();
        assert!(
            said.contains("cannot be run: there is no program"),
            "{said}"
        );
    }
}
