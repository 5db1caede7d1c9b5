//! Records in the formats of other tools.

use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// The format of printed records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// The record as it was written
    Native,
    /// Elastic Common Schema
    Ecs,
    /// Open Cybersecurity Schema Framework
    Ocsf,
}

/// A record as Elastic Common Schema 8. All native members are under `callgate`.
pub(super) fn ecs(record: &Value) -> Value {
    let kind = text(record, "type").unwrap_or_default();
    let category = match kind {
        "decision" | "answer_dropped" => json!(["authentication"]),
        "session_start" | "session_end" | "kick" => json!(["session"]),
        "lock" | "unlock" | "lockout" | "revocation" => json!(["iam"]),
        "config" | "users" => json!(["configuration"]),
        "violation" => json!(["intrusion_detection"]),
        _ => json!(["process"]),
    };
    let event_type = match kind {
        "decision" if text(record, "outcome") == Some("admitted") => json!(["start", "allowed"]),
        "decision" | "violation" => json!(["denied"]),
        "session_start" | "start" => json!(["start"]),
        "session_end" | "kick" | "stop" => json!(["end"]),
        "lock" | "unlock" | "lockout" | "revocation" | "config" | "users" => json!(["change"]),
        _ => json!(["info"]),
    };
    let mut event = json!({
        "kind": "event",
        "category": category,
        "type": event_type,
        "action": kind,
        "dataset": "callgate.audit",
        "module": "callgate",
        "id": id(record),
        "sequence": record.get("seq"),
    });
    let outcome = (kind == "decision").then(|| match text(record, "outcome") {
        Some("admitted") => "success",
        Some(_) | None => "failure",
    });
    put(&mut event, "outcome", outcome.map(Value::from));
    put(&mut event, "reason", record.get("reason").cloned());
    let mut out = json!({
        "@timestamp": record.get("time"),
        "ecs": { "version": "8.17.0" },
        "event": event,
        "host": { "name": record.get("replica") },
        "service": { "type": "callgate" },
        "callgate": record,
    });
    let name = text(record, "user").or_else(|| text(record, "actor"));
    let user = name.map(|name| {
        let mut user = json!({ "name": name });
        put(&mut user, "roles", record.get("roles").cloned());
        user
    });
    put(&mut out, "user", user);
    let source = text(record, "client_host").map(|host| match host.parse::<IpAddr>() {
        Ok(ip) => json!({ "address": host, "ip": ip }),
        Err(_) => json!({ "address": host }),
    });
    put(&mut out, "source", source);
    out
}

const AUTHENTICATION: u64 = 3002;
const ACCOUNT_CHANGE: u64 = 3001;
const APPLICATION_LIFECYCLE: u64 = 6002;

/// A record as OCSF 1.3: logins are class 3002, locks and kicks are class 3001, the rest is class 6002. Members that have no
/// place there are under `unmapped`.
pub(super) fn ocsf(record: &Value) -> Value {
    let kind = text(record, "type").unwrap_or_default();
    let (class, activity) = match kind {
        "decision" | "answer_dropped" | "session_start" => (AUTHENTICATION, 1),
        "session_end" => (AUTHENTICATION, 2),
        "lock" | "lockout" => (ACCOUNT_CHANGE, 9),
        "unlock" => (ACCOUNT_CHANGE, 12),
        "kick" | "revocation" => (ACCOUNT_CHANGE, 99),
        "start" => (APPLICATION_LIFECYCLE, 3),
        "stop" => (APPLICATION_LIFECYCLE, 4),
        _ => (APPLICATION_LIFECYCLE, 99),
    };
    let succeeded = match kind {
        "decision" => text(record, "outcome") == Some("admitted"),
        "answer_dropped" | "violation" | "gap" => false,
        "kick" => text(record, "result") != Some("failed"),
        "config" | "users" => text(record, "result") == Some("loaded"),
        _ => true,
    };
    let time = text(record, "time").and_then(|time| time.parse::<Timestamp>().ok());
    let mut out = json!({
        "class_uid": class,
        "category_uid": class / 1000,
        "activity_id": activity,
        "activity_name": kind,
        "type_uid": class * 100 + activity,
        "severity_id": if succeeded { 1 } else { 2 },
        "status_id": if succeeded { 1 } else { 2 },
        "status": if succeeded { "Success" } else { "Failure" },
        "time": time.map(Timestamp::as_millisecond),
        "metadata": {
            "version": "1.3.0",
            "uid": id(record),
            "sequence": record.get("seq"),
            "original_time": record.get("time"),
            "product": { "name": "Callgate", "vendor_name": "Callgate" },
        },
        "device": { "hostname": record.get("replica"), "type_id": 1 },
        "unmapped": record,
    });
    put(&mut out, "status_detail", record.get("reason").cloned());
    put(&mut out, "message", record.get("detail").cloned());
    let target = record.pointer("/target/user").and_then(Value::as_str);
    let user = text(record, "user").or(target).map(|name| {
        let groups = record.get("groups").and_then(Value::as_array);
        let groups =
            groups.map(|groups| groups.iter().map(|name| json!({ "name": name })).collect());
        let mut user = json!({ "name": name });
        put(&mut user, "groups", groups);
        put(&mut user, "domain", record.get("authenticator").cloned());
        user
    });
    put(&mut out, "user", user);
    let actor = text(record, "actor").map(|name| json!({ "user": { "name": name } }));
    put(&mut out, "actor", actor);
    let source = text(record, "client_host").map(|host| match host.parse::<IpAddr>() {
        Ok(ip) => json!({ "ip": ip }),
        Err(_) => json!({ "hostname": host }),
    });
    put(&mut out, "src_endpoint", source);
    put(&mut out, "service", text(record, "account").map(|name| json!({ "name": name })));
    let session = text(record, "server_id").zip(record.get("client_id").and_then(Value::as_u64));
    let session = session.map(|(server, cid)| json!({ "uid": format!("{server}/{cid}") }));
    put(&mut out, "session", session);
    out
}

/// Unique among all records.
fn id(record: &Value) -> String {
    let seq = record.get("seq").and_then(Value::as_u64).unwrap_or_default();
    format!("{}/{seq}", text(record, "boot").unwrap_or_default())
}

fn text<'a>(record: &'a Value, name: &str) -> Option<&'a str> {
    record.get(name).and_then(Value::as_str)
}

fn put(object: &mut Value, name: &str, value: Option<Value>) {
    let members: Option<&mut Map<String, Value>> = object.as_object_mut();
    if let (Some(members), Some(value)) = (members, value) {
        members.insert(name.to_owned(), value);
    }
}
