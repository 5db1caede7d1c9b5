//! Checks the syntax tree of an expression: unknown names, and constructs that cost too much.

use std::collections::BTreeSet;

use cel::{
    IdedExpr,
    common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, operators},
};

use super::expression::{string_literal, unescape_reserved};
use crate::suggest::did_you_mean;

const VARIABLES: [&str; 7] =
    ["user", "groups", "claims", "authenticator", "client", "server", "now"];
const CLIENT_FIELDS: [&str; 7] = ["host", "type", "kind", "name", "lang", "version", "mqtt_id"];
const SERVER_FIELDS: [&str; 3] = ["name", "cluster", "tags"];
/// Fields that the client chooses freely, and how warnings name them.
const SELF_ASSERTED_FIELDS: [(&str, &str); 4] = [
    ("name", "client.name"),
    ("lang", "client.lang"),
    ("version", "client.version"),
    ("mqtt_id", "client.mqtt_id"),
];
/// The whole `client` map: which of its fields is used is unknown.
const WHOLE_CLIENT: &str = "client";
/// The standard functions (cel 0.15, `Env::stdlib`).
const FUNCTIONS: [&str; 26] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "string",
    "int",
    "uint",
    "double",
    "bool",
    "bytes",
    "timestamp",
    "duration",
    "type",
    "dyn",
    "getFullYear",
    "getMonth",
    "getDayOfYear",
    "getDayOfMonth",
    "getDate",
    "getDayOfWeek",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
    "encode",
];

/// Where an expression is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExpressionKind {
    /// In `when`.
    Condition,
    /// In `{{ … }}`.
    Template,
}

/// The findings about one expression.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) uses_groups: bool,
    pub(super) used_claims: UsedClaims,
    /// The client fields in use that the client chooses freely; `client` if it may be any of them.
    pub(super) self_asserted: BTreeSet<&'static str>,
    /// Regular expressions, not yet compiled.
    pub(super) regexes: Vec<String>,
    pub(super) errors: Vec<String>,
}

/// The claims that an expression uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum UsedClaims {
    #[default]
    None,
    Named(BTreeSet<String>),
    /// Unknown: it may be any of them.
    All,
}

impl UsedClaims {
    fn one(name: &str) -> Self {
        Self::Named(BTreeSet::from([name.to_owned()]))
    }

    pub(crate) fn add(&mut self, more: Self) {
        match (&mut *self, more) {
            (_, Self::None) | (Self::All, _) => {}
            (Self::Named(names), Self::Named(more)) => names.extend(more),
            (Self::None, more) | (Self::Named(_), more @ Self::All) => *self = more,
        }
    }
}

/// The warning about one of [`Checked::self_asserted`].
pub(crate) fn self_asserted_warning(name: &'static str) -> String {
    match name {
        WHOLE_CLIENT => "`name`, `lang`, `version` and `mqtt_id` of `client` are chosen by the \
                         client and not verified; this expression may use any of them"
            .to_owned(),
        field => format!("`{field}` is chosen by the client and not verified"),
    }
}

/// Checks an expression. `variables` are those that authenticators declare, for templates only.
pub(super) fn check(root: &IdedExpr, kind: ExpressionKind, variables: &[&'static str]) -> Checked {
    let mut checker =
        Checker { kind, variables, checked: Checked::default(), bound: Vec::new(), in_loop: false };
    checker.walk(root);
    checker.checked
}

struct Checker<'a> {
    kind: ExpressionKind,
    variables: &'a [&'static str],
    checked: Checked,
    /// Variables of the loops around the current expression.
    bound: Vec<String>,
    in_loop: bool,
}

impl Checker<'_> {
    fn error(&mut self, message: impl Into<String>) {
        self.checked.errors.push(message.into());
    }

    fn walk(&mut self, expr: &IdedExpr) {
        match &expr.expr {
            Expr::Unspecified | Expr::Literal(_) => {}
            Expr::Ident(name) => self.whole_variable(name),
            Expr::Select(select) => match &select.operand.expr {
                Expr::Ident(root) => self.member(root, &select.field),
                _ => self.walk(&select.operand),
            },
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::List(list) => list.elements.iter().for_each(|e| self.walk(e)),
            Expr::Map(map) => map.entries.iter().for_each(|entry| self.entry(&entry.expr)),
            Expr::Struct(message) => {
                self.error(format!("unknown type `{}`", message.type_name));
            }
        }
    }

    fn entry(&mut self, entry: &EntryExpr) {
        match entry {
            EntryExpr::MapEntry(entry) => {
                self.walk(&entry.key);
                self.walk(&entry.value);
            }
            EntryExpr::StructField(field) => self.walk(&field.value),
        }
    }

    /// True for loop variables and the parser's own names, which begin with `@`. A name with a
    /// leading dot is never a loop variable.
    fn is_bound(&self, name: &str) -> bool {
        name.starts_with('@') || self.bound.iter().any(|bound| bound == name)
    }

    /// A variable used as a whole: any of its fields may be read.
    fn whole_variable(&mut self, name: &str) {
        match name.trim_start_matches('.') {
            _ if self.is_bound(name) => return,
            WHOLE_CLIENT => drop(self.checked.self_asserted.insert(WHOLE_CLIENT)),
            "claims" => self.checked.used_claims.add(UsedClaims::All),
            _ => {}
        }
        self.variable(name);
    }

    fn variable(&mut self, name: &str) {
        if self.is_bound(name) {
            return;
        }
        let name = unescape_reserved(name.trim_start_matches('.'));
        self.checked.uses_groups |= name == "groups";
        let declared = self.variables.contains(&name);
        if VARIABLES.contains(&name) || (self.kind == ExpressionKind::Template && declared) {
            return;
        }
        let hint = match declared {
            true => format!("; did you mean `claims.{name}`?"),
            false => did_you_mean(name, VARIABLES.into_iter()),
        };
        self.error(format!(
            "unknown variable `{name}`{hint} (available: {}; write `claims.{name}` for a claim)",
            VARIABLES.join(", ")
        ));
    }

    fn member(&mut self, root: &str, field: &str) {
        self.variable(root);
        if self.is_bound(root) {
            return;
        }
        let root = root.trim_start_matches('.');
        let known: &[&'static str] = match root {
            "client" => &CLIENT_FIELDS,
            "server" => &SERVER_FIELDS,
            "claims" => return self.checked.used_claims.add(UsedClaims::one(field)),
            _ => return,
        };
        if !known.contains(&field) {
            let hint = did_you_mean(field, known.iter().copied());
            self.error(format!("`{root}` has no field `{field}`{hint}"));
        }
        if root == "client" {
            let fields = SELF_ASSERTED_FIELDS.into_iter().filter(|(name, _)| *name == field);
            self.checked.self_asserted.extend(fields.map(|(_, shown)| shown));
        }
    }

    fn call(&mut self, call: &CallExpr) {
        let name = call.func_name.as_str();
        if let Some((root, field)) = named_member(call) {
            return self.member(root, &field);
        }
        if let Some(target) = &call.target {
            self.walk(target);
        }
        call.args.iter().for_each(|argument| self.walk(argument));
        if name == "matches" {
            self.regular_expression(call);
        }
        if name == "encode" {
            self.error("`encode` must enclose the whole expression: `{{ encode(…) }}`");
        }
        let is_operator = name.starts_with(['_', '@', '!', '-']);
        if !is_operator && !FUNCTIONS.contains(&name) {
            let hint = did_you_mean(name, FUNCTIONS.into_iter());
            self.error(format!("unknown function `{name}`{hint}"));
        }
    }

    /// A regular expression from a claim could be arbitrarily expensive.
    fn regular_expression(&mut self, call: &CallExpr) {
        match call.args.last().and_then(string_literal) {
            Some(regex) => self.checked.regexes.push(regex),
            None => self.error("the argument of `matches` must be a string literal"),
        }
    }

    fn comprehension(&mut self, comprehension: &ComprehensionExpr) {
        self.walk(&comprehension.iter_range);
        if self.in_loop {
            // Measured: two nested loops over 2,000 groups take most of a second.
            return self.error(
                "a loop inside a loop (`all`, `exists`, `exists_one`, `map`, `filter`) costs \
                 too much: use `in` for the inner one",
            );
        }
        let before = self.bound.len();
        self.bound.extend([comprehension.iter_var.clone(), comprehension.accu_var.clone()]);
        self.bound.extend(comprehension.iter_var2.clone());
        self.in_loop = true;
        let ComprehensionExpr { accu_init, loop_cond, loop_step, result, .. } = comprehension;
        for part in [accu_init, loop_cond, loop_step, result] {
            self.walk(part);
        }
        self.in_loop = false;
        self.bound.truncate(before);
    }
}

/// `claims["x"]`, and `"x" in claims`, which uses only that claim.
fn named_member(call: &CallExpr) -> Option<(&str, String)> {
    let [left, right] = call.args.as_slice() else { return None };
    match (call.func_name.as_str(), &left.expr, &right.expr) {
        (operators::INDEX, Expr::Ident(root), _) => Some((root, string_literal(right)?)),
        (operators::IN, _, Expr::Ident(root)) if root == "claims" => {
            Some((root, string_literal(left)?))
        }
        _ => None,
    }
}
