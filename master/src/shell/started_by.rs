//! Who started this master, and where what it begins with comes from.

use hatchery_protocol::id::Generation;

use super::ground::Origin;
use crate::launch::Launcher;
use crate::listener::Inheritance;
use crate::succession::{Predecessor, Will};

/// The generation of the first master's first processes.
pub(super) const FIRST_GENERATION: Generation = 1;

/// Who started this master, if not an operator in the foreground.
#[derive(Debug)]
pub enum StartedBy {
    /// Nobody who wants to hear of it.
    Operator,
    /// Somebody who waits until it is ready.
    Launcher(Launcher),
    /// A master whose place it is to take.
    Predecessor(Box<Predecessor>),
}

/// Who waits to hear how the start goes.
pub(super) enum Awaiting {
    Nobody,
    Launcher(Launcher),
    Predecessor(Will),
}

impl StartedBy {
    /// The generation of this master's first processes.
    pub const fn generation(&self) -> Generation {
        match self {
            Self::Operator | Self::Launcher(_) => FIRST_GENERATION,
            Self::Predecessor(old) => old.next_generation(),
        }
    }

    /// Whether nobody sees what this master writes.
    pub const fn is_in_background(&self) -> bool {
        match self {
            Self::Operator => false,
            Self::Launcher(_) => true,
            Self::Predecessor(old) => old.is_in_background(),
        }
    }

    pub(super) fn begin(self) -> (Origin, Awaiting) {
        // In any case: what is meant for this process must not leak into others.
        let inheritance = Inheritance::take();
        match self {
            Self::Operator => (Origin::Anew(inheritance), Awaiting::Nobody),
            Self::Launcher(launcher) => (Origin::Anew(inheritance), Awaiting::Launcher(launcher)),
            Self::Predecessor(old) => {
                old.restore_output();
                let (estate, correspondence, will) = old.into_parts();
                let handover = Origin::Handover(Box::new((estate, correspondence)));
                (handover, Awaiting::Predecessor(will))
            }
        }
    }
}
