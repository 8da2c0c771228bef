//! The test that docs/testing.md gives authors to be copied, letter by letter: it passes for an application that knows nothing of it.

use hatchery::testing::{Application, Event, Failure, Role};

const PROGRAM: &str = env!("CARGO_BIN_EXE_hello");

#[test]
fn it_starts_in_order_heals_and_stops() -> Result<(), Failure> {
    let cluster = Application::new(PROGRAM).workers(2).start()?;
    cluster.expect_order(&[
        Event::AgentSpawned,
        Event::AgentReady,
        Event::WorkerSpawned,
        Event::WorkerReady,
        Event::EggReady,
    ])?;
    assert_eq!(cluster.get("/")?.status, 200);

    // One dies, the others serve on, and its place is filled again.
    let mark = cluster.mark();
    cluster.kill(Role::Worker(0))?;
    assert_eq!(cluster.get("/")?.status, 200);
    cluster.wait_since(mark, Event::WorkerReplaced)?;

    // In turn, unless one is late: both answer.
    for slot in [0, 1] {
        cluster.wait_where("answer of each worker", |_| {
            (cluster.who_answers("/").ok()? == slot).then_some(())
        })?;
    }

    cluster.stop()
}
