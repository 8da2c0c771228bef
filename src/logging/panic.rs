//! Panics as log lines: with the process's name on them, and as an object where the log is JSON.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;

/// Replaces the panic hook. Authors who want another one set it in `start`, or bring their own subscriber.
pub(super) fn log_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if tracing::enabled!(target: "panic", tracing::Level::ERROR) {
            log(info);
        } else {
            // Filtered out of the log, but a panic is never said nowhere.
            before(info);
        }
    }));
}

fn log(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let payload = info.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    let location = info
        .location()
        .map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    // Only with RUST_BACKTRACE, as in the hook this one replaces.
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        tracing::error!(target: "panic", "thread {thread} panicked at {location}: {message}\n{backtrace}");
    } else {
        tracing::error!(target: "panic", "thread {thread} panicked at {location}: {message}");
    }
}
