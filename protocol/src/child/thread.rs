//! For whom a thread works, where agent and worker are threads of one process: its lines in the log say so.
//!
//! Known of the threads that the runtimes of agent and worker start. A thread that the author starts is nobody's in
//! particular.

use std::cell::Cell;

use crate::id::Seat;

thread_local! {
    static SEAT: Cell<Option<Seat>> = const { Cell::new(None) };
}

/// The child that the calling thread works for, if it is known.
pub fn seat() -> Option<Seat> {
    SEAT.get()
}

/// The calling thread works for this child from now on.
pub fn work_for(seat: Seat) {
    SEAT.set(Some(seat));
}
