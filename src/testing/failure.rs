//! What a test prints when something did not come about.

use std::fmt;

/// What was wanted and did not happen, and all that is known of the cluster.
///
/// `Debug` is the same text as `Display`, so that `?` in a test and `unwrap` show all of it.
pub struct Failure {
    what: String,
    /// Events and output of the cluster, where there was one.
    report: String,
}

impl Failure {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            report: String::new(),
        }
    }

    pub(super) fn with(mut self, report: impl Into<String>) -> Self {
        self.report = report.into();
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.report.is_empty() {
            write!(f, "\n{}", self.report)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failure {}
