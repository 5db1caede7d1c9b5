//! Which hash parameters are in force, over all tables.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;

use super::cost::Cost;

/// Every set of hash parameters that some table uses. A login computes each once.
#[derive(Debug, Default)]
pub struct CostsInForce {
    tables: Mutex<BTreeMap<u64, BTreeSet<Cost>>>,
    union: ArcSwap<Vec<Cost>>,
    next: AtomicU64,
}

impl CostsInForce {
    /// A place for one table; what it sets there is in force until it is dropped.
    pub fn enrol(self: &Arc<Self>) -> Enrolment {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Enrolment { number, costs: Arc::clone(self) }
    }

    /// The sets in force, each once.
    pub fn all(&self) -> Arc<Vec<Cost>> {
        self.union.load_full()
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<u64, BTreeSet<Cost>>)) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut tables);
        let union: BTreeSet<Cost> = tables.values().flatten().copied().collect();
        self.union.store(Arc::new(union.into_iter().collect()));
    }
}

/// One table's place in [`CostsInForce`].
#[derive(Debug)]
pub struct Enrolment {
    number: u64,
    costs: Arc<CostsInForce>,
}

impl Enrolment {
    /// Says which sets the table uses now.
    pub fn set(&self, costs: BTreeSet<Cost>) {
        self.costs.change(|tables| drop(tables.insert(self.number, costs)));
    }
}

impl Drop for Enrolment {
    fn drop(&mut self) {
        self.costs.change(|tables| drop(tables.remove(&self.number)));
    }
}
