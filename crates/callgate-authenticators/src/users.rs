#![doc = include_str!("../../../docs/users.md")]

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use arc_swap::ArcSwap;
use callgate::{
    authn::{Authenticator, Decline, Identity, Rejection, SourceKey},
    clock::UnixTime,
    record::Reason,
    request::{AuthRequest, Credential},
    secret::Secret,
};
use futures_util::future::BoxFuture;

use crate::{
    kind::{BuildContext, Kind},
    passwords::{Attempt, Enrolment, Scratch, VerifiedKey},
};
use callgate_config::{
    Table,
    file_watch::{FileWatch, Fingerprint, INTERVAL},
};

mod entry;
mod reload;
mod table;
mod warnings;

use entry::Entry;
use table::UserTable;

/// The kind `users`: names, passwords, tokens and nkeys in a file of the operator.
#[derive(Debug, Clone, Copy, Default)]
pub struct Users;

impl Kind for Users {
    fn name(&self) -> &'static str {
        "users"
    }

    fn takes_passwords(&self) -> bool {
        true
    }

    fn refuses_unknown_users(&self, table: &serde_json::Value) -> bool {
        table.get("fall_through") != Some(&true.into())
    }

    fn build(&self, context: &BuildContext, table: Table<'_>) -> Option<Arc<dyn Authenticator>> {
        let settings = Settings::read(context, table)?;
        Some(Arc::new(UsersFile::start(context.clone(), settings)))
    }
}

/// The table `[authenticators.users]`, and what its file held.
struct Settings {
    path: PathBuf,
    shown_path: String,
    fall_through: bool,
    fingerprint: Fingerprint,
    users: UserTable,
}

impl Settings {
    fn read(context: &BuildContext, mut table: Table<'_>) -> Option<Self> {
        let shown_path = table.required_string("file");
        let fall_through = table.boolean("fall_through").unwrap_or(false);
        if fall_through && !context.chain.is_followed {
            table.fault(
                "fall_through",
                "no authenticator follows, so there is nothing to fall through to",
            );
        } else if fall_through && !context.chain.passwords_taken_later {
            table.warn(
                "fall_through",
                "no later authenticator takes passwords: an unknown user name is refused all the same",
            );
        }
        let (report, key) = (table.report(), table.path_of("file"));
        let good = table.finish();
        let shown_path = shown_path?;
        let path = context.services.sources.resolve(&shown_path);
        let fingerprint = Fingerprint::of(&path);
        let users = UserTable::load(&path, &shown_path, &key, context, report)?;
        good.then_some(Self { path, shown_path, fall_through, fingerprint, users })
    }
}

/// The authenticator `users`.
#[derive(Debug)]
struct UsersFile {
    inner: Arc<Inner>,
    watch: Mutex<Option<FileWatch>>,
}

/// What the watch shares with the authenticator.
struct Inner {
    context: BuildContext,
    path: PathBuf,
    shown_path: String,
    fall_through: bool,
    users: ArcSwap<UserTable>,
    costs: Enrolment,
}

impl UsersFile {
    fn start(context: BuildContext, settings: Settings) -> Self {
        let Settings { path, shown_path, fall_through, fingerprint, users } = settings;
        let costs = context.services.shared.password_costs().enrol();
        put_in_force(&context, &costs, &users);
        reload::tell_unrestricted(&context.name, &users);
        let (background, watched) = (context.services.background, path.clone());
        let users = ArcSwap::from_pointee(users);
        let inner = Arc::new(Inner { context, path, shown_path, fall_through, users, costs });
        let watch = background.then(|| {
            let inner = Arc::clone(&inner);
            FileWatch::start(watched, fingerprint, INTERVAL, move || inner.reload())
        });
        let watch = watch.transpose().unwrap_or_else(|error| {
            tracing::error!(%error, "cannot watch the users file: changes need a restart");
            None
        });
        Self { inner, watch: Mutex::new(watch) }
    }
}

impl Authenticator for UsersFile {
    fn authenticate<'a>(
        &'a self,
        request: &'a AuthRequest,
    ) -> BoxFuture<'a, Result<Identity, Decline>> {
        Box::pin(self.inner.authenticate(request))
    }

    fn retire(&self) {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Inner {
    async fn authenticate(&self, request: &AuthRequest) -> Result<Identity, Decline> {
        let users = self.users.load_full();
        let entry = match request.credential() {
            Credential::Password { user, password } => {
                self.verify(&users, request, user, password).await?
            }
            Credential::Token(token) => users.by_token(token).ok_or(Decline::NotMine)?,
            // That it signed the nonce is proven already.
            Credential::Nkey(key) => users.by_nkey(key).ok_or(Decline::NotMine)?,
            _ => return Err(Decline::NotMine),
        };
        Ok(entry.identity(request.received())?)
    }

    /// The entry of the user whose password was proven.
    async fn verify<'t>(
        &self,
        users: &'t UserTable,
        request: &AuthRequest,
        user: &str,
        password: &Secret,
    ) -> Result<&'t Entry, Decline> {
        let entry = users.by_name(user);
        let passed_on = entry.is_none() && self.fall_through;
        // Whoever takes passwords later lets the unknown pay there.
        if passed_on && self.context.chain.passwords_taken_later {
            return Err(Decline::NotMine);
        }
        let name = &self.context.name;
        let key = VerifiedKey::new(name, users.version(), user, password.expose());
        let proven = self.context.services.shared.verified_passwords().holds(&key, Instant::now())
            || self.compute(users, request, user, entry, password, key).await?;
        match entry {
            Some(entry) if proven => Ok(entry),
            Some(_) => Err(Decline::rejected(
                Reason::BadPassword,
                format!("the password of `{}` is another", user.escape_debug()),
            )),
            None if passed_on => Err(Decline::NotMine),
            None => Err(Decline::rejected(
                Reason::UnknownUser,
                format!("`{}` is not in {}", user.escape_debug(), self.shown_path),
            )),
        }
    }

    /// Pays for the hash, whether there is such a user or not.
    async fn compute(
        &self,
        users: &UserTable,
        request: &AuthRequest,
        user: &str,
        entry: Option<&Entry>,
        password: &Secret,
        key: VerifiedKey,
    ) -> Result<bool, Decline> {
        let (context, shared) = (&self.context, Arc::clone(&self.context.services.shared));
        let costs = shared.password_costs().all();
        let stored = users.stored_password(user, entry);
        let attempt = Attempt { stored, password: password.clone(), costs };
        if attempt.is_cheap() {
            return Ok(attempt.run(&mut Scratch::default()));
        }
        let source = SourceKey::of(request, user, &context.services.trusted_proxies);
        let deadline = request.deadline().min(tokio::time::Instant::now() + context.timeout);
        let duration = context.services.cache.passwords;
        let work = {
            let shared = Arc::clone(&shared);
            move |scratch: &mut Scratch| {
                let verified = shared.verified_passwords();
                // Of many logins at once with one password, the first may have done the work.
                if verified.holds(&key, Instant::now()) {
                    return Some(true);
                }
                let proven = attempt.run(scratch);
                if scratch.take_shortage() {
                    return None;
                }
                if proven {
                    verified.remember(key, Instant::now(), duration);
                }
                Some(proven)
            }
        };
        let proven = shared.password_pool().run(source, deadline, work).await?;
        proven.ok_or_else(|| Decline::Unavailable("no memory to hash the password with".into()))
    }
}

impl Entry {
    /// The identity, unless the entry is switched off or over. Asked on every login, remembered or
    /// not, and only after the credential was proven.
    fn identity(&self, now: UnixTime) -> Result<Identity, Rejection> {
        let rejected = |reason, what: &str| {
            let detail = format!("the entry of `{}` {what}", self.user.escape_debug());
            Err(Rejection { reason, detail })
        };
        if self.disabled {
            return rejected(Reason::UserDisabled, "is disabled");
        }
        match self.expires {
            Some(end) if end <= now => rejected(Reason::UserExpired, &format!("expired at {end}")),
            Some(_) | None => Ok(Identity {
                expires_at: self.expires,
                proposal: self.proposal.clone(),
                ..Identity::of_user(self.user.clone())
            }),
        }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Users")
            .field("name", &self.context.name)
            .field("file", &self.shown_path)
            .finish_non_exhaustive()
    }
}

/// Distinct sets of hash parameters.
type Costs = BTreeSet<crate::passwords::Cost>;

/// From now on every login lasts as long as the dearest of these hashes, too.
fn put_in_force(context: &BuildContext, place: &Enrolment, users: &UserTable) {
    place.set(users.costs().clone());
    if context.services.background {
        context.services.shared.measure_passwords();
    }
}

#[cfg(test)]
mod tests;
