use serde_json::json;

use super::*;

fn target(json: serde_json::Value) -> Target {
    serde_json::from_value(json).unwrap()
}

fn alice<'a>(groups: &'a [String], roles: &'a [String]) -> Candidate<'a> {
    Candidate {
        user: Some("hr-alice"),
        source_user: Some("alice"),
        authenticator: Some("staff"),
        account: Some("APP"),
        ip: Some("10.1.2.3".parse().unwrap()),
        groups: Some(groups),
        roles: Some(roles),
        kind: Some(ConnectionKind::Mqtt),
        issued_at: IssuedAt::Known(Some(UnixTime::from_seconds(1_000))),
    }
}

#[test]
fn every_condition_must_hold() {
    let (groups, roles) = (["g".to_owned()], ["r".to_owned()]);
    let alice = alice(&groups, &roles);
    for (target_json, expected) in [
        (json!({}), Verdict::Yes),
        (json!({ "everyone": true }), Verdict::Yes),
        (json!({ "user": "alice" }), Verdict::Yes),
        (json!({ "user": "hr-alice" }), Verdict::Yes),
        (json!({ "user": "*" }), Verdict::No),
        (json!({ "user": "Alice" }), Verdict::No),
        (json!({ "user": "alice", "authenticator": "staff" }), Verdict::Yes),
        (json!({ "user": "alice", "authenticator": "other" }), Verdict::No),
        (json!({ "account": "APP", "everyone": true }), Verdict::Yes),
        (json!({ "account": "OTHER", "everyone": true }), Verdict::No),
        (json!({ "source": "10.1.0.0/16" }), Verdict::Yes),
        (json!({ "source": "10.1.2.3" }), Verdict::Yes),
        (json!({ "source": "10.1.2.4" }), Verdict::No),
        (json!({ "source": "fd00::/8" }), Verdict::No),
        (json!({ "group": "g", "role": "r", "kind": "mqtt" }), Verdict::Yes),
        (json!({ "group": "r" }), Verdict::No),
        (json!({ "kind": "nats" }), Verdict::No),
        (json!({ "issued_before": "1970-01-01T00:16:40Z" }), Verdict::No),
        (json!({ "issued_before": "1970-01-01T00:16:41Z" }), Verdict::Yes),
    ] {
        assert_eq!(target(target_json.clone()).matches(&alice), expected, "{target_json}");
    }
}

#[test]
fn credential_without_a_time_counts_as_issued_before() {
    let target = target(json!({ "issued_before": "1970-01-01T00:00:00Z" }));
    let alice = Candidate { issued_at: IssuedAt::Known(None), ..alice(&[], &[]) };
    assert_eq!(target.matches(&alice), Verdict::Yes);
}

#[test]
fn what_only_a_decision_knows_is_unknown() {
    let shown: Candidate<'_> = Candidate {
        source_user: None,
        authenticator: None,
        groups: None,
        roles: None,
        issued_at: IssuedAt::Unknown,
        ..alice(&[], &[])
    };
    for (target_json, expected) in [
        (json!({ "user": "hr-alice" }), Verdict::Yes),
        (json!({ "user": "bob" }), Verdict::No),
        (json!({ "authenticator": "staff" }), Verdict::Unknown),
        (json!({ "group": "g" }), Verdict::Unknown),
        (json!({ "role": "r" }), Verdict::Unknown),
        (json!({ "issued_before": "1970-01-01T00:00:00Z" }), Verdict::Unknown),
        (json!({ "user": "hr-alice", "role": "r" }), Verdict::Unknown),
        (json!({ "user": "bob", "role": "r" }), Verdict::No),
    ] {
        assert_eq!(target(target_json.clone()).matches(&shown), expected, "{target_json}");
    }
}

#[test]
fn mapped_addresses_are_in_the_ipv4_network() {
    let mapped = Candidate { ip: Some("::ffff:10.1.2.3".parse().unwrap()), ..alice(&[], &[]) };
    assert_eq!(target(json!({ "source": "10.0.0.0/8" })).matches(&mapped), Verdict::Yes);
    let nowhere = Candidate { ip: None, ..alice(&[], &[]) };
    assert_eq!(target(json!({ "source": "0.0.0.0/0" })).matches(&nowhere), Verdict::No);
}

#[test]
fn only_address_and_kind_act_early() {
    for (target_json, early) in [
        (json!({ "source": "10.0.0.0/8" }), true),
        (json!({ "kind": "mqtt" }), true),
        (json!({ "source": "10.0.0.0/8", "kind": "mqtt" }), true),
        (json!({ "source": "10.0.0.0/8", "user": "alice" }), false),
        (json!({ "kind": "mqtt", "everyone": true }), false),
        (json!({ "everyone": true }), false),
        (json!({}), false),
    ] {
        assert_eq!(target(target_json.clone()).is_early(), early, "{target_json}");
    }
}

#[test]
fn json_form_keeps_every_condition_and_refuses_unknown_ones() {
    let all = json!({
        "user": "a", "authenticator": "b", "account": "c", "source": "10.0.0.0/8", "group": "d",
        "role": "e", "kind": "leafnode", "issued_before": "2026-11-29T10:00:00Z", "everyone": true,
    });
    assert_eq!(serde_json::to_value(target(all.clone())).unwrap(), all);
    let address = json!({ "source": "10.1.2.3" });
    assert_eq!(serde_json::to_value(target(address.clone())).unwrap(), address);
    for unreadable in [
        json!({ "client_name": "x" }),
        json!({ "source": "10.0.0.300" }),
        json!({ "kind": "quic" }),
        json!({ "issued_before": "yesterday" }),
        json!({ "user": null, "tenant": "x" }),
        json!({ "user": 7 }),
    ] {
        assert!(serde_json::from_value::<Target>(unreadable.clone()).is_err(), "{unreadable}");
    }
}

#[test]
fn target_is_shown_on_one_line() {
    let target = target(json!({
        "user": "a\nb", "authenticator": "staff", "source": "10.0.0.0/8", "kind": "mqtt",
        "issued_before": "2026-11-29T10:00:00Z",
    }));
    assert_eq!(
        target.to_string(),
        "user `a\\nb`, authenticator `staff`, source 10.0.0.0/8, kind mqtt, issued before 2026-11-29T10:00:00Z"
    );
}
