//! Service accounts with the history of their changes.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};

type Key = (String, String);

/// Query parameters of list and watch.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Parameters {
    watch: Option<String>,
    limit: Option<usize>,
    r#continue: Option<String>,
    label_selector: Option<String>,
    field_selector: Option<String>,
    pub(super) resource_version: Option<String>,
    pub(super) timeout_seconds: Option<u64>,
    allow_watch_bookmarks: Option<String>,
}

impl Parameters {
    pub(super) fn watch(&self) -> bool {
        self.watch.as_deref() == Some("true")
    }

    pub(super) fn bookmarks(&self) -> bool {
        self.allow_watch_bookmarks.as_deref() == Some("true")
    }

    /// Equality-based selectors only: `a=b,c!=d,e`.
    pub(super) fn selects(&self, metadata: &Value) -> bool {
        let selector = self.label_selector.as_deref().unwrap_or_default();
        let labels = selector.split(',').filter(|part| !part.is_empty()).all(|part| {
            if let Some((key, value)) = part.split_once("!=") {
                return metadata["labels"][key] != value;
            }
            match part.split_once('=') {
                Some((key, value)) => metadata["labels"][key] == value.trim_start_matches('='),
                None => !metadata["labels"][part].is_null(),
            }
        });
        let name = self.field_selector.as_deref().and_then(|it| it.strip_prefix("metadata.name="));
        labels && name.is_none_or(|name| metadata["name"] == name)
    }
}

/// A change.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) before: Option<Value>,
    /// Nothing if it was deleted.
    pub(super) after: Option<Value>,
}

#[derive(Debug, Default)]
pub(super) struct Store {
    version: u64,
    oldest: u64,
    namespaces: BTreeSet<String>,
    accounts: BTreeMap<Key, Value>,
    history: Vec<Change>,
}

impl Store {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn add_namespace(&mut self, name: &str) {
        self.namespaces.insert(name.to_owned());
    }

    pub(super) fn uid(&self, namespace: &str, name: &str) -> Option<String> {
        let metadata = self.accounts.get(&(namespace.to_owned(), name.to_owned()))?;
        metadata["uid"].as_str().map(str::to_owned)
    }

    pub(super) fn forget_history(&mut self) {
        self.version += 1;
        self.oldest = self.version;
        self.history.clear();
    }

    pub(super) fn create(&mut self, namespace: &str, given: &Value) -> Option<Value> {
        if !self.namespaces.contains(namespace) {
            return None;
        }
        let name = given["name"].as_str().expect("a name").to_owned();
        let mut metadata = given.clone();
        metadata["namespace"] = json!(namespace);
        metadata["uid"] = json!(format!("uid-{}", self.version + 1));
        // Fields of real objects that a client should not keep.
        metadata["managedFields"] = json!([{"manager": "test", "fieldsV1": {"f:metadata": {}}}]);
        Some(object(&self.put((namespace.to_owned(), name), metadata)))
    }

    pub(super) fn change(&mut self, namespace: &str, name: &str, patch: &Value) -> Option<Value> {
        let key = (namespace.to_owned(), name.to_owned());
        let mut metadata = self.accounts.get(&key)?.clone();
        for (field, changes) in patch.as_object().expect("a patch") {
            merge(&mut metadata[field], changes.as_object().expect("a map"));
        }
        Some(object(&self.put(key, metadata)))
    }

    pub(super) fn delete(&mut self, namespace: &str, name: &str) -> Option<Value> {
        let before = self.accounts.remove(&(namespace.to_owned(), name.to_owned()))?;
        self.version += 1;
        let version = self.version;
        self.history.push(Change { version, before: Some(before.clone()), after: None });
        Some(object(&before))
    }

    fn put(&mut self, key: Key, mut metadata: Value) -> Value {
        self.version += 1;
        let version = self.version;
        metadata["resourceVersion"] = json!(version.to_string());
        let before = self.accounts.insert(key, metadata.clone());
        self.history.push(Change { version, before, after: Some(metadata.clone()) });
        metadata
    }

    /// A page; nothing if the place to go on from is too old.
    pub(super) fn list(&self, namespace: Option<&str>, parameters: &Parameters) -> Option<Value> {
        let start = match parameters.r#continue.as_deref() {
            None => 0,
            Some(token) => {
                let (version, start) = token.split_once('-')?;
                let version: u64 = version.parse().ok()?;
                (version >= self.oldest).then(|| start.parse().ok())??
            }
        };
        let all = self.accounts.iter().filter(|((own, _), metadata)| {
            namespace.is_none_or(|namespace| namespace == own) && parameters.selects(metadata)
        });
        let all: Vec<Value> = all.map(|(_, metadata)| object(metadata)).collect();
        let end = parameters.limit.map_or(all.len(), |limit| all.len().min(start + limit));
        let mut list = json!({"resourceVersion": self.version.to_string()});
        if end < all.len() {
            list["continue"] = json!(format!("{}-{end}", self.version));
        }
        let items: Vec<Value> = all.into_iter().skip(start).take(end - start).collect();
        Some(
            json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": list, "items": items}),
        )
    }

    /// What happened after a version; nothing if that is forgotten.
    pub(super) fn since(&self, version: u64) -> Option<Vec<Change>> {
        let newer = || self.history.iter().filter(|change| change.version > version).cloned();
        (version >= self.oldest).then(|| newer().collect())
    }
}

fn merge(field: &mut Value, changes: &Map<String, Value>) {
    if !field.is_object() {
        *field = json!({});
    }
    for (key, value) in changes {
        match value {
            Value::Null => drop(field.as_object_mut().expect("a map").remove(key)),
            value => field[key] = value.clone(),
        }
    }
}

/// The object around its metadata.
pub(super) fn object(metadata: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}
