//! The orders `lock`, `unlock` and `locks`.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use callgate::{clock::UnixTime, sanitize::log_field};
use serde_json::{Value, json};
use tracing::info;

use super::{
    Executor, Outcome, Refused,
    kick::{needs_yes, unlisted},
    rows::{Counts, row, servers, session_row, with_results},
};
use crate::{
    audit::event::{self, Event},
    control::{
        actor::Actor,
        conversation::Worker,
        protocol::{Done, LockDone, LockOrder, Reply, Row},
    },
    sessions::{Enforced, Filter, Sessions},
    state::{Ends, ListedLock, Lock, NewLock, NotUnlocked, State},
    system::SessionKey,
};

/// How long replicas and servers may take to confirm.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);
const UNSEARCHED: &str = "the configuration has no `[system]`, so they stay until they end";

impl Executor {
    pub(super) async fn lock(
        &self,
        order: LockOrder,
        actor: &Actor,
        worker: &mut Worker,
    ) -> Outcome {
        let state = self.state()?;
        if order.dry_run {
            return self.would_lock(order, actor).await;
        }
        let LockOrder { target, lasts, ends, reason, no_kick, yes, .. } = order;
        let ends = match (lasts, ends) {
            (Some(seconds), _) => Ends::After(Duration::from_secs(seconds)),
            (None, Some(time)) => Ends::At(UnixTime::from_seconds(time)),
            (None, None) => Ends::Never,
        };
        let matching = self.sessions.as_ref().map_or(0, |sessions| {
            let filter = Filter { target: target.clone(), ..Filter::default() };
            let matching = sessions.matching_filter(&filter);
            let asks = !yes && needs_yes(matching, sessions.table().len());
            if asks { matching } else { 0 }
        });
        let kicks_at_once = !no_kick && matching == 0;
        let new = NewLock {
            target,
            ends,
            reason: reason.clone(),
            actor: actor.to_string(),
            kick: kicks_at_once,
        };
        let not_stored = |error| Refused::unusable(format!("the lock is not stored: {error}"));
        let lock = state.lock(new).await.map_err(not_stored)?;
        log_lock(&lock, actor);
        self.audit.event(|| {
            let target = serde_json::to_value(&lock.target).ok();
            let target = target.and_then(|target| target.as_object().cloned());
            Event::Lock(event::Lock {
                lock: lock.id.to_string(),
                target: target.unwrap_or_default(),
                until: lock.ends.map(|ends| ends.to_string()),
                order: self.record(actor, reason.as_deref()),
            })
        });
        let until = lock.ends.map(|ends| ends.to_string());
        worker
            .show(Reply::Stored {
                id: lock.id.to_string(),
                target: lock.target.clone(),
                until: until.clone(),
            })
            .await;
        let mut done = LockDone {
            id: Some(lock.id.to_string()),
            target: lock.target.clone(),
            until,
            reason,
            actor: actor.to_string(),
            ..LockDone::default()
        };
        self.put_in_force(state, &lock, kicks_at_once, &mut done, worker).await;
        if no_kick || matching > 0 {
            self.kick_if_confirmed(state, &lock, no_kick, matching, &mut done, worker).await;
        }
        Ok(Done::Lock(Box::new(done)))
    }

    /// Waits until all replicas have confirmed the lock, and kicks meanwhile.
    async fn put_in_force(
        &self,
        state: &State,
        lock: &Lock,
        kicks: bool,
        done: &mut LockDone,
        worker: &Worker,
    ) {
        let sessions = self.sessions.as_ref().filter(|_| kicks);
        let kick = async {
            match sessions {
                Some(sessions) => Some(sessions.enforce(lock, CONFIRM_TIMEOUT).await),
                None => None,
            }
        };
        let confirm = async {
            let confirmations = state.confirmations(&lock.id, CONFIRM_TIMEOUT).await;
            let names = |ids: &[crate::replicas::ReplicaId]| -> Vec<String> {
                ids.iter().map(ToString::to_string).collect()
            };
            let confirmed = names(&confirmations.confirmed);
            let unconfirmed = names(&confirmations.unconfirmed);
            let seconds = confirmations.after.as_secs_f64();
            worker
                .show(Reply::InForce {
                    confirmed: confirmed.clone(),
                    unconfirmed: unconfirmed.clone(),
                    seconds,
                })
                .await;
            (confirmed, unconfirmed)
        };
        let (enforced, (confirmed, unconfirmed)) = tokio::join!(kick, confirm);
        done.confirmed = confirmed;
        done.unconfirmed = unconfirmed;
        match (enforced, &self.sessions) {
            (Some(mut enforced), Some(sessions)) => {
                // What a replica admitted before it confirmed.
                sessions.enforce_again(lock, &mut enforced, CONFIRM_TIMEOUT).await;
                report(done, enforced);
            }
            (None, None) if kicks => done.not_searched = Some(UNSEARCHED.to_owned()),
            (Some(_), None) | (None, Some(_) | None) => {}
        }
    }

    /// Kicks more sessions than are kicked without asking, or none.
    async fn kick_if_confirmed(
        &self,
        state: &State,
        lock: &Lock,
        no_kick: bool,
        matching: usize,
        done: &mut LockDone,
        worker: &mut Worker,
    ) {
        let Some(sessions) = &self.sessions else { return };
        let total = sessions.table().len();
        if no_kick || !worker.confirm(matching, total.max(matching)).await {
            done.spared = sessions.matching(lock).len();
            return;
        }
        // From now on, reconcile kicks, too.
        if let Err(error) = state.begin_kicks(lock).await {
            done.notes.push(format!("sessions that come back later are not kicked: {error}"));
        }
        report(done, sessions.enforce(lock, CONFIRM_TIMEOUT).await);
    }

    async fn would_lock(&self, order: LockOrder, actor: &Actor) -> Outcome {
        let LockOrder { target, lasts, ends, reason, .. } = order;
        let lasts = lasts.map(|seconds| UnixTime::now().plus(Duration::from_secs(seconds)));
        let mut done = LockDone {
            until: lasts.or(ends.map(UnixTime::from_seconds)).map(|end| end.to_string()),
            target,
            reason,
            actor: actor.to_string(),
            dry_run: true,
            ..LockDone::default()
        };
        let Some(sessions) = &self.sessions else {
            done.not_searched = Some(UNSEARCHED.to_owned());
            return Ok(Done::Lock(Box::new(done)));
        };
        let filter = Filter { target: done.target.clone(), ..Filter::default() };
        let search = sessions.find(&filter, UnixTime::now()).await.map_err(Refused::unusable)?;
        let found = search.found.iter().chain(&search.undecided);
        let mut rows: Vec<(SessionKey, Row)> =
            found.map(|found| (found.connection.key, row(found))).collect();
        rows.extend(unlisted(&search));
        done.sessions = with_results(rows, &HashMap::new()).0;
        done.servers = servers(&search.servers);
        Ok(Done::Lock(Box::new(done)))
    }

    pub(super) async fn unlock(&self, ids: &[String], all: bool, actor: &Actor) -> Outcome {
        let state = self.state()?;
        let ids = match all {
            true => state.list().await.into_iter().map(|lock| lock.id.to_string()).collect(),
            false => ids.to_vec(),
        };
        let mut unlocked = Vec::new();
        let mut unknown = Vec::new();
        let mut failed = Vec::new();
        for id in ids {
            match state.unlock(&id, &actor.to_string()).await {
                Ok(()) => {
                    info!(lock = log_field(&id), actor = %actor, "unlocked");
                    self.audit.event(|| {
                        let order = self.record(actor, None);
                        Event::Unlock(event::Unlock { lock: id.clone(), order })
                    });
                    unlocked.push(id);
                }
                Err(NotUnlocked::NoSuchLock) => unknown.push(id),
                Err(error @ (NotUnlocked::Unknown | NotUnlocked::Write(_))) => {
                    failed.push(format!("{id}: {error}"));
                }
            }
        }
        Ok(Done::Unlock { unlocked, unknown, failed })
    }

    pub(super) async fn locks(&self) -> Outcome {
        let listed = self.state()?.list().await;
        let sessions = self.sessions.as_deref();
        Ok(Done::Locks { locks: listed.iter().map(|lock| lock_json(lock, sessions)).collect() })
    }
}

/// Adds what was kicked.
fn report(done: &mut LockDone, enforced: Enforced) {
    let Enforced { search, results, in_table, not_searched } = enforced;
    let mut rows: Vec<(SessionKey, Row)> =
        search.found.iter().map(|found| (found.connection.key, row(found))).collect();
    let listed: HashSet<SessionKey> = rows.iter().map(|(key, _)| *key).collect();
    // A session that no server lists is a login under way, or ended long ago.
    let others = in_table.iter().filter(|session| !listed.contains(&session.key()));
    let others = others.filter(|session| {
        !matches!(results.get(&session.key()), Some(crate::system::KickResult::AlreadyGone))
    });
    rows.extend(others.map(|session| (session.key(), session_row(session))));
    let (rows, Counts { kicked, already_gone, failed }) = with_results(rows, &results);
    done.sessions = rows;
    done.kicked = kicked + already_gone;
    done.failed = failed;
    done.servers = servers(&search.servers);
    done.not_searched = not_searched;
}

fn lock_json(listed: &ListedLock, sessions: Option<&Sessions>) -> Value {
    let ListedLock { id, lock, refused, unreadable } = listed;
    let lock = lock.as_deref();
    let time = |time: Option<UnixTime>| time.map(|time| time.to_string());
    let left_alone = sessions.map(|sessions| sessions.left_alone(id)).unwrap_or_default();
    let left_alone: Vec<Value> = left_alone
        .iter()
        .map(|it| {
            json!({ "user": log_field(&it.user), "account": log_field(&it.account), "source": it.source })
        })
        .collect();
    json!({
        "id": log_field(id),
        "target": lock.map(|lock| &lock.target),
        "until": time(lock.and_then(|lock| lock.ends)),
        "reason": lock.and_then(|lock| lock.reason.as_deref()),
        "actor": lock.and_then(|lock| lock.actor.as_deref()),
        "created": time(lock.and_then(|lock| lock.created)),
        "refused": refused,
        "kick": lock.map(|lock| lock.kick),
        "unreadable": unreadable,
        "left_alone": left_alone,
    })
}

fn log_lock(lock: &Lock, actor: &Actor) {
    info!(
        lock = &*lock.id,
        target_of_lock = %lock,
        actor = %actor,
        lock_reason = lock.reason.as_deref().map(log_field),
        "lock stored"
    );
}
