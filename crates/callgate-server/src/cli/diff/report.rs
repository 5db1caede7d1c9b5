//! What `diff` and `replay` print.

use std::fmt;

use serde_json::{Value, json};

use crate::{
    rehearsal::difference::{Difference, Kind},
    telemetry::sanitize_detail,
};

/// The differences between two configurations.
#[derive(Debug, Default)]
pub(in crate::cli) struct Preview {
    lines: Vec<Line>,
    pub(in crate::cli) differ: usize,
    pub(in crate::cli) same: usize,
    pub(in crate::cli) undecided: usize,
}

#[derive(Debug)]
struct Line {
    /// `AUTHENTICATOR/USER`, or the name of a role.
    who: String,
    difference: Difference,
}

/// The kind of difference that fails a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum FailOn {
    /// An identity or a role may do more
    Gain,
    /// An identity or a role may do less
    Loss,
    /// Anything differs
    Any,
}

impl Preview {
    /// Adds the differences of an identity or a role.
    pub(in crate::cli) fn add(&mut self, who: &str, differences: Vec<Difference>) {
        let lines = differences.into_iter();
        self.lines.extend(lines.map(|difference| Line { who: who.to_owned(), difference }));
    }

    /// Whether nothing was compared.
    pub(in crate::cli) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.differ + self.same + self.undecided == 0
    }

    /// Whether there is a difference of this kind.
    pub(in crate::cli) fn has(&self, kind: FailOn) -> bool {
        self.lines.iter().any(|Line { difference, .. }| match kind {
            FailOn::Gain => difference.effect.gain,
            FailOn::Loss => difference.effect.loss,
            FailOn::Any => true,
        })
    }

    /// By kind, then by identity or role.
    pub(in crate::cli) fn sort(&mut self) {
        self.lines.sort_by(|one, other| {
            (one.difference.kind, &one.who).cmp(&(other.difference.kind, &other.who))
        });
    }

    /// Keeps one of equal lines, which must be sorted.
    pub(in crate::cli) fn merge(&mut self) {
        self.lines.dedup_by(|one, other| {
            one.who == other.who && one.difference.is_same_as(&other.difference)
        });
    }

    pub(in crate::cli) fn to_json(&self) -> Value {
        let differences = self.lines.iter().map(|Line { who, difference }| {
            let Difference { kind, side, subject, effect: _ } = difference;
            let side = (!side.is_empty()).then_some(*side);
            match kind {
                Kind::Role => json!({
                    "kind": kind.as_str(), "role": who, "side": side, "subject": subject,
                }),
                _ => json!({
                    "kind": kind.as_str(), "identity": who, "side": side, "subject": subject,
                }),
            }
        });
        json!({
            "differences": differences.collect::<Vec<_>>(),
            "same": self.same,
            "undecided": self.undecided,
        })
    }
}

impl fmt::Display for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Line { who, difference } in &self.lines {
            let Difference { kind, side, subject, effect: _ } = difference;
            let kind = kind.as_str();
            let who = sanitize_detail(who);
            let subject = sanitize_detail(subject);
            match side.is_empty() {
                true => writeln!(f, "{kind:<7} {who:<14} {subject}")?,
                false => writeln!(f, "{kind:<7} {who:<14} {side:<9} {subject}")?,
            }
        }
        let Self { differ, same, undecided, lines: _ } = self;
        let differ = match differ {
            1 => "1 identity differs".to_owned(),
            count => format!("{count} identities differ"),
        };
        let is = if *same == 1 { "is" } else { "are" };
        writeln!(
            f,
            "{differ}, {same} {is} the same, {undecided} cannot be compared without their claims"
        )
    }
}
