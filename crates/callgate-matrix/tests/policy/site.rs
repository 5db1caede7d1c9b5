//! A real server with a callout in this process.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_nats::{Client, ConnectOptions};
use callgate::{
    Callgate, CallgateBuilder, Refusal, User,
    authn::{Authenticator, Chain, Decline, Identity, Link},
    keys::{AccountSigner, Signer},
    permissions::Permissions,
    policy::{
        Policy,
        settings::{AuthenticatorPolicy, BindingSettings, PolicySettings, RoleSettings},
    },
    record::{Decision, Reason},
    request::{AuthRequest, Credential},
    responder::{Responder, ResponderOptions, own_account},
};
use callgate_testkit::{NatsServer, eventually, wait::PATIENCE};
use futures_util::future::BoxFuture;

/// A server, its callout, and the callout's decisions.
pub(crate) struct Site {
    pub(crate) server: NatsServer,
    decisions: Decisions,
    _responder: Responder,
}

type Decisions = Arc<Mutex<Vec<Decision>>>;

impl Site {
    /// Every client gets the permissions that `book` has for it.
    pub(crate) async fn with_book(version: &str, book: &Book) -> Self {
        let book = book.clone();
        Self::start(version, "", move |builder| {
            builder.authorize(move |request| {
                let answer = book.user(&request);
                async move { answer }
            })
        })
        .await
    }

    /// The stock way: an authenticator that knows `people`, and a policy. `extra` is added to the
    /// server's configuration.
    pub(crate) async fn with_policy(
        version: &str,
        extra: &str,
        people: Vec<Identity>,
        policy: Policy,
    ) -> Self {
        let link = Link {
            name: "book".into(),
            authenticator: Arc::new(FixedIdentities(people)),
            timeout: Duration::from_secs(5),
            required: true,
        };
        let chain = Chain::new(vec![link]);
        Self::start(version, extra, |builder| builder.chain(chain, Arc::new(policy))).await
    }

    async fn start(
        version: &str,
        extra: &str,
        decide: impl FnOnce(CallgateBuilder) -> CallgateBuilder,
    ) -> Self {
        let signer = AccountSigner::generate().unwrap();
        let config = format!(
            "server_name: proof
             accounts {{
               AUTH {{ users: [{{ user: auth, password: auth }}] }}
               APP {{ jetstream: enabled, users: [{{ user: admin, password: admin }}] }}
               SYS {{ users: [{{ user: sys, password: sys }}] }}
             }}
             system_account: SYS
             {extra}
             authorization {{
               timeout: 10
               auth_callout {{ issuer: {}, account: AUTH, auth_users: [auth, admin, sys] }}
             }}",
            signer.public_key()
        );
        let server = NatsServer::builder().version(version).config(&config).start().await;
        let decisions = Decisions::default();
        let seen = Arc::clone(&decisions);
        let builder = Callgate::builder(signer)
            .on_decision(move |decision| seen.lock().unwrap().push(decision.clone()));
        let service = decide(builder).build().unwrap();
        let client = login("auth").connect(server.url()).await.unwrap();
        let own = own_account(&client).await.unwrap();
        service.learn_callout_account(&own.account);
        let responder =
            Responder::join(client.clone(), service, ResponderOptions::default()).await.unwrap();
        own_account(&client).await.unwrap();
        Self { server, decisions, _responder: responder }
    }

    /// A client in `APP` that may use every subject, from the server's configuration.
    pub(crate) async fn admin(&self) -> Client {
        login("admin").connect(self.server.url()).await.unwrap()
    }

    /// Why this user is refused; the connection must fail.
    pub(crate) async fn refusal(&self, user: &str) -> Reason {
        let error = login(user).connect(self.server.url()).await.unwrap_err();
        assert!(error.to_string().contains("authorization violation"), "{user}: {error}");
        self.decision(user).await.reason
    }

    /// What was decided last about this user.
    pub(crate) async fn decision(&self, user: &str) -> Decision {
        eventually("a decision", PATIENCE, async || {
            let decisions = self.decisions.lock().unwrap();
            decisions.iter().rev().find(|one| one.user.as_deref() == Some(user)).cloned()
        })
        .await
    }
}

/// Passwords are nothing that these proofs are about: each is the user's name.
pub(crate) fn login(user: &str) -> ConnectOptions {
    ConnectOptions::with_user_and_password(user.to_owned(), user.to_owned())
        .connection_timeout(Duration::from_secs(10))
        .request_timeout(Some(Duration::from_secs(10)))
}

/// Permissions by user name, which can change while the site runs.
#[derive(Clone, Default)]
pub(crate) struct Book(Arc<Mutex<BTreeMap<String, Permissions>>>);

impl Book {
    pub(crate) fn write(&self, user: &str, permissions: Permissions) {
        self.0.lock().unwrap().insert(user.to_owned(), permissions);
    }

    fn user(&self, request: &AuthRequest) -> Result<User, Refusal> {
        let Credential::Password { user, .. } = request.credential() else {
            return Err(Refusal::deny("no password"));
        };
        let known = self.0.lock().unwrap().get(user).cloned();
        let permissions = known.ok_or_else(|| Refusal::deny("not in the book"))?;
        Ok(User::in_account("APP").named(user).with_permissions(permissions))
    }
}

/// Knows people by the user name that they log in with, which is also their user.
struct FixedIdentities(Vec<Identity>);

impl fmt::Debug for FixedIdentities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} people", self.0.len())
    }
}

impl Authenticator for FixedIdentities {
    fn authenticate<'a>(
        &'a self,
        request: &'a AuthRequest,
    ) -> BoxFuture<'a, Result<Identity, Decline>> {
        let Credential::Password { user, .. } = request.credential() else {
            return Box::pin(async { Err(Decline::NotMine) });
        };
        let known = self.0.iter().find(|one| one.user == *user).cloned();
        Box::pin(async {
            known.ok_or_else(|| Decline::rejected(Reason::UnknownUser, "not in the book"))
        })
    }
}

/// A policy for the one authenticator of a site: a user in `APP` has each of these roles if its
/// groups name it.
pub(crate) fn policy_of(
    roles: impl IntoIterator<Item = (&'static str, RoleSettings)>,
) -> PolicySettings {
    let mut settings = PolicySettings::default();
    let mut authenticator =
        AuthenticatorPolicy { name: "book".to_owned(), ..AuthenticatorPolicy::default() };
    for (name, role) in roles {
        settings.roles.insert(name.to_owned(), role);
        authenticator.ceiling.roles.push(name.to_owned());
    }
    settings.authenticators.push(authenticator);
    settings.accounts.default_account = Some("APP".to_owned());
    settings.bindings.push(BindingSettings {
        roles: vec!["{{ groups }}".to_owned()],
        ..BindingSettings::default()
    });
    settings
}

/// A user in these groups.
pub(crate) fn member(user: &str, groups: &[&str]) -> Identity {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    Identity { groups, ..Identity::of_user(user) }
}
