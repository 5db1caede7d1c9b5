//! The log: one record per decision, on standard error.

use std::{
    io::{self, IsTerminal},
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

use callgate::record::{Cause, CeilingDropped, Decision, Outcome, Reason, RequestIds, TokenClaims};
use tokio::time::Instant;
use tracing::{debug, error, info, warn};
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use super::{
    drops::Drops,
    sanitize, sanitize_detail,
    writer::{Records, log_admission},
};

/// Format of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Prefixes of libraries that never log, because their events may quote the configuration: the Kubernetes
/// client logs the arguments and variables of a credential plugin that fails. Callgate logs their errors
/// itself.
const SILENT: [&str; 9] =
    ["h2", "hyper", "kube", "ldap3", "reqwest", "rustls", "sqlx", "tokio_rustls", "tower"];

/// The format of the log, once it has started.
static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// Whether output to this stream is coloured: if it is a terminal, unless `NO_COLOR` is set and not
/// empty (https://no-color.org).
pub(crate) fn is_coloured(stream: &impl IsTerminal) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !refused
}

/// Starts logging to standard error. A second call changes nothing.
pub(crate) fn start_logging(format: LogFormat, level: LevelFilter) {
    let format = *FORMAT.get_or_init(|| format);
    // Other crates, such as those with authenticators of their own, log warnings and errors only. The NATS
    // client repeats its errors at each attempt, and `nats` logs its events anyway.
    let client = if level > LevelFilter::INFO { LevelFilter::WARN } else { LevelFilter::OFF };
    let filter = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("async_nats", client)
        .with_target("callgate", level)
        .with_target("callgate_authenticators", level)
        .with_target("callgate_server", level)
        .with_targets(SILENT.map(|library| (library, LevelFilter::OFF)));
    let colour = format == LogFormat::Text && is_coloured(&io::stderr());
    let records = Records::to_standard_error(colour);
    let layer =
        tracing_subscriber::fmt::layer().with_target(false).with_writer(move || records.clone());
    let registry = tracing_subscriber::registry();
    // Fails if a logger is installed already, as in tests.
    let _ = match format {
        LogFormat::Text => registry.with(layer.with_ansi(colour).with_filter(filter)).try_init(),
        LogFormat::Json => {
            let layer = layer.json().flatten_event(true).with_current_span(false);
            registry.with(layer.with_filter(filter)).try_init()
        }
    };
}

/// Logs decisions; drops are limited to one record a minute for each cause.
#[derive(Debug, Default)]
pub(crate) struct DecisionLog {
    drops: Mutex<Drops>,
}

/// Clock offsets above this are logged as errors, in seconds.
const MAX_CLOCK_SKEW: u64 = 30;

impl DecisionLog {
    pub(crate) fn write(&self, decision: &Decision) {
        match decision.outcome() {
            Outcome::Admitted => log_admission(|| write_decision(decision)),
            Outcome::Refused => write_decision(decision),
            Outcome::Dropped => self.write_drop(decision),
        }
    }

    fn write_drop(&self, decision: &Decision) {
        let mut drops = self.drops.lock().unwrap_or_else(PoisonError::into_inner);
        let admitted = drops.admit(decision.reason, &decision.detail, Instant::now());
        drop(drops);
        let Some(suppressed) = admitted else {
            debug!(reason = %decision.reason, "dropped a request");
            return;
        };
        let empty = RequestIds::default();
        let ids = decision.ids.as_ref().unwrap_or(&empty);
        let detail = present(sanitize_detail(&decision.detail));
        let server = present(sanitize(&ids.server_name));
        let server_id = present(sanitize(&ids.server_id));
        let skewed = decision.clock_skew.is_some_and(|skew| skew.unsigned_abs() > MAX_CLOCK_SKEW);
        if decision.reason == Reason::StaleRequest && skewed {
            error!(
                outcome = "dropped", reason = %decision.reason, detail, server, server_id,
                clock_offset_seconds = decision.clock_skew, more_since_last_time = suppressed,
                "dropped a request"
            );
            return;
        }
        warn!(
            outcome = "dropped", reason = %decision.reason, detail, server, server_id,
            client_id = ids.client_id, more_since_last_time = suppressed,
            "dropped a request"
        );
    }
}

/// The value of a field. In the text format, which people read, fields without a value are left out; JSON
/// records always have the same fields.
fn present<T: AsRef<str>>(value: T) -> Option<T> {
    let keeps_empty = FORMAT.get() != Some(&LogFormat::Text);
    (keeps_empty || !value.as_ref().is_empty()).then_some(value)
}

/// Number and first few of the items that the ceiling dropped; empty if none.
fn ceiling_dropped(decision: &Decision) -> String {
    let CeilingDropped { count, texts } = &decision.ceiling_dropped;
    match count {
        0 => String::new(),
        count => format!("{count}: {}", sanitize_detail(&texts.join(", "))),
    }
}

/// Rounded to microseconds, which avoids long decimal fractions.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn write_decision(decision: &Decision) {
    let empty = RequestIds::default();
    let RequestIds {
        request,
        server_id,
        server_name,
        client_id,
        user_nkey,
        client_host,
        connection,
        client_name,
    } = decision.ids.as_ref().unwrap_or(&empty);
    let optional =
        |text: &Option<String>| present(text.as_deref().map(sanitize).unwrap_or_default());
    // Fields without a value are left out.
    let token = |proven: bool, part: fn(&TokenClaims) -> &Option<String>| {
        let token = decision.token.as_ref().filter(|token| token.proven == proven)?;
        part(token).as_deref().map(sanitize)
    };
    info!(
        outcome = decision.outcome().as_str(),
        reason = %decision.reason,
        cause = present(decision.cause.map(Cause::as_str).unwrap_or_default()),
        user = optional(&decision.user),
        authenticator = present(decision.authenticator.as_deref().unwrap_or_default()),
        account = optional(&decision.account),
        detail = present(sanitize_detail(&decision.detail)),
        claimed_issuer = token(false, |token| &token.issuer),
        claimed_user = token(false, |token| &token.user),
        proven_issuer = token(true, |token| &token.issuer),
        proven_user = token(true, |token| &token.user),
        ceiling_dropped = present(ceiling_dropped(decision)),
        lock = decision.lock.as_deref(),
        expires = present(decision.expires_at.map(|end| end.to_string()).unwrap_or_default()),
        client_host = present(sanitize(client_host)),
        connection = present(connection.map(|kind| kind.as_str()).unwrap_or_default()),
        client_name = present(sanitize(client_name)),
        client_id,
        server = present(sanitize(server_name)),
        server_id = present(sanitize(server_id)),
        user_nkey = present(sanitize(user_nkey)),
        request = present(sanitize(request)),
        milliseconds = milliseconds(decision.duration),
        "login {}",
        decision.outcome().as_str()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_rounded_to_microseconds() {
        for (nanoseconds, text) in
            [(443_447, "0.443"), (100_000, "0.1"), (12_345_678, "12.346"), (2_000_000_000, "2000")]
        {
            let milliseconds = milliseconds(Duration::from_nanos(nanoseconds));
            assert_eq!(milliseconds.to_string(), text);
        }
    }
}
