//! The worker: one axum server of N that share their ports, built to leave without losing a request.
//!
//! An application implements [`Worker`]; [`run`] lives that worker's life between the master's orders.
//!
//! ```text
//!  listening socket ── accept ──(opening)── connection ── service ── Router
//!                        │ │                    │            │
//!                        │ └────────────────── tracker ──────┘   counts, and passes on the phases of a drain
//!                        │                      │
//!                        └─ incoming ──────── raw stream         where the application speaks its own protocol
//! ```
//!
//! What holds:
//!
//! - nothing is accepted, not even polled, before the master has said that every process is ready;
//! - a connection counts until its descriptor is closed, upgraded or not;
//! - a request is in flight until the last byte of its response is handed to the connection, or given up;
//! - a drain ends by its deadline, whatever clients do.
//!
//! The opening is there on listeners with TLS (feature `tls`) or the PROXY protocol only.
//!
//! Not here: binding of addresses (the master's), and anything a router can do by itself.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod accept;
mod ahead;
mod client;
mod connection;
mod context;
mod desk;
mod drain;
mod incoming;
mod jobs;
mod listeners;
mod opening;
mod patience;
mod raw;
mod room;
mod run;
mod runs;
mod server;
mod service;
mod stream;
mod through;
#[cfg(feature = "tls")]
mod tls;
mod tracker;
mod worker;

pub use client::{ClientInfo, TlsInfo};
pub use context::WorkerContext;
pub use hatchery_protocol::child::{BoxError, Job};
pub use incoming::Incoming;
pub use raw::RawStream;
pub use run::run;
#[cfg(feature = "tls")]
pub use tls::{CertificateError, check_certificate};
pub use worker::Worker;

#[cfg(test)]
mod fixture;
