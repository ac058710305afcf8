//! Log lines on standard error, in the two formats of node_exporter: logfmt and JSON.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `time=… level=INFO msg="…" key=value`
    Logfmt,
    /// One JSON object a line.
    Json,
}

/// Starts logging; call it once. Lines of other crates come through from warnings upwards only: at finer levels they
/// describe requests, and a request carries a password.
pub fn start(level: Level, format: Format) {
    let own = LevelFilter::from_level(level);
    let foreign = own.min(LevelFilter::WARN);
    let filter = Targets::new()
        .with_default(foreign)
        .with_target("secure_exporter", own);
    let lines = tracing_subscriber::fmt::layer()
        .event_format(LineFormat(format))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_filter(filter);
    // A second call keeps the first subscriber, which is as good.
    let _ = tracing_subscriber::registry().with(lines).try_init();
}

struct LineFormat(Format);

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let now = time::OffsetDateTime::now_utc();
        out.write_str(&line(self.0, now, *event.metadata().level(), &fields))?;
        out.write_char('\n')
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

enum Value {
    Text(String),
    /// A number or a boolean: never quoted.
    Bare(String),
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::Text(text) | Value::Bare(text)) => self.message = text,
            // Records that came through the `log` crate carry their origin in such fields.
            (name, _) if name.starts_with("log.") => {}
            (name, value) => self.others.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::Text(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::Text(value.to_owned()));
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
        let _ = match (format, value) {
            (Format::Logfmt, Value::Text(text)) => write!(out, " {name}={}", Logfmt(text)),
            (Format::Logfmt, Value::Bare(text)) => write!(out, " {name}={text}"),
            (Format::Json, Value::Text(text)) => write!(out, ",\"{name}\":{}", Json(text)),
            (Format::Json, Value::Bare(text)) => write!(out, ",\"{name}\":{text}"),
        };
    }
    if format == Format::Json {
        out.push('}');
    }
    out
}

/// Quoted where a reader could split it elsewhere.
struct Logfmt<'a>(&'a str);

impl fmt::Display for Logfmt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '"' && c != '=';
        if !self.0.is_empty() && self.0.chars().all(plain) {
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
        for c in self.0.chars() {
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
            r#"time=1970-01-01T00:00:00.000Z level=INFO msg="Listening on" address=[::]:9100 http2=true error="line \"1\"\nnext""#
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
            r#"{"time":"1970-01-01T00:00:00.000Z","level":"WARN","msg":"Listening on","address":"[::]:9100","http2":true,"error":"line \"1\"\nnext"}"#
        );
    }
}
