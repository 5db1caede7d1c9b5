//! A login: find the entry, bind as it, find its groups.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use callgate::{
    authn::{Identity, Rejection},
    clock::UnixTime,
    record::Reason,
    sanitize::excerpt,
    secret::Secret,
};
use tokio::time::{Instant, sleep};

use super::{
    config::{LoginBind, Settings},
    entry::{UserEntry, attributes},
    outcome::{INVALID_CREDENTIALS, check_bind},
};
use crate::{
    backend::{OnceAMinute, QueryError, notes},
    ldap_client::{BindTemplate, Lease, Pool, Purpose, Searcher, Values},
    network::AnswerCache,
};

/// How many bind times the delay of unknown users follows.
const BIND_TIMES: usize = 15;

/// Logs users in.
pub(super) struct Client {
    pub(super) authenticator: Arc<str>,
    pub(super) settings: Settings,
    pub(super) pool: Arc<Pool>,
    /// Passwords that the directory refused with code 49.
    pub(super) refused: AnswerCache<LoginKey, Rejection>,
    /// The last ones.
    bind_times: Mutex<VecDeque<Duration>>,
    /// The warning that a name is ambiguous.
    ambiguity: OnceAMinute,
}

/// A keyed digest of authenticator, user and password.
pub(super) type LoginKey = [u8; 32];

/// One login.
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: Secret,
    pub(super) key: LoginKey,
    pub(super) received: UnixTime,
    pub(super) deadline: Instant,
    /// Unknown users need not take as long as others: a later authenticator sees to that.
    pub(super) may_hurry: bool,
}

/// What a search for a user found.
enum Found {
    One(Box<UserEntry>),
    None,
    Several,
}

impl Client {
    pub(super) fn new(
        authenticator: Arc<str>,
        settings: Settings,
        pool: Arc<Pool>,
        capacity: usize,
    ) -> Self {
        Self {
            authenticator,
            settings,
            pool,
            refused: AnswerCache::new(capacity),
            bind_times: Mutex::default(),
            ambiguity: OnceAMinute::default(),
        }
    }

    /// Verifies the password and returns the identity of the user.
    pub(super) async fn log_in(&self, login: Login) -> Result<Identity, QueryError> {
        match &self.settings.login {
            LoginBind::Search(_) => self.search_and_bind(&login).await,
            LoginBind::Direct(template) => self.bind_directly(template, &login).await,
        }
    }

    async fn search_and_bind(&self, login: &Login) -> Result<Identity, QueryError> {
        let mut lease = self.lease(Purpose::Search).await?;
        let mut searcher = Searcher::new(lease.connection(), login.deadline);
        let found = self.find(&login.user, &mut searcher).await?;
        lease.keep();
        let user = match found {
            Found::One(user) => user,
            Found::None => return self.unknown(login).await,
            Found::Several => return self.several(login).await,
        };
        let mut lease = self.lease(Purpose::Bind).await?;
        self.bind(&mut lease, &user.entry.dn, login).await?;
        lease.keep();
        if !self.settings.groups.need_searches() {
            return self.identity(&user, None, login.received).await;
        }
        let mut lease = self.lease(Purpose::Search).await?;
        let searcher = Searcher::new(lease.connection(), login.deadline);
        let identity = self.identity(&user, Some(searcher), login.received).await?;
        lease.keep();
        Ok(identity)
    }

    /// Searches run with the rights of the user, on a connection that no other login uses.
    async fn bind_directly(
        &self,
        template: &BindTemplate,
        login: &Login,
    ) -> Result<Identity, QueryError> {
        // A name that cannot be part of a principal name belongs to no user.
        let name = template.fill(&login.user).ok_or_else(|| self.not_found(login))?;
        let mut lease = self.lease(Purpose::Single).await?;
        self.bind(&mut lease, &name, login).await?;
        let mut searcher = Searcher::new(lease.connection(), login.deadline);
        let user = match self.find(&login.user, &mut searcher).await? {
            Found::One(user) => user,
            // The password was correct, so no other authenticator may see it.
            Found::None => return Err(no_entry(&login.user)),
            Found::Several => return self.several(login).await,
        };
        let is_other =
            matches!(template, BindTemplate::Dn(_)) && name.parse() != Ok(user.dn.clone());
        if is_other {
            let why = "`filter` finds another entry than the one that `bind_as` names";
            return Err(QueryError::unusable(why));
        }
        let searcher = self.settings.groups.need_searches().then_some(searcher);
        let identity = self.identity(&user, searcher, login.received).await?;
        lease.keep();
        Ok(identity)
    }

    async fn lease(&self, purpose: Purpose) -> Result<Lease, QueryError> {
        self.pool.lease(purpose).await.map_err(QueryError::unreachable)
    }

    async fn find(&self, user: &str, searcher: &mut Searcher<'_>) -> Result<Found, QueryError> {
        let settings = &self.settings;
        let filter = settings.filter.fill(Values { user, dn: "" });
        let filter = filter.ok_or_else(|| QueryError::unusable("`filter` cannot be built"))?;
        let (mut entries, is_complete) = searcher
            .first(&settings.base.text, settings.scope, filter, &attributes(settings), 2)
            .await?;
        let references = searcher.references();
        match entries.pop() {
            None => Ok(Found::None),
            Some(_) if !entries.is_empty() || !is_complete => Ok(Found::Several),
            Some(entry) => {
                notes::add(&self.authenticator, || {
                    let dn = excerpt(&entry.dn);
                    match references {
                        0 => format!("found the entry `{dn}`"),
                        _ => format!("found the entry `{dn}`; referrals ignored: {references}"),
                    }
                });
                Ok(Found::One(Box::new(UserEntry::check(entry, settings)?)))
            }
        }
    }

    async fn bind(&self, lease: &mut Lease, name: &str, login: &Login) -> Result<(), QueryError> {
        let started = Instant::now();
        let result = lease.connection().bind(name, &login.password).await?;
        self.remember_bind_time(started.elapsed());
        let checked = check_bind(&result, &excerpt(&login.user));
        if let (INVALID_CREDENTIALS, Err(QueryError::Rejected(rejection))) = (result.code, &checked)
        {
            let expires = Instant::now() + self.settings.remember_rejected;
            self.refused.insert(login.key, rejection.clone(), expires);
        }
        checked
    }

    async fn identity(
        &self,
        user: &UserEntry,
        searcher: Option<Searcher<'_>>,
        now: UnixTime,
    ) -> Result<Identity, QueryError> {
        let mut outside = user.outside(&self.settings)?;
        let mut searcher = searcher;
        let groups = self.settings.groups.of(user, searcher.as_mut()).await?;
        notes::add(&self.authenticator, || {
            let count = groups.names.len();
            let ignored = groups.ignored;
            format!("groups: {count} count, {ignored} ignored because of `groups.base`")
        });
        outside.groups = groups.names;
        outside.identity(now)
    }

    /// Refuses a name that the directory does not know, no earlier than a wrong password.
    async fn unknown(&self, login: &Login) -> Result<Identity, QueryError> {
        if !(self.settings.fall_through && login.may_hurry) {
            sleep(self.median_bind_time()).await;
        }
        Err(self.not_found(login))
    }

    fn not_found(&self, login: &Login) -> QueryError {
        match self.settings.fall_through {
            true => QueryError::NotMine,
            false => no_entry(&login.user),
        }
    }

    /// Refuses a name that matches several entries: any of them could be another person's.
    async fn several(&self, login: &Login) -> Result<Identity, QueryError> {
        let user = excerpt(&login.user);
        if self.ambiguity.is_due() {
            tracing::warn!(
                authenticator = &*self.authenticator,
                user,
                "several entries match one user name: the login is refused"
            );
        }
        sleep(self.median_bind_time()).await;
        let detail = format!("the directory has several entries for `{user}`: change `filter`");
        Err(QueryError::rejected(Reason::UnknownUser, detail))
    }

    fn remember_bind_time(&self, time: Duration) {
        let mut times = self.bind_times.lock().unwrap_or_else(PoisonError::into_inner);
        times.push_back(time);
        if times.len() > BIND_TIMES {
            times.pop_front();
        }
    }

    fn median_bind_time(&self) -> Duration {
        let times = self.bind_times.lock().unwrap_or_else(PoisonError::into_inner);
        let mut times: Vec<_> = times.iter().copied().collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_default()
    }
}

fn no_entry(user: &str) -> QueryError {
    let detail = format!("the directory has no entry for `{}`", excerpt(user));
    QueryError::rejected(Reason::UnknownUser, detail)
}
