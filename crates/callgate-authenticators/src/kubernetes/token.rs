//! The claims of service account tokens (Kubernetes `pkg/serviceaccount/claims.go`), read strictly.

use callgate::authn::Rejection;
use serde_json::{Map, Value};

use crate::jws::claims::bad;

/// `sub` of every service account token.
const SUBJECT: &str = "system:serviceaccount:";
/// Maximum length of a namespace (RFC 1123 label) and of an account's name (RFC 1123 subdomain).
const MAX_LABEL: usize = 63;
const MAX_SUBDOMAIN: usize = 253;
const MAX_UID: usize = 128;
/// Maximum length of `sub`, which exceeds that of other issuers.
pub(super) const MAX_SUBJECT: usize = SUBJECT.len() + MAX_LABEL + 1 + MAX_SUBDOMAIN;

/// The well-formed claims of a service account token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ServiceAccountClaims<'c> {
    /// A label: without dots.
    pub(super) namespace: &'c str,
    /// A subdomain: labels separated by dots.
    pub(super) name: &'c str,
    pub(super) uid: &'c str,
    /// The pod that the token was projected into.
    pub(super) pod: Option<Bound<'c>>,
    /// The node that the pod runs on (Kubernetes 1.30 and later).
    pub(super) node: Option<Bound<'c>>,
}

/// An object that a token is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bound<'c> {
    pub(super) name: &'c str,
    pub(super) uid: Option<&'c str>,
}

/// True if the claims are those of a service account, in any cluster.
pub(super) fn is_service_account(claims: &Map<String, Value>) -> bool {
    let subject = claims.get("sub").and_then(Value::as_str);
    subject.is_some_and(|subject| subject.starts_with(SUBJECT))
}

impl<'c> ServiceAccountClaims<'c> {
    /// Reads the claims.
    ///
    /// # Errors
    /// `bad_token` if `kubernetes.io` is missing (as in tokens of secrets), a name is malformed, or
    /// `sub` names another account.
    pub(super) fn read(claims: &'c Map<String, Value>) -> Result<Self, Rejection> {
        let own = claims.get("kubernetes.io").and_then(Value::as_object).ok_or_else(|| {
            bad("the token has no `kubernetes.io` claims: create it with TokenRequest (a projected \
                 volume, or `kubectl create token`)"
                .to_owned())
        })?;
        let account = own.get("serviceaccount").and_then(Value::as_object);
        let account = account.ok_or_else(|| malformed("serviceaccount"))?;
        let found = Self {
            namespace: text(own, "namespace")
                .filter(|it| is_label(it))
                .ok_or_else(|| malformed("namespace"))?,
            name: text(account, "name")
                .filter(|it| is_subdomain(it))
                .ok_or_else(|| malformed("serviceaccount.name"))?,
            uid: text(account, "uid")
                .filter(|it| !it.is_empty() && it.len() <= MAX_UID)
                .ok_or_else(|| malformed("serviceaccount.uid"))?,
            pod: bound(own, "pod")?,
            node: bound(own, "node")?,
        };
        match claims.get("sub").and_then(Value::as_str).is_some_and(|sub| found.is(sub)) {
            true => Ok(found),
            false => {
                Err(bad("the token's `sub` and `kubernetes.io` claims name different accounts"
                    .to_owned()))
            }
        }
    }

    /// The claims that bindings see.
    pub(super) fn for_bindings(&self) -> Map<String, Value> {
        let Self { namespace, name, uid, pod, node } = *self;
        let mut claims = Map::new();
        let mut add = |key: &str, text: &str| drop(claims.insert(key.to_owned(), text.into()));
        add("namespace", namespace);
        add("service_account", name);
        add("uid", uid);
        if let Some(pod) = pod {
            add("pod", pod.name);
            add("pod_uid", pod.uid.unwrap_or_default());
        }
        if let Some(node) = node {
            add("node", node.name);
        }
        claims
    }

    /// True if `user` is the account's user name in Kubernetes.
    pub(super) fn is(&self, user: &str) -> bool {
        let names = user.strip_prefix(SUBJECT).and_then(|names| names.split_once(':'));
        names == Some((self.namespace, self.name))
    }
}

fn malformed(what: &str) -> Rejection {
    bad(format!("the token's claim `kubernetes.io`.`{what}` is missing or malformed"))
}

fn text<'c>(map: &'c Map<String, Value>, key: &str) -> Option<&'c str> {
    map.get(key)?.as_str()
}

fn bound<'c>(own: &'c Map<String, Value>, key: &str) -> Result<Option<Bound<'c>>, Rejection> {
    let Some(found) = own.get(key) else { return Ok(None) };
    let found = found.as_object().ok_or_else(|| malformed(key))?;
    let name = text(found, "name").filter(|it| is_subdomain(it)).ok_or_else(|| malformed(key))?;
    Ok(Some(Bound { name, uid: text(found, "uid").filter(|uid| uid.len() <= MAX_UID) }))
}

/// An RFC 1123 label. The form matters because names become tokens of subjects.
pub(super) fn is_label(text: &str) -> bool {
    text.len() <= MAX_LABEL && has_label_form(text)
}

/// An RFC 1123 subdomain. As in Kubernetes' own check, each label may be as long as the whole name.
fn is_subdomain(text: &str) -> bool {
    text.len() <= MAX_SUBDOMAIN && text.split('.').all(has_label_form)
}

fn has_label_form(text: &str) -> bool {
    let is_allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    !text.is_empty()
        && text.bytes().all(is_allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(namespace: &str, name: &str) -> Value {
        json!({
            "sub": format!("{SUBJECT}{namespace}:{name}"),
            "kubernetes.io": {
                "namespace": namespace,
                "serviceaccount": {"name": name, "uid": "u1"},
                "pod": {"name": "web-0", "uid": "p1"},
                "node": {"name": "node-1.example", "uid": "n1"},
            },
        })
    }

    #[test]
    fn claims_of_a_projected_token_are_read() {
        let claims = claims("shop", "my.service");
        let read = ServiceAccountClaims::read(claims.as_object().unwrap()).unwrap();
        assert_eq!((read.namespace, read.name, read.uid), ("shop", "my.service", "u1"));
        assert_eq!(read.pod, Some(Bound { name: "web-0", uid: Some("p1") }));
        assert_eq!(read.node.map(|node| node.name), Some("node-1.example"));
    }

    #[test]
    fn malformed_names_are_refused() {
        let long = "a".repeat(64);
        for (namespace, name) in [
            ("", "a"),
            ("a.b", "c"),
            ("A", "b"),
            ("a_b", "c"),
            ("*", "c"),
            (">", "c"),
            ("-a", "b"),
            (&*long, "b"),
            ("a", ""),
            ("a", "."),
            ("a", "b..c"),
            ("a", "b."),
            ("a", "*"),
            ("a", "b c"),
            ("a", "b_c"),
            ("a", "é"),
            ("a", "b-.c"),
            ("a:b", "c"),
            ("a", "b:c"),
            ("a/b", "c"),
            ("a", "{{b}}"),
        ] {
            let claims = claims(namespace, name);
            assert!(
                ServiceAccountClaims::read(claims.as_object().unwrap()).is_err(),
                "{namespace} {name}"
            );
        }
    }

    #[test]
    fn missing_mistyped_or_contradictory_claims_are_refused() {
        let pointer = |pointer: &str, value: Value| {
            let mut claims = claims("shop", "web");
            *claims.pointer_mut(pointer).unwrap() = value;
            claims
        };
        for claims in [
            json!({}),
            json!({"sub": "system:serviceaccount:shop:web"}),
            pointer("/kubernetes.io", json!([])),
            pointer("/kubernetes.io/namespace", json!(1)),
            pointer("/kubernetes.io/namespace", json!("other")),
            pointer("/kubernetes.io/serviceaccount", json!("web")),
            pointer("/kubernetes.io/serviceaccount/name", json!("other")),
            pointer("/kubernetes.io/serviceaccount/uid", json!("")),
            pointer("/kubernetes.io/serviceaccount/uid", json!(null)),
            pointer("/kubernetes.io/pod", json!("web-0")),
            pointer("/kubernetes.io/pod/name", json!("*")),
            pointer("/sub", json!("system:serviceaccount:shop:other")),
            pointer("/sub", json!("shop/web")),
        ] {
            assert!(ServiceAccountClaims::read(claims.as_object().unwrap()).is_err(), "{claims}");
        }
    }
}
