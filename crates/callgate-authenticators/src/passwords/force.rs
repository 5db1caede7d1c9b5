//! Which hash parameters are in force, over all tables, and what a login with them has to last.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;

use super::{
    cost::{Cost, Scratch},
    durations::{Durations, spent},
};

/// A hash that takes longer is not waited for when a file is loaded.
const PATIENCE: Duration = Duration::from_secs(1);
/// So often the dearest set is measured before a login is.
const MEASURED: usize = 2;

/// Every set of hash parameters that some table uses.
#[derive(Debug, Default)]
pub struct CostsInForce {
    tables: Mutex<BTreeMap<u64, BTreeSet<Cost>>>,
    union: ArcSwap<Costs>,
    next: AtomicU64,
}

/// The sets of hash parameters in force at one moment, each once, and what they take.
#[derive(Debug, Default)]
pub struct Costs(Vec<Measured>);

/// One set, and how long it takes of late.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    pub(super) cost: Cost,
    pub(super) durations: Arc<Durations>,
}

/// What is left to be done after somebody's own hash, so that it takes as long as the dearest.
#[derive(Debug)]
pub(super) enum Fill<'a> {
    /// It was the dearest.
    Nothing,
    /// Burn until the whole has lasted so long.
    Until(Duration),
    /// Burn so much longer: it is nearly as dear.
    More(Duration),
    /// Compute the dearest, too: nobody knows yet how long that takes.
    Hash(&'a Measured),
}

impl CostsInForce {
    /// A place for one table; what it sets there is in force until it is dropped.
    pub fn enrol(self: &Arc<Self>) -> Enrolment {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Enrolment { number, costs: Arc::clone(self) }
    }

    /// The sets in force.
    pub fn all(&self) -> Arc<Costs> {
        self.union.load_full()
    }

    /// Measures the set that is thought to be the dearest, here and now, unless that was done or takes
    /// too long: the first logins need not compute it beside their own.
    pub fn measure_dearest(&self) {
        let costs = self.all();
        let unknown =
            |set: &&Measured| set.durations.count() == 0 && set.cost.estimate() < PATIENCE;
        if let Some(dearest) = costs.least_known().filter(unknown) {
            dearest.measure(&mut Scratch::default());
        }
    }

    /// Measures one hash of a set in force of which too little is known. False if there is none.
    pub fn measure_one(&self, scratch: &mut Scratch) -> bool {
        let costs = self.all();
        costs.least_known().is_some_and(|set| set.measure(scratch))
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<u64, BTreeSet<Cost>>)) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut tables);
        let union: BTreeSet<Cost> = tables.values().flatten().copied().collect();
        let old = self.union.load();
        let set = |cost| old.find(cost).cloned().unwrap_or_else(|| Measured::new(cost));
        self.union.store(Arc::new(Costs(union.into_iter().map(set).collect())));
    }
}

impl Costs {
    /// True if nothing is hashed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many sets there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn find(&self, cost: Cost) -> Option<&Measured> {
        self.0.iter().find(|set| set.cost == cost)
    }

    /// The set that takes longest: as measured, or else as estimated.
    pub(super) fn dearest(&self) -> Option<&Measured> {
        self.0.iter().max_by_key(|set| set.durations.typical().unwrap_or(set.cost.estimate()))
    }

    /// What makes a hash with `own` parameters last as long as one with the dearest.
    pub(super) fn fill(&self, own: Cost) -> Fill<'_> {
        let Some(dearest) = self.dearest().filter(|dearest| dearest.cost != own) else {
            return Fill::Nothing;
        };
        let durations = &dearest.durations;
        let (Some(drawn), Some(typical)) = (durations.draw(), durations.typical()) else {
            return Fill::Hash(dearest);
        };
        match self.find(own).and_then(|own| own.durations.typical()) {
            // The longer of two durations that are spread alike would mostly be longer than either.
            Some(own) if own > typical / 8 * 7 => Fill::More(typical.saturating_sub(own)),
            Some(_) | None => Fill::Until(drawn),
        }
    }

    /// With one set there is nothing to fill up, and so nothing to know. The rest is learned from logins.
    fn least_known(&self) -> Option<&Measured> {
        if self.0.len() < 2 {
            return None;
        }
        // The others would have to be twice as dear as they are thought to be.
        let likely = self.0.iter().map(|set| set.cost.estimate()).max().unwrap_or_default() / 2;
        let unknown = |set: &&Measured| set.durations.count() == 0 && set.cost.estimate() >= likely;
        let few = |set: &&Measured| set.durations.count() < MEASURED;
        let unknown = self.0.iter().filter(unknown).max_by_key(|set| set.cost.estimate());
        unknown.or_else(|| self.dearest().filter(few))
    }
}

impl Measured {
    fn new(cost: Cost) -> Self {
        Self { cost, durations: Arc::default() }
    }

    /// False if there was no memory for it.
    fn measure(&self, scratch: &mut Scratch) -> bool {
        let began = spent();
        let measured = self.cost.try_out(scratch);
        if measured {
            self.durations.record(spent().saturating_sub(began));
        }
        measured
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
