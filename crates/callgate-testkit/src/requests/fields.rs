//! The fields of a request.

use serde_json::Value;

/// Places in the claims (JSON Pointers) where a hostile server could write anything.
pub const FIELDS: [&str; 30] = [
    "/aud",
    "/exp",
    "/iat",
    "/iss",
    "/jti",
    "/sub",
    "/nats/server_id",
    "/nats/server_id/name",
    "/nats/server_id/id",
    "/nats/server_id/xkey",
    "/nats/server_id/tags",
    "/nats/user_nkey",
    "/nats/client_info",
    "/nats/client_info/host",
    "/nats/client_info/id",
    "/nats/client_info/kind",
    "/nats/client_info/type",
    "/nats/client_info/nonce",
    "/nats/client_info/name",
    "/nats/connect_opts",
    "/nats/connect_opts/user",
    "/nats/connect_opts/pass",
    "/nats/connect_opts/auth_token",
    "/nats/connect_opts/jwt",
    "/nats/connect_opts/nkey",
    "/nats/connect_opts/sig",
    "/nats/client_tls",
    "/nats/client_tls/verified_chains",
    "/nats/type",
    "/nats",
];

/// Writes a value to a place; nothing happens where its object is gone.
pub(super) fn replace(claims: &mut Value, place: &str, value: Value) {
    let (parent, name) = place.rsplit_once('/').expect("a JSON Pointer");
    if let Some(Value::Object(parent)) = claims.pointer_mut(parent) {
        parent.insert(name.to_owned(), value);
    }
}
