//! `hatchery new`: what it makes compiles, passes its own tests and is developed with `hatchery dev`.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hatchery_tests::command::{Ran, run};
use hatchery_tests::plan::bare;
use hatchery_tests::scaffold::{
    BUILD, build_environment, cargo, run_cargo, scaffold, target_folder,
};
use hatchery_tests::{Developing, http, wait};

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
    let formatted = run_cargo(&folder, &["fmt", "--check"]);
    assert_eq!(formatted.code, Some(0), "{}", formatted.stdout);
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
fn a_new_application_is_reloaded_as_it_is_written() {
    let place = tempfile::tempdir().unwrap();
    let folder = scaffold(HATCHERY, place.path(), "my-shop");
    let mut environment = build_environment();
    environment.push(("CARGO", cargo()));
    let developing = Developing::begin(HATCHERY, &folder, &["--offline"], environment, BUILD);
    let address = developing.address();
    answers_with(&developing, address, "\"visitor\"");

    let reader = Reader::begin(address);
    let worker = folder.join("src/worker.rs");
    change(&worker, "\"visitor\"", "\"guest\"");
    answers_with(&developing, address, "\"guest\"");

    change(&worker, "\"guest\"", "\"nobody\" nonsense");
    developing.expect_words("the build failed; waiting for a change", 1);
    let stderr = developing.stderr();
    assert!(stderr.contains("src/worker.rs:"), "the compiler says where");
    answers_with(&developing, address, "\"guest\"");

    change(&worker, "\"nobody\" nonsense", "\"friend\"");
    answers_with(&developing, address, "\"friend\"");

    change(&folder.join("src/agent.rs"), "tidied up", "swept the floor");
    developing.expect_words("hatchery dev: reloaded\n", 3);
    answers_with(&developing, address, "\"friend\"");
    reader.has_seen_the_page_each_time();

    developing.interrupt();
    assert_eq!(developing.ends().code(), Some(0));
    developing.leaves_nobody();
}

/// Somebody who looks at the page again and again, and is to see it each time.
struct Reader {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<String>>,
}

impl Reader {
    fn begin(address: SocketAddr) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let mut complaints = Vec::new();
            while !ended.load(Relaxed) {
                match http::get(address, "/") {
                    Ok(answer) if answer.status == 200 => {}
                    other => complaints.push(format!("{other:?}")),
                }
                wait::pass(Duration::from_millis(2));
            }
            complaints
        });
        Self { over, thread }
    }

    #[track_caller]
    fn has_seen_the_page_each_time(self) {
        self.over.store(true, Relaxed);
        let complaints = self.thread.join().unwrap();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}

fn change(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(file, text.replace(from, to)).unwrap();
}

/// Asks until an answer has this word.
#[track_caller]
fn answers_with(developing: &Developing, address: SocketAddr, word: &str) {
    let found = developing.until(|| {
        let answer = http::get(address, "/").unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text().contains(word).then_some(())
    });
    assert!(found.is_some(), "no answer has {word}");
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
