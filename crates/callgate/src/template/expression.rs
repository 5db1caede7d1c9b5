//! CEL expressions: parsed and checked when the configuration loads.
//!
//! An expression cannot run for long: loops neither nest nor build lists, the sizes of its inputs are
//! bounded (`policy::resolve::inputs`), and its cost is known before it runs (`cost`). A panic of the
//! parser is an error like any other.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock},
};

use cel::{
    Env, IdedExpr,
    common::ast::{Expr, LiteralValue, SourceInfo, operators},
};

use super::{
    check::{Checked, ExpressionKind, UsedClaims, check},
    cost::{Cost, Sizes, cost},
    functions::{self, Regexes},
    syntax,
};

const MAX_EXPRESSION_BYTES: usize = 4096;

/// Words that CEL reserves. Authenticators declare variables with such names (`namespace`), so the
/// parser sees them with a `_` appended.
const RESERVED_WORDS: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "namespace",
    "package",
    "return",
    "var",
    "void",
    "while",
];

pub(crate) static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    functions::add_to(&mut env);
    Arc::new(env)
});

/// A checked expression.
#[derive(Debug)]
pub(crate) struct Expression {
    pub(crate) root: IdedExpr,
    /// Whether it uses `groups`: it has no value if there are too many of them.
    pub(crate) uses_groups: bool,
    /// The claims it uses: it has no value if they are too large.
    pub(crate) used_claims: UsedClaims,
    /// Whether its value can depend on a claim being absent, other than by failing: `has(claims.x)`.
    pub(crate) tests_claims: bool,
    /// What it reads of the connection: each variable and its field.
    pub(crate) connection_fields: BTreeSet<(&'static str, &'static str)>,
    /// Set if it is simple enough to need no interpreter.
    pub(crate) path: Option<Path>,
    regexes: Regexes,
}

/// A variable, or a path into the claims.
#[derive(Debug)]
pub(crate) enum Path {
    User,
    Authenticator,
    Groups,
    /// Declared by an authenticator.
    Variable(String),
    Claim(Vec<String>),
}

/// A checked expression and what was found in it.
pub(crate) struct Compiled {
    pub(crate) expression: Expression,
    /// True if it was written `encode(…)`; `expression` is the argument.
    pub(crate) encoded: bool,
    /// The client fields it uses that the client chooses freely.
    pub(crate) self_asserted: Vec<&'static str>,
}

impl Expression {
    /// Parses and checks `text`. `variables` are those that authenticators declare.
    ///
    /// # Errors
    /// Reports syntax errors with their position, and unknown names with a suggestion.
    pub(crate) fn compile(
        text: &str,
        kind: ExpressionKind,
        variables: &[&'static str],
    ) -> Result<Compiled, String> {
        if text.len() > MAX_EXPRESSION_BYTES {
            return Err(format!("an expression has at most {MAX_EXPRESSION_BYTES} bytes"));
        }
        let (root, source) = parse_with_positions(text)?;
        let (root, encoded) = match kind {
            ExpressionKind::Template => without_encode(root),
            ExpressionKind::Condition => (root, false),
        };
        let Checked {
            uses_groups,
            used_claims,
            tests_claims,
            connection_fields,
            self_asserted,
            regexes: texts,
            errors,
        } = check(&root, kind, variables, &source);
        if !errors.is_empty() {
            return Err(errors.join("; "));
        }
        let mut regexes = Regexes::default();
        texts.iter().try_for_each(|regex| regexes.add(regex))?;
        let path = path_of(&root, variables);
        Ok(Compiled {
            expression: Self {
                root,
                uses_groups,
                used_claims,
                tests_claims,
                connection_fields,
                path,
                regexes,
            },
            encoded,
            self_asserted: self_asserted.into_iter().collect(),
        })
    }

    /// What it costs at most with inputs of these sizes.
    pub(crate) fn cost(&self, sizes: &dyn Sizes) -> Cost {
        cost(&self.root, sizes, &self.regexes)
    }

    /// True if the expression is a variable that an authenticator declares, and nothing else.
    pub(super) fn is_declared_variable(&self) -> bool {
        matches!(&self.path, Some(Path::Variable(_)))
    }
}

/// Appends `_` to reserved words that stand alone, outside string literals and selectors.
fn escape_reserved(text: &str) -> Cow<'_, str> {
    if !RESERVED_WORDS.iter().any(|word| text.contains(word)) {
        return Cow::Borrowed(text);
    }
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let (mut escaped_text, mut quote, mut escaped) = (String::new(), None, false);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        if quote.is_none() && length > 0 {
            let (word, tail) = rest.split_at(length);
            let is_selector = escaped_text.trim_end().ends_with('.');
            escaped_text.push_str(word);
            if RESERVED_WORDS.contains(&word) && !is_selector {
                escaped_text.push('_');
            }
            rest = tail;
            continue;
        }
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (Some(_) | None, _) => {}
        }
        escaped_text.push(c);
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
    }
    Cow::Owned(escaped_text)
}

/// The name of a variable as the operator writes it, without the `_` of a reserved word.
pub(crate) fn unescape_reserved(name: &str) -> &str {
    name.strip_suffix('_').filter(|word| RESERVED_WORDS.contains(word)).unwrap_or(name)
}

pub(crate) fn parse(text: &str) -> Result<IdedExpr, String> {
    parse_with_positions(text).map(|(root, _)| root)
}

fn parse_with_positions(text: &str) -> Result<(IdedExpr, SourceInfo), String> {
    let text: &str = &escape_reserved(text);
    let parsed = catch_unwind(AssertUnwindSafe(|| ENV.parser().parse_with_source_info(text)))
        .map_err(|_panic| "the parser panicked".to_owned())?;
    parsed.map_err(|errors| {
        syntax::describe(errors.errors.iter().map(|it| (it.pos.0, it.pos.1, it.msg.as_str())))
    })
}

/// Removes an outermost `encode(…)`.
fn without_encode(mut root: IdedExpr) -> (IdedExpr, bool) {
    match &mut root.expr {
        Expr::Call(call)
            if call.func_name == "encode" && call.target.is_none() && call.args.len() == 1 =>
        {
            match call.args.pop() {
                Some(argument) => (argument, true),
                None => (root, false),
            }
        }
        _ => (root, false),
    }
}

fn path_of(root: &IdedExpr, variables: &[&'static str]) -> Option<Path> {
    let mut members = Vec::new();
    let mut expr = &root.expr;
    loop {
        match expr {
            Expr::Select(select) if !select.test => {
                members.push(select.field.clone());
                expr = &select.operand.expr;
            }
            Expr::Call(call) if call.func_name == operators::INDEX => {
                let [operand, index] = call.args.as_slice() else { return None };
                members.push(string_literal(index)?);
                expr = &operand.expr;
            }
            Expr::Ident(name) => {
                members.reverse();
                return match (unescape_reserved(name), members.is_empty()) {
                    ("claims", false) => Some(Path::Claim(members)),
                    ("user", true) => Some(Path::User),
                    ("authenticator", true) => Some(Path::Authenticator),
                    ("groups", true) => Some(Path::Groups),
                    (name, true) if variables.contains(&name) => {
                        Some(Path::Variable(name.to_owned()))
                    }
                    _ => None,
                };
            }
            _ => return None,
        }
    }
}

/// The text of a string literal.
pub(crate) fn string_literal(expr: &IdedExpr) -> Option<String> {
    match &expr.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner().to_string()),
        _ => None,
    }
}
