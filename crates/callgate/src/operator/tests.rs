use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::*;
use crate::keys::{AccountSigner, KeyKind, Signer, parse_public};

const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);

fn pair(kind: KeyKind) -> KeyPair {
    KeyPair::generate(kind).unwrap()
}

fn account_key() -> AccountKey {
    AccountSigner::generate().unwrap().public_key().clone()
}

fn user_key() -> UserKey {
    pair(KeyKind::User).public_key().parse().unwrap()
}

fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap()
}

#[test]
fn operator_signs_itself_and_names_system_account() {
    let (key, system) = (pair(KeyKind::Operator), account_key());
    let operator = Operator { name: "O".to_owned(), system_account: system.clone() };
    let token = operator.sign(&key, NOW).unwrap();
    let claims = claims(&token);
    assert_eq!(claims["iss"], key.public_key());
    assert_eq!(claims["sub"], key.public_key());
    let nats = json!({ "system_account": system.as_str(), "type": "operator", "version": 2 });
    assert_eq!(claims["nats"], nats);
    let verifying = parse_public(&key.public_key(), &[KeyKind::Operator]).unwrap();
    let parts = jwt::Parts::split(token.as_bytes()).unwrap();
    let (signed, signature) = parts.signed();
    assert!(verifying.verifies(signed, signature));
}

#[test]
fn every_account_limit_is_explicit() {
    let operator = pair(KeyKind::Operator);
    let plain = Account::new("APP", account_key());
    let limits = claims(&plain.sign(&operator, NOW).unwrap())["nats"]["limits"].clone();
    for name in ["subs", "data", "payload", "imports", "exports", "conn", "leaf"] {
        assert_eq!(limits[name], -1, "{name}");
    }
    assert_eq!(limits["wildcards"], true);
    assert!(limits.get("mem_storage").is_none());
    let jetstream = Account { jetstream: true, ..plain };
    let limits = claims(&jetstream.sign(&operator, NOW).unwrap())["nats"]["limits"].clone();
    for name in ["mem_storage", "disk_storage", "streams", "consumer"] {
        assert_eq!(limits[name], -1, "{name}");
    }
}

#[test]
fn callout_account_names_users_accounts_and_xkey() {
    let (user, app) = (user_key(), account_key());
    let authorization = |allowed_accounts| ExternalAuthorization {
        auth_users: vec![user.clone()],
        allowed_accounts,
        xkey: None,
    };
    let written = |authorization| {
        let external_authorization = Some(authorization);
        let account = Account { external_authorization, ..Account::new("AUTH", account_key()) };
        let token = account.sign(&pair(KeyKind::Operator), NOW).unwrap();
        claims(&token)["nats"]["authorization"].clone()
    };
    assert_eq!(
        written(authorization(AllowedAccounts::Only(vec![app.clone()]))),
        json!({ "auth_users": [user.as_str()], "allowed_accounts": [app.as_str()] })
    );
    assert_eq!(
        written(authorization(AllowedAccounts::Any)),
        json!({ "auth_users": [user.as_str()], "allowed_accounts": ["*"] })
    );
}

#[test]
fn scope_without_rights_denies_everything() {
    let scope = |template| Scope { role: "reader".to_owned(), key: account_key(), template };
    let template = |scope: Scope| {
        let account = Account { scopes: vec![scope], ..Account::new("APP", account_key()) };
        let token = account.sign(&pair(KeyKind::Operator), NOW).unwrap();
        claims(&token)["nats"]["signing_keys"][0]["template"].clone()
    };
    let nothing = template(scope(Rights::default()));
    assert_eq!(nothing["pub"], json!({ "deny": [">"] }));
    assert_eq!(nothing["sub"], json!({ "deny": [">"] }));
    let some = template(scope(Rights::new(["a.{{name()}}"], ["b"])));
    assert_eq!(some["pub"], json!({ "allow": ["a.{{name()}}"] }));
    assert_eq!((&some["subs"], &some["payload"]), (&json!(-1), &json!(-1)));
}

#[test]
fn sentinel_is_a_bearer_without_permissions() {
    let token = FixedUser::sentinel(user_key()).sign(&pair(KeyKind::Account), NOW).unwrap();
    let nats = claims(&token)["nats"].clone();
    assert_eq!(nats["bearer_token"], true);
    assert_eq!((&nats["pub"], &nats["sub"]), (&json!({"deny": [">"]}), &json!({"deny": [">"]})));
    assert!(crate::jwt::is_nats_user(&token), "not a credential for a callout");
}

#[test]
fn seed_is_found_in_credentials_file() {
    let key = pair(KeyKind::User);
    let text = credentials("eyJ.a.b", &key.seed());
    assert_eq!(format!("{text:?}"), "[redacted]");
    let found = crate::keys::Seed::find(text.expose()).unwrap();
    assert_eq!(KeyPair::from_seed(found).unwrap().public_key(), key.public_key());
}
