//! What the entry of a user says.

use std::collections::HashSet;

use callgate::{clock::UnixTime, sanitize::excerpt};
use serde_json::{Map, Value, json};

use super::config::{GroupsFrom, Settings};
use crate::{
    backend::{Outside, QueryError, permissions},
    ldap_client::{Dn, Entry, parse_time},
};

pub(super) const MEMBER_OF: &str = "memberOf";
pub(super) const OBJECT_SID: &str = "objectSid";
pub(super) const PRIMARY_GROUP_ID: &str = "primaryGroupID";

/// The entry of a user, checked as far as a bind needs.
pub(super) struct UserEntry {
    pub(super) dn: Dn,
    /// The identity's user.
    pub(super) user: String,
    pub(super) entry: Entry,
}

impl UserEntry {
    /// Checks the entry that a search returned.
    ///
    /// # Errors
    /// If it is not below the base, or does not name exactly one user.
    pub(super) fn check(entry: Entry, settings: &Settings) -> Result<Self, QueryError> {
        let shown = excerpt(&entry.dn);
        let unusable = |why: &str| QueryError::unusable(format!("the entry `{shown}` {why}"));
        if entry.attributes.iter().any(|(name, _)| is_partial(name)) {
            return Err(unusable("has more values of an attribute than the directory returns"));
        }
        let dn: Dn = entry.dn.parse().map_err(|_| unusable("has a malformed DN"))?;
        // A bind with an empty DN is anonymous, and succeeds with any password.
        if dn.is_empty() || !dn.is_within(&settings.base.dn) {
            return Err(unusable("is not below `base`"));
        }
        let name = &settings.user_attribute;
        let [user] = texts(&entry, name)?.try_into().map_err(|values: Vec<String>| {
            let why = "a user needs exactly one: set `user_attribute`";
            unusable(&format!("has {} values of `{name}`: {why}", values.len()))
        })?;
        Ok(Self { dn, user, entry })
    }

    /// Everything that the entry says, without groups.
    pub(super) fn outside(&self, settings: &Settings) -> Result<Outside, QueryError> {
        let map = &settings.map;
        Ok(Outside {
            user: self.user.clone(),
            claims: self.claims(&settings.attributes)?,
            account: self.single(map.account.as_deref())?,
            roles: self.list(map.roles.as_deref())?,
            permissions: self.permissions(settings)?,
            expires: self.expires(map.expires.as_deref())?,
            ..Outside::default()
        })
    }

    fn claims(&self, names: &[String]) -> Result<Map<String, Value>, QueryError> {
        let mut claims = Map::new();
        for name in names {
            let mut values = texts(&self.entry, name)?;
            let value = match values.len() {
                0 => continue,
                1 => values.pop().into(),
                _ => values.into(),
            };
            claims.insert(name.clone(), value);
        }
        Ok(claims)
    }

    fn permissions(
        &self,
        settings: &Settings,
    ) -> Result<Option<callgate::permissions::Permissions>, QueryError> {
        let publish = self.list(settings.map.publish.as_deref())?;
        let subscribe = self.list(settings.map.subscribe.as_deref())?;
        let mut table = Map::new();
        for (key, subjects) in [("publish", publish), ("subscribe", subscribe)] {
            table.extend(subjects.map(|subjects| (key.to_owned(), json!(subjects))));
        }
        if table.is_empty() {
            return Ok(None);
        }
        permissions(&Value::Object(table)).map(Some).map_err(QueryError::unusable)
    }

    fn expires(&self, name: Option<&str>) -> Result<Option<UnixTime>, QueryError> {
        let Some(text) = self.single(name)? else { return Ok(None) };
        let malformed = || QueryError::unusable("`map.expires` names an attribute without a time");
        parse_time(&text).map(Some).ok_or_else(malformed)
    }

    /// The values of an attribute; `None` if there are none.
    fn list(&self, name: Option<&str>) -> Result<Option<Vec<String>>, QueryError> {
        let Some(name) = name else { return Ok(None) };
        let values = texts(&self.entry, name)?;
        Ok((!values.is_empty()).then_some(values))
    }

    /// The value of an attribute that has at most one.
    fn single(&self, name: Option<&str>) -> Result<Option<String>, QueryError> {
        let mut values = self.list(name)?.unwrap_or_default();
        let value = values.pop();
        match (values.is_empty(), name) {
            (true, _) => Ok(value),
            (false, name) => {
                let name = name.unwrap_or_default();
                Err(QueryError::unusable(format!("`{name}` has more than one value")))
            }
        }
    }
}

/// The attributes to request.
pub(super) fn attributes(settings: &Settings) -> Vec<&str> {
    let mut names = vec![settings.user_attribute.as_str()];
    names.extend(settings.attributes.iter().map(String::as_str));
    names.extend(settings.map.attributes());
    if settings.groups.from == GroupsFrom::MemberOf {
        names.push(MEMBER_OF);
    }
    if settings.groups.primary {
        names.extend([OBJECT_SID, PRIMARY_GROUP_ID]);
    }
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.to_ascii_lowercase()));
    names
}

/// The values of an attribute, which must be text.
pub(super) fn texts(entry: &Entry, name: &str) -> Result<Vec<String>, QueryError> {
    let text = |value: &[u8]| str::from_utf8(value).map(str::to_owned);
    let texts: Result<_, _> = entry.values(name).map(text).collect();
    texts.map_err(|_| QueryError::unusable(format!("the attribute `{name}` is not text")))
}

/// Active Directory returns long lists in parts, such as `memberOf;range=0-1499`.
fn is_partial(name: &str) -> bool {
    name.to_ascii_lowercase().contains(";range=")
}
