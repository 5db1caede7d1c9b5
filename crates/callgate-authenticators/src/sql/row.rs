//! From a row to the entry of a user.

use std::net::IpAddr;

use callgate::{
    connection::{ConnectionKind, ConnectionKinds},
    permissions::Permissions,
};
use ipnet::IpNet;

use crate::{
    backend::{self, Outside},
    second_factor::Totp,
    sql_client::{Cell, Column, Row},
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
        let mut row = Row::new(columns, &COLUMNS)?;
        if needs_password && !row.has("password") {
            return Err("the result has no column `password`".to_owned());
        }
        let totp = row.read("totp", Cell::into_text)?.map(|uri| Totp::from_uri(&uri.into()));
        // Without the cause, which could quote the secret.
        let totp =
            totp.transpose().map_err(|_| "the column `totp` is not a usable `otpauth` URI")?;
        let password = row.read("password", Cell::into_text)?;
        let user = row.read("user", Cell::into_text)?;
        let user = user.or_else(|| typed_name.map(str::to_owned));
        let outside = Outside {
            user: user.ok_or("the result has no `user`")?,
            groups: row.read("groups", Cell::into_list)?.unwrap_or_default(),
            account: row.read("account", Cell::into_text)?,
            roles: row.read("roles", Cell::into_list)?,
            permissions: row.read("permissions", permissions)?,
            source: row.read("source", networks)?,
            connection_types: row.read("connection_types", connection_types)?,
            expires: row.read("expires", Cell::into_time)?,
            expires_after: row.read("expires_after", Cell::into_duration)?,
            disabled: row.read("disabled", Cell::into_boolean)?.unwrap_or(false),
            claims: row.rest()?,
        };
        Ok(Self { outside, password, totp })
    }
}

fn permissions(cell: Cell) -> Option<Permissions> {
    backend::permissions(&cell.into_json()?).ok()
}

/// At least one network: an empty list admits no client.
fn networks(cell: Cell) -> Option<Vec<IpNet>> {
    let texts = cell.into_list().filter(|texts| !texts.is_empty())?;
    let network = |text: String| {
        text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
    };
    texts.into_iter().map(network).collect()
}

fn connection_types(cell: Cell) -> Option<ConnectionKinds> {
    let texts = cell.into_list().filter(|texts| !texts.is_empty())?;
    texts.iter().map(|kind| kind.parse::<ConnectionKind>().ok()).collect()
}
