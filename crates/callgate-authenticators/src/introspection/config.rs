//! The table `introspection`.

use std::time::Duration;

use callgate_config::{Key, Table, Type, schema::TEXTS};

use crate::{
    backend::{CONNECT_TIMEOUT_KEY, TLS_KEY, Transport, connections_key, insecure_key},
    kind::BuildContext,
    oauth_client::{
        AUTH_KEY, BEARER_KEY, CLIENT_ID_KEY, CLIENT_SECRET_KEY, HOSTS_KEY, ISSUER_KEY, OauthClient,
    },
    oidc::ClaimRules,
};

pub(super) const KEYS: &[Key] = &[
    ISSUER_KEY,
    Key::optional("url", Type::Text, "the introspection endpoint"),
    HOSTS_KEY,
    CLIENT_ID_KEY,
    CLIENT_SECRET_KEY,
    AUTH_KEY,
    BEARER_KEY,
    Key::optional("audience", TEXTS, "one of these must be in `aud`. Required, unless `any_audience` is set"),
    Key::optional("any_audience", Type::Boolean, "accept tokens for other systems, for servers that return no `aud`").or("false"),
    Key::optional("exp_optional", Type::Boolean, "accept answers without `exp`").or("false"),
    Key::optional("user_claim", Type::Named("claim path", &Type::Text), "member that holds the user").or("\"sub\""),
    Key::optional("groups_claim", Type::Named("claim path", &Type::Text), "member that holds the groups").or_else("no groups"),
    Key::optional("groups_split", Type::Text, "splits groups that are a string at this text").or_else("not split"),
    Key::optional("required_claims", Type::Map(&Type::Any), "claim paths with the required value, or a list of accepted values"),
    Key::optional("scopes", TEXTS, "all of these must be in `scope`"),
    Key::optional("prefix", Type::Text, "only tokens that begin with it are taken"),
    Key::optional("jwt", Type::Boolean, "also take tokens in the form of a JWT; with `issuer`, those whose `iss` is the issuer").or("false"),
    Key::optional("password_user", Type::Text, "a password with exactly this user name is a token, for MQTT clients"),
    Key::optional("remember", Type::Duration, "how long an active token is not asked about again, never past its `exp`. A revocation takes effect that much later").or("\"30s\""),
    Key::optional("remember_rejected", Type::Duration, "the same for tokens that are not active").or("\"5s\""),
    Key::optional("fall_through", Type::Boolean, "leave tokens that are not active to the next authenticator").or("false"),
    connections_key("16"),
    CONNECT_TIMEOUT_KEY,
    insecure_key(INSECURE),
    TLS_KEY,
];

const INSECURE: &str = "insecure_http";
const DEFAULT_CONNECTIONS: usize = 16;
const DEFAULT_REMEMBER: Duration = Duration::from_secs(30);
const DEFAULT_REMEMBER_REJECTED: Duration = Duration::from_secs(5);

/// What makes a token acceptable.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) issuer: Option<String>,
    /// `None` with `any_audience`.
    pub(super) audience: Option<Vec<String>>,
    pub(super) exp_optional: bool,
    pub(super) rules: ClaimRules,
    pub(super) scopes: Vec<String>,
    pub(super) prefix: Option<String>,
    pub(super) takes_jwts: bool,
    pub(super) password_user: Option<String>,
    pub(super) remember: Duration,
    pub(super) remember_rejected: Duration,
    pub(super) fall_through: bool,
}

impl Settings {
    /// Reads the table: the settings, the server, and the number of connections to it.
    pub(super) fn read(
        context: &BuildContext,
        table: &mut Table<'_>,
    ) -> Option<(Self, OauthClient, usize)> {
        let transport = Transport::read(table, DEFAULT_CONNECTIONS, INSECURE);
        let issuer = table.filled_string("issuer");
        let server = OauthClient::read(table, issuer.as_deref(), transport.as_ref());
        let audience = audience(table);
        let rules = ClaimRules::read(table);
        let exp_optional = table.boolean("exp_optional").unwrap_or(false);
        let scopes = table.filled_strings("scopes").unwrap_or_default();
        let prefix = table.filled_string("prefix");
        let takes_jwts = table.boolean("jwt").unwrap_or(false);
        let password_user = table.filled_string("password_user");
        let remember = table.duration("remember").unwrap_or(DEFAULT_REMEMBER);
        let remember_rejected = table.duration("remember_rejected");
        let remember_rejected = remember_rejected.unwrap_or(DEFAULT_REMEMBER_REJECTED);
        let fall_through = context.chain.read_fall_through(table);
        let settings = Self {
            issuer,
            audience: audience?,
            exp_optional,
            rules: rules?,
            scopes,
            prefix,
            takes_jwts,
            password_user,
            remember,
            remember_rejected,
            fall_through,
        };
        Some((settings, server?, transport?.connections))
    }
}

/// The accepted audiences; `Some(None)` if any is.
fn audience(table: &mut Table<'_>) -> Option<Option<Vec<String>>> {
    let any = table.boolean("any_audience").unwrap_or(false);
    match (table.has("audience"), any) {
        (true, false) => table.filled_strings("audience").map(Some),
        (false, true) => {
            table.warn(
                "any_audience",
                "tokens that were issued for other systems are accepted here, too",
            );
            Some(None)
        }
        (true, true) => {
            table.fault("any_audience", "`audience` is set too: keep one of the two");
            None
        }
        (false, false) => {
            table.fault_here(
                "`audience` is missing: set it to the `aud` of tokens for this NATS system",
            );
            None
        }
    }
}
