//! Entry points for the fuzz targets (feature `fuzzing`); not for use in a service.

use std::{io, path::Path};

use callgate_config::Fault;

use crate::{
    config::{self, BuildEnv, Overrides},
    import::{Imported, Keys, extended, is_extension},
    nats_conf::{self, Location, Map, Node, Outside, Value},
};

/// The result of `callgate check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Whether `serve` would start with it.
    pub usable: bool,
    /// Errors.
    pub faults: Vec<String>,
    /// Warnings.
    pub warnings: Vec<String>,
}

/// What a message between replicas about sessions says: as it is decoded, and after encoding and decoding that
/// again. `None` if it is not a message.
pub fn session_message(message: &[u8]) -> Option<[Vec<String>; 2]> {
    crate::sessions::decoded_twice(message)
}

/// Loads a configuration file as `callgate check --config` does.
pub fn check(path: &Path) -> Checked {
    let overrides = Overrides { config: Some(path.to_owned()), ..Overrides::default() };
    let env = BuildEnv::aside();
    let loaded = config::load(&overrides, &env);
    let texts = |list: Vec<Fault>| list.iter().map(ToString::to_string).collect();
    Checked {
        usable: loaded.config.is_some(),
        faults: texts(loaded.report.faults()),
        warnings: texts(loaded.report.warnings()),
    }
}

/// Reads a configuration of nats-server as `callgate import` does. Errors are those of the configuration.
///
/// # Panics
/// If a value that is written again is read differently, or if the callout is added and the rest changes.
pub fn import(text: &[u8]) -> Result<(), String> {
    let path = Path::new("nats-server.conf");
    let read = |text: &[u8]| nats_conf::read(path, &Alone(text)).map_err(|error| error.to_string());
    let document = read(text)?;
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    each_value(&document.root, &mut |node| {
        let Some(written) = text.get(node.span.clone()).filter(|_| node.variable.is_none()) else {
            return;
        };
        let again = read(format!("v: {written}\n").as_bytes());
        let again = again.map(|document| document.root.entries().first().map(|e| e.node.clone()));
        assert!(again.is_ok_and(|again| again.as_ref() == Some(node)), "{written}");
    });
    let imported = Imported::of(&document).map_err(|error| error.to_string())?;
    let start = Location { file: path.display().to_string().into(), line: 1, column: 1 };
    let keys = Keys {
        account: Keys::free_account(&imported.accounts),
        user: "U".to_owned(),
        issuer: "A".to_owned(),
        xkey: "X".to_owned(),
    };
    if let Ok(new) = extended(text, &start, &document.root, &keys, &imported.auth_users)
        && let Ok(new) = read(new.complete.as_bytes())
        && is_extension(&document.root, &new.root, &keys)
    {
        let again = Imported::of(&new).map(|_| ());
        assert!(again.is_err_and(|error| error.problem.contains("auth callout")));
    }
    Ok(())
}

/// One file and no environment.
struct Alone<'a>(&'a [u8]);

impl Outside for Alone<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match path == Path::new("nats-server.conf") {
            true => Ok(self.0.to_vec()),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn variable(&self, name: &str) -> Option<String> {
        (name == "HOME").then(|| "/root".to_owned())
    }
}

/// Values without other values in them that could refer to what is around.
fn each_value(map: &Map, visit: &mut impl FnMut(&Node)) {
    for entry in map.entries() {
        match &entry.node.value {
            Value::Map(map) if entry.node.variable.is_none() => each_value(map, visit),
            Value::Map(_) | Value::Array(_) => {}
            Value::String(_)
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::DateTime(_) => visit(&entry.node),
        }
    }
}
