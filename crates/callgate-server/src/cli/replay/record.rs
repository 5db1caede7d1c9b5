//! A recorded decision that can be made again.

use std::{net::IpAddr, sync::Arc};

use callgate::{
    authn::Identity, clock::UnixTime, connection::ConnectionKind, policy::Grant, record::Reason,
};
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::{
    audit::grant_hash,
    rehearsal::{
        Connection, IdentityError, IdentitySpec, Rehearsal,
        difference::{Difference, NoGrant, differences, recorded_difference},
        preview::depends_on_claims,
    },
};

/// What a hidden value begins with.
const HIDDEN: &str = "hmac:";

/// A decision of an audit.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) time: Timestamp,
    outcome: RecordedOutcome,
    authenticator: Option<Arc<str>>,
    user: Option<String>,
    /// `None` if no authenticator identified the client.
    groups: Option<Vec<String>>,
    facts: Option<Map<String, Value>>,
    source: Option<IpAddr>,
    kind: Option<ConnectionKind>,
    client_name: String,
    server: String,
}

/// What was decided.
#[derive(Debug, Clone)]
enum RecordedOutcome {
    Granted { account: String, hash: String },
    Refused(String),
}

impl Recorded {
    /// `None` for records that are not decisions about an opened request.
    pub(super) fn read(record: &Value) -> Option<Self> {
        let text = |name: &str| record.get(name).and_then(Value::as_str).map(str::to_owned);
        if text("type").as_deref() != Some("decision")
            || text("outcome").as_deref() == Some("dropped")
        {
            return None;
        }
        let groups = record.get("groups").and_then(Value::as_array);
        let outcome = match (text("grant_hash"), text("account")) {
            (Some(hash), Some(account)) => RecordedOutcome::Granted { account, hash },
            _ => RecordedOutcome::Refused(text("reason")?),
        };
        Some(Self {
            time: text("time")?.parse().ok()?,
            outcome,
            authenticator: text("authenticator").map(Arc::from),
            user: text("user"),
            groups: groups
                .map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
            facts: record.get("facts").and_then(Value::as_object).cloned(),
            source: text("client_host").and_then(|host| host.parse().ok()),
            kind: text("connection").and_then(|kind| kind.parse().ok()),
            client_name: text("client_name").unwrap_or_default(),
            server: text("server").unwrap_or_default(),
        })
    }

    /// `AUTHENTICATOR/USER`.
    pub(super) fn who(&self) -> String {
        let authenticator = self.authenticator.as_deref().unwrap_or_default();
        format!("{authenticator}/{}", self.user.as_deref().unwrap_or_default())
    }

    /// The decision of this configuration, or `None` if it cannot be made again: no client was identified, a field
    /// is hidden or missing, the permissions came from a backend, or the configuration does not have the authenticator.
    pub(super) async fn decide(
        &self,
        rehearsal: &Rehearsal,
        knows_claims: bool,
    ) -> Option<Result<Grant, NoGrant>> {
        let authenticator = self.authenticator.as_ref()?;
        let groups = self.groups.clone()?;
        let user = self.user.as_ref().filter(|user| !user.starts_with(HIDDEN))?;
        let user = user.strip_prefix(rehearsal.policy().user_prefix(authenticator))?;
        if !rehearsal.has_authenticator(authenticator) || rehearsal.proposes(authenticator) {
            return None;
        }
        let is_own_file = rehearsal.is_own_file(authenticator);
        let facts = self.facts.clone().filter(|_| !is_own_file);
        let has_claims = is_own_file || (facts.is_some() && knows_claims);
        let spec = IdentitySpec {
            authenticator: Arc::clone(authenticator),
            user: user.to_owned(),
            groups: (!is_own_file).then_some(groups),
            claims: facts,
            roles: None,
            unknown: false,
        };
        let now = UnixTime::from_seconds(self.time.as_second());
        let identity = match rehearsal.identity(&spec, now).await {
            Ok(Ok(identity)) => identity,
            Ok(Err(denial)) => return Some(Err(denial.into())),
            Err(IdentityError::UnknownUser { .. }) => {
                return Some(Err(NoGrant(Reason::UnknownUser.as_str().to_owned())));
            }
            Err(IdentityError::NoAuthenticator(_) | IdentityError::OtherUser { .. }) => {
                return None;
            }
        };
        self.resolve(rehearsal, &identity, has_claims, now)
    }

    fn resolve(
        &self,
        rehearsal: &Rehearsal,
        identity: &Identity,
        has_claims: bool,
        now: UnixTime,
    ) -> Option<Result<Grant, NoGrant>> {
        let authenticator = self.authenticator.as_ref()?;
        let mut connection = Connection::new(self.kind?, self.source?).ok()?;
        connection.client.name.clone_from(&self.client_name);
        connection.server.name.clone_from(&self.server);
        let (result, explanation) = rehearsal.explain(authenticator, identity, &connection, now);
        let is_unsafe =
            matches!(&result, Err(denial) if denial.reason == Reason::UnsafeTemplateValue);
        let depends = is_unsafe || depends_on_claims(rehearsal.policy(), &explanation.steps);
        (has_claims || !depends).then(|| result.map_err(NoGrant::from))
    }

    /// What changes from an old decision, or from what was recorded.
    pub(super) fn differences(
        &self,
        old: Option<Result<Grant, NoGrant>>,
        new: &Result<Grant, NoGrant>,
    ) -> Vec<Difference> {
        let now = UnixTime::from_seconds(self.time.as_second());
        if let Some(old) = old {
            return differences(&old, new, now);
        }
        let recorded = match &self.outcome {
            RecordedOutcome::Granted { account, hash } => Ok((account.as_str(), hash.as_str())),
            RecordedOutcome::Refused(reason) => Err(reason.as_str()),
        };
        let hash = new.as_ref().ok().map(grant_hash);
        recorded_difference(recorded, new, hash.as_deref()).into_iter().collect()
    }
}
