//! A page of commands and flags, from clap's definition of them; and how a page is kept to what it comes from.
//!
//! `hatchery-cli` has its own commands on a page of its own, and this file with them: it knows nothing of either.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use clap::{Arg, Command};

/// Set: pages are written. Not set: they are compared.
const WRITE: &str = "HATCHERY_TESTS_WRITE";

/// Below the title of each page that comes from the code.
pub(crate) fn origin(from: &str) -> String {
    format!(
        "<!-- From {from}. After a change there: {WRITE}=1 cargo test -p hatchery -p hatchery-cli --all-features the_reference -->\n"
    )
}

/// Holds a page of `docs/` to the text that the code makes of itself, or writes it.
pub(crate) fn hold(page: &Path, text: &str) {
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(page, text).unwrap();
        return;
    }
    let there = std::fs::read_to_string(page).unwrap_or_default();
    let line = |text: &str, number: usize| text.lines().nth(number).unwrap_or("").to_owned();
    let lines = there.lines().count().max(text.lines().count());
    let differing = (0..lines).find(|number| line(&there, *number) != line(text, *number));
    assert_eq!(
        there,
        text,
        "{} is not what the code says, from line {}; {WRITE}=1 writes it",
        page.display(),
        differing.unwrap_or(lines) + 1
    );
}

/// A section for the command, or one for each below it, in the order of `--help`. Flags in `elsewhere` are those of another page,
/// which `instead` names in their place.
pub(crate) fn commands(
    path: &str,
    command: &Command,
    elsewhere: &BTreeSet<String>,
    instead: &str,
) -> String {
    let mut out = String::new();
    if !command.has_subcommands() {
        section(&mut out, path, command, elsewhere, instead);
    }
    for sub in command.get_subcommands() {
        if sub.get_name() != "help" {
            let path = format!("{path} {}", sub.get_name());
            out += &commands(&path, sub, elsewhere, instead);
        }
    }
    out
}

fn section(
    out: &mut String,
    path: &str,
    command: &Command,
    elsewhere: &BTreeSet<String>,
    instead: &str,
) {
    // What is hidden is between processes of hatchery.
    let own =
        |arg: &&Arg| !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str());
    let long = |arg: &Arg| arg.get_long().map(str::to_owned).unwrap_or_default();
    let arguments: Vec<&Arg> = command.get_arguments().filter(own).collect();
    // Some flags have the name of a setting and are none: who takes one setting takes all.
    let names: BTreeSet<String> = arguments.iter().map(|arg| long(arg)).collect();
    let settings = !elsewhere.is_empty() && elsewhere.is_subset(&names);

    let _ = write!(out, "\n## {path}\n\n```\n{path}");
    if arguments.iter().any(|arg| !arg.is_positional()) {
        out.push_str(" [FLAGS]");
    }
    for arg in arguments.iter().filter(|arg| arg.is_positional()) {
        let _ = if arg.is_last_set() {
            write!(out, " [-- {arg}]")
        } else {
            write!(out, " {arg}")
        };
    }
    out.push_str("\n```\n\n");
    let about = command.get_long_about().or(command.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    let _ = write!(out, "{}.", text(&about));
    let aliases: Vec<String> = command
        .get_visible_aliases()
        .map(|alias| format!("`{alias}`"))
        .collect();
    if !aliases.is_empty() {
        let _ = write!(out, " Also called {}.", aliases.join(", "));
    }
    out.push('\n');
    if settings {
        let _ = writeln!(out, "\n{instead}");
    }

    let rows: Vec<String> = arguments
        .into_iter()
        .filter(|arg| !settings || !elsewhere.contains(&long(arg)))
        .map(row)
        .collect();
    if !rows.is_empty() {
        out.push_str("\n| | default | meaning |\n|---|---|---|\n");
        out.push_str(&rows.concat());
    }
}

fn row(arg: &Arg) -> String {
    let mut shown = vec![format!("`{}`", cell(&arg.to_string()))];
    for alias in arg.get_visible_aliases().into_iter().flatten() {
        shown.push(format!("`--{alias}`"));
    }
    let (meaning, default) = explained(arg);
    let default = match arg.get_default_values() {
        [] => default.unwrap_or_default(),
        [value, ..] if arg.get_action().takes_values() => {
            format!("`{}`", value.to_string_lossy())
        }
        _ => String::new(),
    };
    format!("| {} | {default} | {meaning} |\n", shown.join(", "))
}

/// What `--help` says of a flag, and the default that it says it has.
pub(crate) fn explained(arg: &Arg) -> (String, Option<String>) {
    let help = arg.get_long_help().or(arg.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    let (first, more) = help.split_once("\n\n").unwrap_or((&help, ""));
    let (first, default) = match first.rsplit_once(" [default: ") {
        Some((first, default)) => (first, default.strip_suffix(']').map(text)),
        None => (first, None),
    };
    let mut meaning = format!("{}.", text(first).trim_end_matches('.'));
    if !more.is_empty() {
        let _ = write!(meaning, " {}", text(more));
    }
    (cell(&meaning), default)
}

/// Lines of a doc comment as one, with flags and variables marked as such.
fn text(help: &str) -> String {
    let mut quoted = false;
    let words = help.split_whitespace().map(|word| {
        let name = word.trim_matches(|c: char| "(),.;:".contains(c));
        let code = name.strip_prefix("--").is_some_and(|flag| !flag.is_empty())
            || name.starts_with("HATCHERY_");
        let marked = if code && !quoted {
            word.replacen(name, &format!("`{name}`"), 1)
        } else {
            word.to_owned()
        };
        quoted ^= word.matches('`').count() % 2 == 1;
        marked
    });
    words.collect::<Vec<_>>().join(" ")
}

/// As it can stand in a table.
pub(crate) fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
