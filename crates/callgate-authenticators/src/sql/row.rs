//! From a row to the entry of a user.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use callgate::{clock::UnixTime, connection::ConnectionKind};
use callgate_config::parse_duration;
use ipnet::IpNet;
use serde_json::Value;

use crate::{
    backend::{self, Outside},
    directory::parse_time,
    second_factor::Totp,
    sql_client::{Cell, Column},
};

/// The columns that have a meaning; all others are claims.
pub(super) const COLUMNS: [&str; 12] = [
    "password",
    "user",
    "account",
    "roles",
    "permissions",
    "groups",
    "disabled",
    "expires",
    "expires_after",
    "source",
    "connection_types",
    "totp",
];

/// In bytes.
const MAX_ROW: usize = 1 << 20;

/// What a row says about a user.
#[derive(Debug)]
pub(super) struct UserRow {
    pub(super) outside: Outside,
    /// The text of `password`.
    pub(super) password: Option<String>,
    pub(super) totp: Option<Totp>,
}

impl UserRow {
    /// Reads a row. `typed_name` is the user's name if there is no column `user`.
    ///
    /// # Errors
    /// Which column is wrong, with its type, never its value.
    pub(super) fn read(
        columns: Vec<Column>,
        typed_name: Option<&str>,
        needs_password: bool,
    ) -> Result<Self, String> {
        if columns.iter().map(size).sum::<usize>() > MAX_ROW {
            return Err(format!("the row has more than {MAX_ROW} bytes"));
        }
        let mut row = Row::new(columns)?;
        if needs_password && !row.has("password") {
            return Err("the result has no column `password`".to_owned());
        }
        let totp = row.text("totp")?.map(|uri| Totp::from_uri(&uri.into()));
        // Without the cause, which could quote the secret.
        let totp =
            totp.transpose().map_err(|_| "the column `totp` is not a usable `otpauth` URI")?;
        let password = row.text("password")?;
        let user = row.text("user")?.or_else(|| typed_name.map(str::to_owned));
        let outside = Outside {
            user: user.ok_or("the result has no `user`")?,
            groups: row.list("groups")?.unwrap_or_default(),
            account: row.text("account")?,
            roles: row.list("roles")?,
            permissions: row.read("permissions", permissions)?,
            source: row.read("source", |cell| networks(&list(cell)?))?,
            connection_types: row.read("connection_types", |cell| {
                let kinds: Vec<ConnectionKind> =
                    list(cell)?.iter().map(|kind| kind.parse()).collect::<Result<_, _>>().ok()?;
                (!kinds.is_empty()).then(|| kinds.into_iter().collect())
            })?,
            expires: row.read("expires", time)?,
            expires_after: row.read("expires_after", duration)?,
            disabled: row.read("disabled", boolean)?.unwrap_or(false),
            claims: row.claims()?,
        };
        Ok(Self { outside, password, totp })
    }
}

/// The columns of a row that are not read yet.
struct Row(Vec<Column>);

impl Row {
    fn new(mut columns: Vec<Column>) -> Result<Self, String> {
        let mut names = BTreeSet::new();
        for column in &mut columns {
            // Databases fold the case of names differently.
            if let Some(name) = COLUMNS.iter().find(|name| column.name.eq_ignore_ascii_case(name)) {
                (*name).clone_into(&mut column.name);
            }
            if !names.insert(column.name.as_str()) {
                return Err(format!("two columns are called `{}`", column.name.escape_debug()));
            }
        }
        Ok(Self(columns))
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|column| column.name == name)
    }

    fn read<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(Cell) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let Some(index) = self.0.iter().position(|column| column.name == name) else {
            return Ok(None);
        };
        let Column { name, kind, cell } = self.0.swap_remove(index);
        let wrong = || format!("column `{}` ({kind}) cannot be read", name.escape_debug());
        match cell.ok_or_else(wrong)? {
            Cell::Null => Ok(None),
            cell => read(cell).map(Some).ok_or_else(wrong),
        }
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, String> {
        self.read(name, text)
    }

    fn list(&mut self, name: &str) -> Result<Option<Vec<String>>, String> {
        self.read(name, list)
    }

    /// All other columns.
    fn claims(&mut self) -> Result<serde_json::Map<String, Value>, String> {
        let mut claims = serde_json::Map::new();
        while let Some(name) = self.0.last().map(|column| column.name.clone()) {
            let claim = self.read(&name, |cell| match cell {
                Cell::Value(value) => Some(value),
                Cell::Null | Cell::Time(_) => None,
            })?;
            claims.extend(claim.map(|claim| (name, claim)));
        }
        Ok(claims)
    }
}

fn size(column: &Column) -> usize {
    match &column.cell {
        Some(Cell::Value(Value::String(text))) => text.len(),
        Some(Cell::Value(value)) => value.to_string().len(),
        Some(Cell::Null | Cell::Time(_)) | None => 0,
    }
}

fn text(cell: Cell) -> Option<String> {
    match cell {
        Cell::Value(Value::String(text)) => Some(text),
        Cell::Null | Cell::Value(_) | Cell::Time(_) => None,
    }
}

/// A text array, a JSON array or a list with commas.
fn list(cell: Cell) -> Option<Vec<String>> {
    match cell {
        Cell::Value(Value::String(text)) if text.trim_start().starts_with('[') => {
            backend::text_list(&serde_json::from_str(&text).ok()?)
        }
        Cell::Value(Value::String(text)) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Some(parts.map(str::to_owned).collect())
        }
        Cell::Value(value) => backend::text_list(&value),
        Cell::Null | Cell::Time(_) => None,
    }
}

fn permissions(cell: Cell) -> Option<callgate::permissions::Permissions> {
    match cell {
        Cell::Value(Value::String(text)) => {
            backend::permissions(&serde_json::from_str(&text).ok()?).ok()
        }
        Cell::Value(value) => backend::permissions(&value).ok(),
        Cell::Null | Cell::Time(_) => None,
    }
}

fn networks(texts: &[String]) -> Option<Vec<IpNet>> {
    let network = |text: &String| {
        text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
    };
    // An empty list admits no client.
    (!texts.is_empty()).then(|| texts.iter().map(network).collect())?
}

fn time(cell: Cell) -> Option<UnixTime> {
    match cell {
        Cell::Time(time) => Some(time),
        Cell::Value(Value::String(text)) => parse_time(&text),
        Cell::Value(Value::Number(seconds)) => seconds.as_i64().map(UnixTime::from_seconds),
        Cell::Null | Cell::Value(_) => None,
    }
}

fn duration(cell: Cell) -> Option<Duration> {
    let duration = parse_duration(&text(cell)?).ok()?;
    (duration.as_secs() > 0).then_some(duration)
}

fn boolean(cell: Cell) -> Option<bool> {
    match cell {
        Cell::Value(Value::Bool(value)) => Some(value),
        Cell::Value(Value::Number(number)) => match number.as_i64()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        },
        Cell::Null | Cell::Value(_) | Cell::Time(_) => None,
    }
}
