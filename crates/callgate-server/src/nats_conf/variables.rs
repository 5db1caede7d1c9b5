//! References to variables: keys of the maps around, then the environment.

use std::{path::Path, sync::Arc};

use super::{ConfError, Location, Node, Value, parser::Parser};

/// The text after `$` of a bcrypt hash, which nats-server does not take for a variable.
const BCRYPT: &str = "2a$";
/// The key under which the value of a variable of the environment is read, as in nats-server.
const KEY: &str = "pk";

impl Parser<'_, '_> {
    /// The value of a reference that begins with `$`, and its name; or a string with escapes.
    pub(super) fn bare_or_variable(&mut self) -> Result<(Value, Option<Arc<str>>), ConfError> {
        let at = self.cursor.location();
        let (text, has_escapes) = self.bare_text(self.cursor.offset())?;
        let name = match text.strip_prefix('$') {
            Some(name) if !has_escapes && !name.starts_with(BCRYPT) => name,
            Some(_) | None => return Ok((Value::String(text), None)),
        };
        if name.is_empty() {
            return Err(ConfError::new(&at, "`$` without the name of a variable"));
        }
        let value = self.variable(name, &at)?;
        Ok((value, Some(name.into())))
    }

    fn variable(&mut self, name: &str, at: &Location) -> Result<Value, ConfError> {
        let found = self.scopes.iter_mut().rev().find_map(|scope| scope.get_mut(name));
        if let Some(entry) = found {
            entry.is_used = true;
            let value = entry.node.value.clone();
            return match self.session.takes(count(&value)) {
                true => Ok(value),
                false => Err(ConfError::new(at, "the variables contain too many values")),
            };
        }
        if self.session.variables.iter().any(|outer| outer == name) {
            return Err(ConfError::new(at, format!("the variable `{name}` refers to itself")));
        }
        let Some(text) = self.session.environment(name) else {
            return Err(ConfError::new(
                at,
                format!(
                    "the variable `{name}` is neither defined above nor in the environment: run this command \
                     with the environment of nats-server"
                ),
            ));
        };
        self.session.variables.push(name.to_owned());
        let file: Arc<str> = format!("${name}").into();
        let read = self.session.text(file, &format!("{KEY}={text}"), Path::new(""));
        self.session.variables.pop();
        let problem = |problem: &str| {
            ConfError::new(at, format!("the variable `{name}` of the environment: {problem}"))
        };
        let mut map = read.map_err(|error| problem(&error.problem))?;
        let Some(entry) = map.get_mut(KEY) else { return Err(problem("has no value")) };
        let mut node = entry.node.clone();
        move_to(&mut node, at);
        Ok(node.value)
    }
}

/// The values in a value.
fn count(value: &Value) -> usize {
    match value {
        Value::Map(map) => 1 + map.entries().iter().map(|e| count(&e.node.value)).sum::<usize>(),
        Value::Array(items) => 1 + items.iter().map(|item| count(&item.value)).sum::<usize>(),
        Value::String(_)
        | Value::Bool(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::DateTime(_) => 1,
    }
}

/// Sets the location of a value and of all in it: text of the environment has no file.
fn move_to(node: &mut Node, at: &Location) {
    node.at.clone_from(at);
    match &mut node.value {
        Value::Map(map) => {
            for entry in &mut map.0 {
                entry.at.clone_from(at);
                move_to(&mut entry.node, at);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| move_to(item, at)),
        Value::String(_)
        | Value::Bool(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::DateTime(_) => {}
    }
}
