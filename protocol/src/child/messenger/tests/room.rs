//! Whoever waits for room goes on when there is some, and when there never will be any.

use tokio::task::{JoinHandle, yield_now};
use tokio::time::timeout;

use super::*;

/// Waits in a task of its own: what does not wake it is found out.
async fn wait_for(desk: &Desk, target: Target) -> JoinHandle<Result<(), SendError>> {
    let messenger = desk.messenger.clone();
    let waiting = tokio::spawn(async move { messenger.room(target).await });
    expect_waiting(&waiting).await;
    waiting
}

#[track_caller]
fn expect_waiting<T>(waiting: &JoinHandle<T>) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        for _ in 0..3 {
            yield_now().await;
        }
        assert!(!waiting.is_finished(), "{caller}");
    }
}

/// With the clock stopped, a task that nobody wakes is late at once.
async fn outcome(waiting: JoinHandle<Result<(), SendError>>) -> Result<(), SendError> {
    let late = Duration::from_secs(1);
    timeout(late, waiting).await.unwrap().unwrap()
}

fn fill(desk: &Desk, target: Target) {
    let send = || desk.messenger.send_bytes(target, "t", vec![0; 1000]);
    let refused = std::iter::repeat_with(send).find_map(Result::err);
    assert!(matches!(refused, Some(SendError::Full(_))));
}

#[tokio::test(start_paused = true)]
async fn room_is_there_when_the_receiver_gives_it_back() {
    let desk = Desk::open();
    desk.messenger.room(Target::Slot(1)).await.unwrap();
    fill(&desk, Target::Slot(1));
    desk.said();
    let one = wait_for(&desk, Target::Slot(1)).await;
    let all = wait_for(&desk, Target::Workers).await;
    desk.messenger.room(Target::Slot(2)).await.unwrap();
    desk.hear(Kind::Room, 0, 4, 3000);
    desk.hear(Kind::Room, flag::ANSWER, 3, 3000);
    expect_waiting(&one).await;
    desk.hear(Kind::Room, 0, 3, 3000);
    outcome(one).await.unwrap();
    outcome(all).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_is_gone_is_not_waited_for() {
    let desk = Desk::open();
    fill(&desk, Target::Slot(1));
    desk.said();
    let one = wait_for(&desk, Target::Slot(1)).await;
    let all = wait_for(&desk, Target::Workers).await;
    desk.hear(Kind::Left, 0, 3, 0);
    let gone = outcome(one).await;
    assert!(matches!(gone, Err(SendError::NoSuchPeer(Target::Slot(1)))));
    outcome(all).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_kept_for_egg_ready_makes_room_then() {
    let desk = Desk::new();
    desk.messenger.room(Target::Slot(9)).await.unwrap();
    fill(&desk, Target::Agent);
    let agent = wait_for(&desk, Target::Agent).await;
    let other = wait_for(&desk, Target::Slot(1)).await;
    let nobody = wait_for(&desk, Target::Slot(9)).await;
    desk.introduce();
    outcome(other).await.unwrap();
    assert!(matches!(
        outcome(nobody).await,
        Err(SendError::NoSuchPeer(Target::Slot(9)))
    ));
    // What was kept is under way to the agent now.
    expect_waiting(&agent).await;
    desk.hear(Kind::Room, 0, 2, 10_000);
    outcome(agent).await.unwrap();
}

/// Who sends to many may have filled this process before any of them.
#[tokio::test(start_paused = true)]
async fn what_has_left_this_process_makes_room() {
    let desk = Desk::open();
    for target in [Target::Agent, Target::Slot(1), Target::Slot(2)] {
        fill(&desk, target);
    }
    let own = wait_for(&desk, Target::Slot(0)).await;
    desk.said();
    outcome(own).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nobody_is_not_waited_for() {
    let desk = Desk::new();
    desk.hear(Kind::Open, 0, 0, 0);
    let none = [
        Target::All,
        Target::Workers,
        Target::RandomWorker,
        Target::Slot(0),
        Target::Process(1),
    ];
    for target in none {
        let refused = desk.messenger.room(target).await;
        assert!(matches!(refused, Err(SendError::NoSuchPeer(none)) if none == target));
    }
    let refused = desk.messenger.room(Target::Agent).await;
    assert!(matches!(refused, Err(SendError::AgentUnavailable)));
}

#[tokio::test(start_paused = true)]
async fn the_masters_end_is_the_end_of_waiting() {
    let desk = Desk::open();
    fill(&desk, Target::Slot(1));
    let waiting = wait_for(&desk, Target::Slot(1)).await;
    desk.office.close();
    assert!(matches!(outcome(waiting).await, Err(SendError::Closed)));
    let refused = desk.messenger.room(Target::Slot(1)).await;
    assert!(matches!(refused, Err(SendError::Closed)));
}
