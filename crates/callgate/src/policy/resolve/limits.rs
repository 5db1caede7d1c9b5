//! Limits of a connection, for whoever is told: from where, how and when it may be.

use std::collections::BTreeSet;

use crate::policy::{
    explain::{Enforcer, Step, Trace},
    role::Role,
};

/// The kinds of limits that were told. Callgate judges them when it decides, because nats-server
/// ignores them in callout answers.
#[derive(Debug, Default)]
pub(super) struct Limits(BTreeSet<&'static str>);

impl Limits {
    /// Tells a limit and whose it is.
    pub(super) fn tell<T: Trace>(
        &mut self,
        trace: &mut T,
        limit: &'static str,
        value: impl FnOnce() -> String,
        from: impl FnOnce() -> String,
    ) {
        if !T::LISTENS {
            return;
        }
        self.0.insert(limit);
        let enforced_by = Enforcer::Callgate;
        trace.note(|| Step::Limit { limit, value: value(), from: from(), enforced_by });
    }

    /// Those of a role; one that does not count is told as such.
    pub(super) fn tell_of_role<T: Trace>(&mut self, trace: &mut T, role: &Role, counts: bool) {
        let aside = if counts { "" } else { ", which does not count" };
        let from = || format!("role `{}`{aside}", role.name);
        if let Some(networks) = &role.source {
            self.tell(trace, "source", || listed(networks), from);
        }
        self.tell(trace, "connection_types", || role.kinds.to_string(), from);
        if let Some(windows) = &role.times {
            self.tell(trace, "times", || windows.to_string(), from);
        }
    }

    /// The kinds that there are.
    pub(super) fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().copied()
    }
}

/// Networks, or anything else, in a list.
pub(super) fn listed(all: &[impl ToString]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
