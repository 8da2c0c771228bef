//! Clients that exist once for a whole cluster: the author wraps one, workers follow it.
//!
//! | file | idea |
//! |---|---|
//! | `client` | what an author implements |
//! | `feed` | where an author puts a key's values |
//! | `keys` | who leads, and which keys are followed |
//! | `answers` | the task that answers followers |

mod answers;
mod client;
mod feed;
mod keys;

pub(crate) use answers::serve;
pub use client::Leader;
pub use feed::Feed;
pub use keys::LeadError;
pub(crate) use keys::Leaders;
