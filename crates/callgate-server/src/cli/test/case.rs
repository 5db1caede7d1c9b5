//! Runs one test.

use std::{collections::BTreeSet, sync::Arc};

use callgate::{
    Callgate, ChainExplanation, Explained,
    authn::Identity,
    clock::UnixTime,
    policy::{Explanation, Grant},
    record::{Denial, Outcome},
    simulation::{ClientCredentials, RequestDraft},
};

use super::{
    access::{self, Held},
    coverage::Coverage,
    file::{Expectation, Login, Test, TestSubject},
};
use crate::{
    assemble::PublicKeys,
    cli::explain::{can::AccessQuery, report::trace_lines},
    rehearsal::{IdentitySpec, Rehearsal},
};

/// What tests run against.
pub(super) struct Bench {
    pub(super) rehearsal: Rehearsal,
    /// For logins.
    pub(super) gate: Callgate,
    pub(super) keys: PublicKeys,
}

/// The result of a test.
#[derive(Debug, Default)]
pub(super) struct Ran {
    pub(super) failures: Vec<Failure>,
    pub(super) warnings: Vec<String>,
    /// The lines of `explain` that decide, if the test failed.
    pub(super) because: Vec<String>,
}

/// One expectation that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) what: String,
    pub(super) expected: String,
    pub(super) actual: String,
}

impl Failure {
    fn new(what: &str, expected: impl Into<String>, actual: impl Into<String>) -> Self {
        Self { what: what.to_owned(), expected: expected.into(), actual: actual.into() }
    }
}

impl Bench {
    /// Runs a test.
    pub(super) async fn run(&self, test: &Test, coverage: Option<&mut Coverage>) -> Ran {
        let now = test.now.unwrap_or_else(UnixTime::now);
        match &test.subject {
            TestSubject::Identity { spec, found, .. } => {
                self.run_identity(test, spec, found.as_deref(), now, coverage)
            }
            TestSubject::Login(login) => self.run_login(test, login, now, coverage).await,
        }
    }

    fn run_identity(
        &self,
        test: &Test,
        spec: &IdentitySpec,
        found: Option<&Result<Identity, Denial>>,
        now: UnixTime,
        coverage: Option<&mut Coverage>,
    ) -> Ran {
        let name = &spec.authenticator;
        let identity = match found {
            Some(Ok(identity)) => identity,
            Some(Err(denial)) => {
                coverage.into_iter().for_each(|seen| seen.reached_entry(name, &spec.user));
                return test.judge(&Err(denial.clone()), now);
            }
            None => {
                let failure = Failure::new("identity", "an identity", "it was not looked up");
                return Ran { failures: vec![failure], ..Ran::default() };
            }
        };
        let Some(coverage) = coverage else {
            let result = self.rehearsal.resolve(name, identity, &test.connection, now);
            let ran = test.judge(&result, now);
            return match ran.failures.is_empty() {
                true => ran,
                false => self.with_reasons(ran, test, name, identity, now),
            };
        };
        let (result, steps) = self.rehearsal.explain(name, identity, &test.connection, now);
        coverage.reached_entry(name, &identity.user);
        coverage.reached(&steps.steps);
        let ran = test.judge(&result, now);
        match ran.failures.is_empty() {
            true => ran,
            false => ran.because(explained(name, identity.clone(), result, steps)),
        }
    }

    /// Decides again to learn how.
    fn with_reasons(
        &self,
        ran: Ran,
        test: &Test,
        name: &Arc<str>,
        identity: &Identity,
        now: UnixTime,
    ) -> Ran {
        let (result, steps) = self.rehearsal.explain(name, identity, &test.connection, now);
        ran.because(explained(name, identity.clone(), result, steps))
    }

    async fn run_login(
        &self,
        test: &Test,
        login: &Login,
        now: UnixTime,
        coverage: Option<&mut Coverage>,
    ) -> Ran {
        let explained = match self.log_in(test, login, now).await {
            Ok(explained) => explained,
            Err(error) => {
                return Ran {
                    failures: vec![Failure::new("login", "a request", error)],
                    ..Ran::default()
                };
            }
        };
        if let (Some(coverage), Some(steps)) = (coverage, &explained.steps) {
            if let (Some(identity), Some((name, _))) = (&steps.identity, steps.tried.last()) {
                coverage.reached_entry(name, &identity.user);
            }
            steps.policy.iter().for_each(|policy| coverage.reached(&policy.steps));
        }
        let ran = test.judge(&explained.result, now);
        match ran.failures.is_empty() {
            true => ran,
            false => ran.because(explained),
        }
    }

    async fn log_in(&self, test: &Test, login: &Login, now: UnixTime) -> Result<Explained, String> {
        let presented = match login {
            Login::Password { user, password } => ClientCredentials {
                user: Some(user.clone()),
                password: Some(password.clone()),
                ..ClientCredentials::default()
            },
            Login::Token(token) => {
                ClientCredentials { token: Some(token.clone()), ..ClientCredentials::default() }
            }
            Login::Nkey(seed) => {
                let pair = seed.pair().map_err(|error| format!("nkey_seed: {error}"))?;
                ClientCredentials { nkey: Some(pair), ..ClientCredentials::default() }
            }
            Login::Request(payload) => {
                let made = self.gate.request_time(payload, None);
                let made = made.map_err(|denial| denial.to_string())?;
                let explained = self.gate.explain(payload, None, made).await;
                return Ok(explained.unwrap_or_else(dropped));
            }
        };
        let client = &test.connection.client;
        let draft = RequestDraft {
            connection: client.connection,
            source: client.host.clone(),
            ..RequestDraft::new(presented)
        };
        let signed = draft.sign(&self.keys.subject, self.keys.xkeys.first(), now);
        let signed = signed.map_err(|error| error.to_string())?;
        let header = signed.xkey_header.as_deref();
        Ok(self.gate.explain(&signed.payload, header, now).await.unwrap_or_else(dropped))
    }
}

fn dropped(denial: Denial) -> Explained {
    Explained { request: None, steps: None, result: Err(denial) }
}

fn explained(
    authenticator: &Arc<str>,
    identity: Identity,
    result: Result<Grant, Denial>,
    steps: Explanation,
) -> Explained {
    let tried = vec![(Arc::clone(authenticator), "not asked: the identity is given".to_owned())];
    let steps = ChainExplanation { tried, identity: Some(identity), policy: Some(steps) };
    Explained { request: None, steps: Some(steps), result }
}

impl Ran {
    fn because(self, explained: Explained) -> Self {
        // What enforces a grant does not decide about it.
        let decides = |line: &String| !line.starts_with("enforced") && !line.starts_with("limits");
        let because = trace_lines(explained).into_iter().filter(decides).collect();
        Self { because, ..self }
    }
}

impl Test {
    /// Compares a decision with what the test expects.
    fn judge(&self, result: &Result<Grant, Denial>, now: UnixTime) -> Ran {
        let mut ran = Ran::default();
        let actual = match result {
            Ok(_) => Outcome::Admitted,
            Err(denial) => denial.reason.outcome(),
        };
        let Expectation { outcome, reason, .. } = &self.expect;
        let actual_reason = result.as_ref().err().map(|denial| denial.reason);
        let reason_differs = reason.is_some_and(|wanted| match actual_reason {
            Some(found) => found != wanted,
            None => wanted.outcome() != Outcome::Admitted,
        });
        if actual != *outcome || reason_differs {
            let wanted = reason.map_or(outcome.as_str(), |reason| reason.as_str());
            let found = match result {
                Ok(grant) => format!("admitted to `{}`", grant.account()),
                Err(denial) => denial.to_string(),
            };
            ran.failures.push(Failure::new("decision", wanted, found));
        }
        match result {
            Ok(grant) => self.judge_grant(grant, now, &mut ran),
            Err(denial) => {
                // A refused client may do nothing: every `may_not` holds.
                let refused = self.may.iter().map(|query| {
                    Failure::new(
                        &format!("may {query}"),
                        "allowed",
                        format!("refused: {}", denial.reason),
                    )
                });
                ran.failures.extend(refused);
            }
        }
        ran
    }

    fn judge_grant(&self, grant: &Grant, now: UnixTime, ran: &mut Ran) {
        let Expectation { account, roles, ends_within, outcome: _, reason: _ } = &self.expect;
        if let Some(account) = account
            && account != grant.account()
        {
            ran.failures.push(Failure::new("account", account, grant.account()));
        }
        if let Some(roles) = roles {
            let found = grant.roles();
            let is_same = roles.iter().all(|role| found.contains(role))
                && found.iter().all(|role| roles.contains(role));
            if !is_same {
                ran.failures.push(Failure::new("roles", listed(roles), listed(found)));
            }
        }
        if let Some(limit) = ends_within {
            let allowed = now.plus(*limit);
            if grant.expires_at().is_none_or(|end| end > allowed) {
                let found = grant.expires_at().map_or("never".to_owned(), |end| end.to_string());
                ran.failures.push(Failure::new("ends_within", format!("by {allowed}"), found));
            }
        }
        for query in &self.may {
            let held = access::may(grant.access(), query);
            ran.take(held, "may", query, "allowed");
        }
        for query in &self.may_not {
            let held = access::may_not(grant.access(), query);
            ran.take(held, "may_not", query, "not allowed");
        }
    }
}

impl Ran {
    /// Adds the result of a check.
    fn take(&mut self, held: Result<Held, String>, key: &str, query: &AccessQuery, expected: &str) {
        match held {
            Ok(Held { warning: None }) => {}
            Ok(Held { warning: Some(text) }) => {
                self.warnings.push(format!("{key} {query}: {text}"));
            }
            Err(why) => {
                self.failures.push(Failure::new(&format!("{key} {query}"), expected, why));
            }
        }
    }
}

/// Each role once, sorted.
fn listed(roles: &[String]) -> String {
    let roles: BTreeSet<&str> = roles.iter().map(String::as_str).collect();
    match roles.is_empty() {
        true => "none".to_owned(),
        false => roles.into_iter().collect::<Vec<_>>().join(", "),
    }
}
