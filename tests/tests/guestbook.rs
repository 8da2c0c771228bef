//! The example `guestbook`, which the tutorial builds step by step, tested as its author would: by `hatchery::testing`.

use std::fs;
use std::path::{Path, PathBuf};

use hatchery::testing::{Application, Cluster, Event, Failure, Role};
use tempfile::TempDir;

fn guestbook(file: &Path) -> Application {
    Application::new(env!("CARGO_BIN_EXE_guestbook"))
        .workers(2)
        .env("GUESTBOOK_FILE", file)
}

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("visitors.txt")
}

/// Which visitor this is; nothing while there is no agent.
fn visit(cluster: &Cluster) -> Result<Option<u64>, Failure> {
    let welcome = cluster.get("/")?.text();
    let number = welcome.strip_prefix("Welcome, visitor ");
    let number = number.and_then(|rest| rest.split_once('!'));
    Ok(number.and_then(|(number, _)| number.parse().ok()))
}

#[test]
fn it_starts_in_order_heals_and_counts_on() -> Result<(), Failure> {
    let folder = tempfile::tempdir().unwrap();
    let cluster = guestbook(&file(&folder)).start()?;
    cluster.expect_order(&[
        Event::AgentSpawned,
        Event::AgentReady,
        Event::WorkerSpawned,
        Event::WorkerReady,
        Event::EggReady,
    ])?;
    for visitor in 1..=4 {
        assert_eq!(visit(&cluster)?, Some(visitor));
    }
    let mark = cluster.mark();
    cluster.kill(Role::Worker(0))?;
    cluster.wait_since(mark, Event::WorkerReplaced)?;
    for visitor in 5..=8 {
        assert_eq!(visit(&cluster)?, Some(visitor));
    }
    // In turn, unless one is late: both answer.
    for slot in [0, 1] {
        cluster.wait_where("answer of each worker", |_| {
            (cluster.who_answers("/").ok()? == slot).then_some(())
        })?;
    }
    cluster.stop()
}

#[test]
fn it_counts_in_one_process_too() -> Result<(), Failure> {
    let folder = tempfile::tempdir().unwrap();
    let file = file(&folder);
    let cluster = Application::new(env!("CARGO_BIN_EXE_guestbook"))
        .single()
        .env("GUESTBOOK_FILE", &file)
        .start()?;
    for visitor in 1..=2 {
        assert_eq!(visit(&cluster)?, Some(visitor));
    }
    assert_eq!(cluster.who_answers("/")?, 0);
    for role in [Role::Agent, Role::Worker(0)] {
        assert_eq!(cluster.pid(role)?, cluster.pid(Role::Master)?);
    }
    cluster.stop()?;
    assert_eq!(fs::read_to_string(&file).unwrap(), "3");
    Ok(())
}

#[test]
fn the_number_is_saved_by_command_and_by_a_stop() -> Result<(), Failure> {
    let folder = tempfile::tempdir().unwrap();
    let file = file(&folder);
    let cluster = guestbook(&file).start()?;
    assert_eq!(visit(&cluster)?, Some(1));
    cluster.command(&["schedule", "run", "save"])?;
    assert_eq!(fs::read_to_string(&file).unwrap(), "1");
    assert_eq!(visit(&cluster)?, Some(2));
    cluster.stop()?;
    assert_eq!(fs::read_to_string(&file).unwrap(), "2");

    let cluster = guestbook(&file).start()?;
    // The agent's hook adds what was saved while visitors come already.
    while visit(&cluster)?.is_none_or(|visitor| visitor < 3) {}
    cluster.stop()
}

#[test]
fn a_start_that_fails_says_why() -> Result<(), Failure> {
    let folder = tempfile::tempdir().unwrap();
    let cluster = guestbook(&file(&folder))
        .flag("--strategy", "fair")
        .launch()?;
    assert_eq!(cluster.ends()?.code(), Some(2));
    let failure = cluster.wait(Event::EggReady).unwrap_err().to_string();
    assert!(failure.contains("the master has ended"), "{failure}");
    assert!(failure.contains("fair"), "{failure}");
    Ok(())
}
