//! A recorded decision that can be made again.

use std::{net::IpAddr, sync::Arc};

use callgate::{
    authn::Identity,
    clock::UnixTime,
    connection::ConnectionKind,
    json::{self, JsonError},
    policy::{Grant, Step},
    record::Reason,
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    audit::grant_hash,
    cli::hidden_names::{HiddenNames, is_hidden},
    rehearsal::{
        Connection, IdentityError, IdentitySpec, Rehearsal,
        difference::{Difference, NoGrant, differences, recorded_difference},
    },
};

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
    source: Source,
    kind: Option<ConnectionKind>,
    client_name: String,
    server: String,
}

/// What was decided.
#[derive(Debug, Clone)]
enum RecordedOutcome {
    /// By policy. A lock, for example, may have refused the client afterwards: then no account is recorded.
    Granted {
        account: Option<String>,
        hash: String,
    },
    Refused(String),
}

/// The client's address.
#[derive(Debug, Clone, Copy)]
enum Source {
    Known(IpAddr),
    Hidden,
    Absent,
}

/// What expressions can read and records do not have. A client ID exists only over MQTT.
const NOT_RECORDED: [&str; 4] = ["client.lang", "client.version", "server.cluster", "server.tags"];
/// Any address: the decision does not depend on it.
const ANY_SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// The members of a record that are used here.
#[derive(Debug, Deserialize)]
struct Members {
    #[serde(rename = "type")]
    kind: Option<String>,
    time: Option<String>,
    outcome: Option<String>,
    reason: Option<String>,
    authenticator: Option<String>,
    user: Option<String>,
    account: Option<String>,
    grant_hash: Option<String>,
    groups: Option<Vec<String>>,
    facts: Option<Map<String, Value>>,
    client_host: Option<String>,
    connection: Option<String>,
    client_name: Option<String>,
    server: Option<String>,
}

impl Recorded {
    /// `None` for lines that are not decisions about an opened request.
    ///
    /// # Errors
    /// If a line is not a record.
    pub(super) fn read(line: &[u8], names: &HiddenNames) -> Result<Option<Self>, JsonError> {
        if line.trim_ascii().is_empty() {
            return Ok(None);
        }
        Ok(Self::of(json::parse_typed(line)?, names))
    }

    fn of(members: Members, names: &HiddenNames) -> Option<Self> {
        if members.kind.as_deref() != Some("decision")
            || members.outcome.as_deref() == Some("dropped")
        {
            return None;
        }
        let outcome = match members.grant_hash {
            Some(hash) => RecordedOutcome::Granted { account: members.account, hash },
            None => RecordedOutcome::Refused(members.reason?),
        };
        let source = members.client_host.map_or(Source::Absent, |host| {
            match (names.source(&host), is_hidden(&host)) {
                (Some(address), _) => Source::Known(address),
                (None, true) => Source::Hidden,
                (None, false) => Source::Absent,
            }
        });
        Some(Self {
            time: members.time?.parse().ok()?,
            outcome,
            authenticator: members.authenticator.map(Arc::from),
            user: members.user.map(|user| names.user(&user).map(str::to_owned).unwrap_or(user)),
            groups: members.groups,
            facts: members.facts,
            source,
            kind: members.connection.and_then(|kind| kind.parse().ok()),
            client_name: members.client_name.unwrap_or_default(),
            server: members.server.unwrap_or_default(),
        })
    }

    /// `AUTHENTICATOR/USER`.
    pub(super) fn who(&self) -> String {
        let authenticator = self.authenticator.as_deref().unwrap_or_default();
        format!("{authenticator}/{}", self.user.as_deref().unwrap_or_default())
    }

    /// The decision of this configuration, or `None` if it cannot be made again: no client was identified, it depends
    /// on what is hidden or not recorded, the permissions came from a backend, or the configuration does not have the
    /// authenticator.
    pub(super) async fn decide(
        &self,
        rehearsal: &Rehearsal,
        knows_claims: bool,
    ) -> Option<Result<Grant, NoGrant>> {
        let authenticator = self.authenticator.as_ref()?;
        let groups = self.groups.clone()?;
        let user = self.user.as_ref().filter(|user| !is_hidden(user))?;
        let user = user.strip_prefix(rehearsal.policy().user_prefix(authenticator))?;
        if !rehearsal.has_authenticator(authenticator)
            || rehearsal.proposes(authenticator)
            || rehearsal.reads_connection(self.unknown_fields())
        {
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

    /// What is not known of the connection.
    fn unknown_fields(&self) -> impl Iterator<Item = &'static str> {
        let over_mqtt = self.kind == Some(ConnectionKind::Mqtt);
        let source_hidden = matches!(self.source, Source::Hidden);
        let others = [
            ("client.host", source_hidden),
            ("client.name", is_hidden(&self.client_name)),
            ("client.mqtt_id", over_mqtt),
        ];
        let others = others.into_iter().filter(|(_, is_unknown)| *is_unknown);
        NOT_RECORDED.into_iter().chain(others.map(|(field, _)| field))
    }

    fn resolve(
        &self,
        rehearsal: &Rehearsal,
        identity: &Identity,
        has_claims: bool,
        now: UnixTime,
    ) -> Option<Result<Grant, NoGrant>> {
        let authenticator = self.authenticator.as_ref()?;
        let source = match self.source {
            Source::Known(source) => source,
            Source::Hidden => ANY_SOURCE,
            Source::Absent => return None,
        };
        let mut connection = Connection::new(self.kind?, source).ok()?;
        connection.client.name.clone_from(&self.client_name);
        connection.server.name.clone_from(&self.server);
        let has_source = matches!(self.source, Source::Known(_));
        if has_claims && has_source {
            let result = rehearsal.resolve(authenticator, identity, &connection, now);
            return Some(result.map_err(NoGrant::from));
        }
        let (result, explanation) = rehearsal.explain(authenticator, identity, &connection, now);
        let is_unsafe =
            matches!(&result, Err(denial) if denial.reason == Reason::UnsafeTemplateValue);
        let steps = &explanation.steps;
        let depends_on_claims = is_unsafe || rehearsal.depends_on_claims(steps);
        let depends_on_source =
            steps.iter().any(|step| matches!(step, Step::Limit { limit: "source", .. }));
        let depends = (depends_on_claims && !has_claims) || (depends_on_source && !has_source);
        (!depends).then(|| result.map_err(NoGrant::from))
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
            RecordedOutcome::Granted { account, hash } => Ok((account.as_deref(), hash.as_str())),
            RecordedOutcome::Refused(reason) => Err(reason.as_str()),
        };
        let hash = new.as_ref().ok().map(grant_hash);
        recorded_difference(recorded, new, hash.as_deref()).into_iter().collect()
    }
}
