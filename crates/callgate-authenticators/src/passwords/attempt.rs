//! One verification, at a cost that does not depend on who is asked for.

use std::{hint::black_box, sync::Arc};

use callgate::secret::Secret;

use super::{
    cost::{Cost, Scratch},
    stored::StoredPassword,
};

/// A password to be verified for somebody, or for nobody.
#[derive(Debug)]
pub struct Attempt {
    /// What the user's entry holds; nothing if there is no such user, or none with a password.
    pub stored: Option<StoredPassword>,
    /// What the client sent.
    pub password: Secret,
    /// Every set of parameters in force.
    pub costs: Arc<Vec<Cost>>,
}

impl Attempt {
    /// True if there is nothing slow to do, so that no worker is needed.
    pub fn is_cheap(&self) -> bool {
        self.costs.is_empty() && self.own_cost().is_none()
    }

    /// Computes every set of parameters in force once, and one digest as for clear text. True if the
    /// password is right.
    pub fn run(&self, scratch: &mut Scratch) -> bool {
        let own = self.own_cost();
        for cost in self.costs.iter().filter(|cost| Some(**cost) != own) {
            cost.pretend(self.password.expose().as_bytes(), scratch);
        }
        // Clear text is compared as a digest, which takes a microsecond: nobody is spared it.
        if !matches!(self.stored, Some(StoredPassword::Clear(_))) {
            black_box(StoredPassword::clear(self.password.expose()));
        }
        self.stored.as_ref().is_some_and(|stored| stored.verify(&self.password, scratch))
    }

    fn own_cost(&self) -> Option<Cost> {
        self.stored.as_ref().and_then(StoredPassword::cost)
    }
}
