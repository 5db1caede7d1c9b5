//! Looks an expression over when it is loaded: names that do not exist, and shapes that cost.

use std::collections::BTreeSet;

use cel::{
    IdedExpr,
    common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators},
};

use super::fault::did_you_mean;

const VARIABLES: [&str; 7] =
    ["user", "groups", "claims", "authenticator", "client", "server", "now"];
/// What the variable `namespace` is called in a parsed expression: the word is CEL's own.
pub(super) const NAMESPACE: &str = "namespace_";
/// Guaranteed by the authenticator; only templates see them.
const TEMPLATE_VARIABLES: [&str; 2] = [NAMESPACE, "service_account"];
const CLIENT: [&str; 7] = ["host", "type", "kind", "name", "lang", "version", "mqtt_id"];
const SERVER: [&str; 3] = ["name", "cluster", "tags"];
/// What a client says of itself and nobody checks.
const SELF_ASSERTED: [(&str, &str); 4] = [
    ("name", "client.name"),
    ("lang", "client.lang"),
    ("version", "client.version"),
    ("mqtt_id", "client.mqtt_id"),
];
/// All of it: which field is meant cannot be told.
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

/// Where an expression stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// `when`.
    Condition,
    /// `{{ … }}`.
    Template,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Lint {
    pub(super) groups: bool,
    pub(super) claims: UsedClaims,
    /// What is only what the client says: `client.name`, or `client` if it may be any field.
    pub(super) self_asserted: BTreeSet<&'static str>,
    /// Regular expressions, to be tried once.
    pub(super) patterns: Vec<String>,
    pub(super) faults: Vec<String>,
    bound: Vec<String>,
    in_loop: bool,
}

/// The claims that an expression can look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum UsedClaims {
    /// None of them.
    #[default]
    None,
    /// Those of these names.
    Named(BTreeSet<String>),
    /// Any of them: which cannot be told.
    All,
}

impl UsedClaims {
    fn one(name: &str) -> Self {
        Self::Named(BTreeSet::from([name.to_owned()]))
    }

    pub(super) fn add(&mut self, more: Self) {
        match (&mut *self, more) {
            (_, Self::None) | (Self::All, _) => {}
            (Self::Named(names), Self::Named(more)) => names.extend(more),
            (Self::None, more) | (Self::Named(_), more @ Self::All) => *self = more,
        }
    }
}

/// Says that `name`, one of [`Lint::self_asserted`], is only what the client says.
pub(super) fn self_asserted_warning(name: &'static str) -> String {
    match name {
        WHOLE_CLIENT => "which field of `client` is used cannot be told here: `name`, `lang`, \
                         `version` and `mqtt_id` are only what the client says of itself"
            .to_owned(),
        field => format!("`{field}` is only what the client says of itself"),
    }
}

/// Looks `root` over.
pub(super) fn lint(root: &IdedExpr, place: Place) -> Lint {
    let mut lint = Lint::default();
    lint.walk(root, place);
    lint
}

impl Lint {
    fn walk(&mut self, expr: &IdedExpr, place: Place) {
        match &expr.expr {
            Expr::Unspecified | Expr::Literal(_) => {}
            Expr::Ident(name) => self.whole_variable(name, place),
            Expr::Select(select) => match &select.operand.expr {
                Expr::Ident(root) => self.member(root, &select.field, place),
                _ => self.walk(&select.operand, place),
            },
            Expr::Call(call) => self.call(call, place),
            Expr::Comprehension(loops) => self.comprehension(loops, place),
            Expr::List(list) => list.elements.iter().for_each(|e| self.walk(e, place)),
            Expr::Map(map) => map.entries.iter().for_each(|entry| self.entry(&entry.expr, place)),
            Expr::Struct(made) => {
                self.faults.push(format!("there is no type `{}`", made.type_name));
            }
        }
    }

    fn entry(&mut self, entry: &EntryExpr, place: Place) {
        match entry {
            EntryExpr::MapEntry(entry) => {
                self.walk(&entry.key, place);
                self.walk(&entry.value, place);
            }
            EntryExpr::StructField(field) => self.walk(&field.value, place),
        }
    }

    /// True if a loop names this its own. A leading dot says "not a loop's variable".
    fn is_bound(&self, name: &str) -> bool {
        // The parser's own names begin with `@`.
        name.starts_with('@') || self.bound.iter().any(|bound| bound == name)
    }

    /// A variable from which anything may be taken, by whatever way.
    fn whole_variable(&mut self, name: &str, place: Place) {
        match name.trim_start_matches('.') {
            _ if self.is_bound(name) => return,
            WHOLE_CLIENT => drop(self.self_asserted.insert(WHOLE_CLIENT)),
            "claims" => self.claims.add(UsedClaims::All),
            _ => {}
        }
        self.variable(name, place);
    }

    fn variable(&mut self, name: &str, place: Place) {
        if self.is_bound(name) {
            return;
        }
        let name = name.trim_start_matches('.');
        self.groups |= name == "groups";
        let known = VARIABLES.contains(&name)
            || (place == Place::Template && TEMPLATE_VARIABLES.contains(&name));
        if known {
            return;
        }
        let shown = if name == NAMESPACE { "namespace" } else { name };
        let hint = match (place, TEMPLATE_VARIABLES.contains(&name)) {
            (Place::Condition, true) => format!("; did you mean `claims.{shown}`?"),
            (Place::Condition | Place::Template, _) => did_you_mean(name, VARIABLES.into_iter()),
        };
        self.faults.push(format!(
            "unknown variable `{shown}`{hint} (there are {}; a claim is written `claims.{shown}`)",
            VARIABLES.join(", ")
        ));
    }

    fn member(&mut self, root: &str, field: &str, place: Place) {
        self.variable(root, place);
        if self.is_bound(root) {
            return;
        }
        let root = root.trim_start_matches('.');
        let known: &[&'static str] = match root {
            "client" => &CLIENT,
            "server" => &SERVER,
            "claims" => return self.claims.add(UsedClaims::one(field)),
            _ => return,
        };
        if !known.contains(&field) {
            let hint = did_you_mean(field, known.iter().copied());
            self.faults.push(format!("`{root}` has no `{field}`{hint}"));
        }
        if root == "client" {
            let said = SELF_ASSERTED.into_iter().filter(|(known, _)| *known == field);
            self.self_asserted.extend(said.map(|(_, shown)| shown));
        }
    }

    fn call(&mut self, call: &CallExpr, place: Place) {
        let name = call.func_name.as_str();
        if let Some((root, field)) = named_member(call) {
            return self.member(root, &field, place);
        }
        if let Some(target) = &call.target {
            self.walk(target, place);
        }
        call.args.iter().for_each(|argument| self.walk(argument, place));
        if name == "matches" {
            self.regular_expression(call);
        }
        if name == "encode" {
            self.faults
                .push("`encode` must stand around the whole of a `{{ … }}`: encode(…)".to_owned());
        }
        let is_operator = name.starts_with(['_', '@', '!', '-']);
        if !is_operator && !FUNCTIONS.contains(&name) {
            let hint = did_you_mean(name, FUNCTIONS.into_iter());
            self.faults.push(format!("unknown function `{name}`{hint}"));
        }
    }

    /// A pattern from a claim could be made to cost anything.
    fn regular_expression(&mut self, call: &CallExpr) {
        match call.args.last().and_then(literal) {
            Some(pattern) => self.patterns.push(pattern),
            None => self.faults.push("the pattern of `matches` must be a literal text".to_owned()),
        }
    }

    fn comprehension(&mut self, loops: &ComprehensionExpr, place: Place) {
        self.walk(&loops.iter_range, place);
        if self.in_loop {
            // Measured: 2,000 groups in two nested loops cost most of a second.
            self.faults.push(
                "a loop inside a loop (`all`, `exists`, `exists_one`, `map`, `filter`) costs \
                 too much: use `in` for the inner one"
                    .to_owned(),
            );
            return;
        }
        let before = self.bound.len();
        self.bound.extend([loops.iter_var.clone(), loops.accu_var.clone()]);
        self.bound.extend(loops.iter_var2.clone());
        self.in_loop = true;
        for part in [&loops.accu_init, &loops.loop_cond, &loops.loop_step, &loops.result] {
            self.walk(part, place);
        }
        self.in_loop = false;
        self.bound.truncate(before);
    }
}

/// `claims["x"]`; and `"x" in claims`, which looks at no more.
fn named_member(call: &CallExpr) -> Option<(&str, String)> {
    let [left, right] = call.args.as_slice() else { return None };
    match (call.func_name.as_str(), &left.expr, &right.expr) {
        (operators::INDEX, Expr::Ident(root), _) => Some((root, literal(right)?)),
        (operators::IN, _, Expr::Ident(root)) if root == "claims" => Some((root, literal(left)?)),
        _ => None,
    }
}

fn literal(expr: &IdedExpr) -> Option<String> {
    match &expr.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner().to_string()),
        _ => None,
    }
}
