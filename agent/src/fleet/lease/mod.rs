//! What one member of the fleet alone may do.
//!
//! [`Fleet::lease`](super::Fleet::lease) makes this process a contender for a lease of some name. One contender
//! at a time holds it, on whichever host. It is held for as long as Redis confirms it, and is lost **before**
//! another one can have it: `lost` resolves with a third of the lease (setting `fleet_lease`) to go, and work that must not overlap with
//! another one's has to end in that time.
//!
//! A process can be stopped for longer than that in the middle of its work. What it does afterwards is kept from
//! doing harm by the *fencing token*: it grows with each new holder, and whatever the work writes to should refuse a
//! token that is smaller than the largest it has seen.

mod handle;
mod rules;
#[cfg(test)]
mod simulation;
mod task;
mod times;

pub use handle::LeaseHandle;
pub(super) use handle::Leases;
pub(crate) use times::{Time, Word};
