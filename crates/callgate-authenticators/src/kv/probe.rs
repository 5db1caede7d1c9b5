//! `callgate check --connect`: reads the whole bucket once, as the service would.

use std::sync::Arc;

use callgate::{
    authn::{BackendError, Origin, ProbeReport},
    policy::decode,
};

use crate::{
    directory::{CheckedEntry, read_value},
    kind::{Bucket, BucketEvent, BuildContext, Bus},
};

/// What a probe needs.
pub(super) struct Probing {
    pub(super) bus: Option<Arc<dyn Bus>>,
    pub(super) bucket: Bucket,
    pub(super) origin: Origin,
    pub(super) context: BuildContext,
}

impl Probing {
    /// Reads the bucket.
    ///
    /// # Errors
    /// If it cannot be watched, or an entry is invalid: the error names each.
    pub(super) async fn run(&self) -> Result<ProbeReport, BackendError> {
        let Some(bus) = &self.bus else { return Err("nothing connects to NATS here".into()) };
        let mut events = bus.watch(&self.bucket);
        let mut report = ProbeReport::default();
        let mut errors = Vec::new();
        let mut entries = 0;
        while let Some(event) = events.recv().await {
            match event {
                BucketEvent::Listing(facts) => report.warnings.extend(facts.warnings()),
                BucketEvent::Value { key, value, .. } => {
                    entries += 1;
                    self.check(&key, &value, &mut errors, &mut report);
                }
                BucketEvent::Removed { .. } => {}
                BucketEvent::Lost(why) => return Err(why.into()),
                BucketEvent::Listed => break,
            }
        }
        if !errors.is_empty() {
            return Err(errors.join("; ").into());
        }
        let plural = if entries == 1 { "entry" } else { "entries" };
        report.notes.push(format!("the bucket {} has {entries} {plural}", self.bucket));
        Ok(report)
    }

    fn check(&self, key: &str, value: &[u8], errors: &mut Vec<String>, report: &mut ProbeReport) {
        let shown = key.escape_debug();
        let Some(user) = decode(key).filter(|user| !user.is_empty()) else {
            errors.push(format!("key `{shown}`: it is not the encoded name of a user"));
            return;
        };
        let (_, found) = read_value(&user, value, self.origin, &self.context, |_| false);
        let CheckedEntry { errors: found, warnings } = found;
        errors.extend(found.iter().map(|error| format!("key `{shown}`: {error}")));
        report.warnings.extend(warnings.iter().map(|warning| format!("key `{shown}`: {warning}")));
    }
}
