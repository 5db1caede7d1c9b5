//! `accounts` and `authorization`.

use super::{
    FindingKind, Imported, User,
    fields::{Fields, string},
    users::{self, Credential, Group, UserGrant, password_credential},
};
use crate::nats_conf::{ConfError, Entry, Map, Value};

/// The account of users that are in none.
const GLOBAL: &str = "$G";
/// The system account of a server whose configuration names none.
const DEFAULT_SYSTEM: &str = "$SYS";

const SYSTEM_USER: &str =
    "it stays in nats-server.conf, because the system account must be reachable without a callout";
const MAPPED_USER: &str = "it stays in nats-server.conf, because its certificate identifies it";

/// Keys of an account that have no part in logins.
const OTHER_KEYS: &[&[&str]] = &[
    &["nkey"],
    &["imports"],
    &["exports"],
    &["jetstream"],
    &["mappings", "maps"],
    &["limits"],
    &["msg_trace", "trace_dest"],
];

pub(super) fn read(imported: &mut Imported, root: &Map) -> Result<(), ConfError> {
    let fields = Fields::root(root);
    let authorization = fields.find(&["authorization"])?;
    if let Some(entry) = authorization {
        read_authorization(imported, entry)?;
    }
    let accounts = fields.find(&["accounts"])?;
    if let Some(entry) = accounts {
        read_accounts(imported, entry)?;
    }
    if imported.has_jetstream && imported.accounts.is_empty() {
        let entry = fields.find(&["jetstream"])?;
        if let Some(entry) = entry {
            imported.blocked = Some(entry.at.clone());
            imported.add(
                FindingKind::LeftOut,
                &entry.at,
                "the account `$G` has JetStream only as long as no other account is defined: move users and streams \
                 to an account before you add a callout",
            );
        }
    }
    Ok(())
}

fn read_accounts(imported: &mut Imported, entry: &Entry) -> Result<(), ConfError> {
    if let Value::Array(names) = &entry.node.value {
        for name in names {
            imported.accounts.push(string(name)?.to_owned());
        }
        return Ok(());
    }
    for account in Fields::of(&entry.node, "`accounts`")?.entries().filter(|entry| !entry.is_used) {
        imported.accounts.push(account.key.clone());
        read_account(imported, account)?;
    }
    Ok(())
}

fn read_account(imported: &mut Imported, account: &Entry) -> Result<(), ConfError> {
    let name = account.key.as_str();
    let what = format!("the account `{}`", name.escape_debug());
    let fields = Fields::of(&account.node, &what)?;
    fields.only(&[OTHER_KEYS, &[&["users"], &["default_permissions"]]].concat())?;
    for keys in OTHER_KEYS {
        if let Some(entry) = fields.find(keys)? {
            let message = format!("`{}` of {what}", entry.key);
            imported.add(FindingKind::Stays, &entry.at, message);
        }
    }
    let Some(list) = fields.find(&["users"])? else { return Ok(()) };
    let default = fields.find(&["default_permissions"])?;
    let default = default_grant(imported, default, &format!("{name}_default"))?;
    let system = imported.system_account.as_deref().unwrap_or(DEFAULT_SYSTEM);
    let stays = match name == system {
        true => Some(SYSTEM_USER),
        false => imported.maps_certificates.then_some(MAPPED_USER),
    };
    let group = Group { account: name.to_owned(), default, stays };
    users::read(imported, &list.node, &group)
}

fn default_grant(
    imported: &mut Imported,
    entry: Option<&Entry>,
    role: &str,
) -> Result<UserGrant, ConfError> {
    let Some(entry) = entry else { return Ok(UserGrant::Unrestricted) };
    let role = entry.node.variable.as_deref().unwrap_or(role);
    users::granted(imported, &entry.node, Some(role))
}

const SIMPLE_USER: &[&str] = &["user", "username"];
const SIMPLE_PASSWORD: &[&str] = &["password", "pass"];

fn read_authorization(imported: &mut Imported, entry: &Entry) -> Result<(), ConfError> {
    let fields = Fields::of(&entry.node, "`authorization`")?;
    let default = &["default_permissions", "default_permission", "permissions"];
    fields.only(&[
        SIMPLE_USER,
        SIMPLE_PASSWORD,
        &["token"],
        &["timeout"],
        &["users"],
        default,
        &["proxy_required"],
    ])?;
    if let Some(entry) = fields.find(&["timeout"])? {
        imported.add(FindingKind::Stays, &entry.at, "`timeout` of `authorization`");
    }
    let simple = simple_user(fields)?;
    if let (Some((entry, _, _)), Some(proxy)) = (&simple, fields.find(&["proxy_required"])?) {
        let message = format!("`{}`: `proxy_required` cannot be enforced by a callout", entry.key);
        imported.add(FindingKind::LeftOut, &proxy.at, message);
        return Ok(());
    }
    if let Some((entry, name, credential)) = simple {
        match credential {
            _ if imported.maps_certificates => {
                imported.add(FindingKind::LeftOut, &entry.at, MAPPED_USER);
            }
            Ok(credential) => {
                let account = GLOBAL.to_owned();
                let grant = UserGrant::Unrestricted;
                let user = User { account, credential, grant, connection_types: None };
                imported.users.insert(name, user);
            }
            Err(problem) => imported.add(FindingKind::LeftOut, &entry.at, problem),
        }
    }
    let Some(list) = fields.find(&["users"])? else { return Ok(()) };
    let default = default_grant(imported, fields.find(default)?, "default")?;
    let stays = imported.maps_certificates.then_some(MAPPED_USER);
    let group = Group { account: GLOBAL.to_owned(), default, stays };
    users::read(imported, &list.node, &group)
}

type SimpleUser<'a> = (&'a Entry, String, Result<Credential, &'static str>);

/// The one user or token of an `authorization` block without a list.
fn simple_user(fields: Fields<'_>) -> Result<Option<SimpleUser<'_>>, ConfError> {
    let user = fields.find(SIMPLE_USER)?;
    let token = fields.find(&["token"])?;
    if let (Some(_), Some(token)) = (user, token) {
        return Err(ConfError::new(&token.at, "nats-server takes either a user or a token"));
    }
    if let (Some(simple), Some(_)) = (user.or(token), fields.find(&["users"])?) {
        let problem = "nats-server takes either one user or token, or a list of users";
        return Err(ConfError::new(&simple.at, problem));
    }
    if let Some(entry) = token {
        let credential = match password_credential(string(&entry.node)?) {
            Ok(Credential::Password(token)) => Ok(Credential::Token(token)),
            Ok(_) => Err("`token`: Callgate cannot compare tokens with a bcrypt hash"),
            Err(_) => Err("`token` is empty"),
        };
        return Ok(Some((entry, "token".to_owned(), credential)));
    }
    let Some(entry) = user else { return Ok(None) };
    let password = match fields.find(SIMPLE_PASSWORD)? {
        Some(entry) => string(&entry.node)?,
        None => "",
    };
    Ok(Some((entry, string(&entry.node)?.to_owned(), password_credential(password))))
}
