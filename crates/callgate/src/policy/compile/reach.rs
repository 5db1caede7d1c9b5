//! Warns about permissions that reach further than their subjects in an account with JetStream: nats-server
//! delivers acknowledgements and stored messages to any subject that the client names as its reply.
//!
//! Measured with nats-server 2.10 to 2.15 (`callgate-matrix/tests/policy/reach.rs`).

use super::findings::Findings;
use crate::policy::settings::{PolicySettings, RoleSettings, StreamAccess};

/// How to keep clients apart.
const SEPARATE: &str = "clients that must not do this need an account of their own, with exports and \
                        imports for what they share";

/// What `explain` and `check` say about publishing to a stream.
pub(in crate::policy) const ACKNOWLEDGEMENTS: &str = "in an account with JetStream, the acknowledgement \
    of a published message goes to any reply subject that the client names, also to subjects that it may not \
    publish to: on every nats-server into other streams and over keys of other buckets (`$KV.…`), before \
    2.12 also to the JetStream API, where it purges a stream";

/// The same about reading from a stream or a bucket.
pub(in crate::policy) const STORED_MESSAGES: &str = "nats-server (every version) sends a stored message to \
    any reply subject that the client names: into other streams and buckets, and a message without content, \
    such as the marker of a deleted key, to `$JS.API.STREAM.DELETE.…`, which deletes a stream";

/// True if a role shows that an account has JetStream.
pub(super) fn uses_jetstream(settings: &PolicySettings) -> bool {
    let defaults = settings.authenticators.iter().filter_map(|one| one.defaults.as_ref());
    settings.roles.values().chain(defaults).any(|role| {
        let RoleSettings { publish, subscribe, kv, streams, objects, .. } = role;
        let mut subjects = publish.allow.iter().chain(&subscribe.allow);
        !kv.is_empty()
            || !streams.is_empty()
            || !objects.is_empty()
            || subjects.any(|text| ["$JS.", "$KV.", "$O."].iter().any(|api| text.starts_with(api)))
    })
}

/// Warns about publish permissions of a role in a configuration that uses JetStream.
pub(super) fn warn_about_publishing(path: &str, role: &RoleSettings, findings: &mut Findings) {
    if role.publish.allow.iter().any(|text| may_be_captured(text)) {
        findings.warn(format!("{path}.publish"), format!("{ACKNOWLEDGEMENTS}; {SEPARATE}"));
    }
    for (index, stream) in role.streams.iter().enumerate() {
        if stream.access == StreamAccess::Publish {
            let path = format!("{path}.streams[{index}]");
            findings.warn(path, format!("{ACKNOWLEDGEMENTS}; {SEPARATE}"));
        }
    }
}

/// Warns about every bucket of a role.
pub(super) fn warn_about_buckets(path: &str, role: &RoleSettings, findings: &mut Findings) {
    for index in 0..role.kv.len() {
        let path = format!("{path}.kv[{index}]");
        findings.warn(path, format!("{STORED_MESSAGES}; {SEPARATE}"));
    }
}

/// Whether a stream can capture messages to a subject: not those of the server's own services.
pub(in crate::policy) fn may_be_captured(subject: &str) -> bool {
    !["$JS.", "$SYS.", "$SRV.", "_INBOX"].iter().any(|own| subject.starts_with(own))
}
