//! Leaf nodes, which servers before 2.12 report only when they connect.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use callgate::connection::ConnectionKind;

use super::{Connection, ConnzFilter, Listing, ServerId, SessionKey, listing::matches};

/// Leaf nodes that are remembered.
const MAX_LEAF_NODES: usize = 20_000;

/// The leaf nodes whose events have arrived since the start.
#[derive(Debug, Default)]
pub(super) struct LeafNodes(Mutex<BTreeMap<SessionKey, Remembered>>);

#[derive(Debug)]
struct Remembered {
    connection: Connection,
    /// What the server calls the account.
    account: String,
}

impl LeafNodes {
    /// Remembers a connection if it is a leaf node.
    pub(super) fn connected(&self, connection: &Connection, account: &str) {
        if connection.kind != ConnectionKind::LeafNode {
            return;
        }
        let remembered = Remembered { connection: connection.clone(), account: account.to_owned() };
        self.with(|all| {
            if all.len() < MAX_LEAF_NODES {
                all.insert(connection.key, remembered);
            }
        });
    }

    pub(super) fn disconnected(&self, key: SessionKey) {
        self.with(|all| all.remove(&key));
    }

    /// Forgets those of servers that have stopped.
    pub(super) fn keep_only_on(&self, runs: impl Fn(ServerId) -> bool) {
        self.with(|all| all.retain(|key, _| runs(key.server)));
    }

    /// Adds the leaf nodes of `servers`, which do not list them.
    pub(super) fn add_to(
        &self,
        listing: &mut Listing,
        servers: &BTreeMap<ServerId, Arc<str>>,
        filter: &ConnzFilter,
        untouchable: &BTreeSet<String>,
    ) {
        let listed: BTreeSet<SessionKey> = listing
            .connections
            .iter()
            .filter(|connection| connection.kind == ConnectionKind::LeafNode)
            .map(|connection| connection.key)
            .collect();
        self.with(|all| {
            let unlisted = all.values().filter(|leaf| {
                let key = &leaf.connection.key;
                servers.contains_key(&key.server)
                    && !listed.contains(key)
                    && !untouchable.contains(&leaf.account)
                    && matches(filter, &leaf.connection, true)
            });
            listing.connections.extend(unlisted.map(|leaf| leaf.connection.clone()));
        });
    }

    fn with<T>(&self, use_all: impl FnOnce(&mut BTreeMap<SessionKey, Remembered>) -> T) -> T {
        use_all(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
