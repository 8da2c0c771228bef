//! The cluster in one line, for `systemctl status`.

use hatchery_protocol::control::{ChildState, ClusterState};
use hatchery_protocol::id::Role;

use crate::supervisor::{Report, SeatReport};

/// How many seats are told of one by one.
const NAMED: usize = 4;

/// How many workers are ready, and which seats are not, and why.
pub(crate) fn status_line(report: &Report) -> String {
    let workers = || {
        let seats = report.seats.iter();
        seats.filter(|seat| seat.seat.role() == Role::Worker)
    };
    let ready = workers().filter(|seat| is_ready(seat)).count();
    let of = workers().count();
    let mut parts = vec![if report.state == ClusterState::Ready {
        format!("{ready} of {of} workers ready")
    } else {
        format!("{}: {ready} of {of} workers ready", report.state.as_str())
    }];
    let absent: Vec<&SeatReport> = report.seats.iter().filter(|seat| !is_ready(seat)).collect();
    parts.extend(absent.iter().take(NAMED).map(|seat| told(seat)));
    if absent.len() > NAMED {
        parts.push(format!("and {} more", absent.len() - NAMED));
    }
    // It is one line, and may quote what a process wrote.
    parts.join("; ").replace(char::is_control, " ")
}

fn told(seat: &SeatReport) -> String {
    let state = seat.state.as_str();
    match (seat.state, &seat.last_exit) {
        (ChildState::Waiting | ChildState::Booting, Some(why)) => {
            format!("{} {state} ({why})", seat.seat)
        }
        _ => format!("{} {state}", seat.seat),
    }
}

fn is_ready(seat: &SeatReport) -> bool {
    seat.state == ChildState::Ready
}

#[cfg(test)]
mod tests {
    use hatchery_protocol::id::Seat;

    use super::*;

    fn seat(seat: Seat, state: ChildState, last_exit: Option<&str>) -> SeatReport {
        SeatReport {
            seat,
            child: None,
            pid: None,
            state,
            restarts: 0,
            last_exit: last_exit.map(str::to_owned),
            last_exit_kind: None,
            generation: 1,
        }
    }

    #[test]
    fn who_is_not_ready_is_named() {
        let mut report = Report {
            state: ClusterState::Ready,
            generation: 1,
            seats: vec![
                seat(Seat::Agent, ChildState::Ready, None),
                seat(
                    Seat::Worker(0),
                    ChildState::Ready,
                    Some("exited with code 1"),
                ),
                seat(Seat::Worker(1), ChildState::Ready, None),
            ],
        };
        assert_eq!(status_line(&report), "2 of 2 workers ready");
        report.state = ClusterState::Degraded;
        report.seats[2] = seat(Seat::Worker(1), ChildState::Waiting, Some("it said:\nno"));
        assert_eq!(
            status_line(&report),
            "degraded: 1 of 2 workers ready; worker 1 waiting (it said: no)"
        );
        report.state = ClusterState::Stopping;
        for seat in &mut report.seats {
            seat.state = ChildState::Draining;
        }
        assert_eq!(
            status_line(&report),
            "stopping: 0 of 2 workers ready; agent draining; worker 0 draining; worker 1 draining"
        );
        report.seats = (0..7)
            .map(|n| seat(Seat::Worker(n), ChildState::Spawning, None))
            .collect();
        assert!(status_line(&report).ends_with("worker 3 spawning; and 3 more"));
    }
}
