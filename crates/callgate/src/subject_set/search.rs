//! Searches for a subject that is in some sets and not in others.
//!
//! All patterns are followed at the same time, token by token. At each position only the literal tokens
//! that a pattern has there can make a difference, and one token that none of them has. Two beginnings
//! after which the same patterns still match have the same continuations, so each is visited once.

use std::collections::{BTreeMap, HashSet};

use super::{Part, SubjectSet};
use crate::subject::Subject;

/// More steps than any ordinary policy needs.
const MAX_STEPS: usize = 200_000;

/// The patterns are too many and too entangled to compare exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "these subjects are too complex to compare: use fewer patterns with `*` before a literal token"
)]
pub struct TooComplex;

/// A subject that is in each set marked true, and in no set marked false.
pub(super) fn find(sets: &[(&SubjectSet, bool)]) -> Result<Option<Subject>, TooComplex> {
    let mut search = Search::default();
    for (set, inside) in sets {
        search.add(set, *inside);
    }
    search.choose_other();
    let mut alive = Bits::default();
    (0..search.patterns.len()).for_each(|index| alive.insert(index));
    let mut path = Vec::new();
    let found = search.visit(&alive, &Bits::default(), &mut path)?;
    Ok(if found { path.join(".").parse().ok() } else { None })
}

#[derive(Default)]
struct Search<'a> {
    patterns: Vec<Vec<&'a str>>,
    demands: Vec<Demand>,
    seen: HashSet<(usize, Bits, Bits)>,
    steps: usize,
    /// A token that is in no pattern.
    other: String,
}

/// The subject must be inside of one of the parts, or outside of all.
struct Demand {
    parts: Vec<IndexedPart>,
    inside: bool,
}

/// The patterns of a part.
#[derive(Default)]
struct IndexedPart {
    allow: Bits,
    except: Bits,
}

/// The patterns that go on after a token.
#[derive(Default, Clone)]
struct Branch {
    /// Those that need more tokens.
    alive: Bits,
    /// Those that match if the subject ends here.
    ended: Bits,
    /// Those that match from here on, however the subject continues.
    tails: Bits,
}

impl<'a> Search<'a> {
    fn add(&mut self, set: &'a SubjectSet, inside: bool) {
        let mut parts = Vec::new();
        for Part { allow, except } in &set.parts {
            let mut part = IndexedPart::default();
            for pattern in allow {
                part.allow.insert(self.patterns.len());
                self.patterns.push(pattern.tokens().collect());
            }
            for pattern in except {
                part.except.insert(self.patterns.len());
                self.patterns.push(pattern.tokens().collect());
            }
            parts.push(part);
        }
        self.demands.push(Demand { parts, inside });
    }

    fn choose_other(&mut self) {
        let known: HashSet<&str> = self.patterns.iter().flatten().copied().collect();
        let names = (0usize..).map(|number| match number {
            0 => "x".to_owned(),
            number => format!("x{number}"),
        });
        self.other =
            names.into_iter().find(|name| !known.contains(name.as_str())).unwrap_or_default();
    }

    /// Continues `path`, after which these patterns are still alive or match whatever follows.
    fn visit(
        &mut self,
        alive: &Bits,
        tails: &Bits,
        path: &mut Vec<String>,
    ) -> Result<bool, TooComplex> {
        let depth = path.len();
        let is_possible = self.demands.iter().all(|demand| demand.is_possible(alive, tails));
        if !is_possible || !self.seen.insert((depth, alive.clone(), tails.clone())) {
            return Ok(false);
        }
        for (token, branch) in self.branches(depth, alive, tails) {
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return Err(TooComplex);
            }
            path.push(token);
            let matched = branch.ended.union(&branch.tails);
            let found = self.demands.iter().all(|demand| demand.holds(&matched))
                || (!alive.is_empty() && self.visit(&branch.alive, &branch.tails, path)?);
            if found {
                return Ok(true);
            }
            path.pop();
        }
        Ok(false)
    }

    /// Every token that makes a difference, and which patterns match after it.
    fn branches(&self, depth: usize, alive: &Bits, tails: &Bits) -> Vec<(String, Branch)> {
        let mut any = Branch { tails: tails.clone(), ..Branch::default() };
        let mut literals: BTreeMap<&str, Vec<(usize, bool)>> = BTreeMap::new();
        for index in alive.iter() {
            let Some(tokens) = self.patterns.get(index) else { continue };
            let is_last = tokens.len() == depth + 1;
            match tokens.get(depth).copied() {
                Some(">") => any.tails.insert(index),
                Some("*") => any.advance(index, is_last),
                Some(literal) => literals.entry(literal).or_default().push((index, is_last)),
                None => {}
            }
        }
        let mut branches = vec![(self.other.clone(), any.clone())];
        for (literal, patterns) in literals {
            let mut branch = any.clone();
            for (index, is_last) in patterns {
                branch.advance(index, is_last);
            }
            branches.push((literal.to_owned(), branch));
        }
        branches
    }
}

impl Branch {
    fn advance(&mut self, index: usize, is_last: bool) {
        match is_last {
            true => self.ended.insert(index),
            false => self.alive.insert(index),
        }
    }
}

impl Demand {
    /// Whether a subject that exactly these patterns match is what is demanded.
    fn holds(&self, matched: &Bits) -> bool {
        let is_in = self
            .parts
            .iter()
            .any(|IndexedPart { allow, except }| allow.meets(matched) && !except.meets(matched));
        is_in == self.inside
    }

    /// Whether a longer subject could hold.
    fn is_possible(&self, alive: &Bits, tails: &Bits) -> bool {
        match self.inside {
            true => self.parts.iter().any(|IndexedPart { allow, except }| {
                (allow.meets(alive) || allow.meets(tails)) && !except.meets(tails)
            }),
            false => !self.parts.iter().any(|IndexedPart { allow, except }| {
                allow.meets(tails) && !except.meets(alive) && !except.meets(tails)
            }),
        }
    }
}

/// A set of small numbers. Sets with the same numbers are equal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Bits(Vec<u64>);

impl Bits {
    fn insert(&mut self, number: usize) {
        let word = number / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        if let Some(bits) = self.0.get_mut(word) {
            *bits |= 1 << (number % 64);
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(left, right)| left & right != 0)
    }

    fn union(&self, other: &Self) -> Self {
        let (longer, shorter) = match self.0.len() >= other.0.len() {
            true => (self, other),
            false => (other, self),
        };
        let mut union = longer.clone();
        union.0.iter_mut().zip(&shorter.0).for_each(|(bits, more)| *bits |= more);
        union
    }

    fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(word, bits)| {
            (0..64).filter(move |bit| bits & (1 << bit) != 0).map(move |bit| word * 64 + bit)
        })
    }
}
