//! Operator mode: each user JWT is signed by a key of the user's account.

use std::{collections::BTreeMap, sync::Arc};

use callgate::{
    AccountKeys, BuildError, Callgate, Reply, User,
    keys::{AccountKey, Signer},
    record::Reason,
};
use callgate_testkit::{CurveKey, Nkey, RequestBuilder, requests::jwt};
use serde_json::{Value, json};

use crate::support::{Bench, NOW, app_user, signer, xkey as xkey_of};

struct Operator {
    callout: Nkey,
    callout_signing: Nkey,
    app: Nkey,
    app_signing: Nkey,
    reader: Nkey,
}

impl Operator {
    fn new() -> Self {
        let [callout, callout_signing, app, app_signing, reader] =
            [(); 5].map(|()| Nkey::account());
        Self { callout, callout_signing, app, app_signing, reader }
    }

    /// A gate that signs answers with `issuer` and admits every request as `user`.
    fn gate(&self, issuer: &Nkey, user: User) -> Bench {
        Bench::of_issuer(issuer.clone(), |builder| {
            builder
                .operator_mode(public(&self.callout))
                .account("APP", self.keys(&self.app, &self.app_signing))
                .account("SAME", self.keys(&self.app, &self.app))
                .account("CALLOUT", self.keys(&self.callout, &self.callout))
                .authorize(move |_| std::future::ready(Ok(user.clone())))
        })
    }

    fn keys(&self, account: &Nkey, signing: &Nkey) -> AccountKeys {
        let reader = Arc::new(signer(&self.reader)) as Arc<dyn Signer>;
        AccountKeys {
            id: public(account),
            signer: Arc::new(signer(signing)),
            scoped: BTreeMap::from([("reader".to_owned(), reader)]),
        }
    }

    fn request(&self) -> RequestBuilder {
        RequestBuilder::new(&self.callout.public(), NOW).password("alice", "secret")
    }
}

fn public(key: &Nkey) -> AccountKey {
    key.public().parse().unwrap()
}

async fn answer_claims(bench: &Bench, request: RequestBuilder) -> Value {
    let (reply, _) = bench.handle(&request.build().payload, None).await;
    let Reply::Answer(answer) = reply else { panic!("no answer") };
    jwt::verified_claims(std::str::from_utf8(&answer).unwrap()).unwrap()
}

#[tokio::test]
async fn answer_signed_by_account_key_has_no_issuer_account() {
    let operator = Operator::new();
    let bench = operator.gate(&operator.callout, app_user());
    let claims = answer_claims(&bench, operator.request()).await;
    assert_eq!(claims["iss"], operator.callout.public());
    assert!(claims["nats"].get("issuer_account").is_none());
}

#[tokio::test]
async fn answer_signed_by_signing_key_names_the_account() {
    let operator = Operator::new();
    let bench = operator.gate(&operator.callout_signing, app_user());
    let claims = answer_claims(&bench, operator.request()).await;
    assert_eq!(claims["iss"], operator.callout_signing.public());
    assert_eq!(claims["nats"]["issuer_account"], operator.callout.public());
    // The server addresses the account, not the current signing key.
    let other = RequestBuilder::new(&operator.callout_signing.public(), NOW);
    bench.dropped(other.password("alice", "secret"), Reason::WrongAudienceRequest).await;
}

#[tokio::test]
async fn user_jwt_is_signed_by_its_account() {
    let operator = Operator::new();
    for (name, by) in [("APP", &operator.app_signing), ("SAME", &operator.app)] {
        let bench = operator.gate(&operator.callout, User::in_account(name).publish("orders.>"));
        let user = bench.admitted(operator.request()).await;
        assert_eq!(user["iss"], by.public());
        assert_eq!(user["nats"]["issuer_account"], operator.app.public());
        assert!(user.get("aud").is_none(), "the account is named by its key");
        assert_eq!(user["nats"]["pub"], json!({ "allow": ["orders.>"] }));
    }
}

/// nats-io/jwt `ValidateScopedSigner` rejects any limit or permission in the user JWT.
#[tokio::test]
async fn scoped_user_carries_no_permissions_of_its_own() {
    let operator = Operator::new();
    let scoped = User::in_account("APP").scoped("reader").tag("red");
    let scoped = scoped.only_during("22:00:00", "23:00:00");
    let bench = operator.gate(&operator.callout, scoped);
    let user = bench.admitted(operator.request()).await;
    assert_eq!(user["iss"], operator.reader.public());
    let expected = json!({
        "issuer_account": operator.app.public(), "tags": ["red"], "type": "user", "version": 2
    });
    assert_eq!(user["nats"], expected);
    assert_eq!(user["exp"], NOW + 2_800, "the end of the window");
}

/// The server expands name and tags in the templates of the scoped key, where a name `>` is a wildcard.
#[tokio::test]
async fn scoped_template_values_must_be_one_literal_token() {
    let operator = Operator::new();
    let scoped = || User::in_account("APP").scoped("reader");
    for unsafe_value in [">", "*", "a.b", "a.>", "a b", "$SYS", "_INBOX", "{{name()}}", "x\u{0}"] {
        for user in [scoped().named(unsafe_value), scoped().tag(unsafe_value)] {
            let bench = operator.gate(&operator.callout, user);
            bench.refused(operator.request(), Reason::UnsafeTemplateValue).await;
        }
    }
    let bench = operator.gate(&operator.callout, scoped());
    let request = RequestBuilder::new(&operator.callout.public(), NOW).password(">", "secret");
    bench.refused(request, Reason::UnsafeTemplateValue).await;
    // Servers lower-case tags, so two different tags could become the same.
    let bench = operator.gate(&operator.callout, scoped().tag("Red"));
    bench.refused(operator.request(), Reason::UnsafeTemplateValue).await;
}

/// `{{tag(team)}}` expands to the text after the colon, and a template may name more than one tag.
#[tokio::test]
async fn scoped_tag_values_must_be_safe() {
    let operator = Operator::new();
    let scoped = |tag: &str| User::in_account("APP").scoped("reader").tag(tag);
    for value in ["$js", "$SYS", "_INBOX", "_r_", "", "x:$js", "x:y:_inbox"] {
        let bench = operator.gate(&operator.callout, scoped(&format!("team:{value}")));
        bench.refused(operator.request(), Reason::UnsafeTemplateValue).await;
    }
    let bench = operator.gate(&operator.callout, scoped("team:red:a$"));
    assert_eq!(bench.admitted(operator.request()).await["nats"]["tags"], json!(["team:red:a$"]));
}

/// Operator mode has no `auth_callout` block: the xkey is in the callout account's JWT.
#[tokio::test]
async fn operator_mode_xkey_errors_name_the_account_jwt() {
    let operator = Operator::new();
    let (ours, other) = (CurveKey::generate(), CurveKey::generate());
    let gate = |xkey: Option<&CurveKey>| {
        Bench::of_issuer(operator.callout.clone(), |builder| {
            let builder = builder.operator_mode(public(&operator.callout));
            let builder = match xkey {
                Some(key) => builder.xkey(xkey_of(key)),
                None => builder,
            };
            builder.authorize(|_| std::future::ready(Ok(app_user())))
        })
    };
    let sealed = || operator.request().sealed_for(&other.public());
    for (xkey, request, reason) in [
        (Some(&ours), operator.request(), Reason::NotEncrypted),
        (Some(&ours), sealed(), Reason::CannotDecrypt),
        (None, sealed(), Reason::CannotDecrypt),
    ] {
        let detail = gate(xkey).dropped(request, reason).await.detail;
        assert!(detail.contains("the callout account's JWT"), "{detail}");
        assert!(!detail.contains("auth_callout"), "{detail}");
        assert!(xkey.is_none() || detail.contains(&ours.public()), "{detail}");
    }
}

#[tokio::test]
async fn account_or_scope_without_a_key_is_refused() {
    let operator = Operator::new();
    let cases = [
        (User::in_account("OTHER").publish("a"), Reason::AccountNotAllowed),
        (User::in_account(operator.app.public()).publish("a"), Reason::AccountNotAllowed),
        (User::in_account("app").publish("a"), Reason::AccountNotAllowed),
        (User::in_account("APP").scoped("writer"), Reason::PolicyError),
    ];
    for (user, reason) in cases {
        let bench = operator.gate(&operator.callout, user);
        bench.refused(operator.request(), reason).await;
    }
}

#[tokio::test]
async fn callout_account_is_refused_under_any_name() {
    let operator = Operator::new();
    let bench = operator.gate(&operator.callout, User::in_account("CALLOUT").publish("a"));
    bench.refused(operator.request(), Reason::AccountNotAllowed).await;
}

/// Every client in operator mode sends the sentinel, so neither it nor its nkey proves anything.
#[tokio::test]
async fn sentinel_is_not_a_credential() {
    let operator = Operator::new();
    let bench = operator.gate(&operator.callout, app_user());
    let key = Nkey::user();
    let claims = json!({ "sub": key.public(), "nats": { "type": "user", "version": 2 } });
    let sentinel = jwt::sign_as_issuer(&claims, &operator.callout);
    let request = RequestBuilder::new(&operator.callout.public(), NOW).nkey(&key).jwt(&sentinel);
    bench.refused(request.clone(), Reason::NoCredential).await;
    assert_eq!(bench.admitted(request.clone().password("bob", "x")).await["name"], "bob");
    bench.admitted(request.connect("auth_token", "opaque")).await;
}

#[tokio::test]
async fn account_keys_require_operator_mode() {
    let operator = Operator::new();
    let builder = Callgate::builder(signer(&operator.callout))
        .authorize(|_| async { Ok(app_user()) })
        .account("APP", operator.keys(&operator.app, &operator.app));
    assert_eq!(builder.build().unwrap_err(), BuildError::AccountsWithoutOperatorMode);
    let undecided = Callgate::builder(signer(&operator.callout)).build();
    assert_eq!(undecided.unwrap_err(), BuildError::NoDecider);
}
