//! Authenticates users of a directory.

use std::{fmt, sync::Arc, time::Instant};

use callgate::{
    authn::{
        Authenticator, BackendError, Decline, GoneCause, Identity, IdentityLookup, Probe,
        ProbeReport, Readiness, Reassessment, SourceKey, Standing,
    },
    clock::UnixTime,
    record::Reason,
    request::{AuthRequest, Credential},
    secret::Secret,
};
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::{
    Directory, Entry, Remembered,
    credentials::{CredentialKind, CredentialStanding},
};
use crate::{
    kind::BuildContext,
    passwords::{Scratch, StoredPassword, VerifiedKey},
    second_factor::SecondFactor,
};

/// The authenticator for the users of a directory.
pub(crate) struct DirectoryAuthenticator<D> {
    pub(crate) directory: D,
    context: BuildContext,
    second_factor: SecondFactor,
    fall_through: bool,
}

impl<D: Directory> DirectoryAuthenticator<D> {
    /// With `fall_through`, unknown user names are left to the next authenticator.
    pub(crate) fn new(directory: D, context: BuildContext, fall_through: bool) -> Self {
        let second_factor = SecondFactor::new(&context);
        Self { directory, context, second_factor, fall_through }
    }

    async fn identify(&self, request: &AuthRequest) -> Result<Identity, Decline> {
        let (entry, kind) = match request.credential() {
            Credential::Password { user, password } => {
                (self.verify(request, user, password).await?, CredentialKind::Password)
            }
            Credential::Token(token) => {
                let entry = self.directory.by_token(token, request.deadline()).await?;
                (entry.ok_or(Decline::NotMine)?, CredentialKind::Token)
            }
            // The library has verified the signature of the nonce.
            Credential::Nkey(key) => {
                let entry = self.directory.by_nkey(key, request.deadline()).await?;
                (entry.ok_or(Decline::NotMine)?, CredentialKind::Nkey)
            }
            _ => return Err(Decline::NotMine),
        };
        let identity = entry.identity(request.received())?;
        let credential_id = entry.credential_id(kind, &self.context.services.dummy_key);
        Ok(Identity { credential_id, ..identity })
    }

    /// The entry of the user, whose password and second factor proved correct. `sent` contains both.
    async fn verify(
        &self,
        request: &AuthRequest,
        user: &str,
        sent: &Secret,
    ) -> Result<Arc<Entry>, Decline> {
        let (entry, rejection) = match self.directory.by_name(user, request.deadline()).await {
            Ok(entry) => (entry, None),
            // Decided, but only after a hash: its absence would tell this name from others.
            Err(Decline::Rejected(rejection)) => (None, Some(rejection)),
            Err(other) => return Err(other),
        };
        let passed_on = entry.is_none() && rejection.is_none() && self.fall_through;
        // The later authenticator makes unknown users cost a hash.
        if passed_on && self.context.chain.passwords_taken_later {
            return Err(Decline::NotMine);
        }
        // Known users select a dummy, too: otherwise the selection would tell them apart.
        let dummy = self.directory.dummy_password(user);
        let own = entry.as_ref().and_then(|entry| entry.password.clone());
        let totp = entry.as_ref().and_then(|entry| entry.totp.as_deref());
        let divided = totp.and_then(|totp| self.second_factor.split(totp, sent.expose()));
        let password = divided.map_or_else(|| sent.clone(), |(password, _)| password.into());
        let version = entry.as_ref().map_or(0, |entry| entry.version);
        let check = Check {
            is_dummy: own.is_none(),
            stored: own.unwrap_or(dummy),
            key: VerifiedKey::new(&self.context.name, version, user, password.expose()),
            password,
        };
        let verified = self.context.services.shared.verified_passwords();
        let correct = verified.holds(&check.key, Instant::now())
            || self.compute(request, user, check).await?;
        if let Some(rejection) = rejection {
            return Err(rejection.into());
        }
        match entry {
            // An entry with errors is refused whatever the password.
            Some(entry) if entry.faulty => Ok(entry),
            Some(entry) if correct => {
                let totp = entry.totp.as_deref();
                let code = divided.map(|(_, code)| code);
                self.second_factor.verify(request, &entry.user, totp, code, sent).await?;
                Ok(entry)
            }
            Some(_) => Err(Decline::rejected(
                Reason::BadPassword,
                format!("wrong password for `{}`", user.escape_debug()),
            )),
            None if passed_on => Err(Decline::NotMine),
            None => Err(self.unknown(user)),
        }
    }

    /// What the entry says now about an identity that it had before.
    fn stands(&self, entry: &Entry, identity: &Identity, now: UnixTime) -> Standing {
        // An invalid entry refuses logins, but an error in a file or a bucket ends no session.
        if entry.faulty {
            return Standing::Unknown;
        }
        if entry.disabled {
            return Standing::Gone(GoneCause::UserDisabled);
        }
        let key = &self.context.services.dummy_key;
        match entry.compare_credential(identity.credential_id.as_deref(), key) {
            CredentialStanding::Changed => return Standing::Gone(GoneCause::CredentialChanged),
            CredentialStanding::Same | CredentialStanding::Unknown => {}
        }
        match entry.identity(now) {
            Ok(current) => Standing::Current(Box::new(Identity {
                credential_id: identity.credential_id.clone(),
                issued_at: identity.issued_at,
                ..current
            })),
            Err(_) => Standing::Gone(GoneCause::UserExpired),
        }
    }

    fn unknown(&self, user: &str) -> Decline {
        let directory = self.directory.description();
        let detail = format!("`{}` is not in {directory}", user.escape_debug());
        Decline::rejected(Reason::UnknownUser, detail)
    }

    /// Hashes in the pool; clear text is compared right here.
    async fn compute(
        &self,
        request: &AuthRequest,
        user: &str,
        check: Check,
    ) -> Result<bool, Decline> {
        if check.stored.cost().is_none() {
            return Ok(check.run(&mut Scratch::default()));
        }
        let services = &self.context.services;
        let source = SourceKey::of(request, user, &services.trusted_proxies);
        let deadline = request.deadline().min(tokio::time::Instant::now() + self.context.timeout);
        let remember_for = services.cache.passwords;
        let shared = Arc::clone(&services.shared);
        let of = source.clone();
        let observer = Arc::clone(&services.observer);
        let name = Arc::clone(&self.context.name);
        let work = move |scratch: &mut Scratch| {
            let verified = shared.verified_passwords();
            // Of many simultaneous logins with one password, the first may have done the work.
            if verified.holds(&check.key, Instant::now()) {
                return Some(true);
            }
            let correct = check.run(scratch);
            observer.password_hashed(&name);
            if scratch.take_shortage() {
                return None;
            }
            shared.password_pool().record(&of, correct);
            if correct {
                verified.remember(check.key, Instant::now(), remember_for);
            }
            Some(correct)
        };
        let correct = services.shared.password_pool().run(source, deadline, work).await?;
        correct.ok_or_else(|| Decline::Unavailable("not enough memory to hash the password".into()))
    }
}

/// One password to verify.
struct Check {
    /// Nothing is correct for a dummy.
    is_dummy: bool,
    stored: Arc<StoredPassword>,
    password: Secret,
    key: VerifiedKey,
}

impl Check {
    fn run(&self, scratch: &mut Scratch) -> bool {
        self.stored.verify(&self.password, scratch) && !self.is_dummy
    }
}

impl<D: Directory> Authenticator for DirectoryAuthenticator<D> {
    fn authenticate<'a>(
        &'a self,
        request: &'a AuthRequest,
    ) -> BoxFuture<'a, Result<Identity, Decline>> {
        Box::pin(async move {
            if let Credential::Password { user, password } = request.credential() {
                self.directory.precheck(user, password)?;
            }
            let answer = self.identify(request).await;
            self.directory.answered(&answer);
            answer
        })
    }

    fn readiness(&self) -> Readiness {
        self.directory.readiness()
    }

    fn probe(&self, probe: Probe) -> Option<BoxFuture<'_, Result<ProbeReport, BackendError>>> {
        self.directory.probe(probe)
    }

    fn lookup(&self) -> Option<&dyn IdentityLookup> {
        Some(self)
    }

    fn reassess(&self, identity: &Identity, how: &Reassessment) -> Standing {
        match self.directory.remembered(&identity.user) {
            Remembered::Entry(entry) => self.stands(&entry, identity, how.now),
            Remembered::Missing => Standing::Gone(GoneCause::UserRemoved),
            // No backend is queried: what was proved stands.
            Remembered::Unknown => Standing::Current(Box::new(identity.clone())),
        }
    }

    fn changes(&self) -> Vec<watch::Receiver<u64>> {
        self.directory.changes().into_iter().collect()
    }

    fn retire(&self) {
        self.directory.retire();
    }
}

impl<D: Directory> IdentityLookup for DirectoryAuthenticator<D> {
    fn find<'a>(
        &'a self,
        user: &'a str,
        now: UnixTime,
    ) -> BoxFuture<'a, Option<Result<Identity, Decline>>> {
        Box::pin(async move {
            let deadline = tokio::time::Instant::now() + self.context.timeout;
            Some(match self.directory.by_name(user, deadline).await {
                Ok(Some(entry)) => entry.identity(now).map_err(Decline::from),
                Ok(None) => Err(self.unknown(user)),
                Err(error) => Err(error),
            })
        })
    }

    fn for_each(&self, now: UnixTime, visit: &mut dyn FnMut(Identity)) -> Option<()> {
        self.directory.for_each(&mut |entry| entry.identity(now).into_iter().for_each(&mut *visit))
    }
}

impl<D: Directory> fmt::Debug for DirectoryAuthenticator<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectoryAuthenticator")
            .field("name", &self.context.name)
            .field("source", &self.directory.description())
            .finish_non_exhaustive()
    }
}
