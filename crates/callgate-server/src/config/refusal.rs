//! `[refusal]`.

use std::time::Duration;

use callgate::RefusalStyle;
use callgate_config::{Key, Table, Type};

pub(super) const KEYS: &[Key] = &[
    Key::optional(
        "mode",
        Type::Word(&["answer", "silent"]),
        "`silent` does not answer `bad_password`, `unknown_user` and `bad_token`; the client waits until its \
         server gives up",
    )
    .or("\"answer\""),
    Key::optional(
        "silent_max",
        Type::Integer(0, 1_000_000),
        "maximum number of silent refusals at a time; further ones are answered",
    )
    .or("100"),
    Key::optional(
        "delay",
        Type::Named("duration, at most `\"60s\"`", &Type::Duration),
        "time from the arrival of the request until the refusal is sent, but never longer than the server \
         waits (2 s by default)",
    )
    .or("\"0s\""),
];

/// How long nats-server waits for an answer unless its `authorization.timeout` says otherwise
/// (server/const.go, `AUTH_TIMEOUT`).
const DEFAULT_SERVER_TIMEOUT: Duration = Duration::from_secs(2);
const LONG_DELAY_WARNING: &str = "servers wait only 2 s unless authorization.timeout is set, and a \
    refusal is never delayed longer than its server waits";

pub(super) fn read(root: &mut Table<'_>) -> RefusalStyle {
    let mut style = RefusalStyle::default();
    let Some(mut table) = root.table("refusal") else { return style };
    let max = table.integer("silent_max", 0..=1_000_000);
    let max = max.and_then(|max| usize::try_from(max).ok()).unwrap_or(100);
    match table.string("mode").as_deref() {
        None | Some("answer") => {}
        Some("silent") => style.silent_max = Some(max),
        Some(_) => table.fault("mode", "must be \"answer\" or \"silent\""),
    }
    if let Some(delay) = table.duration("delay") {
        if delay > Duration::from_secs(60) {
            table.fault("delay", "must be at most \"60s\"; servers wait 2 s by default");
        } else if delay >= DEFAULT_SERVER_TIMEOUT {
            table.warn("delay", LONG_DELAY_WARNING);
        }
        style.delay = delay;
    }
    table.finish();
    style
}
