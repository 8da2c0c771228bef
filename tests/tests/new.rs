//! `hatchery new`: what it makes compiles and passes its own tests.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use hatchery_tests::command::{Ran, run};
use hatchery_tests::plan::bare;
use hatchery_tests::scaffold::{run_cargo, scaffold, target_folder};

const HATCHERY: &str = env!("CARGO_BIN_EXE_hatchery-command");

fn new(place: &Path, arguments: &[&str]) -> Ran {
    let mut command = bare(HATCHERY);
    command.arg("new").args(arguments).current_dir(place);
    run(command)
}

#[track_caller]
fn refused(ran: &Ran, code: i32, sentence: &str) {
    assert_eq!(ran.code, Some(code), "{ran:?}");
    assert!(ran.stderr.starts_with("error: "), "{ran:?}");
    assert!(ran.stderr.contains(sentence), "{ran:?}");
}

#[test]
fn a_new_application_passes_its_tests() {
    let place = tempfile::tempdir().unwrap();
    let folder = scaffold(HATCHERY, place.path(), "my-shop");
    let tested = run_cargo(&folder, &["test", "--quiet"]);
    assert_eq!(tested.code, Some(0), "{}\n{}", tested.stdout, tested.stderr);
    assert!(tested.stdout.contains("4 passed"), "{}", tested.stdout);
    assert!(
        !tested.stderr.contains("warning"),
        "a beginning without warnings: {}",
        tested.stderr
    );
    the_unit_is_what_the_program_prints(&folder);
}

/// For its default settings.
#[track_caller]
fn the_unit_is_what_the_program_prints(folder: &Path) {
    let program = target_folder().join("debug/my-shop");
    let mut command = bare(program.to_str().unwrap());
    command.arg("systemd-unit");
    let printed = run(command);
    assert_eq!(printed.code, Some(0), "{printed:?}");
    let program = fs::canonicalize(program).unwrap();
    let printed = printed
        .stdout
        .replace(program.to_str().unwrap(), "/usr/local/bin/my-shop");
    let unit = fs::read_to_string(folder.join("my-shop.service")).unwrap();
    // Its first line is about the file.
    let directives = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(directives(&unit), directives(&printed));
}

#[test]
fn what_exists_is_left_alone() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    fs::create_dir(at("folder")).unwrap();
    fs::write(at("folder/mine"), "mine").unwrap();
    fs::write(at("file"), "mine").unwrap();
    symlink("nowhere", at("link")).unwrap();
    for name in ["folder", "file", "link"] {
        let sentence = format!("{name} exists already, and nothing was written to it");
        refused(&new(place.path(), &[name]), 4, &sentence);
    }
    assert_eq!(fs::read_dir(at("folder")).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(at("file")).unwrap(), "mine");
    assert!(!fs::exists(at("nowhere")).unwrap());
}

#[test]
fn names_and_places_that_make_no_sense_are_refused() {
    let place = tempfile::tempdir().unwrap();
    for (arguments, code, sentence) in [
        (&["my shop"][..], 2, "cannot be the name of a package"),
        (&["../shop"], 2, "cannot be the name of a package"),
        (&["async"], 2, "choose another name"),
        (&["hatchery"], 2, "choose another name"),
        (
            &["shop", "--into", "nowhere"],
            4,
            "nowhere/shop cannot be written",
        ),
        (
            &["shop", "--hatchery", "."],
            4,
            ". is no checkout of hatchery",
        ),
        (&[], 2, "<NAME>"),
    ] {
        refused(&new(place.path(), arguments), code, sentence);
    }
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}
