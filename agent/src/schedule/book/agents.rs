//! What one agent leaves to the next: one rule, one test.

use hatchery_protocol::schedule::{Cause, Command, Outcome};

use super::desk::{Desk, S};
use crate::schedule::{Missed, Overlap, Schedule};

#[test]
fn the_next_agent_goes_on_where_the_last_one_ended() {
    let daily = || Schedule::cron("a", "0 13 * * *");
    let mut desk = Desk::open(vec![daily()]);
    desk.pass(3599 * S);
    desk.close();
    desk.pass(10 * S);
    assert_eq!(desk.begun(), [], "a closed book begins nothing");
    // 13:00 passed while there was no agent.
    let mut next = desk.next_agent(S, daily());
    assert_eq!(next.begun(), [(1, Cause::Missed)]);
    // And has been run: not again by a third one.
    let mut third = next.next_agent(S, daily());
    assert_eq!(third.begun(), []);
    assert_eq!(third.status().runs, 1);
    let mut skipping = desk.next_agent(S, daily().missed(Missed::Skip));
    assert_eq!(skipping.begun(), []);
    assert_eq!(skipping.status().missed, 1);
}

#[test]
fn an_interval_keeps_its_beat_over_agents() {
    let every = || Schedule::every("a", 10 * S);
    let mut desk = Desk::open(vec![every()]);
    desk.pass(14 * S);
    desk.end(1, Outcome::Succeeded);
    let mut next = desk.next_agent(2 * S, every());
    next.pass(3900 * S / 1000);
    assert_eq!(next.begun(), []);
    next.pass(S / 10);
    assert_eq!(next.begun(), [(2, Cause::Due)]);
    // With another rhythm it begins anew.
    let mut changed = desk.next_agent(2 * S, Schedule::every("a", 7 * S));
    changed.pass(6 * S);
    assert_eq!(changed.begun(), []);
    changed.pass(S);
    assert_eq!(changed.begun(), [(2, Cause::Due)]);
}

#[test]
fn what_waits_for_its_turn_is_run_by_the_next_agent() {
    let every = || Schedule::every("a", 10 * S).overlap(Overlap::Queue);
    let mut desk = Desk::open(vec![every()]);
    desk.pass(25 * S);
    assert!(desk.status().queued);
    desk.close();
    desk.end(1, Outcome::Succeeded);
    assert_eq!(desk.begun().len(), 1, "not by this one");
    let mut next = desk.next_agent(S, every());
    assert_eq!(next.begun(), [(2, Cause::Missed)]);
}

#[test]
fn a_run_on_a_worker_goes_on_over_agents() {
    let every = || Schedule::every("a", 10 * S);
    let mut desk = Desk::open(vec![every()]);
    desk.pass(14 * S);
    let mut next = desk.next_agent(2 * S, every());
    assert_eq!(next.followed(), [1]);
    next.pass(10 * S);
    assert_eq!(next.begun(), [], "side by side");
    assert_eq!(next.status().skipped, 1);
    next.ask(Command::Run, 1);
    let goes_on = Err("a run of `a` goes on already".to_owned());
    assert_eq!(next.answers(), [(1, goes_on)]);
    next.told(1, Outcome::Succeeded);
    // Told twice.
    next.told(1, Outcome::Unobserved);
    let status = next.status();
    assert_eq!(status.history.len(), 1);
    let run = status.history.first().unwrap();
    assert_eq!(
        (run.number, run.duration_ms, &run.outcome),
        (1, 16_000, &Outcome::Succeeded)
    );
    next.pass(4 * S);
    assert_eq!(next.begun(), [(2, Cause::Due)]);
    // Where the author allows it nothing waits; and what waited goes on waiting.
    let mut allowing = desk.next_agent(2 * S, every().overlap(Overlap::Allow));
    allowing.pass(10 * S);
    assert_eq!(allowing.begun(), [(2, Cause::Due)]);
    let queueing = || every().overlap(Overlap::Queue);
    let mut desk = Desk::open(vec![queueing()]);
    desk.pass(25 * S);
    let mut next = desk.next_agent(S, queueing());
    assert_eq!(next.begun(), []);
    assert!(next.status().queued);
    next.told(1, Outcome::Succeeded);
    assert_eq!(next.begun(), [(2, Cause::Missed)]);
}

#[test]
fn a_run_in_the_agent_is_over_when_the_next_one_comes() {
    let every = || Schedule::every("a", 10 * S).in_agent(|_| async { Ok(()) });
    let mut desk = Desk::open(vec![every()]);
    desk.pass(14 * S);
    let mut next = desk.next_agent(2 * S, every());
    assert!(next.followed().is_empty());
    let unobserved = next.status().history.remove(0);
    assert_eq!(unobserved.outcome, Outcome::Unobserved);
    next.pass(4 * S);
    assert_eq!(next.begun(), [(2, Cause::Due)]);
}

/// Its worker belongs to the master before: that one tells.
#[test]
fn a_run_elsewhere_is_awaited_and_not_asked_for() {
    let every = || Schedule::every("a", 10 * S);
    let mut desk = Desk::open(vec![every()]);
    desk.pass(14 * S);
    let mut known = desk.status();
    known.running.first_mut().unwrap().elsewhere = true;
    let mut next = Desk::open_at(desk.now, vec![every()], &[known]);
    assert!(next.followed().is_empty());
    next.pass(10 * S);
    assert_eq!(next.begun(), []);
    // Also for an agent after that.
    let mut third = next.next_agent(S, every());
    assert!(third.followed().is_empty());
    assert!(third.status().running.first().unwrap().elsewhere);
    third.told(1, Outcome::failed("no disk"));
    let run = third.status().history.remove(0);
    assert_eq!(run.outcome, Outcome::failed("no disk"));
}

#[test]
fn a_lost_run_is_tried_once_more_whoever_the_agent_is() {
    let every = || Schedule::every("a", 10 * S).retry_lost();
    let lost = || Outcome::lost("worker 1 died");
    let mut desk = Desk::open(vec![every()]);
    desk.pass(14 * S);
    assert_eq!(desk.begun(), [(1, Cause::Due)]);
    let mut next = desk.next_agent(2 * S, every());
    next.told(1, lost());
    assert_eq!(next.begun(), [(1, Cause::Due)], "again");
    // The next one knows which try it was.
    let mut third = next.next_agent(S, every());
    third.told(1, lost());
    assert_eq!(third.begun(), []);
    assert_eq!(third.status().history.remove(0).outcome, lost());
    // Who is out of office tries nothing.
    desk.close();
    desk.end(1, lost());
    assert_eq!(desk.begun(), []);
}
