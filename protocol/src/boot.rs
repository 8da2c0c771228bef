//! How a child learns what it is.
//!
//! A child is the same executable run again. Three variables tell it that it is one, and are taken out
//! of the environment in the first lines of `main`; everything else comes over the link as [`Boot`], so
//! nothing of it shows in `ps` or leaks into a grandchild.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::attributes::Attributes;
use crate::clock::as_millis;
use crate::id::{ChildId, Generation};
use crate::message::Member;
use crate::post::Limits;
use crate::secret::Secret;
use crate::section::Section;

/// The child's role: `agent` or `worker`.
pub const ENV_ROLE: &str = "HATCHERY_CHILD_ROLE";
/// The master's [`PROTOCOL_VERSION`](crate::PROTOCOL_VERSION).
pub const ENV_PROTOCOL: &str = "HATCHERY_CHILD_PROTOCOL";
/// The master's process id, to be compared with `getppid()`.
pub const ENV_MASTER: &str = "HATCHERY_CHILD_MASTER";
/// Set for a program that a worker keeps, and for all below it: the worker's number.
pub const ENV_SLOT: &str = "HATCHERY_CHILD_SLOT";
/// Set for a master that was started by `start --daemon`: it reports to whoever started it.
pub const ENV_LAUNCHER: &str = "HATCHERY_CHILD_LAUNCHER";
/// Set for a master that was started by another one to take over from it.
pub const ENV_SUCCESSOR: &str = "HATCHERY_CHILD_SUCCESSOR";

/// What a child has to know; the first message on its link.
///
/// Descriptors come with it in this order: standard output, standard error, then one for each of
/// [`listeners`](Self::listeners) that the worker accepts from; between them that of the [`post`](Self::post) and
/// that of the [`lane`](Self::lane), if there are such.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// The application's name.
    pub name: String,
    /// The seat and the incarnation.
    pub child: ChildId,
    /// The generation this process belongs to.
    pub generation: Generation,
    /// Whether the cluster was ready before this child was started, so that it replaces another.
    pub replaces: bool,
    /// What it has to take on before it does anything else.
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
    /// The settings that bind a child.
    pub settings: ChildSettings,
    /// What a worker serves; empty for an agent.
    pub listeners: Vec<ListenerBoot>,
    /// Whether the descriptor of a lane comes along, see [`crate::handoff`].
    #[serde(default)]
    pub lane: Option<Lane>,
    /// Whether the descriptor of a post comes along, see [`crate::post`], and what may be sent there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post: Option<Limits>,
    /// What the keys of TLS session tickets are derived from, where a listener speaks TLS. The same in
    /// every worker of this master, so that each resumes what another began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket_secret: Option<Secret>,
    /// Where an agent meets those of other hosts, if it is to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetBoot>,
    /// Names this master's cluster among those of its fleet, if it is in one: the same for all of its processes, and
    /// another one for each master.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<u64>,
    /// The program that a worker keeps, if it is not one itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<ProgramBoot>,
    /// The application's own configuration, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section: Option<Section>,
    /// The jobs that the agent's schedules run on workers: a worker has to know them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<String>,
    /// The agent's process, when it is ready.
    pub agent: Option<u32>,
    /// The workers that are ready.
    pub workers: Vec<Member>,
}

/// The settings that bind a child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildSettings {
    /// How many workers the cluster has.
    pub workers: u32,
    /// Threads of a worker's runtime.
    pub threads: u32,
    /// How long a hook before readiness, and `egg_ready`, may take.
    #[serde(with = "as_millis", rename = "start_timeout_ms")]
    pub start_timeout: Duration,
    /// How long a drain may take when nobody says otherwise (a signal from outside).
    #[serde(with = "as_millis", rename = "drain_timeout_ms")]
    pub drain_timeout: Duration,
    /// How long a draining worker keeps answering on open connections, asking clients to leave.
    #[serde(with = "as_millis", rename = "lame_duck_ms")]
    pub lame_duck: Duration,
    /// How long a child may go on without its master before it ends itself.
    #[serde(with = "as_millis", rename = "orphan_grace_ms")]
    pub orphan_grace: Duration,
    /// How long the master may be silent before it counts as lost.
    #[serde(with = "as_millis", rename = "master_timeout_ms")]
    pub master_timeout: Duration,
    /// What a client may take of a worker.
    pub http: HttpLimits,
    /// What a child does when its master dies.
    pub on_master_death: OnMasterDeath,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What is logged, in the filter syntax of `--log-level`.
    pub log_level: String,
}

/// What a client may take of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpLimits {
    /// How long a client may take to send a request's header.
    #[serde(with = "as_millis", rename = "header_timeout_ms")]
    pub header_timeout: Duration,
    /// How long a connection may be open without a request.
    #[serde(with = "as_millis", rename = "idle_timeout_ms")]
    pub idle_timeout: Duration,
    /// How many bytes a request's header may have.
    pub max_header_size: u32,
    /// How many connections a worker may have open; 0 is no limit.
    pub max_connections: u32,
    /// How many requests a connection may bring; 0 is no limit.
    pub max_requests_per_connection: u32,
}

/// What a child does when its master dies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnMasterDeath {
    /// Drain within the grace, then leave (`PR_SET_PDEATHSIG = SIGTERM`).
    #[default]
    Drain,
    /// Be killed by the kernel at once (`PR_SET_PDEATHSIG = SIGKILL`).
    Kill,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// One socket, as a worker gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerBoot {
    /// As in [`crate::control::ListenerStatus::address`].
    pub address: String,
    /// What the operator calls it, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Which kind of socket it is.
    pub family: Family,
    /// How connections come from it.
    pub source: Source,
    /// Whether each connection begins with a PROXY protocol header.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub proxy_protocol: bool,
    /// The files of its certificate, if it speaks TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
}

/// Where a certificate is. Read by the workers themselves, again whenever one of the files has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsFiles {
    /// The certificate and what leads to its authority, in that order, as PEM.
    pub cert: PathBuf,
    /// The certificate's private key, as PEM.
    pub key: PathBuf,
}

/// Where the hosts that run an application meet. No secret is in it: the agent reads the password itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetBoot {
    /// The address of a Redis server, without user and password.
    pub address: String,
    /// Who to be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The file that holds the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Which authorities to trust, as PEM, in place of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// How long a lease lasts without a word of its holder's.
    #[serde(with = "as_millis", rename = "lease_ms")]
    pub lease: Duration,
}

/// A program that takes its sockets as systemd hands them over, and the worker that keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramBoot {
    /// The program and its arguments; at least one word.
    pub command: Vec<String>,
    /// Where it is run.
    pub directory: PathBuf,
    /// What its environment has beside the master's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<(String, String)>,
    /// When it counts as ready.
    pub readiness: Readiness,
    /// How long it has to live before it counts as ready without having said so.
    #[serde(with = "as_millis", rename = "settle_ms")]
    pub settle: Duration,
    /// The number of the signal that asks it to finish and leave.
    pub stop_signal: i32,
}

/// When a program counts as ready.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Readiness {
    /// Somebody accepts at every address.
    #[default]
    Accept,
    /// It says so, as sd_notify(3).
    Notify,
    /// It is still there after a while.
    Alive,
}

/// Which kind of socket a listener is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// TCP over IPv4 or IPv6.
    Tcp,
    /// A unix stream socket.
    Unix,
    /// UDP over IPv4 or IPv6: no connections, the application gets the socket itself.
    Udp,
}

/// How a worker gets its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The worker accepts from the listening socket it was given.
    Accept,
    /// The master accepts, and hands connections over on the worker's lane.
    Handed,
}

/// How a worker uses its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// Whether the master has to know soon when a connection is closed.
    pub report_closings: bool,
}
