//! What the playground's hooks write: proof of the order *inside* the children.

use std::fs;
use std::path::Path;

use serde::Deserialize;

/// One hook that ran.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Hook {
    /// `agent` or `worker`.
    pub role: String,
    /// The worker's slot.
    pub slot: Option<u32>,
    /// The process.
    pub pid: u32,
    /// `start`, `egg_ready` or `before_close`.
    pub hook: String,
}

/// Who is ready, as one child was told.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct News {
    /// Who heard it: `agent` or `worker`.
    pub role: String,
    /// The hearer's slot.
    pub slot: Option<u32>,
    /// The hearer.
    pub pid: u32,
    /// The agent's process, while there is one.
    pub agent: Option<u32>,
    /// The ready workers' processes.
    pub workers: Vec<Member>,
}

/// A ready worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Member {
    /// Its slot.
    pub slot: u32,
    /// Its process.
    pub pid: u32,
}

/// The whole lines of a file of JSON lines; none while the file does not exist.
pub fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Vec<T> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| {
            serde_json::from_str(line).unwrap_or_else(|e| panic!("cannot read ({e}): {line}"))
        })
        .collect()
}
