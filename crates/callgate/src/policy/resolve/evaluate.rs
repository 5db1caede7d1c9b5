//! Evaluates CEL expressions. A panic of the interpreter is an error like any other.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock},
};

use cel::{Context, ExecutionError, IdedExpr, Value, common::value::Val};
use serde_json::Value as Json;

use super::{
    budget::{MAX_BYTES, MAX_ELEMENTS, MAX_NODES, OverBudget},
    inputs::{Inputs, TooLarge},
};
use crate::{
    clock::UnixTime,
    sanitize::excerpt,
    template::{
        check::UsedClaims,
        cost::{Size, Sizes},
        expression::{ENV, Expression, Path, parse},
    },
};

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EvalError {
    /// The identity does not have this claim or variable.
    Absent(String),
    /// The value has this type, which is not the required one.
    WrongType(&'static str),
    /// This input exceeds its limit.
    TooLarge(&'static str),
    /// Evaluating it would exceed what one decision may cost.
    OverBudget(OverBudget),
    /// Any other error; the text never contains a value.
    Failed(String),
}

impl std::fmt::Display for EvalError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absent(name) => write!(f, "`{}` is absent", excerpt(name)),
            Self::WrongType(found) => write!(f, "the value is {found}"),
            Self::TooLarge(what) => write!(
                f,
                "the {what} are too large for an expression (at most {MAX_ELEMENTS} elements in \
                 a list, {MAX_NODES} values and {MAX_BYTES} bytes in total)"
            ),
            Self::OverBudget(error) => error.fmt(f),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

/// The value of a template's expression.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Texts {
    One(String),
    /// Produces one subject, role or tag for each.
    Many(Vec<String>),
}

impl From<OverBudget> for EvalError {
    fn from(error: OverBudget) -> Self {
        Self::OverBudget(error)
    }
}

impl Expression {
    /// Evaluates a condition.
    pub(super) fn is_true(&self, inputs: &Inputs<'_>) -> Result<bool, EvalError> {
        match self.evaluate(inputs)? {
            Value::Bool(value) => Ok(value),
            other => Err(EvalError::Failed(format!(
                "the condition is {}, not true or false",
                describe(&other)
            ))),
        }
    }

    /// Evaluates a template's expression: a string, an integer, or a list of these.
    pub(super) fn texts(&self, inputs: &Inputs<'_>) -> Result<Texts, EvalError> {
        match &self.path {
            Some(path) => {
                inputs.budget.spend(path.size(inputs).units())?;
                path.texts(inputs)
            }
            None => texts_of(self.evaluate(inputs)?),
        }
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Value, EvalError> {
        let too_large = |TooLarge(what)| EvalError::TooLarge(what);
        if self.uses_groups {
            inputs.groups().map_err(too_large)?;
        }
        let variables = inputs.variables_for(&self.used_claims).map_err(too_large)?;
        inputs.budget.spend_on(self.cost(inputs))?;
        let run = || {
            let mut context = Context::with_env(Arc::clone(&ENV));
            context.set_variable_resolver(&variables);
            Value::resolve(&self.root, &context)
        };
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(result) => result.map_err(|error| self.classify(&error)),
            Err(_panic) => Err(EvalError::Failed("the interpreter panicked".to_owned())),
        }
    }

    /// The messages name functions and types, but never values, which are outside data.
    fn classify(&self, error: &ExecutionError) -> EvalError {
        match error {
            ExecutionError::NoSuchKey(key) if self.used_claims != UsedClaims::None => {
                EvalError::Absent(key.to_string())
            }
            // All names were checked at load, so this variable belongs to other authenticators.
            ExecutionError::UndeclaredReference(name) => EvalError::Absent(name.to_string()),
            ExecutionError::NoSuchOverload(error) => EvalError::Failed(error.to_string()),
            ExecutionError::FunctionError { function, .. } => {
                EvalError::Failed(format!("the function `{function}` failed"))
            }
            ExecutionError::NoSuchKey(_) => EvalError::Failed("a key is missing".to_owned()),
            ExecutionError::IndexOutOfBounds(_) => {
                EvalError::Failed("a list index is out of bounds".to_owned())
            }
            ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
                EvalError::Failed("division by zero".to_owned())
            }
            ExecutionError::Overflow(..) => EvalError::Failed("integer overflow".to_owned()),
            // The enum is open, and its texts may contain values.
            _ => EvalError::Failed("values of the wrong type".to_owned()),
        }
    }
}

impl Path {
    fn size(&self, inputs: &Inputs<'_>) -> Size {
        match self {
            Self::User => inputs.variable("user"),
            Self::Authenticator => inputs.variable("authenticator"),
            Self::Groups => inputs.variable("groups"),
            Self::Variable(name) => inputs.variable(name),
            Self::Claim(members) => {
                members.first().map(|name| inputs.claim(name)).unwrap_or_default()
            }
        }
    }

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
        Value::String(_) => "a string",
        Value::Bytes(_) => "bytes",
        Value::Bool(_) => "true or false",
        Value::Duration(_) => "a duration",
        Value::Timestamp(_) => "a timestamp",
        Value::Null => "null",
        Value::Function(..) | Value::Opaque(_) => "of an unknown type",
    }
}

/// The time as a CEL `timestamp`.
pub(super) fn timestamp<'a>(time: UnixTime) -> Option<Box<dyn Val + 'a>> {
    static PROGRAM: LazyLock<Option<IdedExpr>> = LazyLock::new(|| parse("timestamp(seconds)").ok());
    let mut context = Context::with_env(Arc::clone(&ENV));
    context.add_variable_from_value("seconds", time.seconds());
    let value = Value::resolve(PROGRAM.as_ref()?, &context).ok()?;
    let value: Box<dyn Val> = value.try_into().ok()?;
    Some(value)
}
