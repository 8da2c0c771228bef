//! The sockets of the cluster. The master owns each of them for life.
//!
//! An address is bound before anything is started, so that a port in use fails fast; it listens only
//! when every worker is ready, so that nobody can connect before. Workers get copies, so the death of
//! one or all of them refuses nobody: connections wait in the backlog.

mod address;
mod bind;
mod conflict;
mod error;
mod handed;
mod inherit;
mod listen;
mod opening;
mod option;
mod owner;
mod per_slot;
mod sockets;
mod tcp;
mod udp;
mod unix;

pub(crate) use address::MAX_UNIX_PATH;
pub use address::{Address, AddressError, Inherited};
pub(crate) use bind::{BACKLOG, Shares, bind_all};
pub use conflict::{Conflict, check_addresses};
pub(crate) use error::BindError;
pub(crate) use handed::{Handed, Provenance};
pub(crate) use inherit::Inheritance;
pub use listen::{Listen, ListenError};
pub use opening::OpeningOptions;
pub use owner::{Owner, UnixOptions, UnknownOwner};
pub(crate) use sockets::{Listener, Served};
pub use tcp::TcpOptions;
pub(crate) use unix::SocketFile;
