//! One event as one line, for people or for machines.

use std::fmt;
use std::time::SystemTime;

use hatchery_protocol::boot::LogFormat;
use hatchery_protocol::child::thread;
use hatchery_protocol::id::Seat;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer as Out;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::{LookupSpan, Scope};

use super::Writer;

/// Formats events; knows who writes.
#[derive(Debug)]
pub(super) struct Line {
    format: LogFormat,
    colour: bool,
    /// The part that is the same on every line: `worker 0 [pid 123 gen 1]`, or members of an object.
    who: String,
    /// The same for agent and worker, should they be threads of this process.
    inside: [String; 2],
}

impl Line {
    pub(super) fn new(writer: &Writer, format: LogFormat, colour: bool) -> Self {
        let inside = [Seat::Agent, Seat::Worker(0)].map(|seat| Writer {
            role: seat.role(),
            slot: seat.slot(),
            ..*writer
        });
        Self {
            format,
            colour,
            who: who(writer, format),
            inside: inside.map(|writer| who(&writer, format)),
        }
    }

    fn who(&self) -> &str {
        let [agent, worker] = &self.inside;
        match thread::seat() {
            Some(Seat::Agent) => agent,
            // There is one in this process, and where that is a worker's own all lines are its.
            Some(Seat::Worker(0)) => worker,
            Some(Seat::Worker(_)) | None => &self.who,
        }
    }

    pub(super) const fn colour(&self) -> bool {
        self.colour
    }

    fn text<S, N>(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Out<'_>,
        event: &Event<'_>,
    ) -> fmt::Result
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
        N: for<'a> FormatFields<'a> + 'static,
    {
        let level = *event.metadata().level();
        let (paint, dim, plain) = if self.colour {
            (colour_of(level), "\x1b[2m", "\x1b[0m")
        } else {
            ("", "", "")
        };
        write!(out, "{dim}{}{plain} {paint}{level:>5}{plain} ", now())?;
        write!(
            out,
            "{} {dim}{}{plain}: ",
            self.who(),
            event.metadata().target()
        )?;
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            out.write_str(span.name())?;
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>()
                && !fields.is_empty()
            {
                write!(out, "{{{fields}}}")?;
            }
            out.write_str(": ")?;
        }
        context.field_format().format_fields(out.by_ref(), event)?;
        writeln!(out)
    }

    fn json<S, N>(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Out<'_>,
        event: &Event<'_>,
    ) -> fmt::Result
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
        N: for<'a> FormatFields<'a> + 'static,
    {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let (level, target) = (
            quoted(metadata.level().as_str())?,
            quoted(metadata.target())?,
        );
        write!(
            out,
            r#"{{"ts":"{}","level":{level},{},"target":{target}"#,
            now(),
            self.who()
        )?;
        write!(out, r#","message":{}"#, quoted(&fields.message)?)?;
        if !fields.others.is_empty() {
            let others = serde_json::to_string(&fields.others).map_err(|_| fmt::Error)?;
            write!(out, r#","fields":{others}"#)?;
        }
        let mut before = r#","spans":["#;
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            write!(out, r#"{before}{{"name":{}"#, quoted(span.name())?)?;
            // Already an object, for the fields of spans are formatted as JSON, too.
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>()
                && let Ok(fields) = RawValue::from_string(fields.fields.clone())
            {
                write!(out, r#","fields":{fields}"#)?;
            }
            out.write_char('}')?;
            before = ",";
        }
        if before == "," {
            out.write_char(']')?;
        }
        writeln!(out, "}}")
    }
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        out: Out<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        match self.format {
            LogFormat::Text => self.text(context, out, event),
            LogFormat::Json => self.json(context, out, event),
        }
    }
}

fn who(writer: &Writer, format: LogFormat) -> String {
    let Writer {
        role,
        slot,
        pid,
        generation,
    } = *writer;
    match (format, slot) {
        (LogFormat::Text, Some(slot)) => format!("{role} {slot} [pid {pid} gen {generation}]"),
        (LogFormat::Text, None) => format!("{role} [pid {pid} gen {generation}]"),
        (LogFormat::Json, slot) => {
            let slot = slot.map_or_else(|| "null".to_owned(), |slot| slot.to_string());
            format!(r#""role":"{role}","slot":{slot},"pid":{pid},"generation":{generation}"#)
        }
    }
}

/// An event's fields, as JSON values; its message apart.
#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.others.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.put(field, text);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.put(field, value);
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}

fn quoted(text: &str) -> Result<String, fmt::Error> {
    serde_json::to_string(text).map_err(|_| fmt::Error)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a log line tells people the time of day; nothing is decided by it"
)]
fn now() -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_millis(SystemTime::now())
}

const fn colour_of(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use hatchery_protocol::id::Role;
    use tracing_subscriber::fmt::format::{DefaultFields, JsonFields};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(role: Role, slot: Option<u32>, format: LogFormat, log: impl FnOnce()) -> String {
        let sink = Sink::default();
        let to = {
            let sink = sink.clone();
            move || sink.clone()
        };
        let writer = Writer {
            role,
            slot,
            pid: 123,
            generation: 1,
        };
        let line = Line::new(&writer, format, false);
        let layer = match format {
            LogFormat::Text => super::super::layer(line, DefaultFields::new(), to),
            LogFormat::Json => super::super::layer(line, JsonFields::new(), to),
        };
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, log);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn say() {
        let span = tracing::info_span!("request", id = 7);
        let _inside = span.enter();
        tracing::warn!(target: "app", size = 3, who = "me\"", "slow\nquery");
    }

    #[test]
    fn text_names_the_process_on_every_line() {
        let text = logged(Role::Worker, Some(0), LogFormat::Text, say);
        let (time, rest) = text.split_once(' ').unwrap();
        assert_eq!(time.len(), "2026-01-01T00:00:00.000Z".len());
        assert_eq!(
            rest,
            " WARN worker 0 [pid 123 gen 1] app: request{id=7}: slow\nquery size=3 who=\"me\\\"\"\n"
        );
        let text = logged(Role::Master, None, LogFormat::Text, || tracing::info!("up"));
        assert!(text.contains("  INFO master [pid 123 gen 1] "), "{text}");
    }

    #[test]
    fn a_thread_of_agent_or_worker_is_who_writes() {
        let of = |seat: Seat, format| {
            let said = std::thread::spawn(move || {
                logged(Role::Master, None, format, || {
                    thread::work_for(seat);
                    tracing::info!("up");
                })
            });
            said.join().unwrap()
        };
        let text = of(Seat::Worker(0), LogFormat::Text);
        assert!(text.contains("  INFO worker 0 [pid 123 gen 1] "), "{text}");
        let text = of(Seat::Agent, LogFormat::Json);
        assert!(text.contains(r#""role":"agent","slot":null"#), "{text}");
    }

    #[test]
    fn json_is_one_object_a_line() {
        let text = logged(Role::Worker, Some(2), LogFormat::Json, say);
        assert_eq!(text.matches('\n').count(), 1);
        let value: Value = serde_json::from_str(&text).unwrap();
        let expected = serde_json::json!({
            "ts": value["ts"], "level": "WARN", "role": "worker", "slot": 2, "pid": 123,
            "generation": 1, "target": "app", "message": "slow\nquery",
            "fields": {"size": 3, "who": "me\""},
            "spans": [{"name": "request", "fields": {"id": 7}}],
        });
        assert_eq!(value, expected);
        let text = logged(Role::Agent, None, LogFormat::Json, || tracing::info!("up"));
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&value["slot"], &value["spans"]),
            (&Value::Null, &Value::Null)
        );
    }
}
