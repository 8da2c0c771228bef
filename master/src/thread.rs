//! A child that is a thread of the master's process (`single`).
//!
//! It has what a process has, a link, a post and sockets, and lives by the same orders: whoever decides does not know the
//! difference. What it lacks is an end from outside. A thread that is to be killed is *left behind*: it counts as gone, and ends with
//! the process, which is about to, for nobody takes its place.
//!
//! Its end comes over a pipe, as a process's over its pidfd: the first word in it counts.

use std::any::Any;
use std::io::{self, PipeWriter, Write as _};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::Builder;

use hatchery_protocol::exit::Exit;
use hatchery_protocol::id::Seat;
use rustix::net::{Shutdown, shutdown};
use rustix::process::getpid;

use crate::link;
use crate::spawn::Newborn;
use crate::supervisor::Status;

/// The code of a role. It gets the other end of its link, lives that life to its end, and returns what it would end with as a
/// process.
pub type Part = Box<dyn FnOnce(OwnedFd) -> Exit + Send>;

/// What the first thread of a process has, unless told otherwise: the author's code is to find no less here.
const STACK: usize = 8 * 1024 * 1024;
/// What a process ends with whose first thread panicked.
const PANICKED: u8 = 101;

const ENDED: u8 = 0;
const LEFT_BEHIND: u8 = 1;

/// Starts the thread of a seat. `part` is asked for last, when nothing else can fail but the thread itself.
///
/// # Errors
///
/// There are no descriptors or no threads, or the part was given out already.
pub(crate) fn start(seat: Seat, part: impl FnOnce() -> Option<Part>) -> io::Result<Newborn> {
    let (link, theirs) = link::ends()?;
    rustix::io::ioctl_fionbio(&link, true)?;
    let (end, teller) = io::pipe()?;
    let (mut tells, last) = (teller.try_clone()?, theirs.try_clone()?);
    let part = part().ok_or_else(|| io::Error::other("it runs once in a process"))?;
    Builder::new()
        .name(format!("hatchery-{}", seat.role()))
        .stack_size(STACK)
        .spawn(move || {
            let ended = catch_unwind(AssertUnwindSafe(|| part(theirs)));
            let code = ended.map_or_else(panicked, Exit::code);
            // The thread that watches this link has it, too, and ends with it.
            let _ = shutdown(&last, Shutdown::Both);
            // The reader only goes away with the process.
            let _ = tells.write_all(&[ENDED, code]);
        })?;
    Ok(Newborn {
        pid: getpid(),
        end: end.into(),
        link,
        output: Vec::new(),
        teller: Some(teller),
    })
}

/// The panic was told by the hook for panics.
fn panicked(_: Box<dyn Any + Send>) -> u8 {
    PANICKED
}

/// It does not end, and counts as gone from now on.
pub(crate) fn leave_behind(mut teller: &PipeWriter) {
    let _ = teller.write_all(&[LEFT_BEHIND, 0]);
}

/// How it ended. To be asked when there is something to read.
pub(crate) fn how_it_ended(end: &OwnedFd) -> Status {
    let mut word = [0; 2];
    match (rustix::io::read(end, &mut word), word) {
        (Ok(2), [ENDED, code]) => Status::Code(code.into()),
        (Ok(2), [LEFT_BEHIND, _]) => Status::LeftBehind,
        _ => Status::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn started(part: impl FnOnce(OwnedFd) -> Exit + Send + 'static) -> Newborn {
        start(Seat::Agent, || Some(Box::new(part))).unwrap()
    }

    #[test]
    fn a_thread_says_how_it_ended_and_closes_its_link() {
        let newborn = started(|_| Exit::HookFailed);
        assert_eq!(how_it_ended(&newborn.end), Status::Code(1));
        rustix::io::ioctl_fionbio(&newborn.link, false).unwrap();
        assert_eq!(rustix::io::read(&newborn.link, &mut [0; 1]), Ok(0));
    }

    #[test]
    fn a_panic_ends_the_thread_alone() {
        let newborn = started(|_| std::panic::resume_unwind(Box::new("quietly")));
        assert_eq!(how_it_ended(&newborn.end), Status::Code(101));
    }

    #[test]
    fn whoever_is_left_behind_has_no_say_any_more() {
        let (go, wait) = mpsc::channel::<()>();
        let newborn = started(move |_| {
            let _ = wait.recv();
            Exit::Orderly
        });
        leave_behind(newborn.teller.as_ref().unwrap());
        assert_eq!(how_it_ended(&newborn.end), Status::LeftBehind);
        drop(go);
    }

    #[test]
    fn a_part_is_played_once() {
        let error = start(Seat::Agent, || None).unwrap_err();
        assert_eq!(error.to_string(), "it runs once in a process");
    }
}
