//! How a line looks: `2026-11-24T14:00:00Z INFO message key=value`, or one JSON object.

use std::{
    fmt::{self, Write as _},
    io::{self, Write},
    time::Duration,
};

use serde_json::{Map, Value};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Layer};

use super::writer::{From, Writer};
use crate::{clock, config::LogFormat};

/// Most characters of a live line.
const WIDTH: usize = 78;

/// Formats events and children's lines alike and hands them to the writer.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    look: Look,
    writer: Writer,
}

impl Lines {
    /// Lines that a thread of their own writes to `out`.
    pub(super) fn start(format: LogFormat, colour: bool, out: impl Write + Send + 'static) -> io::Result<Self> {
        let look = Look { format, colour };
        Ok(Self { look, writer: Writer::start(out, move |lost| look.losses(lost))? })
    }

    pub(super) fn child_line(&self, child: &str, line: &str) {
        let line = match self.look.format {
            LogFormat::Text => format!("[{child}] {line}"),
            LogFormat::Json => child_as_json(clock::now(), child, line),
        };
        self.writer.line(From::Child, line.as_bytes());
    }

    /// Colours and a live line go together: both are for a person at a terminal.
    pub(super) fn live(&self, text: Option<&str>) {
        if self.look.colour && self.look.format == LogFormat::Text {
            self.writer.live(text.map(short));
        }
    }

    pub(super) fn flush(&self, limit: Duration) {
        self.writer.flush(limit);
    }

    pub(super) fn lost(&self) -> u64 {
        self.writer.lost()
    }
}

/// How a line looks.
#[derive(Debug, Clone, Copy)]
struct Look {
    format: LogFormat,
    colour: bool,
}

impl Look {
    fn event(self, now: OffsetDateTime, level: Level, fields: &Fields) -> String {
        match self.format {
            LogFormat::Text => fields.as_text(now, level, self.colour),
            LogFormat::Json => fields.as_json(now, level),
        }
    }

    fn losses(self, lost: u64) -> String {
        let mut fields = Fields::message("log lines were lost here because nobody read them in time");
        fields.rest.insert("lost".to_owned(), lost.into());
        self.event(clock::now(), Level::WARN, &fields)
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = self.look.event(clock::now(), *event.metadata().level(), &fields);
        self.writer.line(From::Us, line.as_bytes());
    }
}

/// What an event says.
#[derive(Debug, Default)]
struct Fields {
    message: String,
    rest: Map<String, Value>,
}

impl Fields {
    fn message(text: &str) -> Self {
        Self { message: text.to_owned(), rest: Map::new() }
    }

    fn as_text(&self, now: OffsetDateTime, level: Level, colour: bool) -> String {
        let mut line = seconds(now);
        let _ = match (colour, level) {
            (true, Level::ERROR) => write!(line, " \x1b[31mERROR\x1b[0m "),
            (true, Level::WARN) => write!(line, " \x1b[33mWARN\x1b[0m "),
            _ => write!(line, " {level} "),
        };
        push_on_one_line(&mut line, &self.message);
        for (name, value) in &self.rest {
            let _ = write!(line, " {name}=");
            match value {
                Value::String(text) if is_plain(text) => line.push_str(text),
                value => line.push_str(&value.to_string()),
            }
        }
        line
    }

    fn as_json(&self, now: OffsetDateTime, level: Level) -> String {
        let mut object = Map::new();
        object.insert("time".to_owned(), exact(now).into());
        object.insert("level".to_owned(), level.as_str().to_lowercase().into());
        object.insert("message".to_owned(), self.message.clone().into());
        object.extend(self.rest.clone());
        Value::Object(object).to_string()
    }

    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => drop(self.rest.insert(name.to_owned(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
}

/// A child's line that is a JSON object is embedded as it is, not escaped.
fn child_as_json(now: OffsetDateTime, child: &str, line: &str) -> String {
    let body = if line.starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(line).is_ok() {
        format!("\"record\":{line}")
    } else {
        format!("\"message\":{}", Value::from(line))
    };
    format!("{{\"time\":\"{}\",\"child\":{},{body}}}", exact(now), Value::from(child))
}

/// No caller's text can start a line of its own.
fn push_on_one_line(line: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            c => line.push(c),
        }
    }
}

/// On one line of a terminal of the usual width: a longer one would not be taken away whole.
fn short(text: &str) -> String {
    let mut line = String::new();
    push_on_one_line(&mut line, text);
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"' || c == '=')
}

fn seconds(now: OffsetDateTime) -> String {
    exact(now.replace_nanosecond(0).unwrap_or(now))
}

fn exact(now: OffsetDateTime) -> String {
    let micros = now.replace_nanosecond(now.microsecond() * 1000).unwrap_or(now);
    micros.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-24 14:00:00.5 UTC);

    fn fields() -> Fields {
        let mut fields = Fields::message("✅ Temporal TLS certificates generated successfully");
        fields.rest.insert("dir".to_owned(), "/etc/temporal/certs".into());
        fields.rest.insert("why".to_owned(), "two words".into());
        fields
    }

    #[test]
    fn text_has_the_plain_message_right_after_time_and_level() {
        assert_eq!(
            fields().as_text(NOW, Level::INFO, false),
            "2026-11-24T14:00:00Z INFO ✅ Temporal TLS certificates generated successfully \
             dir=/etc/temporal/certs why=\"two words\""
        );
    }

    #[test]
    fn a_message_cannot_forge_a_second_line() {
        let line = Fields::message("a\nb\r").as_text(NOW, Level::WARN, false);
        assert_eq!(line, "2026-11-24T14:00:00Z WARN a\\nb\\r");
    }

    #[test]
    fn a_live_line_fits_a_line_and_holds_no_control_of_its_own() {
        assert_eq!(short("a\nb"), "a\\nb");
        assert_eq!(short(&"é".repeat(200)).chars().count(), WIDTH + 1);
    }

    #[test]
    fn json_is_one_object_with_the_fields_beside_the_message() {
        let value: Value = serde_json::from_str(&fields().as_json(NOW, Level::INFO)).unwrap();
        assert_eq!(value["time"], "2026-11-24T14:00:00.5Z");
        assert_eq!((&value["level"], &value["why"]), (&"info".into(), &"two words".into()));
    }

    #[test]
    fn a_childs_json_line_is_embedded_and_any_other_is_a_message() {
        let embedded: Value = serde_json::from_str(&child_as_json(NOW, "temporal", r#"{"level":"info"}"#)).unwrap();
        assert_eq!(embedded["record"]["level"], "info");
        let broken: Value = serde_json::from_str(&child_as_json(NOW, "temporal", r#"{"level""#)).unwrap();
        assert_eq!(broken["message"], r#"{"level""#);
    }
}
