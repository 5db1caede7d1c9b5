use std::{future, time::Duration};

use callgate::{
    authn::Authenticator,
    request::{AuthRequest, Credential},
};
use callgate_config::Sources;

use super::*;
use crate::{
    kind::{BuildContext, SharedResources},
    passwords::{DummyKey, DummyPasswords},
};

/// A directory whose source cannot be reached.
struct Unreachable;

impl Directory for Unreachable {
    fn by_name(&self, _: &str, _: Instant) -> impl Future<Output = Lookup> + Send {
        future::ready(Err(Decline::Unavailable("connection refused".into())))
    }

    fn by_token(&self, _: &Secret, _: Instant) -> impl Future<Output = Lookup> + Send {
        future::ready(Err(Decline::Unavailable("connection refused".into())))
    }

    fn by_nkey(&self, _: &UserKey, _: Instant) -> impl Future<Output = Lookup> + Send {
        future::ready(Err(Decline::Unavailable("connection refused".into())))
    }

    fn dummy_password(&self, name: &str) -> Arc<StoredPassword> {
        Arc::clone(DummyPasswords::new([None], DummyKey::random()).for_name(name))
    }

    fn description(&self) -> &str {
        "a test"
    }
}

#[tokio::test]
async fn unreachable_directory_never_falls_through() {
    let mut context =
        BuildContext::new("staff", Sources::new("."), Arc::new(SharedResources::new(1)));
    context.chain.is_followed = true;
    context.chain.passwords_taken_later = true;
    let authenticator = DirectoryAuthenticator::new(Unreachable, context, true);
    let nkey = callgate::keys::KeyPair::generate(callgate::keys::KeyKind::User).unwrap();
    for credential in [
        Credential::Password { user: "alice".to_owned(), password: "x".into() },
        Credential::Token("t".into()),
        Credential::Nkey(nkey.public_key().parse().unwrap()),
    ] {
        let request = AuthRequest::for_tests(credential)
            .due_at(tokio::time::Instant::now() + Duration::from_secs(60));
        let answer = authenticator.authenticate(&request).await;
        assert!(matches!(answer, Err(Decline::Unavailable(_))), "{answer:?}");
    }
}
