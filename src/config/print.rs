//! The effective configuration as a file that gives the same configuration again, but for the application's own section: its
//! values may be secrets, and its keys are comments.

use std::fmt::Write as _;

use hatchery_protocol::section::Section;

use super::key::{KEYS, Key};
use super::settings::Settings;
use super::source::Source;

/// One line a setting, each with its source as a comment; unset ones as comments altogether.
pub(crate) fn to_toml(settings: &Settings) -> String {
    let layer = settings.to_layer();
    let mut out = String::new();
    // `port` never holds a value of its own: it is written as `listen`. Few applications are programs.
    let concerns =
        |key: &&Key| settings.config.program.is_some() || !key.name.starts_with("program");
    for key in KEYS
        .iter()
        .filter(|key| key.name != "port")
        .filter(concerns)
    {
        let name = key.name;
        // A String takes every write.
        let _ = match (key.show)(&layer) {
            Some(value) => {
                let source = settings.sources.get(name).unwrap_or(&Source::Default);
                let counted = if name == "workers" && settings.automatic {
                    ": auto"
                } else {
                    ""
                };
                writeln!(out, "{name} = {value} # {}{counted}", comment(source))
            }
            None => writeln!(out, "# {name} is not set"),
        };
    }
    for (key, origin) in settings.config.section.iter().flat_map(Section::keys) {
        let _ = writeln!(out, "# {key} is set and not shown # {}", visible(&origin));
    }
    out
}

/// A path may hold what no comment may: a line break would end it.
fn comment(source: &Source) -> String {
    visible(&source.to_string())
}

fn visible(text: &str) -> String {
    let visible = |c: char| if c.is_control() { '?' } else { c };
    text.chars().map(visible).collect()
}
