//! The master of a hatchery cluster.
#![forbid(unsafe_code)]

mod config;
mod listener;

pub use config::{Config, Strategy, UnknownStrategy};
pub use listener::{Address, AddressError};
