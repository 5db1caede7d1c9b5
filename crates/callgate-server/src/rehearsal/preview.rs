//! Compares what identities may do under two configurations.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use callgate::{
    authn::Identity, clock::UnixTime, connection::ConnectionKind, policy::Grant, record::Reason,
};
use ipnet::IpNet;

use super::{
    Connection, IdentityError, IdentitySpec, Rehearsal,
    difference::{Difference, NoGrant, differences},
};

/// More networks than are tried for one identity.
const MAX_SOURCES: usize = 16;
const HOUR: i64 = 3600;

/// Two configurations.
pub(crate) struct Preview {
    pub(crate) old: Rehearsal,
    pub(crate) new: Rehearsal,
    has_hours: bool,
    sources: Vec<IpAddr>,
}

/// What a change means for one identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    Same,
    Differs(Vec<Difference>),
    /// It depends on claims that are not known.
    Undecided,
}

/// An identity of a configuration, or why it would not be found.
pub(crate) type Found = Result<Identity, NoGrant>;

/// How an identity connects.
struct Scenario {
    connection: Connection,
    now: UnixTime,
    /// How it differs from the first one, in words.
    remark: String,
}

impl Preview {
    pub(crate) fn new(old: Rehearsal, new: Rehearsal) -> Self {
        let roles = || [&old, &new].into_iter().flat_map(|one| one.policy().role_views());
        let has_hours = roles().any(|role| role.has_hours);
        let networks: BTreeSet<IpNet> = roles().flat_map(|role| role.source).collect();
        let sources = networks.iter().map(|network| network.addr()).take(MAX_SOURCES).collect();
        Self { old, new, has_hours, sources }
    }

    /// The entries of users files and the services of both configurations, as each of them has them.
    pub(crate) async fn entries(&self, now: UnixTime) -> Vec<(Arc<str>, String, Found, Found)> {
        let mut all: BTreeMap<(Arc<str>, String), [Option<Identity>; 2]> = BTreeMap::new();
        for (index, rehearsal) in [&self.old, &self.new].into_iter().enumerate() {
            for (authenticator, identity) in rehearsal.entries(now) {
                let both = all.entry((authenticator, identity.user.clone())).or_default();
                if let Some(place) = both.get_mut(index) {
                    *place = Some(identity);
                }
            }
        }
        let mut entries = Vec::new();
        for ((authenticator, user), [old, new]) in all {
            let old = match old {
                Some(identity) => Ok(identity),
                None => self.old.why_missing(&authenticator, &user, now).await,
            };
            let new = match new {
                Some(identity) => Ok(identity),
                None => self.new.why_missing(&authenticator, &user, now).await,
            };
            entries.push((authenticator, user, old, new));
        }
        entries
    }

    /// A described identity, as each configuration sees it. One of them may not know it.
    ///
    /// # Errors
    /// If the description contradicts a configuration, or neither knows the identity.
    pub(crate) async fn described(
        &self,
        spec: &IdentitySpec,
        now: UnixTime,
    ) -> Result<(Found, Found), IdentityError> {
        let unknown = || NoGrant(Reason::UnknownUser.as_str().to_owned());
        match (self.old.found(spec, now).await, self.new.found(spec, now).await) {
            (Err(IdentityError::UnknownUser { .. }), Ok(new)) => Ok((Err(unknown()), new)),
            (Ok(old), Err(IdentityError::UnknownUser { .. })) => Ok((old, Err(unknown()))),
            (old, new) => Ok((old?, new?)),
        }
    }

    /// Compares over every kind of connection, from every network that a role names, and at all hours if
    /// a role has some.
    pub(crate) fn compare(
        &self,
        authenticator: &str,
        (old, new): (&Found, &Found),
        has_claims: bool,
        now: UnixTime,
    ) -> Effect {
        let mut found: Vec<Difference> = Vec::new();
        for scenario in self.scenarios([old, new], now) {
            if !has_claims
                && (self.old.needs_claims(authenticator, old, &scenario)
                    || self.new.needs_claims(authenticator, new, &scenario))
            {
                return Effect::Undecided;
            }
            for difference in differences(
                &self.old.decide(authenticator, old, &scenario),
                &self.new.decide(authenticator, new, &scenario),
                scenario.now,
            ) {
                if found.iter().any(|known| known.is_same_as(&difference)) {
                    continue;
                }
                let subject = format!("{}{}", difference.subject, scenario.remark);
                found.push(Difference { subject, ..difference });
            }
        }
        match found.is_empty() {
            true => Effect::Same,
            false => Effect::Differs(found),
        }
    }

    /// The usual connection first.
    fn scenarios(&self, identities: [&Found; 2], now: UnixTime) -> Vec<Scenario> {
        let own =
            identities.into_iter().flatten().flat_map(|one| one.proposal.source.iter().flatten());
        let mut sources: Vec<IpAddr> = own.map(IpNet::addr).collect();
        sources.push(IpAddr::from([127, 0, 0, 1]));
        sources.extend(&self.sources);
        let mut seen = BTreeSet::new();
        sources.retain(|source| seen.insert(*source));
        let hours = if self.has_hours { 24 } else { 1 };
        let kinds = [
            ConnectionKind::Nats,
            ConnectionKind::WebSocket,
            ConnectionKind::Mqtt,
            ConnectionKind::LeafNode,
        ];
        let mut scenarios = Vec::new();
        for kind in kinds {
            for (index, source) in sources.iter().enumerate() {
                let Ok(connection) = Connection::new(kind, *source) else { continue };
                for hour in 0..hours {
                    let now = UnixTime::from_seconds(now.seconds().saturating_add(hour * HOUR));
                    let over = (kind != ConnectionKind::Nats).then(|| format!("over {kind}"));
                    let from = (index > 0).then(|| format!("from {source}"));
                    let at = (hour > 0).then(|| format!("at {now}"));
                    let words: Vec<_> = [over, from, at].into_iter().flatten().collect();
                    let remark = match words.is_empty() {
                        true => String::new(),
                        false => format!(" ({})", words.join(", ")),
                    };
                    scenarios.push(Scenario { connection: connection.clone(), now, remark });
                }
            }
        }
        scenarios
    }
}

impl Rehearsal {
    /// Why an entry of another configuration is not among those of this one.
    async fn why_missing(&self, authenticator: &Arc<str>, user: &str, now: UnixTime) -> Found {
        let spec = IdentitySpec::named(Arc::clone(authenticator), user.to_owned());
        match self.found(&spec, now).await {
            Ok(found) => found,
            Err(IdentityError::UnknownUser { .. } | IdentityError::OtherUser { .. }) => {
                Err(NoGrant(Reason::UnknownUser.as_str().to_owned()))
            }
            Err(IdentityError::NoAuthenticator(_)) => Err(NoGrant("no authenticator".to_owned())),
        }
    }

    async fn found(&self, spec: &IdentitySpec, now: UnixTime) -> Result<Found, IdentityError> {
        match self.identity(spec, now).await {
            Ok(found) => Ok(found.map_err(NoGrant::from)),
            Err(IdentityError::NoAuthenticator(_)) => {
                Ok(Err(NoGrant("no authenticator".to_owned())))
            }
            Err(error) => Err(error),
        }
    }

    fn decide(
        &self,
        authenticator: &str,
        found: &Found,
        scenario: &Scenario,
    ) -> Result<Grant, NoGrant> {
        let identity = found.as_ref().map_err(Clone::clone)?;
        let result = self.resolve(authenticator, identity, &scenario.connection, scenario.now);
        result.map_err(NoGrant::from)
    }

    /// Whether the decision could be another one with the claims of a login.
    fn needs_claims(&self, authenticator: &str, found: &Found, scenario: &Scenario) -> bool {
        let Ok(identity) = found else { return false };
        if self.is_own_file(authenticator) {
            return false;
        }
        let (result, explanation) =
            self.explain(authenticator, identity, &scenario.connection, scenario.now);
        let is_unsafe = result.is_err_and(|denial| denial.reason == Reason::UnsafeTemplateValue);
        is_unsafe || self.depends_on_claims(&explanation.steps)
    }
}
