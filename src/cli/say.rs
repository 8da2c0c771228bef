//! Words to the operator. Nobody listening is no error: `myapp status | head -1` is fine.

use std::fmt::Display;
use std::io::{self, Write as _};

/// One or more lines on standard output. Whether anybody took them.
pub(crate) fn answer(text: impl Display) -> bool {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).is_ok()
}

/// One line on standard error.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// What went wrong, in one sentence, on standard error.
pub(crate) fn error(text: impl Display) {
    note(format_args!("error: {text}"));
}
