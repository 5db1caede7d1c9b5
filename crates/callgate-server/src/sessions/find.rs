//! Joins what servers list with what replicas know.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use callgate::clock::UnixTime;

use super::{
    Sessions,
    filter::{Facts, Filter},
    session::Session,
};
use crate::{
    state::{Candidate, IssuedAt, Verdict},
    system::{Connection, ConnzFilter, Listing, ServersAnswered, SessionKey, Unavailable},
};

/// A connection, and its session if a replica has the decision.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) connection: Connection,
    pub(crate) session: Option<Arc<Session>>,
}

/// The connections that match a filter.
#[derive(Debug, Default)]
pub(crate) struct Search {
    pub(crate) found: Vec<Found>,
    /// Connections that are not attributed, for which the filter cannot be answered.
    pub(crate) undecided: Vec<Found>,
    /// Sessions that match and that no server listed, while a server did not answer.
    pub(crate) unlisted: Vec<Arc<Session>>,
    pub(crate) servers: ServersAnswered,
}

impl Found {
    /// What locks and filters compare, if the decision is not known.
    pub(super) fn candidate(&self) -> Candidate<'_, Box<str>> {
        match &self.session {
            Some(session) => session.candidate(),
            None => Candidate {
                user: Some(&self.connection.user),
                source_user: None,
                authenticator: None,
                account: Some(&self.connection.account),
                ip: self.connection.source,
                groups: None,
                roles: None,
                kind: Some(self.connection.kind),
                issued_at: IssuedAt::Unknown,
            },
        }
    }

    /// A leaf node that its server does not list.
    fn leaf_node(session: &Arc<Session>, server: &Arc<str>) -> Self {
        let connection = Connection {
            key: session.key(),
            server: Arc::clone(server),
            user: session.user().to_owned(),
            account: (&*session.common().account).into(),
            kind: session.kind(),
            source: session.source(),
            client_name: session.client_name().to_owned(),
            mqtt_id: String::new(),
            since: session.since(),
        };
        Self { connection, session: Some(Arc::clone(session)) }
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            key: self.connection.key,
            server: &self.connection.server,
            client_name: match &self.session {
                Some(session) => session.client_name(),
                None => &self.connection.client_name,
            },
            since: self.connection.since,
        }
    }
}

impl Sessions {
    /// Asks all servers for the connections that match.
    ///
    /// # Errors
    /// If no connection can be listed at all.
    pub(crate) async fn find(&self, filter: &Filter, now: UnixTime) -> Result<Search, Unavailable> {
        let known = self
            .table
            .search(|session| filter.target.matches(&session.candidate()) == Verdict::Yes);
        let listing = self.system.connections(&connz_filter(filter, &known)).await?;
        let is_complete = listing.is_complete();
        let servers = listing.servers.clone();
        let without_leaf_nodes = listing.without_leaf_nodes.clone();
        let mut search = Search { servers, ..Search::default() };
        let mut listed = HashSet::new();
        for found in self.join(listing) {
            listed.insert(found.connection.key);
            match filter.matches(found.facts(), &found.candidate(), now) {
                Verdict::Yes => search.found.push(found),
                Verdict::Unknown => search.undecided.push(found),
                Verdict::No => {}
            }
        }
        let listed_by_no_server = known.iter().filter_map(|session| {
            let server = without_leaf_nodes.get(&session.key().server)?;
            let is_it = session.is_unlisted_leaf_node(|_| true) && !listed.contains(&session.key());
            is_it.then(|| Found::leaf_node(session, server))
        });
        search.found.extend(listed_by_no_server.filter(|found| {
            filter.matches(found.facts(), &found.candidate(), now) == Verdict::Yes
        }));
        if !is_complete {
            let is_unlisted = |session: &Arc<Session>| {
                !listed.contains(&session.key()) && filter.may_match_unlisted(session, now)
            };
            search.unlisted = known.into_iter().filter(is_unlisted).collect();
        }
        search.found.sort_by(|a, b| order(a).cmp(&order(b)));
        Ok(search)
    }

    /// The connections that are sessions, or may be those of static users. A connection without an account is
    /// a login under way, or a session in the global account: only a decision tells.
    pub(super) fn join(&self, listing: Listing) -> impl Iterator<Item = Found> {
        let Listing { connections, without_account, .. } = listing;
        let attributed = |connection: Connection| {
            let session = self.table.find(connection.key);
            Found { connection, session }
        };
        let with_account = connections.into_iter().map(attributed);
        let without_account = without_account.into_iter().map(attributed);
        with_account.chain(without_account.filter(|found| found.session.is_some()))
    }
}

/// By user, then by age.
fn order(found: &Found) -> (&str, UnixTime, SessionKey) {
    (&found.connection.user, found.connection.since, found.connection.key)
}

/// What servers can filter. They show user names with the authenticator's prefix, the filter may be without.
fn connz_filter(filter: &Filter, known: &[Arc<Session>]) -> ConnzFilter {
    let user = filter.target.user.as_deref();
    let shown: BTreeSet<&str> =
        user.into_iter().chain(known.iter().map(|session| session.user())).collect();
    let is_one = user.is_some() && shown.len() == 1;
    ConnzFilter {
        user: user.filter(|_| is_one).map(str::to_owned),
        account: filter.target.account.clone(),
    }
}

impl Filter {
    /// Whether a session that no server listed matches, as far as that can be known.
    fn may_match_unlisted(&self, session: &Session, now: UnixTime) -> bool {
        let facts = Facts {
            key: session.key(),
            server: self.server.as_deref().unwrap_or_default(),
            client_name: session.client_name(),
            since: session.since(),
        };
        self.matches(facts, &session.candidate(), now) == Verdict::Yes
    }
}
