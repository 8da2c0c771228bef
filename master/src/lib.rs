//! The master of a hatchery cluster.
#![forbid(unsafe_code)]

mod config;
pub mod supervisor;
mod listener;

pub use config::{Config, Strategy, UnknownStrategy};
pub use listener::{Address, AddressError};
