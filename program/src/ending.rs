//! How a program ended, in words.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

/// `it ended with code 3`, for a program that should not have ended. `left` are the processes that it has left behind.
pub(crate) fn told(status: ExitStatus, left: usize) -> String {
    match (status.code(), status.signal()) {
        (Some(0), _) if left > 0 => format!(
            "the program went into the background: it ended with code 0 and left {left} {} behind; start it in the \
             foreground (most programs have an option for that)",
            if left == 1 { "process" } else { "processes" }
        ),
        (Some(code), _) => format!("the program ended by itself with code {code}"),
        (None, Some(signal)) => format!("the program was killed by signal {signal}"),
        (None, None) => "the program is gone".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_its_words() {
        for (raw, left, words) in [
            (0, 0, "the program ended by itself with code 0"),
            (3 << 8, 0, "the program ended by itself with code 3"),
            (3 << 8, 1, "the program ended by itself with code 3"),
            (9, 2, "the program was killed by signal 9"),
        ] {
            assert_eq!(told(ExitStatus::from_raw(raw), left), words);
        }
        let away = told(ExitStatus::from_raw(0), 1);
        assert!(
            away.contains("left 1 process behind; start it in the foreground"),
            "{away}"
        );
    }
}
