//! Enters each admission in the table before its answer leaves.

use std::{fmt, sync::Arc};

use callgate::{
    AdmissionHook,
    record::{Decision, Denial},
    request::AuthRequest,
};
use futures_util::future::{BoxFuture, ready};

use super::{Session, Sessions};
use crate::system::SessionKey;

/// What is needed to evaluate a decision again, as bytes to keep with its session.
pub(crate) type Keep = Arc<dyn Fn(&AuthRequest, &Decision) -> Option<Box<[u8]>> + Send + Sync>;

/// Enters sessions in the table. It must come before the hook that checks locks: a new lock is put in force
/// first, and then the table is searched, so every login either sees the lock or is seen by it.
pub(crate) struct SessionHook {
    sessions: Arc<Sessions>,
    keep: Option<Keep>,
}

impl SessionHook {
    pub(crate) fn new(sessions: Arc<Sessions>, keep: Option<Keep>) -> Self {
        Self { sessions, keep }
    }
}

impl AdmissionHook for SessionHook {
    fn before_answer<'a>(
        &'a self,
        request: &'a AuthRequest,
        decision: &'a Decision,
    ) -> BoxFuture<'a, Result<(), Denial>> {
        let judged = self.keep.as_ref().and_then(|keep| keep(request, decision));
        let replica = self.sessions.replica();
        if let Some(session) =
            Session::admitted(request, decision, replica, judged, self.sessions.table())
        {
            self.sessions.enter(session);
        }
        Box::pin(ready(Ok(())))
    }

    fn not_admitted(&self, request: &AuthRequest, _why: &Denial) {
        self.sessions.ended(SessionKey::new(&request.server().id, request.client().id));
    }
}

impl fmt::Debug for SessionHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionHook").field("sessions", &self.sessions).finish_non_exhaustive()
    }
}
