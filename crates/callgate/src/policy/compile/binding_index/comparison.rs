//! Finds in a condition the comparisons that it requires.

use cel::{
    IdedExpr,
    common::ast::{CallExpr, Expr, LiteralValue, operators},
};

use crate::template::expression::string_literal;

/// A comparison with a literal.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) enum Comparison {
    /// `"…" in groups`
    Group(String),
    /// `user == "…"`
    User(String),
    Claim(ClaimComparison),
}

/// `claims.name == "…"`, or `"…" in claims.name`; the value may be deeper: `claims.name.member`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ClaimComparison {
    pub(super) name: String,
    pub(super) members: Vec<String>,
    pub(super) test: ClaimTest,
    pub(super) value: String,
}

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::policy) enum ClaimTest {
    /// It is a text.
    Equals,
    /// It is a list that contains a text.
    Contains,
}

/// What a condition requires to be true.
#[derive(Debug)]
pub(super) struct Requirements {
    /// If all comparisons of one of these lists are false, so is the condition.
    pub(super) alternatives: Vec<Vec<Comparison>>,
    /// Whether the condition can fail only because a claim is absent, which counts as false.
    cannot_fail: bool,
    /// Claims without which the condition is false: `has(claims.name)`.
    needs: Vec<String>,
}

impl Requirements {
    /// `None` if nothing is known.
    pub(super) fn of(condition: &IdedExpr) -> Option<Self> {
        let mut requirements = Self {
            alternatives: Vec::new(),
            cannot_fail: cannot_fail(condition),
            needs: Vec::new(),
        };
        requirements.add(condition);
        (!requirements.alternatives.is_empty()).then_some(requirements)
    }

    /// Whether the condition does not hold if this value in the claims is absent, whatever else is true.
    pub(super) fn is_false_without(&self, name: &str, members: &[String]) -> bool {
        self.cannot_fail || (members.is_empty() && self.needs.iter().any(|needed| needed == name))
    }

    fn add(&mut self, condition: &IdedExpr) {
        if let Some((operators::LOGICAL_AND, left, right)) = operation(condition) {
            self.add(left);
            self.add(right);
            return;
        }
        self.alternatives.extend(required(condition));
        self.needs.extend(tested_claim(condition).map(str::to_owned));
    }
}

/// The comparisons of which at least one must hold for the condition to be true; `None` if unknown.
fn required(condition: &IdedExpr) -> Option<Vec<Comparison>> {
    let (operator, left, right) = operation(condition)?;
    match operator {
        operators::LOGICAL_AND => required(left).or_else(|| required(right)),
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

/// An operator and its two operands.
fn operation(expr: &IdedExpr) -> Option<(&str, &IdedExpr, &IdedExpr)> {
    let Expr::Call(CallExpr { func_name, args, .. }) = &expr.expr else { return None };
    let [left, right] = args.as_slice() else { return None };
    Some((func_name.as_str(), left, right))
}

fn equality(variable: &IdedExpr, literal: &IdedExpr) -> Option<Vec<Comparison>> {
    Some(vec![comparison(variable, ClaimTest::Equals, string_literal(literal)?)?])
}

fn membership(element: &IdedExpr, list: &IdedExpr) -> Option<Vec<Comparison>> {
    if let Expr::List(list) = &list.expr {
        let literals = list.elements.iter();
        return literals
            .map(|literal| comparison(element, ClaimTest::Equals, string_literal(literal)?))
            .collect();
    }
    let value = string_literal(element)?;
    match &list.expr {
        Expr::Ident(name) if name == "groups" => Some(vec![Comparison::Group(value)]),
        _ => match comparison(list, ClaimTest::Contains, value)? {
            found @ Comparison::Claim(_) => Some(vec![found]),
            Comparison::Group(_) | Comparison::User(_) => None,
        },
    }
}

fn comparison(variable: &IdedExpr, test: ClaimTest, value: String) -> Option<Comparison> {
    if matches!(&variable.expr, Expr::Ident(name) if name == "user") {
        return Some(Comparison::User(value));
    }
    let mut path = claim_path(variable)?.into_iter();
    let name = path.next()?;
    Some(Comparison::Claim(ClaimComparison { name, members: path.collect(), test, value }))
}

/// `claims.a.b` as `a` and `b`.
fn claim_path(expr: &IdedExpr) -> Option<Vec<String>> {
    let (operand, member) = match &expr.expr {
        Expr::Ident(name) if name == "claims" => return Some(Vec::new()),
        Expr::Select(select) if !select.test => (&*select.operand, select.field.clone()),
        Expr::Call(_) => match operation(expr)? {
            (operators::INDEX, operand, member) => (operand, string_literal(member)?),
            _ => return None,
        },
        _ => return None,
    };
    let mut path = claim_path(operand)?;
    path.push(member);
    Some(path)
}

/// `has(claims.name)`: the name.
fn tested_claim(expr: &IdedExpr) -> Option<&str> {
    let Expr::Select(select) = &expr.expr else { return None };
    let is_claims = matches!(&select.operand.expr, Expr::Ident(name) if name == "claims");
    (select.test && is_claims).then_some(select.field.as_str())
}

/// Whether an expression is true or false, or fails because a claim is absent, and nothing else.
fn cannot_fail(expr: &IdedExpr) -> bool {
    if tested_claim(expr).is_some() {
        return true;
    }
    let Expr::Call(CallExpr { func_name, args, .. }) = &expr.expr else {
        return matches!(&expr.expr, Expr::Literal(LiteralValue::Boolean(_)));
    };
    match func_name.as_str() {
        operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT => {
            args.iter().all(cannot_fail)
        }
        // Below a claim there may be a value without members, and a claim may be no list.
        operators::EQUALS | operators::IN => required(expr).is_some_and(|either| {
            either.iter().all(|comparison| match comparison {
                Comparison::Group(_) | Comparison::User(_) => true,
                Comparison::Claim(claim) => {
                    claim.members.is_empty() && claim.test == ClaimTest::Equals
                }
            })
        }),
        _ => false,
    }
}
