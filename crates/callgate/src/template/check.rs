//! Checks the syntax tree of an expression: unknown names, and constructs that cost too much.

use std::collections::BTreeSet;

use cel::{
    IdedExpr,
    common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, SourceInfo, operators},
};

use super::{
    cost::is_empty_list,
    expression::{string_literal, unescape_reserved},
};
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
/// The standard functions (cel 0.15, `Env::stdlib`), and those in `functions`.
const FUNCTIONS: [&str; 27] = [
    "size",
    "split",
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
    /// Whether its value can depend on a claim being absent, other than by failing.
    pub(super) tests_claims: bool,
    /// What is read of the connection: each variable and its field.
    pub(super) connection_fields: BTreeSet<(&'static str, &'static str)>,
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

/// The variable at the start of a path.
fn root_of(expr: &IdedExpr) -> &str {
    match &expr.expr {
        Expr::Ident(name) => name.trim_start_matches('.'),
        Expr::Select(select) => root_of(&select.operand),
        _ => "",
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
pub(super) fn check(
    root: &IdedExpr,
    kind: ExpressionKind,
    variables: &[&'static str],
    source: &SourceInfo,
) -> Checked {
    let mut checker = Checker {
        kind,
        variables,
        source,
        checked: Checked::default(),
        bound: Vec::new(),
        texts: Vec::new(),
        in_loop: false,
    };
    checker.walk(root);
    checker.checked
}

struct Checker<'a> {
    kind: ExpressionKind,
    variables: &'a [&'static str],
    source: &'a SourceInfo,
    checked: Checked,
    /// Variables of the loops around the current expression.
    bound: Vec<String>,
    /// Those of them that are never a list.
    texts: Vec<String>,
    in_loop: bool,
}

impl Checker<'_> {
    fn error(&mut self, message: impl Into<String>) {
        self.checked.errors.push(message.into());
    }

    /// An error about a part of the expression.
    fn error_at(&mut self, expr: &IdedExpr, message: &str) {
        let offset = self.source.offset_for(expr.id).map(|(start, _)| start as usize);
        let before: String = self.source.source.chars().take(offset.unwrap_or_default()).collect();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        self.error(format!("line {line}, column {column}: {message}"));
    }

    fn walk(&mut self, expr: &IdedExpr) {
        if self.in_loop {
            self.construction(expr);
        }
        match &expr.expr {
            Expr::Unspecified | Expr::Literal(_) => {}
            Expr::Ident(name) => self.whole_variable(name),
            Expr::Select(select) => {
                self.checked.tests_claims |= select.test && root_of(&select.operand) == "claims";
                match &select.operand.expr {
                    Expr::Ident(root) => self.member(root, &select.field),
                    _ => self.walk(&select.operand),
                }
            }
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
            WHOLE_CLIENT => {
                self.checked.self_asserted.insert(WHOLE_CLIENT);
                self.checked.connection_fields.extend(CLIENT_FIELDS.map(|field| ("client", field)));
            }
            "server" => {
                self.checked.connection_fields.extend(SERVER_FIELDS.map(|field| ("server", field)));
            }
            "claims" => {
                self.checked.used_claims.add(UsedClaims::All);
                self.checked.tests_claims = true;
            }
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
            false => did_you_mean(name, VARIABLES),
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
        let (variable, known): (&'static str, &[&'static str]) = match root {
            "client" => ("client", &CLIENT_FIELDS),
            "server" => ("server", &SERVER_FIELDS),
            "claims" => return self.checked.used_claims.add(UsedClaims::one(field)),
            _ => return,
        };
        match known.iter().find(|known| **known == field) {
            Some(known) => drop(self.checked.connection_fields.insert((variable, known))),
            None => {
                let hint = did_you_mean(field, known.iter().copied());
                self.error(format!("`{root}` has no field `{field}`{hint}"));
            }
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
            let hint = did_you_mean(name, FUNCTIONS);
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

    /// A list that is built in every iteration multiplies the size of the inputs.
    fn construction(&mut self, expr: &IdedExpr) {
        match &expr.expr {
            Expr::List(_) if !is_literal(expr) => self.error_at(
                expr,
                "a list inside a loop (`all`, `exists`, `exists_one`, `map`, `filter`) may contain \
                 only literals: a list of values that is built in every iteration costs too much",
            ),
            Expr::Map(_) if !is_literal(expr) => self.error_at(
                expr,
                "a map inside a loop (`all`, `exists`, `exists_one`, `map`, `filter`) may contain \
                 only literals: a map of values that is built in every iteration costs too much",
            ),
            Expr::Call(call)
                if call.func_name == operators::ADD
                    && !call.args.iter().any(|operand| self.is_text(operand)) =>
            {
                self.error_at(
                    expr,
                    "`+` inside a loop (`all`, `exists`, `exists_one`, `map`, `filter`) must not \
                     join lists, which costs too much: for texts, one side must be a literal, \
                     `user`, a group or `string(…)`",
                );
            }
            _ => {}
        }
    }

    /// True if the value cannot be a list or a map.
    fn is_text(&self, expr: &IdedExpr) -> bool {
        match &expr.expr {
            Expr::Literal(_) => true,
            Expr::Ident(name) if self.is_bound(name) => self.texts.contains(name),
            Expr::Ident(name) => {
                let name = unescape_reserved(name.trim_start_matches('.'));
                ["user", "authenticator", "now"].contains(&name) || self.variables.contains(&name)
            }
            Expr::Select(select) => match &select.operand.expr {
                Expr::Ident(root) if !self.is_bound(root) => {
                    select.test
                        || root == WHOLE_CLIENT
                        || (root == "server" && select.field != "tags")
                }
                _ => select.test,
            },
            Expr::Call(call) => match call.func_name.as_str() {
                operators::ADD => call.args.iter().any(|operand| self.is_text(operand)),
                operators::CONDITIONAL => call.args.iter().skip(1).all(|one| self.is_text(one)),
                operators::INDEX | "dyn" | "split" => false,
                _ => true,
            },
            _ => false,
        }
    }

    /// True if the value is a list of texts.
    fn is_list_of_texts(&self, expr: &IdedExpr) -> bool {
        match &expr.expr {
            Expr::Ident(name) => !self.is_bound(name) && name.trim_start_matches('.') == "groups",
            Expr::Call(call) => call.func_name == "split",
            Expr::List(list) => list.elements.iter().all(|element| self.is_text(element)),
            // `filter`: the elements are those of its range.
            Expr::Comprehension(inner) => {
                let element = collected(inner).map(|(_, element)| &element.expr);
                matches!(element, Some(Expr::Ident(name)) if *name == inner.iter_var)
                    && self.is_list_of_texts(&inner.iter_range)
            }
            _ => false,
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
        let bound = self.bound.len();
        let texts = self.texts.len();
        self.bound.extend([comprehension.iter_var.clone(), comprehension.accu_var.clone()]);
        self.bound.extend(comprehension.iter_var2.clone());
        if self.is_list_of_texts(&comprehension.iter_range) {
            self.texts.push(comprehension.iter_var.clone());
        }
        self.in_loop = true;
        match collected(comprehension) {
            // The interpreter appends to the list in place.
            Some((condition, element)) => {
                condition.into_iter().for_each(|condition| self.walk(condition));
                self.walk(element);
            }
            None => {
                let ComprehensionExpr { accu_init, loop_cond, loop_step, result, .. } =
                    comprehension;
                for part in [accu_init, loop_cond, loop_step, result] {
                    self.walk(part);
                }
            }
        }
        self.in_loop = false;
        self.bound.truncate(bound);
        self.texts.truncate(texts);
    }
}

/// True for a literal, and for a list or a map of literals.
fn is_literal(expr: &IdedExpr) -> bool {
    match &expr.expr {
        Expr::Literal(_) => true,
        Expr::List(list) => list.elements.iter().all(is_literal),
        Expr::Map(map) => map.entries.iter().all(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => is_literal(&entry.key) && is_literal(&entry.value),
            EntryExpr::StructField(field) => is_literal(&field.value),
        }),
        _ => false,
    }
}

/// The condition and the element of `map` and `filter`, as their macros expand (cel 0.15,
/// `parser/macros.rs`): a list to which each step appends.
fn collected(comprehension: &ComprehensionExpr) -> Option<(Option<&IdedExpr>, &IdedExpr)> {
    if !is_empty_list(&comprehension.accu_init) {
        return None;
    }
    let step = &comprehension.loop_step;
    let Expr::Call(call) = &step.expr else { return None };
    match (call.func_name.as_str(), call.args.as_slice()) {
        (operators::CONDITIONAL, [condition, step, _]) => {
            Some((Some(condition), appended_element(step)?))
        }
        _ => Some((None, appended_element(step)?)),
    }
}

/// The `x` of `accumulator + [x]`.
fn appended_element(step: &IdedExpr) -> Option<&IdedExpr> {
    let Expr::Call(call) = &step.expr else { return None };
    let [_, list] = call.args.as_slice() else { return None };
    let Expr::List(list) = &list.expr else { return None };
    match (call.func_name.as_str(), list.elements.as_slice()) {
        (operators::ADD, [element]) => Some(element),
        _ => None,
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
