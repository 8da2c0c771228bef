//! `restart`: stops an application that runs in the background, and starts it as it was started.
//!
//! "As it was started" is taken literally: the same program, arguments, directory and environment. The
//! configuration file is read anew, as by any start. What can be checked is checked before anything is stopped.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use hatchery_protocol::boot::ENV_LAUNCHER;
use hatchery_protocol::control::{Reply, Request};
use hatchery_protocol::exit::Exit;
use rustix::fs::{Access, AtFlags, CWD, OFlags, accessat};

use super::client::Client;
use super::{Failure, Outcome, stop};

/// Stops it, within `timeout`, and starts it.
pub(super) fn run(client: &Client, timeout: Duration) -> Outcome {
    let name = &client.name;
    let Reply::Status(status) = client.ask(&Request::Status)? else {
        return Err(client.failed("the master answered something else than its status"));
    };
    if !status.master.background {
        let sentence = format!(
            "{name} runs in the foreground, so whoever started it has to restart it (systemctl restart, docker \
             restart); `reload` replaces its processes without a stop"
        );
        return Err(Failure::new(Exit::Usage, sentence));
    }
    let pid = client
        .connect()
        .and_then(|connection| stop::master_of(&connection).map_err(|error| client.broken(&error)))?
        .map(|pid| pid.as_raw_nonzero().get());
    let Some(pid) = pid else {
        return Err(client.failed("its master is not a process of this pid namespace"));
    };
    let began = Beginning::of(pid).map_err(|error| {
        client.failed(&format!(
            "how it was started is not to be found out: {error}"
        ))
    })?;
    if began
        .run("check", Stdio::null())
        .is_err_and(|code| code != 0)
    {
        let sentence = format!("{name}: its start would fail, so it was not stopped");
        return Err(Failure::new(Exit::BadConfig, sentence));
    }
    let lacking = lacking(&began.configuration());
    if !lacking.is_empty() {
        let fds: Vec<String> = lacking.iter().map(ToString::to_string).collect();
        let sentence = format!(
            "{name}: `pass_fds` names {}, which this command does not have to hand on, so it was not stopped; open it \
             here (as `{} restart 9<FILE` does for 9), or use `stop` and whatever started it",
            fds.join(", "),
            began.name.display()
        );
        return Err(Failure::new(Exit::BadConfig, sentence));
    }
    stop::run(client, timeout)?;
    began.run("start", Stdio::inherit()).map_or_else(
        |code| {
            let sentence = format!("{name} was stopped and did not start again");
            Err(Failure::new(exit(code), sentence))
        },
        |()| Ok(Exit::Orderly),
    )
}

/// How a process was started.
#[derive(Debug)]
struct Beginning {
    program: PathBuf,
    name: OsString,
    /// Without the verb.
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    directory: PathBuf,
}

impl Beginning {
    fn of(pid: i32) -> io::Result<Self> {
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}"));
        let directory = fs::read_link(format!("/proc/{pid}/cwd"))?;
        let mut arguments = strings(&read("cmdline")?);
        let environment: Vec<_> = strings(&read("environ")?)
            .iter()
            .filter_map(|variable| variable_of(variable))
            .filter(|(name, _)| name != ENV_LAUNCHER)
            .collect();
        if arguments.is_empty() {
            return Err(io::Error::other("it has no command line"));
        }
        let name = arguments.remove(0);
        if arguments
            .first()
            .is_some_and(|verb| verb == "start" || verb == "run")
        {
            arguments.remove(0);
        }
        let places = environment.iter().find(|(name, _)| name == "PATH");
        let places = places
            .map(|(_, places)| places.as_os_str())
            .unwrap_or_default();
        let program = program(&name, places, &directory)
            .ok_or_else(|| io::Error::other(format!("there is no {}", name.display())))?;
        Ok(Self {
            program,
            name,
            arguments,
            environment,
            directory,
        })
    }

    /// A command of the same program with the same settings.
    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg0(&self.name)
            .arg(verb)
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.directory)
            .stdin(Stdio::null());
        command
    }

    /// The settings of its start, as it would print them; empty if it does not.
    fn configuration(&self) -> String {
        let output = self.command("print-config").output();
        output.map_or_else(
            |_| String::new(),
            |output| String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }

    /// Runs such a command to its end. The error is its exit code.
    fn run(&self, verb: &str, output: Stdio) -> Result<(), i32> {
        let status = self.command(verb).stdout(output).status();
        match status.map(|status| status.code()) {
            Ok(Some(0)) => Ok(()),
            Ok(Some(code)) => Err(code),
            Ok(None) => Err(Exit::Internal.code().into()),
            Err(error) => {
                super::say::error(format_args!("{}: {error}", self.program.display()));
                Err(Exit::Internal.code().into())
            }
        }
    }
}

/// Which descriptors the settings want passed on, and a process that is started here would not have.
fn lacking(configuration: &str) -> Vec<i64> {
    let table = configuration.parse::<toml::Table>().unwrap_or_default();
    let wanted = table.get("pass_fds").and_then(toml::Value::as_array);
    let wanted = wanted.into_iter().flatten();
    wanted
        .filter_map(toml::Value::as_integer)
        .filter(|fd| !survives(*fd))
        .collect()
}

/// Whether it is open, and stays so in a program that is run.
fn survives(fd: i64) -> bool {
    let Ok(info) = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")) else {
        return false;
    };
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & OFlags::CLOEXEC.bits() == 0)
}

/// What `/proc` separates by zeros.
fn strings(bytes: &[u8]) -> Vec<OsString> {
    let ended = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    let pieces = ended.split(|byte| *byte == 0);
    let strings = pieces.map(|piece| OsString::from_vec(piece.to_vec()));
    strings.collect()
}

fn variable_of(text: &OsStr) -> Option<(OsString, OsString)> {
    let bytes = text.as_bytes();
    let middle = bytes.iter().position(|byte| *byte == b'=')?;
    let (name, value) = bytes.split_at_checked(middle)?;
    let value = value.get(1..)?;
    Some((
        OsStr::from_bytes(name).into(),
        OsStr::from_bytes(value).into(),
    ))
}

/// As a shell in that directory would find it.
fn program(name: &OsStr, places: &OsStr, directory: &Path) -> Option<PathBuf> {
    let runs = |path: &PathBuf| {
        path.is_file() && accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).is_ok()
    };
    if name.as_bytes().contains(&b'/') {
        return Some(directory.join(name)).filter(runs);
    }
    std::env::split_paths(places)
        .map(|place| directory.join(place).join(name))
        .find(runs)
}

/// The code of a start that failed, as ours.
fn exit(code: i32) -> Exit {
    let known = [
        Exit::Usage,
        Exit::StartFailed,
        Exit::BadConfig,
        Exit::BindFailed,
        Exit::RunState,
    ];
    let same = known
        .into_iter()
        .find(|exit| i32::from(exit.code()) == code);
    same.unwrap_or(Exit::Internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_tells_how_it_was_started() {
        let own = Beginning::of(std::process::id().cast_signed()).unwrap();
        assert_eq!(own.directory, std::env::current_dir().unwrap());
        assert_eq!(Some(own.name), std::env::args_os().next());
        assert_eq!(
            own.arguments,
            std::env::args_os().skip(1).collect::<Vec<_>>()
        );
        assert!(own.environment.iter().any(|(name, _)| name == "PATH"));
    }

    #[test]
    fn what_is_not_open_or_closes_itself_cannot_be_passed_on() {
        use std::os::fd::AsRawFd as _;
        // The standard library opens files so that they close in a program that is run.
        let file = fs::File::open("/dev/null").unwrap();
        let own = file.as_raw_fd();
        let config = format!("workers = 2\npass_fds = [0, {own}, 1000000]\n");
        assert_eq!(lacking(&config), [i64::from(own), 1_000_000]);
        assert_eq!(lacking("workers = 2\n"), [0; 0]);
        assert_eq!(lacking("no settings"), [0; 0]);
    }

    #[test]
    fn values_may_be_empty_and_hold_anything() {
        assert_eq!(strings(b"a\0\0b=c\0"), ["a", "", "b=c"]);
        let pair = |name: &str, value: &str| Some((name.into(), value.into()));
        assert_eq!(variable_of("a=b=c".as_ref()), pair("a", "b=c"));
        assert_eq!(variable_of("a=".as_ref()), pair("a", ""));
        assert_eq!(variable_of("a".as_ref()), None);
    }

    #[test]
    fn a_code_stays_what_it_is() {
        assert_eq!(exit(5), Exit::BindFailed);
        assert_eq!(exit(77), Exit::Internal);
    }
}
