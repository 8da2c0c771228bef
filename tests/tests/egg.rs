//! The example `egg`: the steps of Egg's diagram in their order, a configuration that the agent hands around, and the two questions that are
//! asked of Egg: does the agent leave when the master is killed, do the workers?
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs;
use std::path::{Path, PathBuf};

use hatchery::testing::{Application, Cluster, Event, Failure, Role};
use rustix::process::Signal;
use tempfile::TempDir;

fn egg(file: &Path) -> Application {
    Application::new(env!("CARGO_BIN_EXE_egg"))
        .workers(2)
        .env("EGG_CONFIG", file)
}

fn config(folder: &TempDir, greeting: &str) -> PathBuf {
    let file = folder.path().join("egg.json");
    let new = folder.path().join("new");
    fs::write(&new, format!(r#"{{"greeting":"{greeting}"}}"#)).unwrap();
    fs::rename(new, &file).unwrap();
    file
}

/// Asks until both workers answer so.
fn expect_greeting(cluster: &Cluster, greeting: &str) -> Result<(), Failure> {
    for slot in 0..2 {
        let wanted = format!("{greeting}, says worker {slot}\n");
        cluster.wait_where(&wanted, |_| {
            let answer = cluster.get("/").ok()?;
            (answer.text() == wanted).then_some(())
        })?;
    }
    Ok(())
}

/// The arrows of the diagram in the log, and when each was drawn. Lines may stand in another order: what a process writes before it is
/// ready comes through the master, and may be a moment later there than the next process's first line.
fn arrows(output: &str) -> Vec<(String, String)> {
    let lines = output.lines().filter(|line| line.contains("]--> "));
    let arrow = |line: &str| {
        let (_, arrow) = line.split_once("diagram: ")?;
        let (time, _) = line.split_once(' ')?;
        Some((time.to_owned(), arrow.to_owned()))
    };
    lines.filter_map(arrow).collect()
}

/// Or in the same millisecond.
fn before(arrows: &[(String, String)], earlier: &str, later: &str) {
    let time = |wanted: &str| {
        let found = arrows.iter().find(|(_, arrow)| arrow == wanted);
        let (time, _) = found.unwrap_or_else(|| panic!("no {wanted} in {arrows:#?}"));
        assert!(time.starts_with("20") && time.ends_with('Z'), "{time}");
        time
    };
    assert!(
        time(earlier) <= time(later),
        "{earlier}, {later}: {arrows:#?}"
    );
}

#[test]
fn the_steps_come_in_the_order_of_the_diagram() -> Result<(), Failure> {
    let folder = tempfile::tempdir().unwrap();
    let cluster = egg(&config(&folder, "hello")).start()?;
    expect_greeting(&cluster, "hello")?;
    cluster.signal(Role::Master, Signal::TERM)?;
    assert_eq!(cluster.ends()?.code(), Some(0));
    let arrows = arrows(&cluster.output());
    before(
        &arrows,
        "Master --[fork agent]--> Agent",
        "Agent --[agent ready]--> Master",
    );
    for worker in ["Worker 0", "Worker 1"] {
        let fork = format!("Master --[fork worker]--> {worker}");
        let ready = format!("{worker} --[worker ready]--> Master");
        let egg_ready = format!("Master --[Egg ready]--> {worker}");
        let closed = format!("{worker} --[closed]--> Master");
        before(&arrows, "Agent --[agent ready]--> Master", &fork);
        before(&arrows, &fork, &ready);
        before(&arrows, &ready, "Master --[Egg ready]--> Agent");
        before(&arrows, &ready, &egg_ready);
        before(&arrows, &egg_ready, &closed);
        before(&arrows, &closed, "Agent --[closed]--> Master");
    }
    // Four of the agent's, four of each worker's, and nothing twice.
    assert_eq!(arrows.len(), 12, "{arrows:#?}");
    Ok(())
}

#[test]
fn what_the_agent_reads_all_workers_have() -> Result<(), Failure> {
    let folder = tempfile::tempdir().unwrap();
    let cluster = egg(&config(&folder, "hello")).start()?;
    // Also who comes before the workers have heard of it.
    assert_eq!(cluster.get("/")?.status, 200);
    expect_greeting(&cluster, "hello")?;
    config(&folder, "good morning");
    expect_greeting(&cluster, "good morning")?;

    // Who comes later asks.
    let mark = cluster.mark();
    cluster.kill(Role::Worker(1))?;
    cluster.wait_since(mark, Event::WorkerReplaced)?;
    for _worker in 0..2 {
        assert_eq!(cluster.get("/")?.status, 200);
    }
    expect_greeting(&cluster, "good morning")?;

    // The next agent goes on where the last one was.
    let mark = cluster.mark();
    cluster.kill(Role::Agent)?;
    config(&folder, "good night");
    cluster.wait_since(mark, Event::AgentReady)?;
    expect_greeting(&cluster, "good night")?;

    // A file that is wrong changes nothing, and is complained of.
    let wrong = "is no configuration";
    fs::write(folder.path().join("egg.json"), "{").unwrap();
    cluster.wait_where(wrong, |_| cluster.output().contains(wrong).then_some(()))?;
    expect_greeting(&cluster, "good night")?;
    cluster.stop()
}

#[test]
fn without_its_file_the_agent_fails_and_nothing_starts() -> Result<(), Failure> {
    let folder = tempfile::tempdir().unwrap();
    let cluster = egg(&folder.path().join("egg.json")).launch()?;
    assert_eq!(cluster.ends()?.code(), Some(3));
    assert!(
        cluster.output().contains("egg.json cannot be read"),
        "{}",
        cluster.output()
    );
    assert!(
        cluster
            .events()
            .iter()
            .all(|record| record.event != Event::WorkerSpawned)
    );
    Ok(())
}

/// Kills the master as soon as this has happened, or is about to.
fn kill_the_master_at(state: Event) -> Result<(), Failure> {
    let folder = tempfile::tempdir().unwrap();
    let cluster = egg(&config(&folder, "hello"))
        .flag("--orphan-grace", "2s")
        .launch()?;
    let orders = [
        (Event::ReloadStarted, Signal::HUP),
        (Event::Stopping, Signal::TERM),
    ];
    if let Some((_, order)) = orders.into_iter().find(|(event, _)| *event == state) {
        cluster.wait(Event::EggReady)?;
        cluster.signal(Role::Master, order)?;
    }
    cluster.wait(state)?;
    // A stop may be over by itself.
    let _ = cluster.kill(Role::Master);
    cluster.leaves_nobody()
}

#[test]
fn a_master_that_is_killed_leaves_neither_agent_nor_worker() -> Result<(), Failure> {
    for state in [
        Event::MasterStarted,
        Event::AgentSpawned,
        Event::AgentReady,
        Event::WorkerSpawned,
        Event::WorkerReady,
        Event::EggReady,
        Event::ReloadStarted,
        Event::Stopping,
    ] {
        kill_the_master_at(state)?;
    }
    Ok(())
}
