//! The pages of every command and every setting are what the code says of them.
//!
//! What is written here is the frame; the words come from the doc comments of `args.rs` and `layer.rs`, which are those of
//! `--help`, the defaults from the settings that hold when nobody says anything.
// Who builds without these does not have all that is on the pages.
#![cfg(all(feature = "fleet", feature = "program"))]

mod render;
mod settings;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;

use super::args::Cli;
use crate::config;

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs/reference")
        .join(name)
}

#[test]
fn the_reference_has_every_command_and_flag() {
    let settings: BTreeSet<String> = config::keys()
        .iter()
        .map(|key| key.flag().trim_start_matches('-').to_owned())
        .collect();
    let mut command = Cli::command();
    command.build();
    let text = format!(
        "# Every command and flag\n\n{}\n\
         What the commands are for, and with which codes they end: [Commands](../commands.md). `myapp` stands for your executable; what \
         the command `hatchery` has beside: [its own commands](hatchery.md). \
         `COMMAND` is there with the feature `program`.\n{}",
        render::origin("src/cli/args.rs"),
        render::commands(
            "myapp",
            &command,
            &settings,
            "All [settings](settings.md) are flags of it, and:"
        )
    );
    render::hold(&page("commands.md"), &text);
}

#[test]
fn the_reference_has_every_setting() {
    render::hold(&page("settings.md"), &settings::page());
}

#[test]
fn the_reference_tells_the_defaults_that_hold() {
    let defaults = settings::defaults();
    assert!(defaults.len() > 25, "{defaults:?}");
    for (key, told, held) in defaults {
        assert_eq!(told, Some(held), "{key}");
    }
}

/// Where the book says more, it is about a setting that there is.
#[test]
fn the_reference_points_from_settings() {
    for name in settings::pointing() {
        assert!(config::keys().iter().any(|key| key.name == name), "{name}");
    }
}
