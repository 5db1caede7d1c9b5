//! Lists of users.

use callgate::{
    keys::{KeyKind, VerifyingKey, parse_public},
    secret::Secret,
    subject::is_invisible,
};
use callgate_authenticators::passwords::StoredPassword;

use super::{
    FindingKind, Imported, User,
    fields::{Fields, boolean, list, string},
    permissions::{self, PermissionError, Permissions},
};
use crate::nats_conf::{ConfError, Entry, Location, Node, Value};

const NAME: &[&str] = &["user", "username"];
const PASSWORD: &[&str] = &["password", "pass"];
const PERMISSIONS: &[&str] = &["permissions", "permission", "authorization"];
const CONNECTION_TYPES: &[&str] = &["allowed_connection_types", "connection_types", "clients"];

/// How a user proves its identity.
#[derive(Debug)]
pub(super) enum Credential {
    Password(Secret),
    /// A bcrypt hash.
    Hash(Secret),
    Token(Secret),
    Nkey(String),
}

/// What a user may do.
#[derive(Debug, Clone)]
pub(super) enum UserGrant {
    Unrestricted,
    Role(String),
    Own(Permissions),
    /// `default_permissions` that Callgate cannot express, and why.
    Unsupported(ConfError),
}

/// What the users of a list have in common.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) account: String,
    /// For users without permissions of their own.
    pub(super) default: UserGrant,
    /// nats-server keeps these users.
    pub(super) stays: Option<&'static str>,
}

/// Reads a list of users.
pub(super) fn read(imported: &mut Imported, node: &Node, group: &Group) -> Result<(), ConfError> {
    for node in list(node)? {
        let fields = Fields::of(node, "the entry of a user")?;
        fields.only(&[
            NAME,
            PASSWORD,
            PERMISSIONS,
            CONNECTION_TYPES,
            &["nkey"],
            &["proxy_required"],
        ])?;
        let Some((name, credential)) = identity(imported, fields, node)? else { continue };
        let shown = name.escape_debug();
        if let Some(why) = group.stays {
            imported.keep(&name);
            imported.add(FindingKind::Stays, &node.at, format!("user `{shown}`: {why}"));
            continue;
        }
        match user(imported, fields, credential, group)? {
            Ok(user) => {
                if imported.users.insert(name.clone(), user).is_some() {
                    return Err(ConfError::new(&node.at, format!("duplicate user `{shown}`")));
                }
            }
            Err(error) => leave(imported, &error.at, &name, &error.problem),
        }
    }
    Ok(())
}

/// Lists a user that stays with nats-server.
fn leave(imported: &mut Imported, at: &Location, name: &str, problem: &str) {
    imported.keep(name);
    imported.add(
        FindingKind::LeftOut,
        at,
        format!("user `{}` stays in nats-server.conf: {problem}", name.escape_debug()),
    );
}

/// The name and the credential; `None` if the credential cannot be taken over.
fn identity(
    imported: &mut Imported,
    fields: Fields<'_>,
    node: &Node,
) -> Result<Option<(String, Credential)>, ConfError> {
    let text = |entry: Option<&Entry>| {
        entry.map(|entry| Ok::<_, ConfError>(string(&entry.node)?.to_owned())).transpose()
    };
    let name = text(fields.find(NAME)?)?;
    let password = text(fields.find(PASSWORD)?)?;
    if let Some(entry) = fields.find(&["nkey"])? {
        let nkey = string(&entry.node)?;
        let key: Result<VerifyingKey, _> = parse_public(nkey, &[KeyKind::User]);
        if let Err(error) = key {
            return Err(ConfError::new(&entry.node.at, error.to_string()));
        }
        if name.is_some() || password.is_some() {
            return Err(ConfError::new(
                &node.at,
                "a user with an nkey has no name and no password",
            ));
        }
        return Ok(Some((nkey.to_owned(), Credential::Nkey(nkey.to_owned()))));
    }
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Err(ConfError::new(&node.at, "the user has no name"));
    };
    if name.chars().any(is_invisible) {
        leave(imported, &node.at, &name, "the name has control or invisible characters");
        return Ok(None);
    }
    match password_credential(&password.unwrap_or_default()) {
        Ok(credential) => Ok(Some((name, credential))),
        Err(problem) => {
            leave(imported, &node.at, &name, problem);
            Ok(None)
        }
    }
}

/// A password as nats-server compares it: with a bcrypt hash, or as it is.
pub(super) fn password_credential(password: &str) -> Result<Credential, &'static str> {
    if password.is_empty() {
        return Err("it has no password, and Callgate refuses empty ones");
    }
    if !is_bcrypt(password) {
        return Ok(Credential::Password(Secret::new(password.to_owned())));
    }
    let is_usable = StoredPassword::parse(password).is_ok_and(|stored| stored.cost().is_some());
    match is_usable {
        true => Ok(Credential::Hash(Secret::new(password.to_owned()))),
        false => {
            Err("Callgate cannot verify this bcrypt hash (`$2a$`, `$2b$` or `$2y$`, cost 4 to 16)")
        }
    }
}

/// Whether nats-server takes it for a bcrypt hash (`isBcrypt` in `server/auth.go`).
pub(super) fn is_bcrypt(password: &str) -> bool {
    let Some(rest) = password.strip_prefix("$2") else { return false };
    let rest = rest.strip_prefix(['a', 'b', 'x', 'y']).and_then(|rest| rest.strip_prefix('$'));
    let mut rest = rest.unwrap_or_default().chars();
    let mut digit = || rest.next().is_some_and(|c| c.is_ascii_digit());
    digit() && digit() && rest.next() == Some('$')
}

/// The user, or why it cannot be taken over.
fn user(
    imported: &mut Imported,
    fields: Fields<'_>,
    credential: Credential,
    group: &Group,
) -> Result<Result<User, ConfError>, ConfError> {
    if let Some(entry) = fields.find(&["proxy_required"])?
        && boolean(&entry.node)?
    {
        let problem = "`proxy_required` cannot be enforced by a callout";
        return Ok(Err(ConfError::new(&entry.at, problem)));
    }
    let connection_types = match connection_types(imported, fields)? {
        Ok(types) => types,
        Err(error) => return Ok(Err(error)),
    };
    let grant = match fields.find(PERMISSIONS)? {
        None => group.default.clone(),
        Some(entry) => granted(imported, &entry.node, entry.node.variable.as_deref())?,
    };
    let grant = match grant {
        UserGrant::Unsupported(error) => return Ok(Err(error)),
        // Roles never imply leaf nodes.
        UserGrant::Role(role)
            if connection_types.as_ref().is_some_and(|types| types.contains(&"leafnode")) =>
        {
            imported.roles.get(&role).cloned().map_or(UserGrant::Role(role), UserGrant::Own)
        }
        grant @ (UserGrant::Unrestricted | UserGrant::Role(_) | UserGrant::Own(_)) => grant,
    };
    let account = group.account.clone();
    Ok(Ok(User { account, credential, grant, connection_types }))
}

/// Reads permissions; `role` names those that several users have.
pub(super) fn granted(
    imported: &mut Imported,
    node: &Node,
    role: Option<&str>,
) -> Result<UserGrant, ConfError> {
    let read = match permissions::read(node) {
        Ok(read) => read,
        Err(PermissionError::Invalid(error)) => return Err(error),
        Err(PermissionError::Unsupported(error)) => return Ok(UserGrant::Unsupported(error)),
    };
    for (at, remark) in read.remarks {
        let is_new =
            !imported.findings.iter().any(|found| found.at == at && found.message == remark);
        if is_new {
            imported.add(FindingKind::Differs, &at, remark);
        }
    }
    let permissions = read.permissions;
    Ok(match role {
        Some(role) => UserGrant::Role(imported.role(role, permissions)),
        None if permissions.is_unrestricted() => UserGrant::Unrestricted,
        None => UserGrant::Own(permissions),
    })
}

impl Imported {
    /// The name of a role with these permissions.
    fn role(&mut self, wanted: &str, permissions: Permissions) -> String {
        let base: String = wanted.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let numbered = (2..).map(|number| format!("{base}_{number}"));
        for name in std::iter::once(base.clone()).chain(numbered) {
            match self.roles.get(&name) {
                None => {
                    self.roles.insert(name.clone(), permissions);
                    return name;
                }
                Some(same) if *same == permissions => return name,
                Some(_) => {}
            }
        }
        base
    }
}

type Types = Option<Vec<&'static str>>;

/// `None`: as Callgate's default. The inner error says why they cannot be taken over.
fn connection_types(
    imported: &Imported,
    fields: Fields<'_>,
) -> Result<Result<Types, ConfError>, ConfError> {
    let Some(entry) = fields.find(CONNECTION_TYPES)? else { return Ok(Ok(None)) };
    let items = match &entry.node.value {
        Value::String(_) => std::slice::from_ref(&entry.node),
        _ => list(&entry.node)?,
    };
    let mut named = Vec::new();
    for item in items {
        let text = string(item)?;
        let kind = text.to_ascii_uppercase();
        if !KNOWN_TYPES.contains(&kind.as_str()) {
            let problem = format!("nats-server does not know the connection type `{text}`");
            return Err(ConfError::new(&item.at, problem));
        }
        named.push(kind);
    }
    let has = |kind: &str| named.iter().any(|named| named == kind);
    let mut types = Vec::new();
    for (plain, over_websocket, ours) in
        [("STANDARD", None, "nats"), ("WEBSOCKET", None, "websocket"), MQTT, LEAF_NODE]
    {
        // Callgate cannot tell MQTT and leaf nodes over WebSocket from those without.
        let is_whole = over_websocket.is_none_or(|kind| has(kind) || !imported.has_websocket);
        match (has(plain), is_whole) {
            (true, true) => types.push(ours),
            (true, false) => {
                let problem =
                    format!("Callgate cannot permit `{plain}` and refuse it over WebSocket");
                return Ok(Err(ConfError::new(&entry.at, problem)));
            }
            (false, _) if over_websocket.is_some_and(has) => {
                let problem = format!("Callgate cannot permit `{plain}` over WebSocket only");
                return Ok(Err(ConfError::new(&entry.at, problem)));
            }
            (false, _) => {}
        }
    }
    match types.is_empty() && !named.is_empty() {
        true => Ok(Err(ConfError::new(&entry.at, "Callgate does not know `IN_PROCESS`"))),
        false => Ok(Ok((!types.is_empty()).then_some(types))),
    }
}

const KNOWN_TYPES: [&str; 7] =
    ["STANDARD", "WEBSOCKET", "MQTT", "MQTT_WS", "LEAFNODE", "LEAFNODE_WS", "IN_PROCESS"];
/// The name of nats-server, its name over WebSocket, and that of Callgate.
const MQTT: (&str, Option<&str>, &str) = ("MQTT", Some("MQTT_WS"), "mqtt");
const LEAF_NODE: (&str, Option<&str>, &str) = ("LEAFNODE", Some("LEAFNODE_WS"), "leafnode");
