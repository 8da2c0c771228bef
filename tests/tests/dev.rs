//! `hatchery dev`, with a stand-in for cargo whose builds are as good, as bad and as slow as a test says. With cargo itself it is
//! tested beside `hatchery new`.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use hatchery_tests::command::{Ran, run};
use hatchery_tests::plan::bare;
use hatchery_tests::{Developing, Traffic, fifo, process, wait};
use rustix::process::Signal;
use tempfile::TempDir;

const HATCHERY: &str = env!("CARGO_BIN_EXE_hatchery-command");

/// What it builds is the playground; how it goes is said by a file of the source.
const CARGO: &str = r#"#!/bin/sh
case $1 in
locate-project)
    echo "$PWD/Cargo.toml"
    exit ;;
esac
echo $$ >>builds
case $(cat src/recipe) in
fails)
    echo "error: expected one of 12 tokens" >&2
    exit 101 ;;
hangs)
    # A compiler.
    tail -f /dev/null &
    echo $! >>compilers
    wait ;;
stuck)
    PROGRAM=$PWD/never-ready ;;
two)
    echo '{"reason":"compiler-artifact","target":{"name":"import"},"executable":"/import"}' ;;
esac
mkdir -p target/debug
ln -sfn "$PROGRAM" target/debug/shop
echo '{"reason":"compiler-artifact","target":{"name":"shop"},"executable":"'"$PWD"'/target/debug/shop"}'
"#;

/// An application that does not get ready.
const NEVER_READY: &str = r#"#!/bin/sh
[ "$1" = start ] || exit 6
echo $$ >>stuck
exec tail -f /dev/null
"#;

/// A package to be developed.
struct Shop(TempDir);

impl Shop {
    fn new() -> Self {
        let shop = Self(tempfile::tempdir().unwrap());
        fs::create_dir(shop.path("src")).unwrap();
        fs::write(shop.path("Cargo.toml"), "[package]\nname = \"shop\"\n").unwrap();
        for (name, script) in [("cargo", CARGO), ("never-ready", NEVER_READY)] {
            fs::write(shop.path(name), script).unwrap();
            fs::set_permissions(shop.path(name), Permissions::from_mode(0o755)).unwrap();
        }
        shop.write("works");
        shop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Changes the source, so that this is how the next build goes.
    fn write(&self, recipe: &str) {
        // At once, as editors do.
        fs::write(self.path("src/.new"), recipe).unwrap();
        fs::rename(self.path("src/.new"), self.path("src/recipe")).unwrap();
    }

    fn environment(&self) -> Vec<(&'static str, OsString)> {
        vec![
            // What nobody could reload holds elsewhere, and not here.
            ("HATCHERY_SINGLE", "true".into()),
            ("HATCHERY_DAEMON", "true".into()),
            ("CARGO", self.path("cargo").into()),
            ("PROGRAM", env!("CARGO_BIN_EXE_playground").into()),
            ("PLAYGROUND_FAULT_FILE", self.path("fault").into()),
        ]
    }

    #[track_caller]
    fn develop(&self) -> Developing {
        self.develop_with(&[])
    }

    #[track_caller]
    fn develop_with(&self, arguments: &[&str]) -> Developing {
        let environment = self.environment();
        Developing::begin(
            HATCHERY,
            self.0.path(),
            arguments,
            environment,
            wait::PATIENCE,
        )
    }

    /// The n-th process that has noted itself there.
    #[track_caller]
    fn noted(&self, file: &str, nth: usize) -> u32 {
        let process = wait::until(wait::PATIENCE, || {
            let lines = fs::read_to_string(self.path(file)).unwrap_or_default();
            let line = lines.split_inclusive('\n').nth(nth - 1)?;
            line.strip_suffix('\n')?.parse().ok()
        });
        process.unwrap()
    }

    fn builds(&self) -> usize {
        let builds = fs::read_to_string(self.path("builds")).unwrap();
        builds.lines().count()
    }
}

#[test]
fn each_build_that_works_is_reloaded_and_no_request_fails() {
    let shop = Shop::new();
    let developing = shop.develop();
    let traffic = Traffic::of(developing.address(), 4, 2);
    for reload in 1..=3 {
        shop.write("works");
        developing.expect_words("hatchery dev: reloaded\n", reload);
    }
    traffic.expect_answers(20);
    let failures = traffic.end();
    assert!(failures.is_empty(), "{failures:#?}");
    assert_eq!(developing.count("reload-finished"), 3);
    let agents = developing.count("agent-spawned");
    assert_eq!(agents, 4, "the agent may have changed as well");
    developing.interrupt();
    assert_eq!(developing.ends().code(), Some(0));
    developing.leaves_nobody();
}

#[test]
fn a_build_that_fails_changes_nothing() {
    let shop = Shop::new();
    let developing = shop.develop();
    let traffic = Traffic::begin(developing.address(), 2);
    for failure in 1..=2 {
        shop.write("fails");
        developing.expect_words("error: expected one of 12 tokens\n", failure);
        developing.expect_words("the build failed; waiting for a change\n", failure);
    }
    traffic.expect_answers(20);
    assert_eq!(developing.count("reload-started"), 0);
    shop.write("works");
    developing.wait_nth("reload-finished", 1);
    let failures = traffic.end();
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn a_build_that_does_not_start_changes_nothing_either() {
    let shop = Shop::new();
    let developing = shop.develop();
    let traffic = Traffic::begin(developing.address(), 2);
    fs::write(shop.path("fault"), "exit:7").unwrap();
    shop.write("works");
    developing.expect_words("the old build serves on; waiting for a change\n", 1);
    fs::remove_file(shop.path("fault")).unwrap();
    traffic.expect_answers(20);
    shop.write("works");
    developing.expect_words("hatchery dev: reloaded\n", 1);
    let failures = traffic.end();
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn a_start_that_fails_is_tried_again_with_the_next_build() {
    let shop = Shop::new();
    fs::write(shop.path("fault"), "exit:7").unwrap();
    let developing = shop.develop();
    developing.expect_words("the application has ended: exit status: 3", 1);
    fs::remove_file(shop.path("fault")).unwrap();
    shop.write("works");
    developing.wait_nth("egg-ready", 1);
}

/// What is not ready may never be: nobody has to wait for its timeout.
#[test]
fn a_start_that_takes_for_ever_makes_room_for_the_next_build() {
    let shop = Shop::new();
    shop.write("stuck");
    let developing = shop.develop();
    let stuck = shop.noted("stuck", 1);
    shop.write("works");
    developing.wait_nth("egg-ready", 1);
    process::expect_dead(stuck);
    assert_eq!(developing.count("reload-started"), 0);
}

#[test]
fn a_change_during_a_build_gives_it_up_and_begins_another_one() {
    let shop = Shop::new();
    let developing = shop.develop();
    developing.wait_nth("egg-ready", 1);
    shop.write("hangs");
    let compiler = shop.noted("compilers", 1);
    shop.write("works");
    developing.wait_nth("reload-finished", 1);
    process::expect_dead(compiler);
    assert_eq!(shop.builds(), 3);
}

#[test]
fn what_is_built_during_a_reload_is_reloaded_after_it() {
    let shop = Shop::new();
    let developing = shop.develop();
    developing.wait_nth("egg-ready", 1);
    // The new worker waits for what is written there.
    let fault = shop.path("fault");
    fifo::make(&fault);
    shop.write("works");
    developing.wait_nth("worker-spawned", 3);
    shop.write("fails");
    developing.expect_words("the build failed", 1);
    shop.write("works");
    shop.noted("builds", 4);
    let mut writer = File::options().write(true).open(&fault).unwrap();
    fs::remove_file(&fault).unwrap();
    writer.write_all(b"exit:7").unwrap();
    drop(writer);
    developing.expect_words("the old build serves on", 1);
    developing.expect_words("hatchery dev: reloaded\n", 1);
    assert_eq!(developing.count("reload-started"), 2);
}

#[test]
fn what_ends_by_itself_is_started_by_the_next_build() {
    let shop = Shop::new();
    let developing = shop.develop();
    let started = developing.wait_nth("master-started", 1);
    developing.wait_nth("egg-ready", 1);
    process::kill(started.pid.unwrap(), Signal::TERM);
    developing.expect_words(
        "the application has ended: exit status: 0; waiting for a change\n",
        1,
    );
    shop.write("works");
    developing.wait_nth("egg-ready", 2);
}

#[test]
fn ctrl_c_in_a_build_leaves_nobody() {
    let shop = Shop::new();
    let developing = shop.develop();
    developing.wait_nth("egg-ready", 1);
    shop.write("hangs");
    let compiler = shop.noted("compilers", 1);
    developing.interrupt();
    assert_eq!(developing.ends().code(), Some(0));
    developing.leaves_nobody();
    process::expect_dead(compiler);
    assert_eq!(developing.count("stopped"), 1, "in order");
}

#[test]
fn ctrl_c_in_a_reload_leaves_nobody() {
    let shop = Shop::new();
    let developing = shop.develop();
    developing.wait_nth("egg-ready", 1);
    fs::write(shop.path("fault"), "hang").unwrap();
    shop.write("works");
    developing.wait_nth("reload-started", 1);
    developing.interrupt();
    assert_eq!(developing.ends().code(), Some(0));
    developing.leaves_nobody();
}

#[test]
fn nobody_is_left_when_it_is_killed() {
    let shop = Shop::new();
    let developing = shop.develop();
    developing.wait_nth("egg-ready", 1);
    process::kill(developing.pid(), Signal::KILL);
    developing.ends();
    developing.leaves_nobody();
    assert_eq!(developing.count("stopped"), 1, "in order");
}

/// An application may write beside its source; what it reads there can be named.
#[test]
fn what_counts_is_source_and_what_was_named() {
    let shop = Shop::new();
    fs::create_dir(shop.path("pages")).unwrap();
    let developing = shop.develop_with(&["--watch", "pages"]);
    developing.wait_nth("egg-ready", 1);
    // Without end: if it counted, there would be no end of builds.
    let written = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !written.load(Ordering::Relaxed) {
                fs::write(shop.path("visitors.txt"), "1").unwrap();
                wait::pass(Duration::from_millis(5));
            }
        });
        fs::write(shop.path("pages/index.html"), "hello").unwrap();
        let reloaded = developing.until(|| {
            let reloads = developing.count("reload-finished");
            (reloads > 0).then_some(())
        });
        written.store(true, Ordering::Relaxed);
        assert!(reloaded.is_some(), "no build came to its end");
    });
    assert_eq!(shop.builds(), 2);
}

#[test]
fn several_programs_are_chosen_from() {
    let shop = Shop::new();
    shop.write("two");
    let developing = shop.develop();
    developing.expect_words(
        "several programs (import, shop): choose one with --bin NAME",
        1,
    );
    drop(developing);
    let developing = shop.develop_with(&["--bin", "shop"]);
    developing.wait_nth("egg-ready", 1);
}

fn dev(folder: &Path, arguments: &[&str]) -> Ran {
    let mut command = bare(HATCHERY);
    command.arg("dev").args(arguments).current_dir(folder);
    run(command)
}

#[test]
fn where_there_is_nothing_to_develop_it_says_so() {
    let place = tempfile::tempdir().unwrap();
    let nothing = dev(place.path(), &[]);
    assert_eq!(nothing.code, Some(4), "{nothing:?}");
    assert!(
        nothing
            .stderr
            .starts_with("error: there is no package here")
    );

    fs::write(place.path().join("Cargo.toml"), "[workspace]\n").unwrap();
    let workspace = dev(place.path(), &[]);
    assert_eq!(workspace.code, Some(4), "{workspace:?}");
    assert!(
        workspace
            .stderr
            .contains("is a workspace without a package")
    );

    let mut no_cargo = bare(HATCHERY);
    no_cargo.arg("dev").env("CARGO", place.path().join("cargo"));
    let no_cargo = run(no_cargo);
    assert_eq!(no_cargo.code, Some(4), "{no_cargo:?}");
    assert!(no_cargo.stderr.starts_with("error: cargo cannot be run"));
}

#[test]
fn settings_that_make_no_sense_here_are_refused() {
    let shop = Shop::new();
    for (arguments, code, sentence) in [
        (&["--", "--daemon"][..], 2, "--daemon cannot be given"),
        (&["--", "--single"], 2, "--single cannot be given"),
        (&["--watch", "nowhere"], 4, "nowhere cannot be watched"),
        (&["--workers", "2"], 2, "--workers"),
    ] {
        let refused = dev(shop.0.path(), arguments);
        assert_eq!(refused.code, Some(code), "{refused:?}");
        assert!(refused.stderr.contains(sentence), "{refused:?}");
    }
}
