//! The directory whose entries are rows.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use callgate::{
    authn::{BackendError, Decline, Identity, Probe, ProbeReport, Readiness},
    clock::UnixTime,
    keys::UserKey,
    record::Reason,
    secret::Secret,
};
use data_encoding::HEXLOWER;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::{probe::Statements, row::UserRow};
use crate::{
    backend::{Backend, FirstContact, Nul, OnceAMinute, QueryError, notes, precheck},
    directory::{Directory, Entry, Lookup},
    kind::BuildContext,
    network::BackgroundTasks,
    passwords::{self, Cost, SeenCosts, StoredPassword},
    sql_client::{Connecting, Database, Rows, Statement},
};

/// How often connections that are too old are closed.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);

/// The users of a database.
pub(super) struct SqlDirectory {
    context: BuildContext,
    backend: Backend<Option<Arc<Entry>>>,
    database: Arc<dyn Database>,
    statements: Arc<Statements>,
    costs: SeenCosts,
    /// The warning about rows that cannot be used.
    unusable: OnceAMinute,
    first_contact: FirstContact,
    _pruning: BackgroundTasks,
}

impl SqlDirectory {
    pub(super) fn new(
        context: &BuildContext,
        connecting: &Connecting,
        statements: Statements,
        unknown_user_cost: Option<Cost>,
    ) -> Self {
        let database = connecting.database(context);
        let statements = Arc::new(statements);
        let checked = Arc::clone(&database);
        let first_contact = FirstContact::start(context, &statements, move |statements| {
            let database = Arc::clone(&checked);
            async move {
                let report = statements.check(&database).await?;
                report.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                Ok(())
            }
        });
        let pruned = Arc::clone(&database);
        let prune = move || {
            pruned.prune();
        };
        let target = connecting.address.to_string();
        Self {
            context: context.clone(),
            backend: Backend::new(context, &target, connecting.transport.connections),
            database,
            statements,
            costs: SeenCosts::new(unknown_user_cost, context.services.dummy_key.clone()),
            unusable: OnceAMinute::default(),
            first_contact,
            _pruning: BackgroundTasks::every(context.services.background, PRUNE_INTERVAL, prune),
        }
    }

    /// The entry that `statement` returns for `parameter`.
    async fn find(
        &self,
        deadline: Instant,
        statement: Option<&Statement>,
        parameter: String,
        by: By,
    ) -> Lookup {
        let statement = statement.ok_or(Decline::NotMine)?.clone();
        let database = Arc::clone(&self.database);
        let key = [by.as_str().as_bytes(), parameter.as_bytes()].map(<[u8]>::to_vec);
        let generation = self.context.services.generation;
        let authenticator = Arc::clone(&self.context.name);
        let query = move |_deadline| async move {
            let rows = database.fetch(statement, parameter.clone()).await?;
            notes::add(&authenticator, || found(&rows));
            entry(rows, by, &parameter, generation)
        };
        let [kind, value] = &key;
        let found = self.backend.query_until(deadline, &[kind, value], query).await;
        self.backend.observe_idle(self.database.prune());
        let entry = found.inspect_err(|error| self.log_unusable(error))?;
        if let Some(entry) = &entry {
            self.learn(entry, by);
        }
        Ok(entry)
    }

    fn learn(&self, entry: &Entry, by: By) {
        match &entry.password {
            Some(password) => self.costs.note(password.cost()),
            None if by == By::Name => self.log_once_a_minute(|| {
                let user = entry.user.escape_debug();
                format!("the column `password` of `{user}` holds no supported hash: refused")
            }),
            None => {}
        }
    }

    fn log_unusable(&self, error: &QueryError) {
        if let QueryError::Rejected(rejection) = error {
            self.log_once_a_minute(|| rejection.detail.clone());
        }
    }

    fn log_once_a_minute(&self, message: impl FnOnce() -> String) {
        if self.unusable.is_due() {
            let authenticator = &*self.context.name;
            tracing::warn!(authenticator, backend = self.backend.target(), "{}", message());
        }
    }
}

/// What a row was looked up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Name,
    Token,
    Nkey,
}

impl By {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Token => "token",
            Self::Nkey => "nkey",
        }
    }
}

/// What was found, without values.
fn found(rows: &Rows) -> String {
    match rows.as_slice() {
        [] => "no row".to_owned(),
        [row] => {
            let names: Vec<_> =
                row.iter().map(|column| column.name.escape_debug().to_string()).collect();
            format!("one row with the columns {}", names.join(", "))
        }
        _ => "more than one row".to_owned(),
    }
}

fn entry(
    rows: Rows,
    by: By,
    parameter: &str,
    generation: u64,
) -> Result<Option<Arc<Entry>>, QueryError> {
    if rows.len() > 1 {
        let detail = format!("the database returned two rows for one {}", by.as_str());
        return Err(QueryError::rejected(Reason::UnknownUser, detail));
    }
    let Some(columns) = rows.into_iter().next() else { return Ok(None) };
    let is_name = by == By::Name;
    let row = UserRow::read(columns, is_name.then_some(parameter), is_name);
    let UserRow { mut outside, password, totp } = row.map_err(QueryError::unusable)?;
    let stored = password.as_deref().and_then(|text| StoredPassword::parse_hash(text).ok());
    let expires = outside.expires.take();
    let disabled = std::mem::take(&mut outside.disabled);
    let Identity { user, groups, claims, proposal, .. } =
        outside.identity(UnixTime::from_seconds(0))?;
    Ok(Some(Arc::new(Entry {
        user,
        groups,
        claims,
        password: stored.map(Arc::new),
        clear_text_digest: None,
        token: None,
        nkey: None,
        totp: totp.map(Arc::new),
        disabled,
        faulty: false,
        expires,
        proposal,
        fingerprint: 0,
        version: version(generation, password.as_deref().unwrap_or_default()),
    })))
}

/// Differs if the hash or the configuration does.
fn version(generation: u64, hash: &str) -> u64 {
    let digest = passwords::digest(&[&generation.to_le_bytes(), hash.as_bytes()]);
    digest.first_chunk().map_or(1, |bytes| u64::from_le_bytes(*bytes)).max(1)
}

impl Directory for SqlDirectory {
    fn precheck(&self, user: &str, password: &Secret) -> Result<(), Decline> {
        if self.statements.by_name.is_none() {
            return Err(Decline::NotMine);
        }
        precheck(user, password, Nul::Refused).map_err(Decline::Rejected)
    }

    async fn by_name(&self, name: &str, deadline: Instant) -> Lookup {
        self.find(deadline, self.statements.by_name.as_ref(), name.to_owned(), By::Name).await
    }

    async fn by_token(&self, token: &Secret, deadline: Instant) -> Lookup {
        let digest = digest(&SHA256, token.expose().as_bytes());
        let hex = HEXLOWER.encode(digest.as_ref());
        self.find(deadline, self.statements.by_token.as_ref(), hex, By::Token).await
    }

    async fn by_nkey(&self, key: &UserKey, deadline: Instant) -> Lookup {
        let key = key.as_str().to_owned();
        self.find(deadline, self.statements.by_nkey.as_ref(), key, By::Nkey).await
    }

    fn dummy_password(&self, name: &str) -> Arc<StoredPassword> {
        self.costs.dummy(name)
    }

    fn description(&self) -> &str {
        self.backend.target()
    }

    fn answered(&self, answer: &Result<Identity, Decline>) {
        self.backend.count(answer);
    }

    fn readiness(&self) -> Readiness {
        self.first_contact.readiness()
    }

    fn probe(&self, _probe: Probe) -> Option<BoxFuture<'_, Result<ProbeReport, BackendError>>> {
        Some(Box::pin(self.statements.check(&self.database)))
    }
}
