//! The last things that happened, for the reader of a failure.

use std::collections::VecDeque;

use hatchery_master::supervisor::Now;

const KEPT: usize = 40;

/// Nothing is written, and nothing is formatted, unless somebody is going to read it.
pub(crate) struct Trace {
    lines: Option<VecDeque<String>>,
}

impl Trace {
    pub(crate) const fn off() -> Self {
        Self { lines: None }
    }

    pub(crate) const fn on() -> Self {
        Self {
            lines: Some(VecDeque::new()),
        }
    }

    pub(crate) fn write(&mut self, now: Now, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            if lines.len() == KEPT {
                lines.pop_front();
            }
            lines.push_back(format!("{:>10.3} {}", now.as_secs_f64(), line()));
        }
    }

    pub(crate) fn text(&self) -> String {
        let lines = self.lines.iter().flatten().map(String::as_str);
        lines.collect::<Vec<_>>().join("\n")
    }
}
