//! The question.

use callgate::{
    authn::{BackendError, Rejection},
    connection::ConnectionKind,
    request::{AuthRequest, Client, Credential, Server},
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::backend::QueryError;

/// The version of the question. It changes only if existing readers would misinterpret a question.
const VERSION: u32 = 1;

/// The part of a question that an answer may depend on: everything but its ID and deadline.
pub(super) struct Facts {
    /// The members of the object, as JSON without its braces.
    members: Zeroizing<String>,
}

impl Facts {
    /// The facts of a request. Facts that are not known are left out.
    ///
    /// # Errors
    /// If the connection's certificate cannot be described: without it, a service could take the client
    /// for one that has none.
    pub(super) fn of(request: &AuthRequest) -> Result<Self, Rejection> {
        let mut facts = Map::new();
        facts.insert("credential".to_owned(), credential(request.credential()));
        facts.insert("client".to_owned(), client(request.client()));
        #[cfg(any(feature = "http", feature = "nats"))]
        if let Some(certificate) = request.certificate() {
            facts.insert("certificate".to_owned(), super::certificate::describe(certificate)?);
        }
        facts.insert("server".to_owned(), server(request.server()));
        Ok(Self::from_members(&facts))
    }

    fn from_members(facts: &Map<String, Value>) -> Self {
        let object = Zeroizing::new(Value::from(facts.clone()).to_string());
        let inner = object.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        Self { members: Zeroizing::new(inner.unwrap_or_default().to_owned()) }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.members.as_bytes()
    }

    /// The complete question, with an ID of its own.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub(super) fn question(
        &self,
        authenticator: &str,
        deadline: Instant,
    ) -> Result<Vec<u8>, QueryError> {
        let mut id = [0; 16];
        aws_lc_rs::rand::fill(&mut id)
            .map_err(|_| QueryError::unusable("the system has no random numbers"))?;
        let left = deadline.saturating_duration_since(Instant::now()).as_millis().max(1);
        let id = BASE64URL_NOPAD.encode(&id);
        let name = Value::from(authenticator);
        let members = self.members.as_str();
        let question = format!(
            r#"{{"version":{VERSION},"id":"{id}","authenticator":{name},"deadline_ms":{left},{members}}}"#
        );
        Ok(question.into_bytes())
    }
}

/// A question that a service can tell from a login.
///
/// # Errors
/// If the system has no random numbers.
pub(super) fn probe(authenticator: &str, deadline: Instant) -> Result<Vec<u8>, BackendError> {
    let mut facts = Map::new();
    facts.insert("credential".to_owned(), json!({ "kind": "probe" }));
    facts.insert("client".to_owned(), json!({ "host": "127.0.0.1", "kind": "client" }));
    facts.insert("server".to_owned(), json!({ "name": "callgate-check" }));
    let question = Facts::from_members(&facts).question(authenticator, deadline);
    question.map_err(|_| "the system has no random numbers".into())
}

fn credential(credential: &Credential) -> Value {
    match credential {
        Credential::Password { user, password } => {
            json!({ "kind": "password", "user": user, "password": password.expose() })
        }
        Credential::Token(token) => json!({ "kind": "token", "token": token.expose() }),
        Credential::Nkey(key) => json!({ "kind": "nkey", "nkey": key.as_str() }),
        other => json!({ "kind": other.kind() }),
    }
}

fn client(client: &Client) -> Value {
    let kind = match client.connection {
        ConnectionKind::LeafNode => "leafnode",
        ConnectionKind::Nats
        | ConnectionKind::WebSocket
        | ConnectionKind::Mqtt
        | ConnectionKind::Unknown => "client",
    };
    let connection = match client.connection {
        ConnectionKind::Nats | ConnectionKind::WebSocket | ConnectionKind::Mqtt => {
            client.connection.as_str()
        }
        ConnectionKind::LeafNode | ConnectionKind::Unknown => "",
    };
    let mut members = known([
        ("type", connection),
        ("name", &client.name),
        ("lang", &client.lang),
        ("version", &client.version),
        ("mqtt_id", &client.mqtt_id),
    ]);
    members.insert("host".to_owned(), client.host.as_str().into());
    members.insert("kind".to_owned(), kind.into());
    members.into()
}

fn server(server: &Server) -> Value {
    let mut members = known([("cluster", &server.cluster), ("version", &server.version)]);
    members.insert("name".to_owned(), server.name.as_str().into());
    if !server.tags.is_empty() {
        members.insert("tags".to_owned(), server.tags.clone().into());
    }
    members.into()
}

/// The facts that are not empty.
fn known<const N: usize>(facts: [(&str, &str); N]) -> Map<String, Value> {
    let known = facts.into_iter().filter(|(_, value)| !value.is_empty());
    known.map(|(name, value)| (name.to_owned(), value.into())).collect()
}
