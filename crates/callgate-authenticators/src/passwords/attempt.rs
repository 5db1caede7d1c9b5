//! One verification, at a cost that does not depend on who is asked for.

use std::{hint::black_box, sync::Arc, time::Duration};

use callgate::secret::Secret;

use super::{
    cost::{Cost, Scratch},
    durations::{burn, spent},
    force::{Costs, Fill, Measured},
    stored::StoredPassword,
};

/// A password to be verified for somebody, or for nobody.
#[derive(Debug)]
pub struct Attempt {
    /// What the user's entry holds; nothing if there is no such user, or none with a password.
    pub stored: Option<StoredPassword>,
    /// What the client sent.
    pub password: Secret,
    /// The sets of parameters in force.
    pub costs: Arc<Costs>,
}

impl Attempt {
    /// True if there is nothing slow to do, so that no worker is needed.
    pub fn is_cheap(&self) -> bool {
        self.costs.is_empty() && self.own_cost().is_none()
    }

    /// Computes one hash, and one digest as for clear text, and lasts as long as the dearest set of
    /// parameters in force. True if the password is right.
    ///
    /// The hash is the user's own; whoever has none pays for one of the dearest set. If the user's
    /// takes less, what is missing is burnt.
    pub fn run(&self, scratch: &mut Scratch) -> bool {
        if self.is_cheap() {
            // Nothing to last as long as: not even the clock, which is a system call, is asked.
            return self.compare(scratch);
        }
        let began = spent();
        let own = self.own_cost();
        if own.is_none()
            && let Some(dearest) = self.costs.dearest()
        {
            dearest.cost.pretend(self.password.expose().as_bytes(), scratch);
        }
        let right = self.compare(scratch);
        // With one set in force everybody has computed the same.
        if self.costs.len() < 2 && own.is_none_or(|own| self.costs.find(own).is_some()) {
            return right;
        }
        let took = spent().saturating_sub(began);
        // From here on everybody does the same again, also who has nothing to fill up.
        let computed = own.or_else(|| self.costs.dearest().map(|dearest| dearest.cost));
        if let Some(cost) = computed {
            self.fill(cost, began, took, scratch);
            note(self.costs.find(cost), took, scratch);
        }
        right
    }

    /// True if the password is right. Clear text is compared as a digest, which takes a microsecond:
    /// nobody is spared it.
    fn compare(&self, scratch: &mut Scratch) -> bool {
        if !matches!(self.stored, Some(StoredPassword::Clear(_))) {
            black_box(StoredPassword::clear(self.password.expose()));
        }
        self.stored.as_ref().is_some_and(|stored| stored.verify(&self.password, scratch))
    }

    /// A hash of `cost` was computed in `took`; what does the dearest take more?
    fn fill(&self, cost: Cost, began: Duration, took: Duration, scratch: &mut Scratch) {
        match self.costs.fill(cost) {
            Fill::Nothing => {}
            Fill::Until(end) => burn(began + end, spent),
            Fill::More(more) => burn(began + took + more, spent),
            Fill::Hash(dearest) => {
                let began = spent();
                dearest.cost.pretend(self.password.expose().as_bytes(), scratch);
                note(Some(dearest), spent().saturating_sub(began), scratch);
            }
        }
    }

    fn own_cost(&self) -> Option<Cost> {
        self.stored.as_ref().and_then(StoredPassword::cost)
    }
}

/// Without memory nothing was computed, and so nothing measured.
fn note(set: Option<&Measured>, took: Duration, scratch: &Scratch) {
    if let Some(set) = set.filter(|_| !scratch.is_short()) {
        set.durations.record(took);
    }
}
