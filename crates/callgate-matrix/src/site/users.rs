//! The users of every environment, and their roles.

use serde_json::{Map, Value, json};

use crate::mode::Mode;

/// The kinds of connections.
const KINDS: [&str; 4] = ["nats", "websocket", "mqtt", "leafnode"];
/// A token that looks like a JWT, so that Callgate treats it as one in any field.
pub const JWT_TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ0cnVkeSJ9.c2lnbmF0dXJl";
/// The seed of a user that proves an nkey.
pub const NKEY_SEED: &str = "SUAP277QP7U4JMFFPVZHLJYEQJ2UHOTYVEIZJYAWRJXQLP4FRSEHYZJJOU";
const NKEY: &str = "UBO2MQV67TQTVIRV3XFTEZOACM4WLOCMCDMAWN5QVN5PI2N6JHTVDRON";
/// No client has this address (RFC 5737).
const ELSEWHERE: &str = "192.0.2.0/24";

/// The users file, and the roles as TOML. Every user's password is the name, with `NAME-token`
/// for a token.
pub fn users(mode: Mode) -> (String, String) {
    let mut users = Map::new();
    let mut roles = String::new();
    let mut put = |name: String, more: Value| {
        let mut entry = json!({
            "pass": name, "token": format!("{name}-token"), "account": "APP",
        });
        let entry_map = entry.as_object_mut().expect("an object");
        entry_map.extend(more.as_object().expect("an object").clone());
        users.insert(name, entry);
    };
    let limited = json!({
        "pub": ["probe.open.>", "$SYS.REQ.USER.INFO"], "sub": ["_INBOX.>"],
    });
    put("alice".into(), json!({}));
    put("trudy".into(), json!({ "token": JWT_TOKEN, "connection_types": KINDS }));
    put("nick".into(), json!({ "nkey": NKEY, "connection_types": KINDS }));
    put("bob".into(), json!({ "permissions": limited, "connection_types": KINDS }));
    put("carol".into(), json!({ "roles": ["open"] }));
    put("near".into(), json!({ "source": ["127.0.0.0/8"], "connection_types": KINDS }));
    put("afar".into(), json!({ "source": [ELSEWHERE], "connection_types": KINDS }));
    put("afar-role".into(), json!({ "roles": ["afar"] }));
    put("late".into(), json!({ "expires": "2020-01-01T00:00:00Z", "connection_types": KINDS }));
    put("off".into(), json!({ "disabled": true, "connection_types": KINDS }));
    put("insider".into(), json!({ "account": "AUTH", "connection_types": KINDS }));
    put("short".into(), json!({ "expires_after": "2s", "connection_types": KINDS }));
    if mode.has_several_accounts() {
        put("dave".into(), json!({ "account": "OTHER", "connection_types": KINDS }));
    }
    if mode.has_scopes() {
        put("rita".into(), json!({ "roles": ["reader"] }));
        put("rita.x".into(), json!({ "roles": ["reader"] }));
    }
    let limits =
        "publish = [\"probe.open.>\", \"$SYS.REQ.USER.INFO\"]\nsubscribe = [\"_INBOX.>\"]\n";
    let all = format!("connection_types = {KINDS:?}\n");
    let mut role = |name: &str, more: &str| {
        roles.push_str(&format!("[roles.{name}]\n{limits}{more}"));
    };
    role("open", &all);
    role("afar", &format!("{all}source = [\"{ELSEWHERE}\"]\n"));
    for kind in KINDS {
        let others: Vec<&str> = KINDS.into_iter().filter(|other| *other != kind).collect();
        put(format!("only-{kind}"), json!({ "connection_types": [kind] }));
        put(format!("not-{kind}"), json!({ "connection_types": others }));
        put(format!("not-{kind}-role"), json!({ "roles": [format!("not-{kind}")] }));
        role(&format!("not-{kind}"), &format!("connection_types = {others:?}\n"));
    }
    (Value::Object(users).to_string(), roles)
}
