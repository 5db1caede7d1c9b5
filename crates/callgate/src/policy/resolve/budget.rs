//! What one decision may cost. The work is counted, not measured: the same login always costs the same.
//!
//! Conditions and templates read outside data, so their cost depends on what a token contains. Each
//! expression states its cost before it runs (`template::cost`); filled templates count their bytes.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::template::cost::Cost;

/// The maximum length of a list or map in an expression.
pub(super) const MAX_ELEMENTS: usize = 1000;
/// The maximum number of values in the claims, or in the groups, in an expression.
pub(super) const MAX_NODES: usize = 4096;
/// The maximum size of the claims, or of the groups, in an expression.
pub(super) const MAX_BYTES: usize = 64 * 1024;

/// The maximum cost of all expressions and templates of one decision. One unit is one value that is
/// visited or copied, 10 to 30 ns.
pub(super) const MAX_UNITS: u64 = 150_000;
/// The most values, and the most bytes of text, in any value that an expression computes.
const MAX_VALUE_NODES: u64 = 4096;
const MAX_VALUE_BYTES: u64 = 128 * 1024;

/// The cost of a decision so far.
#[derive(Debug, Default)]
pub(super) struct Budget {
    spent: AtomicU64,
}

/// Why an expression is not evaluated, or a template not filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OverBudget {
    /// The decision would cost this many units.
    Units(u64),
    /// A computed value would have more than the maximum of values or bytes.
    Value,
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Units(units) => write!(
                f,
                "the expressions of this login cost too much (at least {units} units, at most \
                 {MAX_UNITS}): its groups or claims are too large for them"
            ),
            Self::Value => write!(
                f,
                "a computed value is too large (at most {MAX_VALUE_NODES} values and \
                 {MAX_VALUE_BYTES} bytes)"
            ),
        }
    }
}

impl Budget {
    /// The units so far.
    pub(super) fn spent(&self) -> u64 {
        self.spent.load(Ordering::Relaxed)
    }

    /// Counts work that is done anyway, and is bounded by other limits.
    pub(super) fn note(&self, units: u64) {
        self.spent.store(self.spent().saturating_add(units), Ordering::Relaxed);
    }

    /// Counts work that is about to be done.
    ///
    /// # Errors
    /// If it is more than what is left.
    pub(super) fn spend(&self, units: u64) -> Result<(), OverBudget> {
        self.note(units);
        match self.spent() {
            spent if spent > MAX_UNITS => Err(OverBudget::Units(spent)),
            _ => Ok(()),
        }
    }

    /// The same for an expression, whose values also have a maximum size.
    pub(super) fn spend_on(&self, cost: Cost) -> Result<(), OverBudget> {
        let Cost { units, nodes, bytes } = cost;
        self.spend(units)?;
        match nodes > MAX_VALUE_NODES || bytes > MAX_VALUE_BYTES {
            true => Err(OverBudget::Value),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
