//! The page of the commands that only `hatchery` has is what the code says of them.

#[path = "../../src/cli/reference/render.rs"]
mod render;

use std::collections::BTreeSet;
use std::path::Path;

use clap::CommandFactory as _;

use crate::{dev, import, new};

#[test]
fn the_reference_has_every_command_of_its_own() {
    let mut text = format!(
        "# Commands of `hatchery` alone\n\n{}\n\
         Beside these the command `hatchery` has [those of every application](commands.md).\n",
        render::origin("cli/src")
    );
    for (name, mut command) in [
        ("import", import::Cli::command()),
        ("new", new::Cli::command()),
        ("dev", dev::Cli::command()),
    ] {
        command.build();
        text += &render::commands(&format!("hatchery {name}"), &command, &BTreeSet::new(), "");
    }
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/hatchery.md");
    render::hold(Path::new(page), &text);
}
