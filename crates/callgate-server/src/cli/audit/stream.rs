//! Reads the records of a stream.

use async_nats::jetstream::{self, consumer::pull};
use futures_util::StreamExt;
use tokio::runtime::Runtime;

use crate::{audit::lines::head, config::Config, nats};

/// Calls `take` with each stored record in the order of the stream, until it returns false. With `follow`, also with
/// those that arrive later.
///
/// # Errors
/// If the stream cannot be read.
pub(super) fn read(
    config: &Config,
    name: &str,
    follow: bool,
    mut take: impl FnMut(&[u8]) -> bool,
) -> Result<(), String> {
    let runtime =
        Runtime::new().map_err(|error| format!("cannot start the async runtime: {error}"))?;
    let failed = |error: &dyn std::error::Error| {
        let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
        format!("cannot read the stream `{name}`: {error}{source}")
    };
    let outcome = runtime.block_on(async {
        let client = nats::connect_once(&config.nats).await.map_err(|error| failed(&error))?;
        let context = jetstream::new(client);
        let stream = context.get_stream(name).await.map_err(|error| failed(&error))?;
        let is_empty = stream.cached_info().state.messages == 0;
        if is_empty && !follow {
            return Ok(());
        }
        let ordered = pull::OrderedConfig::default();
        let consumer = stream.create_consumer(ordered).await.map_err(|error| failed(&error))?;
        let mut messages = consumer.messages().await.map_err(|error| failed(&error))?;
        while let Some(message) = messages.next().await {
            let message = message.map_err(|error| failed(&error))?;
            let pending = message.info().map(|info| info.pending).unwrap_or_default();
            if !take(&message.payload) || (pending == 0 && !follow) {
                break;
            }
        }
        Ok(())
    });
    runtime.shutdown_background();
    outcome
}

/// The process that wrote a record, and its number.
type RecordId = (String, u64);

/// The lines of a stream by process and number. A retried message may be stored after later ones.
///
/// # Errors
/// If the stream cannot be read.
pub(in crate::cli) fn stored_lines(config: &Config, name: &str) -> Result<Vec<u8>, String> {
    let mut lines: Vec<(Option<RecordId>, Vec<u8>)> = Vec::new();
    read(config, name, false, |line| {
        let head = head(line).map(|head| (head.boot, head.seq));
        lines.push((head, line.to_vec()));
        true
    })?;
    lines.sort();
    Ok(lines.into_iter().flat_map(|(_, line)| [line.as_slice(), b"\n"].concat()).collect())
}
