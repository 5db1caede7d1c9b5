//! The suite of promises that every authenticator keeps (see [`Authenticator`]).
//!
//! Each function checks the promise that it is named after. Fill a [`Candidate`] and call
//! [`Candidate::check_all`].

use std::{future::poll_fn, sync::Arc, task::Poll};

use callgate::{
    authn::{Authenticator, Decline, Identity},
    record::Reason,
    request::{AuthRequest, Certificate, Credential},
};
use futures_util::future::join_all;

/// Number of concurrent requests.
const MANY: usize = 64;

/// The longest time for any answer in these tests.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// An authenticator, and the expected outcome of credentials.
#[derive(Debug)]
pub struct Candidate {
    /// The authenticator, with its source available.
    pub authenticator: Arc<dyn Authenticator>,
    /// Valid logins, and the identity that each proves.
    pub good: Vec<(Login, &'static str)>,
    /// Invalid logins of its own kind and issuer, and the expected reason.
    pub bad: Vec<(Login, Reason)>,
    /// Logins of other kinds, and of its kind by other issuers.
    pub foreign: Vec<Login>,
    /// The same authenticator without its source or past its deadline, and a credential for it.
    pub cut_off: Vec<(Arc<dyn Authenticator>, AuthRequest)>,
    /// Texts that must never appear in output.
    pub secrets: Vec<String>,
}

/// A credential, and the certificate that the server verified for the connection.
#[derive(Debug, Clone)]
pub struct Login {
    credential: Credential,
    certificate: Option<Certificate>,
}

impl Login {
    /// Without another credential.
    pub fn with_certificate(verified_chain: Vec<String>) -> Self {
        let certificate = Certificate {
            verified_chains: vec![verified_chain],
            tls_version: "1.3".to_owned(),
            cipher: "TLS_AES_128_GCM_SHA256".to_owned(),
        };
        Self { credential: Credential::Certificate, certificate: Some(certificate) }
    }

    /// A request with this login.
    pub fn request(&self) -> AuthRequest {
        let request = AuthRequest::for_tests(self.credential.clone());
        match &self.certificate {
            None => request,
            Some(certificate) => request.with_certificate(certificate.clone()),
        }
    }
}

impl From<Credential> for Login {
    fn from(credential: Credential) -> Self {
        Self { credential, certificate: None }
    }
}

/// Logins with only a credential, each with its expected outcome.
pub fn logins<T, const COUNT: usize>(credentials: [(Credential, T); COUNT]) -> Vec<(Login, T)> {
    credentials.into_iter().map(|(credential, outcome)| (credential.into(), outcome)).collect()
}

/// Logins with only a credential.
pub fn foreign<const COUNT: usize>(credentials: [Credential; COUNT]) -> Vec<Login> {
    credentials.into_iter().map(Login::from).collect()
}

impl Candidate {
    /// Checks every promise.
    pub async fn check_all(&self) {
        self.check_that_the_candidate_is_complete();
        admits_a_proven_credential(self).await;
        answers_not_mine_to_credentials_of_other_kinds(self).await;
        rejects_a_wrong_credential(self).await;
        is_unavailable_when_its_source_is_not_there(self).await;
        never_shows_a_secret(self).await;
        survives_being_dropped_and_asked_again(self).await;
    }

    fn check_that_the_candidate_is_complete(&self) {
        let Self { authenticator: _, good, bad, foreign, cut_off, secrets } = self;
        assert!(!good.is_empty(), "nothing is good");
        assert!(!bad.is_empty(), "nothing is bad");
        assert!(!foreign.is_empty(), "nothing is foreign");
        assert!(!cut_off.is_empty(), "it is never cut off");
        assert!(!secrets.is_empty(), "nothing is secret");
    }

    async fn ask(&self, login: &Login) -> Result<Identity, Decline> {
        let far_off = tokio::time::Instant::now() + PATIENCE;
        let request = login.request().due_at(far_off);
        self.authenticator.authenticate(&request).await
    }
}

/// The JWT with a signature that differs from its own in one character.
pub fn forged(token: &str) -> String {
    let (head, signature) = token.rsplit_once('.').expect("a JWT");
    // Depends on the character: a fixed replacement would sometimes be the original.
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{head}.{other}{}", &signature[1..])
}

/// A valid credential gives the identity that it proves, every time.
pub async fn admits_a_proven_credential(candidate: &Candidate) {
    for (login, user) in &candidate.good {
        for _ in 0..2 {
            let answer = candidate.ask(login).await;
            let identity = answer.unwrap_or_else(|no| panic!("{login:?}: {no:?}"));
            assert_eq!(identity.user, *user, "{login:?}");
        }
    }
}

/// A credential of another kind or issuer is left to other authenticators.
pub async fn answers_not_mine_to_credentials_of_other_kinds(candidate: &Candidate) {
    for login in &candidate.foreign {
        let answer = candidate.ask(login).await;
        assert!(matches!(answer, Err(Decline::NotMine)), "{login:?}: {answer:?}");
    }
}

/// An invalid credential of its kind is rejected, with the expected reason.
pub async fn rejects_a_wrong_credential(candidate: &Candidate) {
    for (login, reason) in &candidate.bad {
        match candidate.ask(login).await {
            Err(Decline::Rejected(rejection)) => {
                assert_eq!(rejection.reason, *reason, "{login:?}: {}", rejection.detail);
                assert!(!rejection.detail.is_empty(), "{login:?} is rejected without a word");
            }
            other => panic!("{login:?} is not rejected: {other:?}"),
        }
    }
}

/// Without an answer in time the outcome is "unavailable": "not mine" would fall through to a weaker
/// authenticator.
pub async fn is_unavailable_when_its_source_is_not_there(candidate: &Candidate) {
    for (authenticator, request) in &candidate.cut_off {
        let answer = authenticator.authenticate(request).await;
        assert!(matches!(answer, Err(Decline::Unavailable(_))), "{request:?}: {answer:?}");
    }
}

/// Errors and `Debug` output contain no secret.
pub async fn never_shows_a_secret(candidate: &Candidate) {
    let mut shown = format!("{:?}", candidate.authenticator);
    let bad = candidate.bad.iter().map(|(login, _)| login);
    let good = candidate.good.iter().map(|(login, _)| login);
    for login in good.chain(bad).chain(&candidate.foreign) {
        shown += &format!("{:?}", candidate.ask(login).await);
    }
    for (authenticator, request) in &candidate.cut_off {
        let answer = authenticator.authenticate(request).await;
        shown += &format!("{authenticator:?} {answer:?}");
        if let Err(Decline::Unavailable(error)) = answer {
            shown += &error.to_string();
        }
    }
    for secret in &candidate.secrets {
        assert!(!shown.contains(secret.as_str()), "`{secret}` is shown");
    }
}

/// Concurrent requests work, and a request that is dropped halfway leaves nothing behind.
pub async fn survives_being_dropped_and_asked_again(candidate: &Candidate) {
    let (login, user) = candidate.good.first().expect("something good");
    for polls in 1..=3 {
        let mut question = Box::pin(candidate.ask(login));
        for _ in 0..polls {
            // Polled once and dropped, as the chain does at the deadline.
            let ready = poll_fn(|context| Poll::Ready(question.as_mut().poll(context).is_ready()));
            if ready.await {
                break;
            }
        }
    }
    let answers = join_all((0..MANY).map(|_| candidate.ask(login))).await;
    for answer in answers {
        assert_eq!(answer.expect("admitted again").user, *user);
    }
}
