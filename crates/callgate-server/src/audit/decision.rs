//! The record of a decision.

use std::borrow::Cow;

use callgate::{
    policy::Grant,
    record::{Cause, CeilingDropped, Decision, Outcome, RequestIds, TokenClaims},
    request::AuthRequest,
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    grant_hash::grant_hash,
    privacy::{Hidden, Hider, cut, field, names_known_user},
};

const MAX_DETAIL_CHARS: usize = 1000;

/// Members of a decision, in the order of the log. Absent values have no member.
#[derive(Debug, Default, Serialize)]
#[serde(tag = "type", rename = "decision")]
pub(super) struct DecisionRecord<'a> {
    outcome: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authenticator: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed_issuer: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed_user: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proven_issuer: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proven_user: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    ceiling_dropped: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    client_host: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    client_name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<u64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    server: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    server_id: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    user_nkey: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    request: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    milliseconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_offset_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    more_since_last_time: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    roles: Option<&'a [String]>,
    /// By position in the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    bindings: Option<&'a [usize]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lock: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unexpected_source: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    facts: Option<&'a Map<String, Value>>,
}

impl<'a> DecisionRecord<'a> {
    pub(super) fn new(decision: &'a Decision, hider: &Hider) -> Self {
        let is_known = names_known_user(decision.reason);
        let user = |text: &'a str| match is_known {
            true => hider.user(text),
            false => hider.typed_user(text),
        };
        let token = |proven: bool| decision.token.as_ref().filter(|token| token.proven == proven);
        let issuer = |token: Option<&'a TokenClaims>| token?.issuer.as_deref().map(field);
        let claimed_user = token(false).and_then(|token| token.user.as_deref());
        let proven_user = token(true).and_then(|token| token.user.as_deref());
        let record = Self {
            outcome: decision.outcome().as_str(),
            reason: decision.reason.as_str(),
            cause: decision.cause.map(Cause::as_str),
            user: decision.user.as_deref().map(user),
            authenticator: decision.authenticator.as_deref(),
            account: decision.account.as_deref().map(field),
            detail: detail(decision, hider, is_known),
            claimed_issuer: issuer(token(false)),
            claimed_user: claimed_user.map(|text| hider.typed_user(text)),
            proven_issuer: issuer(token(true)),
            proven_user: proven_user.map(|text| hider.user(text)),
            ceiling_dropped: ceiling_dropped(decision, hider),
            expires: decision.expires_at.map(|end| end.to_string()),
            lock: decision.lock.as_deref(),
            groups: decision.identity.as_ref().map(|identity| identity.groups.as_slice()),
            ..Self::default()
        };
        let record = match &decision.grant {
            Some(grant) => record.with_grant(grant),
            None => record,
        };
        match &decision.ids {
            Some(ids) => {
                let milliseconds = Some(milliseconds(decision.duration));
                Self { milliseconds, ..record.of_request(ids, hider) }
            }
            None => record,
        }
    }

    /// The record of an admission whose answer has not left.
    pub(super) fn admission(
        decision: &'a Decision,
        request: &'a AuthRequest,
        hider: &Hider,
    ) -> Self {
        let client = request.client();
        Self {
            client_host: hider.source(&client.host),
            connection: Some(client.connection.as_str()),
            client_name: hider.client_name(&client.name),
            client_id: Some(client.id),
            server: field(&request.server().name),
            server_id: field(request.server().id.as_str()),
            user_nkey: field(request.user_nkey().as_str()),
            request: field(request.id()),
            ..Self::new(decision, hider)
        }
    }

    /// Adds the claims that policy names.
    pub(super) fn with_facts(self, facts: Option<&'a Map<String, Value>>) -> Self {
        Self { facts, ..self }
    }

    /// Marks a client that came from outside the expected sources.
    pub(super) fn with_unexpected_source(self, is_unexpected: bool) -> Self {
        Self { unexpected_source: is_unexpected.then_some(true), ..self }
    }

    fn with_grant(self, grant: &'a Grant) -> Self {
        Self {
            roles: Some(grant.roles()),
            bindings: Some(grant.bindings()),
            grant_hash: Some(grant_hash(grant)),
            ..self
        }
    }

    fn of_request(self, ids: &'a RequestIds, hider: &Hider) -> Self {
        let RequestIds {
            request,
            server_id,
            server_name,
            client_id,
            user_nkey,
            client_host,
            connection,
            client_name,
        } = ids;
        Self {
            client_host: hider.source(client_host),
            connection: connection.map(|kind| kind.as_str()),
            client_name: hider.client_name(client_name),
            client_id: Some(*client_id),
            server: field(server_name),
            server_id: field(server_id),
            user_nkey: field(user_nkey),
            request: field(request),
            ..self
        }
    }

    /// Adds what is only known of a dropped request.
    pub(super) fn dropped(self, decision: &Decision, suppressed: u64) -> Self {
        Self {
            clock_offset_seconds: decision.clock_skew,
            more_since_last_time: Some(suppressed),
            ..self
        }
    }
}

/// The explanation. It may quote the user or the source, so it is left out if one of them is hidden.
fn detail<'a>(decision: &'a Decision, hider: &Hider, is_known: bool) -> Cow<'a, str> {
    let hides_user = hider.hides(Hidden::User) || (!is_known && hider.key.is_some());
    let is_dropped = decision.outcome() == Outcome::Dropped;
    if !is_dropped && (hides_user || hider.hides(Hidden::Source)) {
        return "".into();
    }
    cut(&decision.detail, MAX_DETAIL_CHARS)
}

/// Number and first few of the items that the ceiling dropped. They may contain the user.
fn ceiling_dropped(decision: &Decision, hider: &Hider) -> String {
    let CeilingDropped { count, texts } = &decision.ceiling_dropped;
    match count {
        0 => String::new(),
        count if hider.hides(Hidden::User) => count.to_string(),
        count => format!("{count}: {}", texts.join(", ")),
    }
}

/// Rounded to microseconds.
fn milliseconds(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// A record with every member, as JSON.
#[cfg(test)]
pub(super) fn full_record() -> String {
    let text = || Some("x".into());
    let record = DecisionRecord {
        outcome: "x",
        reason: "x",
        cause: Some("x"),
        user: text(),
        authenticator: Some("x"),
        account: text(),
        detail: "x".into(),
        claimed_issuer: text(),
        claimed_user: text(),
        proven_issuer: text(),
        proven_user: text(),
        ceiling_dropped: "x".to_owned(),
        expires: Some("x".to_owned()),
        client_host: "x".into(),
        connection: Some("x"),
        client_name: "x".into(),
        client_id: Some(1),
        server: "x".into(),
        server_id: "x".into(),
        user_nkey: "x".into(),
        request: "x".into(),
        milliseconds: Some(1.0),
        clock_offset_seconds: Some(1),
        more_since_last_time: Some(1),
        groups: Some(&[]),
        roles: Some(&[]),
        bindings: Some(&[]),
        grant_hash: Some("x".to_owned()),
        lock: Some("x"),
        unexpected_source: Some(true),
        trace_id: Some("x"),
        facts: Some(&Map::new()),
    };
    let mut json = serde_json::to_vec(&record).unwrap_or_default();
    super::add_shadow(&mut json, "same");
    String::from_utf8(json).unwrap_or_default()
}
