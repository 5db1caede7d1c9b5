//! What an operator decides about held changes, on all replicas.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tracing::{info, warn};

use super::{Ending, HeldRow, Revocation, held::Held, kicks::KickCounts};
use crate::{
    audit::event::{Order, RevocationResult, Via},
    replicas::{PeerMessage, Replicas},
};

/// The kind of the messages between replicas.
const KIND: &str = "revocations";
/// How long replicas may take to list what they hold.
const LIST_WITHIN: Duration = Duration::from_secs(2);
/// How long replicas may take to end the sessions of a held change.
const RULE_WITHIN: Duration = Duration::from_secs(60);

/// What to do with a held change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ruling {
    /// End its sessions.
    Apply,
    /// Forget it.
    Drop,
}

/// The result of a ruling.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RulingDone {
    #[serde(flatten)]
    pub(crate) counts: KickCounts,
    /// How many replicas held the change.
    pub(crate) replicas: usize,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Question {
    List,
    Rule {
        id: String,
        ruling: Ruling,
        actor: String,
        #[serde(default)]
        via: Via,
    },
}

/// How a command reaches the held changes.
#[derive(Debug, Clone)]
pub(crate) enum HeldEverywhere {
    /// Through a running replica, which asks its peers.
    Replica(Arc<Revocation>),
    /// Without one of its own: asks the replicas that run.
    Visitor(Arc<Replicas>),
}

impl HeldEverywhere {
    /// What replicas hold. The same change of several replicas is one. `None` if no replica answers.
    pub(crate) async fn list(&self) -> Option<Vec<HeldRow>> {
        let own = self.own().map(Revocation::own_rows);
        let peers: Vec<Vec<HeldRow>> = self.ask(&Question::List, LIST_WITHIN).await;
        if own.is_none() && peers.is_empty() {
            return None;
        }
        let mut rows: BTreeMap<String, HeldRow> = BTreeMap::new();
        for row in own.into_iter().chain(peers).flatten() {
            let known = rows.entry(row.id.clone()).or_insert_with(|| row.clone());
            if row.sessions > known.sessions {
                *known = row;
            }
        }
        Some(rows.into_values().collect())
    }

    /// Applies or drops a held change on all replicas; `None` if none holds it.
    pub(crate) async fn rule(&self, id: &str, ruling: Ruling, order: &Order) -> Option<RulingDone> {
        let Order { actor, via, reason: _ } = order.clone();
        let question = Question::Rule { id: id.to_owned(), ruling, actor, via };
        let peers = self.ask::<Option<KickCounts>>(&question, RULE_WITHIN);
        let own = async {
            match self.own() {
                Some(own) => own.rule_here(id, ruling, order).await,
                None => None,
            }
        };
        let (own, peers) = futures_util::future::join(own, peers).await;
        let mut done = RulingDone::default();
        for counts in peers.into_iter().chain([own]).flatten() {
            done.replicas += 1;
            done.counts.add(counts);
        }
        (done.replicas > 0).then_some(done)
    }

    fn own(&self) -> Option<&Revocation> {
        match self {
            Self::Replica(revocation) => Some(revocation),
            Self::Visitor(_) => None,
        }
    }

    /// The answers of all peers.
    async fn ask<T: DeserializeOwned>(&self, question: &Question, within: Duration) -> Vec<T> {
        let replicas = match self {
            Self::Replica(revocation) => revocation.replicas(),
            Self::Visitor(replicas) => Some(replicas),
        };
        let Some(replicas) = replicas else { return Vec::new() };
        let Ok(question) = serde_json::to_vec(question) else { return Vec::new() };
        let answers = replicas.ask_all(KIND, question, within).await;
        let read = |(replica, answer): (_, bytes::Bytes)| {
            let answer = serde_json::from_slice(&answer);
            answer
                .inspect_err(|error| warn!(%replica, %error, "cannot read the answer of a replica"))
        };
        answers.into_iter().filter_map(|answer| read(answer).ok()).collect()
    }
}

impl Revocation {
    pub(super) fn answer_peers(self: &Arc<Self>, replicas: &Replicas) {
        let revocation = Arc::downgrade(self);
        replicas.respond(KIND, move |message: PeerMessage| {
            let revocation = revocation.upgrade();
            async move {
                let question = serde_json::from_slice(&message.payload);
                let (Some(revocation), Ok(question)) = (revocation, question) else {
                    return Vec::new();
                };
                let answer = match question {
                    Question::List => serde_json::to_vec(&revocation.own_rows()),
                    Question::Rule { id, ruling, actor, via } => {
                        let order = Order { actor, via, reason: None };
                        serde_json::to_vec(&revocation.rule_here(&id, ruling, &order).await)
                    }
                };
                answer.into_iter().collect()
            }
        });
    }

    fn own_rows(&self) -> Vec<HeldRow> {
        self.held().changes.iter().map(Held::row).collect()
    }

    async fn rule_here(&self, id: &str, ruling: Ruling, order: &Order) -> Option<KickCounts> {
        let change = self.take_held(id)?;
        let sessions = change.sessions.len();
        let actor = &order.actor;
        let result = match ruling {
            Ruling::Apply => {
                info!(id, sessions, actor, "a held change is applied");
                RevocationResult::Applied
            }
            Ruling::Drop => {
                info!(id, sessions, actor, "a held change is dropped");
                RevocationResult::Dropped
            }
        };
        self.record_held(&change, result, Some(order.clone()));
        let keys = change.sessions.iter().filter(|_| ruling == Ruling::Apply);
        let sessions = keys.filter_map(|key| self.sessions.table().find(*key));
        let mine = sessions.filter(|session| self.is_mine(session));
        let ending: Vec<_> = mine.map(|session| Ending { session, cause: change.cause }).collect();
        match ending.is_empty() {
            true => Some(KickCounts::default()),
            false => Some(self.kick(ending).await),
        }
    }

    fn take_held(&self, id: &str) -> Option<Held> {
        let mut held = self.held();
        let index = held.changes.iter().position(|change| change.id == id)?;
        let change = held.changes.remove(index);
        held.decided.extend(&change.sessions);
        self.metrics.set_revocations_held(!held.changes.is_empty());
        Some(change)
    }
}
