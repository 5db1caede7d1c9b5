//! The statements of the configuration, and what `check --connect` finds out about them.

use std::sync::Arc;

use callgate::authn::{BackendError, ProbeReport};

use super::row::COLUMNS;
use crate::sql_client::{Database, Description, Product, Statement};

/// The statements for each kind of credential.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) product: Product,
    pub(super) by_name: Option<Statement>,
    pub(super) by_token: Option<Statement>,
    pub(super) by_nkey: Option<Statement>,
    /// For statements that propose access.
    pub(super) ceiling_warning: Option<String>,
}

impl Statements {
    /// Logs in, and prepares every statement.
    ///
    /// # Errors
    /// If the database cannot be reached, or a statement cannot be used.
    pub(super) async fn check(
        &self,
        database: &Arc<dyn Database>,
    ) -> Result<ProbeReport, BackendError> {
        let mut report = ProbeReport::default();
        for (key, statement) in [
            ("query", &self.by_name),
            ("token_query", &self.by_token),
            ("nkey_query", &self.by_nkey),
        ] {
            let Some(statement) = statement else { continue };
            let found = Arc::clone(database).describe(statement.clone()).await;
            let (description, writable) = found.map_err(|error| format!("`{key}`: {error}"))?;
            report.notes.push(note(key, &description));
            self.check_statement(key, &description, &mut report.warnings)?;
            report.warnings.extend(writable.map(|what| {
                format!("`{key}`: this database user may write to {what}: SELECT is enough")
            }));
        }
        Ok(report)
    }

    fn check_statement(
        &self,
        key: &str,
        description: &Description,
        warnings: &mut Vec<String>,
    ) -> Result<(), BackendError> {
        let parameters = description.parameters.0;
        if parameters != 1 {
            return Err(format!("`{key}` takes {parameters} parameters instead of one").into());
        }
        let columns = &description.columns;
        if let Some((name, kind, _)) = columns.iter().find(|(_, _, is_readable)| !is_readable) {
            let name = name.escape_debug();
            return Err(format!("`{key}`: column `{name}` has the type {kind}, which is not supported: cast it to text").into());
        }
        let has =
            |wanted: &str| columns.iter().any(|(name, _, _)| name.eq_ignore_ascii_case(wanted));
        let required = if key == "query" { "password" } else { "user" };
        if !has(required) {
            return Err(format!("`{key}` returns no column `{required}`").into());
        }
        if let Some(twice) = COLUMNS.iter().find(|wanted| {
            columns.iter().filter(|(name, _, _)| name.eq_ignore_ascii_case(wanted)).count() > 1
        }) {
            return Err(format!("`{key}` returns two columns `{twice}`").into());
        }
        if !has("user") && self.product == Product::MySql {
            warnings.push(format!(
                "`{key}` returns no column `user`: the identity is the typed name, in any spelling that \
                 the collation accepts"
            ));
        }
        if ["account", "roles", "permissions"].into_iter().any(has) {
            warnings.extend(self.ceiling_warning.as_ref().map(|text| format!("`{key}`: {text}")));
        }
        Ok(())
    }
}

fn note(key: &str, description: &Description) -> String {
    let (count, types) = &description.parameters;
    let parameters = match types.is_empty() {
        true => format!("{count} parameter"),
        false => format!("parameter {}", types.join(", ")),
    };
    let columns = description.columns.iter();
    let columns: Vec<_> =
        columns.map(|(name, kind, _)| format!("{} {kind}", name.escape_debug())).collect();
    format!("`{key}`: {parameters}; columns {}", columns.join(", "))
}
