//! What a backend says about a user, within bounds.

use std::time::Duration;

use callgate::{
    authn::{Identity, Origin, Proposal},
    clock::UnixTime,
    connection::ConnectionKinds,
    permissions::Permissions,
    record::Reason,
    request::MAX_USER,
    subject::is_invisible,
};
use callgate_config::{
    Document, Report, Sources, Table, Type,
    permissions::{KEYS, RawPermissions},
};
use ipnet::IpNet;
use serde_json::{Map, Value};

use super::QueryError;

const MAX_GROUPS: usize = 1000;
/// In bytes.
const MAX_GROUP: usize = 256;
/// In bytes, as JSON.
const MAX_CLAIMS: usize = 64 * 1024;

/// Outside data about a user. Policy bounds `account`, `roles` and `permissions` by the ceiling; it can
/// never make a user unrestricted.
#[derive(Debug, Default)]
pub(crate) struct Outside {
    /// The user's name in the backend, not the typed one.
    pub(crate) user: String,
    pub(crate) groups: Vec<String>,
    pub(crate) claims: Map<String, Value>,
    pub(crate) account: Option<String>,
    pub(crate) roles: Option<Vec<String>>,
    pub(crate) permissions: Option<Permissions>,
    pub(crate) source: Option<Vec<IpNet>>,
    pub(crate) connection_types: Option<ConnectionKinds>,
    pub(crate) expires: Option<UnixTime>,
    pub(crate) expires_after: Option<Duration>,
    pub(crate) disabled: bool,
}

impl Outside {
    /// The identity of a user whose credential proved correct.
    ///
    /// # Errors
    /// Unusable if a value is out of bounds; rejected if the user is disabled, or expired at `now`.
    pub(crate) fn identity(self, now: UnixTime) -> Result<Identity, QueryError> {
        self.check_bounds().map_err(QueryError::unusable)?;
        let shown = self.user.escape_debug();
        if self.disabled {
            return Err(QueryError::rejected(
                Reason::UserDisabled,
                format!("`{shown}` is disabled"),
            ));
        }
        if let Some(end) = self.expires
            && end <= now
        {
            return Err(QueryError::rejected(
                Reason::UserExpired,
                format!("`{shown}` expired at {end}"),
            ));
        }
        Ok(Identity {
            user: self.user,
            groups: self.groups,
            claims: self.claims,
            expires_at: self.expires,
            proposal: Proposal {
                origin: Origin::Outside,
                account: self.account,
                roles: self.roles,
                permissions: self.permissions,
                templates: None,
                source: self.source,
                connection_types: self.connection_types,
                expires_after: self.expires_after,
                unrestricted_if_alone: false,
            },
            ..Identity::default()
        })
    }

    fn check_bounds(&self) -> Result<(), String> {
        if self.user.is_empty() || self.user.len() > MAX_USER {
            return Err(format!("the user's name has no or more than {MAX_USER} bytes"));
        }
        if self.user.chars().any(is_invisible) {
            return Err("the user's name has control or invisible characters".to_owned());
        }
        if self.groups.len() > MAX_GROUPS {
            return Err(format!("more than {MAX_GROUPS} groups"));
        }
        if self.groups.iter().any(|group| group.len() > MAX_GROUP) {
            return Err(format!("a group's name has more than {MAX_GROUP} bytes"));
        }
        let claims = serde_json::to_vec(&self.claims).map_err(|error| error.to_string())?;
        if claims.len() > MAX_CLAIMS {
            return Err(format!("the claims have more than {MAX_CLAIMS} bytes"));
        }
        if self.account.as_deref() == Some("") {
            return Err("the account is empty".to_owned());
        }
        Ok(())
    }
}

/// Permissions in the form of the configuration, without templates.
///
/// # Errors
/// What is wrong, with the key.
pub(crate) fn permissions(value: &Value) -> Result<Permissions, String> {
    if !value.is_object() {
        return Err("`permissions` is not an object".to_owned());
    }
    let document = Document::from_value(value.clone());
    let report = Report::new();
    let sources = Sources::new(".");
    let mut table =
        Table::root(&document, "permissions", &report, &sources).with_keys(Type::Table(KEYS));
    let compiled = RawPermissions::read(&mut table).compiled(&report);
    table.finish();
    if let Some(fault) = report.faults().first() {
        return Err(fault.to_string());
    }
    if compiled.templates.is_some() {
        return Err("`permissions` contains a template".to_owned());
    }
    Ok(compiled.plain)
}

/// A list of texts; `None` if it is anything else.
pub(crate) fn text_list(value: &Value) -> Option<Vec<String>> {
    let list = value.as_array()?;
    list.iter().map(|text| text.as_str().map(str::to_owned)).collect()
}
