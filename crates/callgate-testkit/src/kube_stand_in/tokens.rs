//! Mints and reads tokens as an API server does (claims as of Kubernetes 1.32).

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
    },
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

/// The issuer of every token.
pub(super) const ISSUER: &str = "https://kubernetes.test";

/// The key in force.
#[derive(Debug)]
pub(super) struct Signing {
    pair: RsaKeyPair,
    id: String,
}

/// Whose token it is.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    audiences: Vec<Value>,
}

impl Holder {
    /// The `status` of a TokenReview.
    pub(super) fn status(&self) -> Value {
        let Self { namespace, name, uid, audiences } = self;
        let user =
            json!({"username": format!("system:serviceaccount:{namespace}:{name}"), "uid": uid});
        json!({"authenticated": true, "user": user, "audiences": audiences})
    }
}

impl Signing {
    pub(super) fn new() -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let id = BASE64URL_NOPAD.encode(digest(&SHA256, pair.public_key().as_ref()).as_ref());
        Self { pair, id }
    }

    /// The key set.
    pub(super) fn public(&self) -> Value {
        let public = self.pair.public_key();
        let n = BASE64URL_NOPAD.encode(public.modulus().big_endian_without_leading_zero());
        let e = BASE64URL_NOPAD.encode(public.exponent().big_endian_without_leading_zero());
        json!({"keys": [{"use": "sig", "kty": "RSA", "kid": self.id, "alg": "RS256", "n": n, "e": e}]})
    }

    /// A token of the account for the `spec` of a TokenRequest.
    pub(super) fn mint(&self, namespace: &str, name: &str, uid: &str, spec: &Value) -> String {
        let now = now();
        let claims = json!({
            "aud": spec["audiences"], "iss": ISSUER, "iat": now, "nbf": now,
            "exp": now + spec["expirationSeconds"].as_i64().unwrap_or(3600),
            "jti": format!("jti-{now}-{name}"),
            "sub": format!("system:serviceaccount:{namespace}:{name}"),
            "kubernetes.io": {
                "namespace": namespace,
                "node": {"name": "node-1", "uid": "node-uid"},
                "pod": {"name": format!("{name:.200}-0"), "uid": "pod-uid"},
                "serviceaccount": {"name": name, "uid": uid},
                "warnafter": now + 3607,
            },
        });
        let header = json!({"alg": "RS256", "kid": self.id});
        let text = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let signed = format!("{}.{}", text(&header), text(&claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let random = SystemRandom::new();
        self.pair
            .sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature)
            .expect("a signature");
        format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
    }

    /// Checks the token of a TokenReview's `spec`.
    pub(super) fn read(&self, spec: &Value) -> Result<Holder, String> {
        let invalid = || "invalid bearer token".to_owned();
        let token = spec["token"].as_str().ok_or_else(invalid)?;
        let (signed, signature) = token.rsplit_once('.').ok_or_else(invalid)?;
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).map_err(|_| invalid())?;
        let key =
            UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.pair.public_key().as_ref());
        key.verify(signed.as_bytes(), &signature).map_err(|_| invalid())?;
        let claims = signed.split('.').nth(1).unwrap_or_default();
        let claims = BASE64URL_NOPAD.decode(claims.as_bytes()).map_err(|_| invalid())?;
        let claims: Value = serde_json::from_slice(&claims).map_err(|_| invalid())?;
        if claims["exp"].as_i64().is_none_or(|end| end <= now()) {
            return Err("token is expired".to_owned());
        }
        let audiences: Vec<Value> = claims["aud"].as_array().cloned().unwrap_or_default();
        let wanted = spec["audiences"].as_array().cloned().unwrap_or_default();
        let audiences: Vec<Value> =
            audiences.into_iter().filter(|one| wanted.contains(one)).collect();
        if audiences.is_empty() {
            return Err("token audiences are invalid for the target audiences".to_owned());
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let own = &claims["kubernetes.io"];
        let account = &own["serviceaccount"];
        Ok(Holder {
            namespace: text(&own["namespace"]),
            name: text(&account["name"]),
            uid: text(&account["uid"]),
            audiences,
        })
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("a time")
}
