//! An index of bindings by what their conditions require, so that not every condition is evaluated.
//!
//! A condition such as `"staff" in groups && …` is false for identities outside that group: CEL's `&&`
//! stops at the first false operand. Conditions of any other form are always evaluated, so the index
//! changes only the cost of a decision, never its outcome.

use std::collections::HashMap;

use cel::{
    IdedExpr,
    common::ast::{CallExpr, Expr, operators},
};

use crate::template::{
    check::UsedClaims,
    expression::{Expression, string_literal},
};

/// A comparison with a literal.
#[derive(Debug, PartialEq, Eq)]
enum Comparison {
    /// `"…" in groups`
    Group(String),
    /// `user == "…"`
    User(String),
    /// `claims.name == "…"`
    Claim { name: String, value: String },
}

/// The comparisons of which at least one must hold for the condition to be true; `None` if unknown.
fn required(condition: &IdedExpr) -> Option<Vec<Comparison>> {
    let Expr::Call(call) = &condition.expr else { return None };
    let [left, right] = call.args.as_slice() else { return None };
    match call.func_name.as_str() {
        // Only the first operand: a later `false` does not hide an error in it.
        operators::LOGICAL_AND => required(left),
        operators::LOGICAL_OR => {
            let mut either = required(left)?;
            either.extend(required(right)?);
            Some(either)
        }
        operators::EQUALS => equality(left, right).or_else(|| equality(right, left)),
        operators::IN => membership(left, right),
        _ => None,
    }
}

fn equality(variable: &IdedExpr, literal: &IdedExpr) -> Option<Vec<Comparison>> {
    Some(vec![comparison(variable, string_literal(literal)?)?])
}

fn membership(element: &IdedExpr, list: &IdedExpr) -> Option<Vec<Comparison>> {
    match &list.expr {
        Expr::Ident(name) if name == "groups" => {
            Some(vec![Comparison::Group(string_literal(element)?)])
        }
        Expr::List(list) => list
            .elements
            .iter()
            .map(|literal| comparison(element, string_literal(literal)?))
            .collect(),
        _ => None,
    }
}

fn comparison(variable: &IdedExpr, value: String) -> Option<Comparison> {
    let is_claims = |expr: &IdedExpr| matches!(&expr.expr, Expr::Ident(name) if name == "claims");
    match &variable.expr {
        Expr::Ident(name) if name == "user" => Some(Comparison::User(value)),
        Expr::Select(select) if !select.test && is_claims(&select.operand) => {
            Some(Comparison::Claim { name: select.field.clone(), value })
        }
        Expr::Call(CallExpr { func_name, args, .. }) if func_name == operators::INDEX => {
            let [operand, field] = args.as_slice() else { return None };
            let name = is_claims(operand).then(|| string_literal(field))??;
            Some(Comparison::Claim { name, value })
        }
        _ => None,
    }
}

/// Positions of bindings, by what their conditions require.
#[derive(Debug, Default)]
pub(in crate::policy) struct BindingIndex {
    pub(in crate::policy) groups: HashMap<String, Vec<usize>>,
    pub(in crate::policy) users: HashMap<String, Vec<usize>>,
    pub(in crate::policy) claims: HashMap<String, ClaimIndex>,
    /// Always evaluated.
    pub(in crate::policy) unindexed: Vec<usize>,
    /// Whether an indexed condition uses the groups.
    pub(in crate::policy) uses_groups: bool,
    /// The claims that indexed conditions use.
    pub(in crate::policy) used_claims: UsedClaims,
}

/// Positions of bindings that compare one claim.
#[derive(Debug, Default)]
pub(in crate::policy) struct ClaimIndex {
    pub(in crate::policy) by_value: HashMap<String, Vec<usize>>,
    pub(in crate::policy) all: Vec<usize>,
}

impl BindingIndex {
    /// Adds the binding at `position`, which is greater than all positions before.
    pub(super) fn add(&mut self, position: usize, condition: Option<&Expression>) {
        let Some((condition, comparisons)) =
            condition.and_then(|when| Some((when, required(&when.root)?)))
        else {
            return self.unindexed.push(position);
        };
        self.uses_groups |= condition.uses_groups;
        self.used_claims.add(condition.used_claims.clone());
        for comparison in comparisons {
            match comparison {
                Comparison::Group(name) => self.groups.entry(name).or_default().push(position),
                Comparison::User(name) => self.users.entry(name).or_default().push(position),
                Comparison::Claim { name, value } => {
                    let claim = self.claims.entry(name).or_default();
                    claim.by_value.entry(value).or_default().push(position);
                    claim.all.push(position);
                }
            }
        }
    }
}
