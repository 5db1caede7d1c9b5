//! Identities and the questions about them that policy answers.

use callgate::{
    authn::Identity,
    clock::UnixTime,
    policy::{ConnectionInfo, ResolveRequest},
    request::{AuthRequest, Credential},
};
use serde_json::{Map, Value};

use crate::NOW;

/// An identity out of JSON: `{"user": …, "groups": […], …}`, where all of it is also the claims.
pub fn of(json: &[u8]) -> Option<Identity> {
    let claims: Map<String, Value> = serde_json::from_slice(json).ok()?;
    let user = claims.get("user").and_then(Value::as_str).unwrap_or("alice").to_owned();
    let groups = claims.get("groups").and_then(Value::as_array).cloned().unwrap_or_default();
    let groups = groups.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    Some(Identity { user, groups, claims, ..Identity::default() })
}

/// Asks `ask` about this identity of the authenticator `a`, over an ordinary connection.
pub fn asking<T>(identity: &Identity, ask: impl FnOnce(&ResolveRequest<'_>) -> T) -> T {
    thread_local! {
        static REQUEST: AuthRequest = AuthRequest::for_tests(Credential::Certificate);
    }
    REQUEST.with(|request| {
        ask(&ResolveRequest {
            authenticator: "a",
            identity,
            connection: ConnectionInfo::of(request),
            callout_account: Some("AUTH"),
            now: UnixTime::from_seconds(NOW),
        })
    })
}
