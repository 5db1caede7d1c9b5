//! What receives every decision.

use std::{path::Path, sync::Arc};

use callgate_authenticators::kind::{
    BackendConnections, BackendResult, Observer, SecondFactorResult,
};

use crate::{
    audit::{Audit, Event, LoadResult, UsersLoad},
    expected::Expected,
    telemetry::{DecisionLog, Metrics},
};

/// Log, metrics and audit of decisions.
#[derive(Debug, Default)]
pub(crate) struct Observers {
    pub(crate) log: DecisionLog,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) audit: Audit,
    pub(crate) expected: Expected,
}

/// Counts background events of authenticators, and records the loads of users files.
impl Observer for Observers {
    fn file_reloaded(&self, authenticator: &str, loaded: bool) {
        self.metrics.reloaded(authenticator, loaded);
        self.audit.event(|| {
            let result = if loaded { LoadResult::Loaded } else { LoadResult::Rejected };
            Event::Users(UsersLoad { authenticator: authenticator.to_owned(), result })
        });
    }

    fn file_in_sync(&self, file: &Path, in_sync: bool) {
        self.metrics.file_in_sync(file, in_sync);
    }

    fn has_signing_keys(&self, authenticator: &str) {
        self.metrics.register_key_source(authenticator);
    }

    fn keys_refreshed(&self, authenticator: &str, fetched: bool) {
        self.metrics.jwks_refreshed(authenticator, fetched);
    }

    fn service_accounts(
        &self,
        authenticator: &str,
        known: usize,
        lost_for: Option<std::time::Duration>,
    ) {
        self.metrics.service_accounts_known(authenticator, known, lost_for);
    }

    fn directory_entries(&self, authenticator: &str, loaded: usize, faulty: usize) {
        self.metrics.set_directory_entries(authenticator, loaded, faulty);
    }

    fn annotations_malformed(&self, authenticator: &str, subjects: usize) {
        self.metrics.ceiling_dropped(authenticator, subjects);
    }

    fn revocation_lists_expire(&self, authenticator: &str, seconds: i64) {
        self.metrics.crl_expires(authenticator, seconds);
    }

    fn signature_counted(&self, authenticator: &str, remembered: bool) {
        self.metrics.token_signature(authenticator, remembered);
    }

    fn has_backend(&self, authenticator: &str) {
        self.metrics.register_backend(authenticator);
    }

    fn backend_answered(&self, authenticator: &str, result: BackendResult) {
        self.metrics.count_backend_answer(authenticator, result);
    }

    fn password_hashed(&self, authenticator: &str) {
        self.metrics.count_password_hash(authenticator);
    }

    fn second_factor(&self, authenticator: &str, result: SecondFactorResult) {
        self.metrics.count_second_factor(authenticator, result);
    }

    fn backend_up(&self, authenticator: &str, up: bool) {
        self.metrics.set_backend_up(authenticator, up);
    }

    fn backend_connections(&self, authenticator: &str, state: BackendConnections, count: usize) {
        self.metrics.set_backend_connections(authenticator, state, count);
    }
}
