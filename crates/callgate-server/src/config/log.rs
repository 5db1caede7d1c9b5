//! `[log]`.

use callgate_config::{Key, Table, Type};
use tracing_subscriber::filter::LevelFilter;

use crate::telemetry::LogFormat;

pub(super) const KEYS: &[Key] = &[
    Key::optional("format", Type::Word(&["text", "json"]), "format of the log").or("\"text\""),
    Key::optional(
        "level",
        Type::Word(&["off", "error", "warn", "info", "debug", "trace"]),
        "decisions are logged at `info`",
    )
    .or("\"info\""),
];

/// `[log]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogSettings {
    pub(crate) format: LogFormat,
    pub(crate) level: LevelFilter,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: LevelFilter::INFO }
    }
}

pub(super) fn read(root: &mut Table<'_>) -> LogSettings {
    let mut settings = LogSettings::default();
    let Some(mut table) = root.table("log") else { return settings };
    let lower = |text: Option<String>| text.map(|text| text.to_ascii_lowercase());
    match lower(table.string("format")).as_deref() {
        None => {}
        Some("text") => settings.format = LogFormat::Text,
        Some("json") => settings.format = LogFormat::Json,
        Some(_) => table.fault("format", "must be \"text\" or \"json\""),
    }
    match lower(table.string("level")).as_deref() {
        None => {}
        Some("off") => settings.level = LevelFilter::OFF,
        Some("error") => settings.level = LevelFilter::ERROR,
        Some("warn") => settings.level = LevelFilter::WARN,
        Some("info") => settings.level = LevelFilter::INFO,
        Some("debug") => settings.level = LevelFilter::DEBUG,
        Some("trace") => settings.level = LevelFilter::TRACE,
        Some(_) => table.fault("level", "must be off, error, warn, info, debug or trace"),
    }
    table.finish();
    settings
}
