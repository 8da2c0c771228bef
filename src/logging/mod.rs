//! The log: lines on standard error that say who wrote them.
//!
//! Every line carries role, slot, process id and generation, so the mixed output of all processes can be
//! taken apart again. Where agent and worker are threads of the master's process, it is the thread that counts.
//! A line that cannot be written is lost: a full disk ends no process.
//!
//! An author who installed a `tracing` subscriber before `App::run` keeps it; then nothing is set up here.

mod line;
mod panic;
mod queue;

use std::io::{self, IsTerminal as _};

use hatchery_protocol::boot::{Boot, LogFormat};
use hatchery_protocol::child::thread;
use hatchery_protocol::id::{Generation, Role, Slot};
use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{DefaultFields, FormatFields, JsonFields};
use tracing_subscriber::fmt::writer::EitherWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use line::Line;
pub(crate) use queue::Flush;

/// Who writes.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    pub(crate) role: Role,
    pub(crate) slot: Option<Slot>,
    pub(crate) pid: u32,
    pub(crate) generation: Generation,
}

/// Logs as the master. Lines pass through a bounded queue, for a blocked terminal or pipe must not hold
/// up the process that watches all others. What is queued is written when the returned value is dropped; the
/// other one changes what is logged.
///
/// # Errors
///
/// The thread that writes cannot be created.
pub(crate) fn master(
    format: LogFormat,
    level: &str,
    generation: Generation,
) -> io::Result<(Flush, Filter)> {
    let (queue, flush) = queue::to_stderr()?;
    let writer = Writer {
        role: Role::Master,
        slot: None,
        pid: std::process::id(),
        generation,
    };
    let (filter, handle) = reload::Layer::new(filter(level));
    // What agent and worker say in this process (`single`) is written at once, as by processes of their own.
    install(&writer, format, filter, move || match thread::seat() {
        Some(_) => EitherWriter::A(io::stderr()),
        None => EitherWriter::B(queue.clone()),
    });
    Ok((flush, Filter(handle)))
}

/// What the master logs.
#[derive(Debug)]
pub(crate) struct Filter(reload::Handle<EnvFilter, Registry>);

impl Filter {
    /// Logs what this says from now on. An author's own subscriber is left alone.
    pub(crate) fn set(&self, level: &str) {
        // Fails only where our subscriber was not wanted.
        let _ = self.0.reload(filter(level));
    }
}

fn filter(level: &str) -> EnvFilter {
    EnvFilter::builder().parse_lossy(level)
}

/// Logs as a child. Written at once, so that the last words of a dying process are not lost.
pub(crate) fn child(boot: &Boot) {
    let writer = Writer {
        role: boot.child.seat.role(),
        slot: boot.child.seat.slot(),
        pid: std::process::id(),
        generation: boot.generation,
    };
    let settings = &boot.settings;
    install(
        &writer,
        settings.log_format,
        filter(&settings.log_level),
        io::stderr,
    );
}

fn install<F, W>(writer: &Writer, format: LogFormat, filter: F, to: W)
where
    F: Layer<Registry> + Send + Sync + 'static,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let colour = format == LogFormat::Text && wants_colour();
    let layer = match format {
        LogFormat::Text => layer(Line::new(writer, format, colour), DefaultFields::new(), to),
        LogFormat::Json => layer(Line::new(writer, format, colour), JsonFields::new(), to),
    };
    let subscriber = Registry::default().with(filter).with(layer);
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        panic::log_panics();
    }
}

fn layer<S, F, W>(line: Line, fields: F, to: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    F: for<'a> FormatFields<'a> + Send + Sync + 'static,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer()
        .with_ansi(line.colour())
        .fmt_fields(fields)
        .event_format(line)
        // Its default tells failed writes with a macro that panics when it cannot write either.
        .log_internal_errors(false)
        .with_writer(to)
        .boxed()
}

/// As people expect: colours for a terminal, none where <https://no-color.org> is asked for.
fn wants_colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
