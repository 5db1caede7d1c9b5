//! The stream of a watch: one JSON text per line.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use futures_util::{Stream, stream};
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use super::{
    World,
    store::{Change, Parameters, object},
};

/// Real ones send a bookmark each minute, and when a watch is about to end.
const BOOKMARK: Duration = Duration::from_secs(5);

struct Watch {
    world: Arc<World>,
    namespace: Option<String>,
    parameters: Parameters,
    version: u64,
    changed: watch::Receiver<u64>,
    ready: VecDeque<Value>,
    end: Instant,
    over: bool,
}

pub(super) fn events(
    world: Arc<World>,
    namespace: Option<String>,
    parameters: Parameters,
) -> impl Stream<Item = Result<String, Infallible>> {
    let version = parameters.resource_version.as_deref().and_then(|text| text.parse().ok());
    let end = Instant::now() + Duration::from_secs(parameters.timeout_seconds.unwrap_or(1800));
    let changed = world.changed.subscribe();
    let version = version.unwrap_or_default();
    let ready = VecDeque::new();
    let watch = Watch { world, namespace, parameters, version, changed, ready, end, over: false };
    stream::unfold(watch, |mut watch| async move {
        let event = watch.next().await?;
        Some((Ok(format!("{event}\n")), watch))
    })
}

impl Watch {
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.over || Instant::now() >= self.end {
                return None;
            }
            self.changed.borrow_and_update();
            let Some(changes) = self.world.store().since(self.version) else {
                self.over = true;
                return Some(gone(self.version));
            };
            self.take(&changes);
            if self.ready.is_empty() {
                let pause = (Instant::now() + BOOKMARK).min(self.end);
                let slept = tokio::time::timeout_at(pause, self.changed.changed()).await.is_err();
                if slept && self.parameters.bookmarks() {
                    self.ready.push_back(self.bookmark());
                }
            }
        }
    }

    fn take(&mut self, changes: &[Change]) {
        for change in changes {
            self.version = change.version;
            let seen = |metadata: &Option<Value>| {
                metadata.clone().filter(|metadata| {
                    let here =
                        self.namespace.as_ref().is_none_or(|own| metadata["namespace"] == **own);
                    here && self.parameters.selects(metadata)
                })
            };
            let (kind, metadata) = match (seen(&change.before), seen(&change.after)) {
                (None, None) => continue,
                (None, Some(after)) => ("ADDED", after),
                (Some(_), Some(after)) => ("MODIFIED", after),
                (Some(before), None) => ("DELETED", before),
            };
            let mut metadata = metadata;
            metadata["resourceVersion"] = json!(change.version.to_string());
            self.ready.push_back(json!({"type": kind, "object": object(&metadata)}));
        }
    }

    fn bookmark(&self) -> Value {
        let metadata = json!({"resourceVersion": self.version.to_string()});
        json!({"type": "BOOKMARK", "object": object(&metadata)})
    }
}

fn gone(version: u64) -> Value {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("too old resource version: {version}"), "reason": "Expired", "code": 410,
    });
    json!({"type": "ERROR", "object": status})
}
