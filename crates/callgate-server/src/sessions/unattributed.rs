//! Connections that no replica admitted and that a lock matches as far as can be told. Each is kicked once
//! during a lock's life: if it comes back without Callgate being asked, it is a static user.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use callgate::{clock::UnixTime, sanitize::log_field};
use serde::{Deserialize, Serialize};
use tracing::{debug, warn};

use super::Sessions;
use crate::{state::Lock, system::Connection};

/// Entries; beyond, nothing is kicked that may be a static user.
const MAX_UNATTRIBUTED: usize = 10_000;

/// Who was kicked because of which lock, and when.
#[derive(Debug, Default)]
pub(super) struct Unattributed(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    kicked: HashMap<UnattributedClient, Kicked>,
    /// What peers do not know yet.
    news: Vec<(UnattributedClient, Kicked)>,
}

/// A name and a source, for one lock.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct UnattributedClient {
    lock: String,
    pub(crate) account: String,
    pub(crate) user: String,
    client_name: String,
    pub(crate) source: Option<IpAddr>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Kicked {
    /// In seconds since 1970.
    at: i64,
    /// Whether it came back, and is left alone.
    is_back: bool,
}

impl Unattributed {
    /// Whether to kick the connection because of the lock. Notes that it is.
    pub(super) fn may_kick(&self, lock: &Lock, connection: &Connection, now: UnixTime) -> bool {
        let client = UnattributedClient {
            lock: lock.id.to_string(),
            account: connection.account.to_string(),
            user: connection.user.clone(),
            client_name: connection.client_name.clone(),
            source: connection.source,
        };
        let mut known = self.known();
        let Some(kicked) = known.kicked.get(&client).copied() else {
            let has_room = known.kicked.len() < MAX_UNATTRIBUTED;
            if has_room {
                known.set(client, Kicked { at: now.seconds(), is_back: false });
            }
            return has_room;
        };
        // Several connections of the same name may have been there.
        if connection.since.seconds() < kicked.at {
            return true;
        }
        if !kicked.is_back {
            log_static_user(&client);
            known.set(client, Kicked { is_back: true, ..kicked });
        }
        false
    }

    /// Those that came back and are left alone.
    pub(super) fn left_alone(&self, lock: &str) -> Vec<UnattributedClient> {
        let known = self.known();
        let of_lock = known.kicked.iter().filter(|(it, kicked)| it.lock == lock && kicked.is_back);
        let mut all: Vec<_> = of_lock.map(|(client, _)| client.clone()).collect();
        all.sort();
        all
    }

    /// What peers do not know yet, as a message.
    pub(super) fn take_news(&self) -> Option<Vec<u8>> {
        let news = std::mem::take(&mut self.known().news);
        (!news.is_empty()).then(|| serde_json::to_vec(&news).unwrap_or_default())
    }

    /// Everything, as a message.
    pub(super) fn all(&self) -> Vec<u8> {
        let known = self.known();
        let all: Vec<_> = known.kicked.iter().collect();
        serde_json::to_vec(&all).unwrap_or_default()
    }

    /// Takes the message of a peer.
    pub(super) fn learn(&self, message: &[u8]) {
        let Ok(news) = serde_json::from_slice::<Vec<(UnattributedClient, Kicked)>>(message) else {
            return debug!("a message of another replica is not understood");
        };
        let mut known = self.known();
        for (client, kicked) in news {
            if known.kicked.len() < MAX_UNATTRIBUTED {
                known.kicked.insert(client, kicked);
            }
        }
    }

    /// Forgets what belongs to locks that have ended.
    pub(super) fn keep_only(&self, is_current: impl Fn(&str) -> bool) {
        self.known().kicked.retain(|client, _| is_current(&client.lock));
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn set(&mut self, client: UnattributedClient, kicked: Kicked) {
        self.news.push((client.clone(), kicked));
        self.kicked.insert(client, kicked);
    }
}

fn log_static_user(client: &UnattributedClient) {
    warn!(
        lock = client.lock,
        user = log_field(&client.user),
        account = log_field(&client.account),
        source = client.source.map(|source| source.to_string()),
        "a connection that a lock matches came back without Callgate being asked: it is left alone as a static \
         user's; remove the user from nats-server's configuration to keep it out"
    );
}

impl Sessions {
    /// Connections that the lock matches and that are left alone, because they came back without a decision.
    pub(crate) fn left_alone(&self, lock: &str) -> Vec<UnattributedClient> {
        self.unattributed.left_alone(lock)
    }
}
