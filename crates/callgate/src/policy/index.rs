//! Finds the bindings whose conditions can be true, without evaluating all of them.
//!
//! A condition that begins with a plain comparison, `"staff" in groups && …`, is false wherever
//! that is: CEL's `&&` looks no further. Whatever cannot be judged that way is evaluated as ever, so
//! the index never changes an outcome, only what it costs.

use std::collections::{BTreeSet, HashMap};

use cel::{
    IdedExpr,
    common::ast::{CallExpr, Expr, LiteralValue, operators},
};
use serde_json::Value as Json;

use super::{condition::Expression, inputs::Inputs, lint::UsedClaims};

/// A comparison with a literal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Needed {
    /// `"…" in groups`
    Group(String),
    /// `user == "…"`
    User(String),
    /// `claims.name == "…"`
    Claim { name: String, value: String },
}

/// The comparisons of which one must hold for the condition to be true; `None` if that cannot be
/// told.
pub(super) fn needs(condition: &IdedExpr) -> Option<Vec<Needed>> {
    let Expr::Call(call) = &condition.expr else { return None };
    let [left, right] = call.args.as_slice() else { return None };
    match call.func_name.as_str() {
        // Only what stands first: an error there is not outweighed by what follows.
        operators::LOGICAL_AND => needs(left),
        operators::LOGICAL_OR => {
            let mut either = needs(left)?;
            either.extend(needs(right)?);
            Some(either)
        }
        operators::EQUALS => comparison(left, right).or_else(|| comparison(right, left)),
        operators::IN => membership(left, right),
        _ => None,
    }
}

fn comparison(variable: &IdedExpr, literal: &IdedExpr) -> Option<Vec<Needed>> {
    Some(vec![needed(variable, text(literal)?)?])
}

fn membership(element: &IdedExpr, list: &IdedExpr) -> Option<Vec<Needed>> {
    match &list.expr {
        Expr::Ident(name) if name == "groups" => Some(vec![Needed::Group(text(element)?)]),
        Expr::List(list) => {
            list.elements.iter().map(|literal| needed(element, text(literal)?)).collect()
        }
        _ => None,
    }
}

fn needed(variable: &IdedExpr, value: String) -> Option<Needed> {
    match &variable.expr {
        Expr::Ident(name) if name == "user" => Some(Needed::User(value)),
        Expr::Select(select) if !select.test => match &select.operand.expr {
            Expr::Ident(name) if name == "claims" => {
                Some(Needed::Claim { name: select.field.clone(), value })
            }
            _ => None,
        },
        Expr::Call(CallExpr { func_name, args, .. }) if func_name == operators::INDEX => {
            let [operand, field] = args.as_slice() else { return None };
            match &operand.expr {
                Expr::Ident(name) if name == "claims" => {
                    Some(Needed::Claim { name: text(field)?, value })
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn text(literal: &IdedExpr) -> Option<String> {
    match &literal.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner().to_string()),
        _ => None,
    }
}

/// Places of bindings, by what their conditions need.
#[derive(Debug, Default)]
pub(super) struct Index {
    groups: HashMap<String, Vec<usize>>,
    users: HashMap<String, Vec<usize>>,
    claims: HashMap<String, Compared>,
    /// Looked at always.
    others: Vec<usize>,
    /// Whether a condition that may be passed over uses the groups.
    uses_groups: bool,
    /// The claims that conditions use which may be passed over.
    uses_claims: UsedClaims,
}

/// Places of bindings that compare one claim.
#[derive(Debug, Default)]
struct Compared {
    by_value: HashMap<String, Vec<usize>>,
    all: Vec<usize>,
}

impl Index {
    /// Adds the binding at `place`, which is larger than those before.
    pub(super) fn add(&mut self, place: usize, condition: Option<&Expression>) {
        let Some((condition, needs)) = condition.and_then(|when| Some((when, when.needs()?)))
        else {
            return self.others.push(place);
        };
        self.uses_groups |= condition.uses_groups();
        self.uses_claims.add(condition.uses_claims().clone());
        for needed in needs {
            match needed {
                Needed::Group(name) => self.groups.entry(name).or_default().push(place),
                Needed::User(name) => self.users.entry(name).or_default().push(place),
                Needed::Claim { name, value } => {
                    let compared = self.claims.entry(name).or_default();
                    compared.by_value.entry(value).or_default().push(place);
                    compared.all.push(place);
                }
            }
        }
    }

    /// The places to look at, in order; `None` for all of them, since an input is beyond its bounds
    /// and every condition that uses it must say so.
    pub(super) fn candidates(&self, inputs: &Inputs<'_>) -> Option<BTreeSet<usize>> {
        if self.uses_groups {
            inputs.groups().ok()?;
        }
        inputs.seen_by(&self.uses_claims).ok()?;
        let identity = inputs.request.identity;
        let mut places: BTreeSet<usize> = self.others.iter().copied().collect();
        places.extend(self.users.get(inputs.user).into_iter().flatten());
        if !self.groups.is_empty() {
            places.extend(
                identity.groups.iter().filter_map(|group| self.groups.get(group)).flatten(),
            );
        }
        for (name, Compared { by_value, all }) in &self.claims {
            match identity.claims.get(name) {
                Some(Json::String(value)) => {
                    places.extend(by_value.get(value).into_iter().flatten())
                }
                // Absent, or of another type: that is the interpreter's to judge.
                Some(_) | None => places.extend(all),
            }
        }
        Some(places)
    }
}
