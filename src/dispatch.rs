//! Which process is this? The first lines of every `main`.

use std::process::ExitCode;

use hatchery_master::{Launcher, Predecessor, StartedBy};
use hatchery_protocol::child::{BootError, Origin};
use hatchery_protocol::exit::Exit;
use hatchery_protocol::id::Role;

use crate::app::App;
use crate::cli::say;
use crate::{cli, config, logging};

/// Becomes a child if a master started this process, and a command otherwise.
pub(crate) fn run(mut app: App) -> ExitCode {
    hatchery_protocol::reset_signals();
    #[cfg(feature = "program")]
    if let Some(exec) = hatchery_program::Exec::detect() {
        return exec.run().into();
    }
    if let Err(sentence) = config::check_name(&app.name) {
        say::error(format_args!("App::new({:?}): {sentence}", app.name));
        return Exit::Usage.into();
    }
    let exit = match Origin::detect() {
        Ok(Some(origin)) => {
            let role = origin.role();
            be_child(app, origin).unwrap_or_else(|error| {
                say::error(format_args!("cannot be {role}: {error}"));
                error.exit()
            })
        }
        Ok(None) => return become_command(&mut app),
        Err(error) => {
            say::error(&error);
            error.exit()
        }
    };
    exit.into()
}

/// Before the command line is looked at: the variables of those who start masters must not be taken for settings.
fn become_command(app: &mut App) -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let verb = arguments.next();
    if let Some(command) = app
        .commands
        .iter()
        .find(|own| verb.as_deref() == Some(own.name.as_ref()))
    {
        return (command.run)(&arguments.collect::<Vec<_>>());
    }
    let launcher = Launcher::detect();
    let started_by = match Predecessor::detect() {
        Ok(Some(old)) => StartedBy::Predecessor(Box::new(old)),
        Ok(None) => launcher.map_or(StartedBy::Operator, StartedBy::Launcher),
        Err(error) => {
            say::error(&error);
            return error.exit().into();
        }
    };
    cli::run(app, started_by).into()
}

fn be_child(app: App, origin: Origin) -> Result<Exit, BootError> {
    let role = origin.role();
    let child = origin.boot()?;
    logging::child(child.boot());
    if let Some(Err(exit)) = app.config.map(|judge| child.judge_section(judge)) {
        return Ok(exit);
    }
    #[cfg(feature = "program")]
    if role == Role::Worker && app.keeps_program {
        return Ok(hatchery_program::run(child));
    }
    Ok(match (role, app.worker) {
        (Role::Worker, Some(worker)) => hatchery_worker::run(child, worker),
        (Role::Agent, _) => hatchery_agent::run(child, app.agent, app.version),
        (Role::Worker, None) | (Role::Master, _) => {
            // A master of the same executable refuses to start without a worker.
            say::error("this executable has no worker; its master was started from another one");
            Exit::Usage
        }
    })
}
