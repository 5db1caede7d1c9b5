//! What the rest of the configuration means for clients.

use super::{
    FindingKind, Imported,
    fields::{Fields, boolean, string},
};
use crate::nats_conf::{ConfError, Entry, Map, Node, Value};

/// Keys that only servers with operators have. Their users are in JWTs.
const OPERATOR_MODE: &[&str] = &[
    "operator",
    "operators",
    "roots",
    "root",
    "root_operators",
    "trusted",
    "trusted_keys",
    "resolver",
];

/// Keys of `websocket` and `mqtt` by which a listener has its own users.
const OWN_USERS: &[&str] = &["username", "user", "password", "pass", "token", "authorization"];

pub(super) fn read(imported: &mut Imported, root: &Map) -> Result<(), ConfError> {
    let fields = Fields::root(root);
    if let Some(entry) = fields.find(&["authorization"])?
        && let Value::Map(_) = entry.node.value
        && let Some(entry) =
            Fields::of(&entry.node, "`authorization`")?.find(&["auth_callout", "auth_hook"])?
    {
        return Err(ConfError::new(
            &entry.at,
            "an auth callout decides already: its users are not in this file",
        ));
    }
    for entry in fields.entries() {
        let key = entry.key.to_ascii_lowercase();
        if OPERATOR_MODE.contains(&key.as_str()) && !entry.is_used {
            return Err(ConfError::new(
                &entry.at,
                "a server in operator mode: its users are in JWTs, not in this file",
            ));
        }
        match key.as_str() {
            "system_account" | "system" => {
                imported.system_account = Some(string(&entry.node)?.to_owned());
            }
            "port" => imported.port = integer_port(&entry.node),
            "listen" => imported.port = listen_port(&entry.node),
            "jetstream" => imported.has_jetstream = is_enabled(&entry.node)?,
            "no_auth_user" => no_auth_user(imported, entry)?,
            "tls" if maps_certificates(&entry.node)? => {
                imported.maps_certificates = true;
                imported.add(
                        FindingKind::LeftOut,
                        &entry.at,
                        "`verify_and_map`: clients prove their identity by a certificate; see the authenticator \
                         `certificate`",
                    );
            }
            "websocket" | "mqtt" => listener(imported, entry, &key)?,
            "leafnodes" | "leaf" | "leafnode" => leaf_nodes(imported, entry)?,
            _ => {}
        }
    }
    Ok(())
}

fn no_auth_user(imported: &mut Imported, entry: &Entry) -> Result<(), ConfError> {
    let user = string(&entry.node)?;
    imported.keep(user);
    imported.add(
        FindingKind::LeftOut,
        &entry.at,
        format!(
            "`{}`: clients without a credential stay user `{}` of nats-server.conf; see the authenticator \
             `anonymous`",
            entry.key,
            user.escape_debug()
        ),
    );
    Ok(())
}

/// `websocket` and `mqtt`.
fn listener(imported: &mut Imported, entry: &Entry, key: &str) -> Result<(), ConfError> {
    let fields = Fields::of(&entry.node, key)?;
    imported.has_websocket |= key == "websocket";
    for entry in fields.entries() {
        let name = entry.key.to_ascii_lowercase();
        match name.as_str() {
            "no_auth_user" => no_auth_user(imported, entry)?,
            "tls" if maps_certificates(&entry.node)? => imported.add(
                FindingKind::LeftOut,
                &entry.at,
                format!("`verify_and_map` of `{key}`: see the authenticator `certificate`"),
            ),
            name if OWN_USERS.contains(&name) => imported.add(
                FindingKind::LeftOut,
                &entry.at,
                format!(
                    "`{}` of `{key}`: add such a user to users.json, or its clients are refused",
                    entry.key
                ),
            ),
            _ => {}
        }
    }
    Ok(())
}

fn leaf_nodes(imported: &mut Imported, entry: &Entry) -> Result<(), ConfError> {
    let fields = Fields::of(&entry.node, "`leafnodes`")?;
    let listens = fields
        .entries()
        .find(|entry| ["port", "listen"].iter().any(|key| entry.key.eq_ignore_ascii_case(key)));
    match (fields.find(&["authorization"])?, listens) {
        (Some(entry), _) => imported.add(
            FindingKind::Stays,
            &entry.at,
            "users of leaf nodes: nats-server checks them without a callout",
        ),
        (None, Some(entry)) => imported.add(
            FindingKind::Differs,
            &entry.at,
            "leaf nodes log in as users: add `leafnode` to `connection_types` of those in users.json",
        ),
        (None, None) => {}
    }
    Ok(())
}

fn maps_certificates(tls: &Node) -> Result<bool, ConfError> {
    let fields = Fields::of(tls, "`tls`")?;
    for keys in [&["verify_and_map"], &["verify_cert_and_check_known_urls"]] {
        if let Some(entry) = fields.find(keys)?
            && boolean(&entry.node)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_enabled(node: &Node) -> Result<bool, ConfError> {
    match &node.value {
        Value::Bool(value) => Ok(*value),
        Value::Map(_) => match Fields::of(node, "`jetstream`")?.find(&["enable", "enabled"])? {
            Some(entry) => boolean(&entry.node),
            None => Ok(true),
        },
        Value::String(text) => Ok(!text.eq_ignore_ascii_case("disabled")),
        Value::Array(_) | Value::Integer(_) | Value::Float(_) | Value::DateTime(_) => Ok(true),
    }
}

fn integer_port(node: &Node) -> Option<u16> {
    match node.value {
        Value::Integer(port) => u16::try_from(port).ok(),
        _ => None,
    }
}

fn listen_port(node: &Node) -> Option<u16> {
    match &node.value {
        Value::String(text) => text.rsplit_once(':')?.1.parse().ok(),
        _ => integer_port(node),
    }
}
