//! CEL expressions, checked when loaded and bounded when evaluated.
//!
//! The only place that evaluates CEL. An expression cannot run for long: its inputs are bounded
//! ([`Inputs`](super::inputs::Inputs)), loops do not nest, and a panic of the interpreter is an
//! error like any other.

use std::{
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock},
};

use cel::{
    Context, Env, ExecutionError, IdedExpr, Value,
    common::{
        ast::{Expr, operators},
        value::Val,
    },
};
use serde_json::Value as Json;

use super::{
    index::{Needed, needs},
    inputs::{Inputs, MAX_BYTES, MAX_ELEMENTS, TooLarge},
    lint::{Lint, NAMESPACE, Place, UsedClaims, lint},
};
use crate::clock::UnixTime;

/// The longest expression, in bytes.
const MAX_EXPRESSION_BYTES: usize = 4096;

/// The most errors that are told of one expression.
const MAX_ERRORS_TOLD: usize = 3;

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// An expression that was checked.
#[derive(Debug)]
pub(super) struct Expression {
    root: IdedExpr,
    groups: bool,
    claims: UsedClaims,
    path: Option<Path>,
}

/// An expression so simple that it needs no interpreter: a variable, or a path into the claims.
#[derive(Debug)]
enum Path {
    User,
    Authenticator,
    Groups,
    Variable(String),
    Claim(Vec<String>),
}

/// Why there is no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EvalError {
    /// A claim, or a variable of the identity, is not there.
    Absent(String),
    /// A value that is not of the type that is needed.
    WrongType(&'static str),
    /// An input is beyond its bounds.
    TooLarge(&'static str),
    /// Anything else; never with a value in it.
    Failed(String),
}

impl std::fmt::Display for EvalError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absent(name) => write!(f, "`{}` is absent", super::grant::shown(name)),
            Self::WrongType(found) => write!(f, "the value is {found}"),
            Self::TooLarge(what) => write!(
                f,
                "the {what} are too large for an expression (at most {MAX_ELEMENTS} elements in \
                 a list, {MAX_BYTES} bytes in all)"
            ),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

/// The value of a template's expression.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Texts {
    /// One text.
    One(String),
    /// One subject, role or tag for each.
    Many(Vec<String>),
}

/// A checked expression, or why it is none.
pub(super) struct Compiled {
    pub(super) expression: Expression,
    /// It was written `encode(…)`, and `expression` is what stood inside.
    pub(super) encoded: bool,
    /// What in it is only what the client says: `client.name`, or all of `client`.
    pub(super) self_asserted: Vec<&'static str>,
}

impl Expression {
    /// Parses and checks `text`.
    ///
    /// # Errors
    /// Says where it cannot be parsed, or which names it must not use.
    pub(super) fn compile(text: &str, place: Place) -> Result<Compiled, String> {
        if text.len() > MAX_EXPRESSION_BYTES {
            return Err(format!("an expression has at most {MAX_EXPRESSION_BYTES} bytes"));
        }
        let root = parse(text)?;
        let (root, encoded) = match place {
            Place::Template => without_encode(root),
            Place::Condition => (root, false),
        };
        let Lint { groups, claims, self_asserted, patterns, faults, .. } = lint(&root, place);
        if !faults.is_empty() {
            return Err(faults.join("; "));
        }
        patterns.iter().try_for_each(|pattern| try_pattern(pattern))?;
        let path = path_of(&root);
        Ok(Compiled {
            expression: Self { root, groups, claims, path },
            encoded,
            self_asserted: self_asserted.into_iter().collect(),
        })
    }

    /// True if the expression is that variable and nothing else.
    pub(super) fn is_variable(&self, name: &str) -> bool {
        matches!(&self.path, Some(Path::Variable(found)) if found == name)
    }

    /// The comparisons of which one must hold for the condition to be true, if that can be told.
    pub(super) fn needs(&self) -> Option<Vec<Needed>> {
        needs(&self.root)
    }

    /// True if there is no value where the groups are too many.
    pub(super) fn uses_groups(&self) -> bool {
        self.groups
    }

    /// There is no value where these are too large.
    pub(super) fn uses_claims(&self) -> &UsedClaims {
        &self.claims
    }

    /// The value of a condition.
    pub(super) fn is_true(&self, inputs: &Inputs<'_>) -> Result<bool, EvalError> {
        match self.evaluate(inputs)? {
            Value::Bool(value) => Ok(value),
            other => Err(EvalError::Failed(format!(
                "the condition is {}, not true or false",
                describe(&other)
            ))),
        }
    }

    /// The value of a template's expression: a text, an integer, or a list of these.
    pub(super) fn texts(&self, inputs: &Inputs<'_>) -> Result<Texts, EvalError> {
        match &self.path {
            Some(path) => path.texts(inputs),
            None => texts_of(self.evaluate(inputs)?),
        }
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Value, EvalError> {
        let too_large = |TooLarge(what)| EvalError::TooLarge(what);
        if self.groups {
            inputs.groups().map_err(too_large)?;
        }
        let seen = inputs.seen_by(&self.claims).map_err(too_large)?;
        let run = || {
            let mut context = Context::with_env(Arc::clone(&ENV));
            context.set_variable_resolver(&seen);
            Value::resolve(&self.root, &context)
        };
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(result) => result.map_err(|error| self.classify(&error)),
            Err(_panic) => Err(EvalError::Failed("the interpreter panicked".to_owned())),
        }
    }

    /// Messages name functions and types, never values: those come from outside.
    fn classify(&self, error: &ExecutionError) -> EvalError {
        match error {
            ExecutionError::NoSuchKey(key) if self.claims != UsedClaims::None => {
                EvalError::Absent(key.to_string())
            }
            // The names were checked at load: what is undeclared is a variable of another kind of
            // identity.
            ExecutionError::UndeclaredReference(name) => EvalError::Absent(name.to_string()),
            ExecutionError::NoSuchOverload(error) => EvalError::Failed(error.to_string()),
            ExecutionError::FunctionError { function, .. } => {
                EvalError::Failed(format!("the function `{function}` failed"))
            }
            ExecutionError::NoSuchKey(_) => EvalError::Failed("a key is missing".to_owned()),
            ExecutionError::IndexOutOfBounds(_) => {
                EvalError::Failed("an index is beyond the end of its list".to_owned())
            }
            ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
                EvalError::Failed("division by zero".to_owned())
            }
            ExecutionError::Overflow(..) => EvalError::Failed("a number overflows".to_owned()),
            // The crate's list is open, and its texts may contain values.
            _ => EvalError::Failed("values of the wrong type".to_owned()),
        }
    }
}

impl Path {
    fn texts(&self, inputs: &Inputs<'_>) -> Result<Texts, EvalError> {
        let identity = inputs.request.identity;
        match self {
            Self::User => Ok(Texts::One(inputs.user.to_owned())),
            Self::Authenticator => Ok(Texts::One(inputs.request.authenticator.to_owned())),
            Self::Groups => Ok(Texts::Many(identity.groups.clone())),
            Self::Variable(name) => match identity.variables.get(name.as_str()) {
                Some(value) => Ok(Texts::One(value.clone())),
                None => Err(EvalError::Absent(name.clone())),
            },
            Self::Claim(members) => {
                let (first, rest) =
                    members.split_first().ok_or_else(|| EvalError::Absent("claims".to_owned()))?;
                let absent = |name: &String| EvalError::Absent(name.clone());
                let mut value = identity.claims.get(first).ok_or_else(|| absent(first))?;
                for member in rest {
                    value = value.get(member).ok_or_else(|| absent(member))?;
                }
                texts_of_json(value)
            }
        }
    }
}

fn texts_of_json(value: &Json) -> Result<Texts, EvalError> {
    let Json::Array(list) = value else { return text_of_json(value).map(Texts::One) };
    list.iter().map(text_of_json).collect::<Result<_, _>>().map(Texts::Many)
}

fn text_of_json(value: &Json) -> Result<String, EvalError> {
    match value {
        Json::String(text) => Ok(text.clone()),
        Json::Number(number) if number.is_i64() || number.is_u64() => Ok(number.to_string()),
        Json::Number(_) => Err(EvalError::WrongType("a number with a fraction")),
        Json::Bool(_) => Err(EvalError::WrongType("true or false")),
        Json::Null => Err(EvalError::WrongType("null")),
        Json::Array(_) => Err(EvalError::WrongType("a list inside a list")),
        Json::Object(_) => Err(EvalError::WrongType("an object")),
    }
}

fn texts_of(value: Value) -> Result<Texts, EvalError> {
    let Value::List(list) = value else { return text_of(&value).map(Texts::One) };
    list.iter().map(text_of).collect::<Result<_, _>>().map(Texts::Many)
}

fn text_of(value: &Value) -> Result<String, EvalError> {
    match value {
        Value::String(text) => Ok(text.to_string()),
        Value::Int(number) => Ok(number.to_string()),
        Value::UInt(number) => Ok(number.to_string()),
        other => Err(EvalError::WrongType(describe(other))),
    }
}

fn describe(value: &Value) -> &'static str {
    match value {
        Value::List(_) => "a list",
        Value::Map(_) | Value::Struct(_) => "an object",
        Value::Int(_) | Value::UInt(_) => "an integer",
        Value::Float(_) => "a number with a fraction",
        Value::String(_) => "a text",
        Value::Bytes(_) => "bytes",
        Value::Bool(_) => "true or false",
        Value::Duration(_) => "a duration",
        Value::Timestamp(_) => "a time",
        Value::Null => "null",
        Value::Function(..) | Value::Opaque(_) => "of an unknown type",
    }
}

/// CEL keeps the word `namespace` for itself, and templates have a variable of that name.
fn without_reserved(text: &str) -> Cow<'_, str> {
    if !text.contains("namespace") {
        return Cow::Borrowed(text);
    }
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let (mut renamed, mut quote, mut escaped) = (String::new(), None, false);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let alone = quote.is_none()
            && rest.strip_prefix("namespace").is_some_and(|tail| !tail.starts_with(is_part))
            && !renamed.trim_end().ends_with('.')
            && !renamed.ends_with(is_part);
        if alone {
            renamed.push_str(NAMESPACE);
            rest = rest.get("namespace".len()..).unwrap_or_default();
            continue;
        }
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (Some(_) | None, _) => {}
        }
        renamed.push(c);
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
    }
    Cow::Owned(renamed)
}

fn parse(text: &str) -> Result<IdedExpr, String> {
    let text: &str = &without_reserved(text);
    let parsed = catch_unwind(AssertUnwindSafe(|| ENV.parser().parse(text)))
        .map_err(|_panic| "the parser panicked".to_owned())?;
    parsed.map_err(|errors| {
        // One slip of the pen can make an error of each character after it.
        let errors = errors.errors.iter().take(MAX_ERRORS_TOLD).map(|error| {
            format!("line {}, column {}: {}", error.pos.0, error.pos.1, error.msg.trim())
        });
        errors.collect::<Vec<_>>().join("; ")
    })
}

/// Takes the outermost `encode(…)` off.
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

fn path_of(root: &IdedExpr) -> Option<Path> {
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
                let Expr::Literal(cel::common::ast::LiteralValue::String(field)) = &index.expr
                else {
                    return None;
                };
                members.push(field.inner().to_string());
                expr = &operand.expr;
            }
            Expr::Ident(name) => {
                members.reverse();
                return match (name.as_str(), members.is_empty()) {
                    ("claims", false) => Some(Path::Claim(members)),
                    ("user", true) => Some(Path::User),
                    ("authenticator", true) => Some(Path::Authenticator),
                    ("groups", true) => Some(Path::Groups),
                    (NAMESPACE, true) => Some(Path::Variable("namespace".to_owned())),
                    ("service_account", true) => Some(Path::Variable(name.clone())),
                    _ => None,
                };
            }
            _ => return None,
        }
    }
}

/// Compiles a regular expression once, since the interpreter does it only when evaluating.
fn try_pattern(pattern: &str) -> Result<(), String> {
    let mut context = Context::with_env(Arc::clone(&ENV));
    context.add_variable_from_value("pattern", pattern);
    let expression = parse("''.matches(pattern)")?;
    match Value::resolve(&expression, &context) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("`{}` is no regular expression", pattern.escape_debug())),
    }
}

/// A moment as CEL's `timestamp`.
pub(super) fn timestamp<'a>(time: UnixTime) -> Option<Box<dyn Val + 'a>> {
    static PROGRAM: LazyLock<Option<IdedExpr>> = LazyLock::new(|| parse("timestamp(seconds)").ok());
    let mut context = Context::with_env(Arc::clone(&ENV));
    context.add_variable_from_value("seconds", time.seconds());
    let value = Value::resolve(PROGRAM.as_ref()?, &context).ok()?;
    let value: Box<dyn Val> = value.try_into().ok()?;
    Some(value)
}
