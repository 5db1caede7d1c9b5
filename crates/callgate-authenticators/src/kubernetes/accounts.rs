//! The known service accounts, reduced to what is needed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock},
};

use callgate::authn::Proposal;
use kube::core::{ObjectMeta, PartialObjectMeta};
use serde_json::{Map, Value};
use tokio::sync::watch;

use super::annotations::{self, Requested};

/// Maximum size of one account's labels and annotations, in bytes: editors of an account must not be
/// able to exhaust memory. CEL sees at most 64 KiB.
const MAX_TEXT: usize = 60 * 1024;

/// A service account.
#[derive(Debug, PartialEq)]
pub(super) struct Account {
    pub(super) uid: Box<str>,
    pub(super) labels: Texts,
    /// Only those with the configured prefix.
    pub(super) annotations: Texts,
    /// The proposal in its annotations; most accounts have none.
    proposal: Option<Box<Proposal>>,
}

impl Account {
    /// The proposal in its annotations.
    pub(super) fn proposal(&self) -> Proposal {
        self.proposal.as_deref().cloned().unwrap_or_default()
    }
}

/// Names and values, stored compactly: even an empty JSON map takes half a kilobyte.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Texts(Box<[(Box<str>, Box<str>)]>);

impl Texts {
    /// As claims.
    pub(super) fn as_json(&self) -> Map<String, Value> {
        self.0.iter().map(|(name, value)| (name.to_string(), Value::from(&**value))).collect()
    }
}

impl From<BTreeMap<String, String>> for Texts {
    fn from(map: BTreeMap<String, String>) -> Self {
        Self(map.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// An account, and what to log about it.
#[derive(Debug)]
pub(super) struct ReadAccount {
    /// `namespace/name`.
    pub(super) key: Box<str>,
    pub(super) account: Account,
    /// The number of malformed subjects in its annotations.
    pub(super) malformed: usize,
    /// The first error, for the log.
    pub(super) remark: Option<String>,
    /// A subject that is an MQTT topic filter, for the log.
    pub(super) topic_filter: Option<String>,
}

impl ReadAccount {
    /// Reads an account. `None` if it has no name, namespace or uid.
    pub(super) fn new<K>(object: PartialObjectMeta<K>, prefix: &str) -> Option<Self> {
        let ObjectMeta { name, namespace, uid, labels, annotations, .. } = object.metadata;
        let key = format!("{}/{}", namespace?, name?).into_boxed_str();
        let labels = labels.unwrap_or_default();
        let mut annotations = annotations.unwrap_or_default();
        annotations.retain(|name, _| name.starts_with(prefix));
        let size = |map: &BTreeMap<String, String>| -> usize {
            map.iter().map(|(name, value)| name.len() + value.len()).sum()
        };
        let too_large = size(&labels) + size(&annotations) > MAX_TEXT;
        let (labels, annotations) =
            if too_large { Default::default() } else { (labels, annotations) };
        let Requested { proposal, malformed, example, topic_filter } =
            annotations::read(prefix, &annotations);
        let remark = match too_large {
            true => Some(format!(
                "its labels and annotations are ignored: they are larger than {MAX_TEXT} bytes"
            )),
            false => example,
        };
        let account = Account {
            uid: uid?.into_boxed_str(),
            labels: labels.into(),
            annotations: annotations.into(),
            proposal: (proposal != Proposal::default()).then(|| Box::new(proposal)),
        };
        Some(Self { key, account, malformed, remark, topic_filter })
    }
}

/// The key of an account.
pub(super) fn key_of<K>(object: &PartialObjectMeta<K>) -> Option<String> {
    let (namespace, name) = (object.metadata.namespace.as_ref()?, object.metadata.name.as_ref()?);
    Some(format!("{namespace}/{name}"))
}

/// All known accounts by `namespace/name`.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    known: RwLock<HashMap<Box<str>, Arc<Account>>>,
    changes: watch::Sender<u64>,
}

impl Accounts {
    /// The account with this key.
    pub(super) fn find(&self, key: &str) -> Option<Arc<Account>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// The keys of all accounts.
    pub(super) fn keys(&self) -> Vec<Box<str>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.keys().cloned().collect()
    }

    pub(super) fn count(&self) -> usize {
        self.known.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Changes after each change of an account.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn count_change(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Adds or replaces an account.
    pub(super) fn put(&self, key: Box<str>, account: Account) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::new(account));
        self.count_change();
    }

    pub(super) fn remove(&self, key: &str) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(key);
        self.count_change();
    }

    /// Replaces all known accounts of `namespace`, or of all namespaces.
    pub(super) fn replace(&self, namespace: Option<&str>, listed: HashMap<Box<str>, Arc<Account>>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        match namespace {
            None => *known = listed,
            Some(namespace) => {
                let is_here = |key: &str| {
                    key.strip_prefix(namespace).is_some_and(|rest| rest.starts_with('/'))
                };
                known.retain(|key, _| !is_here(key));
                known.extend(listed);
            }
        }
        drop(known);
        self.count_change();
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ServiceAccount;
    use serde_json::json;

    use super::*;

    fn read(object: Value) -> Option<ReadAccount> {
        let object: PartialObjectMeta<ServiceAccount> = serde_json::from_value(object).unwrap();
        ReadAccount::new(object, "nats.io/")
    }

    fn account(namespace: &str, name: &str, annotations: &Value) -> Value {
        json!({"metadata": {"name": name, "namespace": namespace, "uid": "u", "labels": {"team": "blue"},
            "annotations": annotations}})
    }

    #[test]
    fn only_labels_and_prefixed_annotations_are_kept() {
        let annotations =
            json!({"nats.io/roles": "a", "kubectl.kubernetes.io/last-applied-configuration": "{}"});
        let read = read(account("shop", "web", &annotations)).unwrap();
        assert_eq!(&*read.key, "shop/web");
        assert_eq!(
            Value::Object(read.account.annotations.as_json()),
            json!({"nats.io/roles": "a"})
        );
        assert_eq!(Value::Object(read.account.labels.as_json()), json!({"team": "blue"}));
        assert_eq!(read.account.proposal().roles, Some(vec!["a".to_owned()]));
    }

    #[test]
    fn oversized_labels_and_annotations_are_ignored() {
        let annotations = json!({"nats.io/roles": "a", "nats.io/x": "x".repeat(61 * 1024)});
        let read = read(account("shop", "web", &annotations)).unwrap();
        assert_eq!(read.account.annotations, Texts::default());
        assert_eq!(read.account.labels, Texts::default());
        assert_eq!(read.account.proposal().roles, None);
        assert!(read.remark.unwrap().contains("larger than"));
    }

    #[test]
    fn list_replaces_only_its_own_namespace() {
        let accounts = Accounts::default();
        let put = |namespace: &str| {
            let read = read(account(namespace, "web", &json!({}))).unwrap();
            accounts.put(read.key, read.account);
        };
        ["shop", "shop-2", "bank"].into_iter().for_each(put);
        accounts.replace(Some("shop"), HashMap::new());
        assert!(accounts.find("shop/web").is_none());
        assert!(accounts.find("shop-2/web").is_some() && accounts.find("bank/web").is_some());
        accounts.replace(None, HashMap::new());
        assert_eq!(accounts.count(), 0);
    }
}
