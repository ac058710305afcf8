//! Log lines on standard error, in the two formats of node_exporter: logfmt and JSON.
//!
//! Unauthenticated clients can cause some of them. Lines therefore have a maximum length and a maximum rate, and a standard
//! error that nobody reads loses lines instead of blocking the exporter. Lost lines are counted.

mod budget;
mod output;

use std::fmt::{self, Write as _};
use std::io::{Stderr, stderr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use self::budget::Budget;
use self::output::{MAX_LINE_BYTES, Output};

/// Maximum bytes of a message or a value, as written.
const MAX_VALUE_BYTES: usize = 1024;
/// In bytes of UTF-8.
const LONGEST_CHARACTER: usize = 4;
/// Marks text that was cut off.
const CUT: char = '…';
/// The longest end of a line, which is that of JSON.
const LINE_END: &str = "}\n";

static OVER_THE_RATE: AtomicU64 = AtomicU64::new(0);
static UNWRITABLE: AtomicU64 = AtomicU64::new(0);

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `time=… level=INFO msg="…" key=value`
    Logfmt,
    /// One JSON object per line.
    Json,
}

/// Starts logging; call it once. Of other crates only errors are logged, because their other messages describe requests,
/// which contain passwords and anything else that an unauthenticated client sends.
pub fn start(level: Level, format: Format) {
    let own = LevelFilter::from_level(level);
    let foreign = own.min(LevelFilter::ERROR);
    let filter = Targets::new()
        .with_default(foreign)
        .with_target("secure_exporter", own);
    let lines = Lines {
        format,
        writer: Mutex::new(LineWriter {
            budget: Budget::full(Instant::now()),
            output: Output::new(stderr()),
            unreported: 0,
        }),
    };
    // A second call keeps the first subscriber, which is equivalent.
    let _ = tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .try_init();
    // By default a panic is written to standard error, even if that blocks.
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        tracing::error!(thread, %panic, "a thread panicked");
    }));
}

/// The lines that were not written, by reason, in a fixed order.
pub(crate) fn dropped_lines() -> [(&'static str, u64); 2] {
    [
        ("blocked", UNWRITABLE.load(Relaxed)),
        ("rate_limit", OVER_THE_RATE.load(Relaxed)),
    ]
}

/// Writes every event that passes the filter.
struct Lines {
    format: Format,
    writer: Mutex<LineWriter>,
}

struct LineWriter {
    budget: Budget,
    output: Output<Stderr>,
    /// Lines that were lost since the last written line.
    unreported: u64,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let is_admitted = |writer: &mut LineWriter| {
            let admitted = writer.budget.admit(event.metadata(), Instant::now());
            writer.unreported += u64::from(!admitted);
            admitted
        };
        if !self.with(is_admitted) {
            OVER_THE_RATE.fetch_add(1, Relaxed);
            return;
        }
        let now = time::OffsetDateTime::now_utc();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = line(self.format, now, *event.metadata().level(), &fields);
        let is_written = |writer: &mut LineWriter| writer.write(self.format, now, &line);
        if !self.with(is_written) {
            UNWRITABLE.fetch_add(1, Relaxed);
        }
    }
}

impl Lines {
    /// Nothing is formatted while this is locked, because a value that panics is logged, too.
    fn with<T>(&self, act: impl FnOnce(&mut LineWriter) -> T) -> T {
        act(&mut self.writer.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl LineWriter {
    /// Writes a line, after another line that reports previously lost ones; false if it is lost.
    fn write(&mut self, format: Format, now: time::OffsetDateTime, line: &str) -> bool {
        let losses = (self.unreported > 0).then(|| loss(format, now, self.unreported));
        let written = losses
            .iter()
            .map(String::as_str)
            .chain([line])
            .all(|line| self.output.write(line.as_bytes()));
        self.unreported = if written { 0 } else { self.unreported + 1 };
        written
    }
}

/// Returns the line that reports `count` lost lines.
fn loss(format: Format, now: time::OffsetDateTime, count: u64) -> String {
    let fields = Fields {
        message: "log lines were dropped because there were too many or standard error was blocked"
            .into(),
        others: vec![("count", Value::Bare(count.to_string()))],
    };
    line(format, now, Level::WARN, &fields)
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

enum Value {
    Text(String),
    /// A number or a boolean, which is never quoted.
    Bare(String),
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::Text(text) | Value::Bare(text)) => self.message = text,
            // Records of the `log` crate have their origin in such fields.
            (name, _) if name.starts_with("log.") => {}
            (name, value) => self.others.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = Beginning::default();
        // Stops formatting text that will be cut off.
        let _ = write!(text, "{value:?}");
        self.put(field, Value::Text(text.0));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let mut text = Beginning::default();
        let _ = text.write_str(value);
        self.put(field, Value::Text(text.0));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::Bare(value.to_string()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::Bare(value.to_string()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::Bare(value.to_string()));
    }
}

/// The first bytes of a text, up to one character more than can be written, so that the cut is noticed.
#[derive(Default)]
struct Beginning(String);

impl fmt::Write for Beginning {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = (MAX_VALUE_BYTES + LONGEST_CHARACTER).saturating_sub(self.0.len());
        let end = text.floor_char_boundary(room);
        self.0.push_str(text.get(..end).unwrap_or_default());
        if end < text.len() {
            Err(fmt::Error)
        } else {
            Ok(())
        }
    }
}

fn line(format: Format, now: time::OffsetDateTime, level: Level, fields: &Fields) -> String {
    let time = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        now.year(),
        u8::from(now.month()),
        now.day(),
        now.hour(),
        now.minute(),
        now.second(),
        now.millisecond()
    );
    let mut out = String::new();
    let message = &fields.message;
    // Writing to a String cannot fail.
    let _ = match format {
        Format::Logfmt => write!(out, "time={time} level={level} msg={}", Logfmt(message)),
        Format::Json => write!(
            out,
            "{{\"time\":\"{time}\",\"level\":\"{level}\",\"msg\":{}",
            Json(message)
        ),
    };
    for (name, value) in &fields.others {
        let field = match (format, value) {
            (Format::Logfmt, Value::Text(text)) => format!(" {name}={}", Logfmt(text)),
            (Format::Logfmt, Value::Bare(text)) => format!(" {name}={text}"),
            (Format::Json, Value::Text(text)) => format!(",\"{name}\":{}", Json(text)),
            (Format::Json, Value::Bare(text)) => format!(",\"{name}\":{text}"),
        };
        if out.len() + field.len() + LINE_END.len() > MAX_LINE_BYTES {
            break;
        }
        out.push_str(&field);
    }
    out.push_str(match format {
        Format::Logfmt => "\n",
        Format::Json => LINE_END,
    });
    out
}

/// Quoted if a parser could split it elsewhere.
struct Logfmt<'a>(&'a str);

impl fmt::Display for Logfmt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '"' && c != '=';
        let is_short = (1..=MAX_VALUE_BYTES).contains(&self.0.len());
        if is_short && self.0.chars().all(plain) {
            f.write_str(self.0)
        } else {
            Json(self.0).fmt(f)
        }
    }
}

struct Json<'a>(&'a str);

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        let mut room = MAX_VALUE_BYTES;
        for c in self.0.chars() {
            let length = match c {
                '"' | '\\' | '\n' | '\t' => 2,
                c if c.is_control() => 6,
                c => c.len_utf8(),
            };
            let Some(left) = room.checked_sub(length) else {
                f.write_char(CUT)?;
                break;
            };
            room = left;
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\t' => f.write_str("\\t")?,
                c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Fields {
        Fields {
            message: "Listening on".into(),
            others: vec![
                ("address", Value::Text("[::]:9100".into())),
                ("http2", Value::Bare("true".into())),
                ("error", Value::Text("line \"1\"\nnext".into())),
            ],
        }
    }

    #[test]
    fn logfmt_as_node_exporter_writes_it() {
        let line = line(
            Format::Logfmt,
            time::OffsetDateTime::UNIX_EPOCH,
            Level::INFO,
            &example(),
        );
        assert_eq!(
            line,
            r#"time=1970-01-01T00:00:00.000Z level=INFO msg="Listening on" address=[::]:9100 http2=true error="line \"1\"\nnext""#.to_owned() + "\n"
        );
    }

    #[test]
    fn json_is_one_object() {
        let line = line(
            Format::Json,
            time::OffsetDateTime::UNIX_EPOCH,
            Level::WARN,
            &example(),
        );
        assert_eq!(
            line,
            r#"{"time":"1970-01-01T00:00:00.000Z","level":"WARN","msg":"Listening on","address":"[::]:9100","http2":true,"error":"line \"1\"\nnext"}"#.to_owned() + "\n"
        );
    }

    #[test]
    fn no_line_is_longer_than_a_pipe_takes_at_once() {
        let long = |text: &str| {
            let mut beginning = Beginning::default();
            let _ = write!(beginning, "{}", text.repeat(60_000));
            beginning.0
        };
        for text in ["x", "\u{1}", "\"", "🦀", "a b"] {
            let fields = Fields {
                message: long(text),
                others: (0..9).map(|_| ("key", Value::Text(long(text)))).collect(),
            };
            for format in [Format::Logfmt, Format::Json] {
                let line = line(
                    format,
                    time::OffsetDateTime::UNIX_EPOCH,
                    Level::WARN,
                    &fields,
                );
                let length = line.len();
                assert!(
                    (2 * MAX_VALUE_BYTES..=MAX_LINE_BYTES).contains(&length),
                    "{length}"
                );
                assert!(line.contains("…\"") && line.ends_with('\n'), "{line}");
                if format == Format::Json {
                    let read: serde_json::Value = serde_json::from_str(&line).unwrap();
                    assert!(read["key"].is_string());
                }
            }
        }
    }
}
