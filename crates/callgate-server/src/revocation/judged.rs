//! What is kept of a decision to evaluate it again: the identity, those claims that policy names, the
//! connection and the grant, as far as the table of sessions does not have them.

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use callgate::{
    authn::{Identity, Origin, Proposal},
    clock::UnixTime,
    connection::{ConnectionKind, ConnectionKinds},
    policy::{ClaimNames, ConnectionInfo, Grant, PastGrant, Policy},
    request::{AuthRequest, Client, Server},
};
use data_encoding::BASE64URL_NOPAD;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::permissions::{StoredAccess, StoredPermissions};
use crate::sessions::Session;

/// Longer records are not kept, and their sessions cannot be evaluated again.
const MAX_RECORD: usize = 16 * 1024;
/// Most records are smaller, in bytes.
const USUAL_RECORD: usize = 512;

/// A decision as it was, to be evaluated again.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) identity: Identity,
    pub(super) grant: PastGrant,
    /// The names of the claims that were kept; `None` if they are all.
    kept: Option<ClaimNames>,
    client: Client,
    server: Server,
    user_nkey: [u8; 32],
}

/// The form in which it is stored. An unknown member makes it unreadable.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record<'a> {
    #[serde(default, rename = "c", skip_serializing_if = "Map::is_empty")]
    claims: Map<String, Value>,
    #[serde(default, rename = "n", skip_serializing_if = "Option::is_none")]
    kept: Option<Vec<Cow<'a, str>>>,
    #[serde(default, rename = "v", skip_serializing_if = "BTreeMap::is_empty")]
    variables: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    #[serde(default, rename = "x", skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
    #[serde(default, rename = "k", skip_serializing_if = "Option::is_none")]
    credential_id: Option<Cow<'a, str>>,
    #[serde(default, rename = "p", skip_serializing_if = "Option::is_none")]
    proposal: Option<StoredProposal<'a>>,
    #[serde(rename = "a")]
    access: StoredAccess<'a>,
    #[serde(default, rename = "t", skip_serializing_if = "<[_]>::is_empty")]
    tags: Cow<'a, [String]>,
    #[serde(rename = "u")]
    user_nkey: String,
    /// The host, unless it is the address that the table has.
    #[serde(default, rename = "h", skip_serializing_if = "Option::is_none")]
    host: Option<Cow<'a, str>>,
    #[serde(default, rename = "l", skip_serializing_if = "str::is_empty")]
    lang: Cow<'a, str>,
    #[serde(default, rename = "V", skip_serializing_if = "str::is_empty")]
    version: Cow<'a, str>,
    #[serde(default, rename = "s", skip_serializing_if = "str::is_empty")]
    server: Cow<'a, str>,
    #[serde(default, rename = "C", skip_serializing_if = "str::is_empty")]
    cluster: Cow<'a, str>,
    #[serde(default, rename = "T", skip_serializing_if = "<[_]>::is_empty")]
    server_tags: Cow<'a, [String]>,
}

/// A proposal without templates: an authenticator whose entries have templates has them in memory.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredProposal<'a> {
    #[serde(default, rename = "o", skip_serializing_if = "std::ops::Not::not")]
    by_operator: bool,
    #[serde(default, rename = "a", skip_serializing_if = "Option::is_none")]
    account: Option<Cow<'a, str>>,
    #[serde(default, rename = "r", skip_serializing_if = "Option::is_none")]
    roles: Option<Cow<'a, [String]>>,
    #[serde(default, rename = "p", skip_serializing_if = "Option::is_none")]
    permissions: Option<StoredPermissions<'a>>,
    #[serde(default, rename = "s", skip_serializing_if = "Option::is_none")]
    source: Option<Vec<String>>,
    #[serde(default, rename = "c", skip_serializing_if = "Option::is_none")]
    connection_types: Option<Vec<String>>,
    /// In seconds.
    #[serde(default, rename = "e", skip_serializing_if = "Option::is_none")]
    expires_after: Option<u64>,
    #[serde(default, rename = "u", skip_serializing_if = "std::ops::Not::not")]
    unrestricted_if_alone: bool,
}

/// What to keep of a decision. `used` are the claims that the current policy names.
pub(super) fn record(
    request: &AuthRequest,
    identity: &Identity,
    grant: &Grant,
    used: &ClaimNames,
) -> Option<Box<[u8]>> {
    let used = match &identity.proposal.templates {
        Some(templates) => {
            let mut all = used.clone();
            all.add_templates(templates);
            Cow::Owned(all)
        }
        None => Cow::Borrowed(used),
    };
    let claims = used.select(&identity.claims);
    let names = match claims.len() == identity.claims.len() {
        true => None,
        false => used.names().map(|names| names.into_iter().map(Cow::from).collect()),
    };
    let (client, server) = (request.client(), request.server());
    let address = client.ip.map(|ip| ip.to_canonical().to_string());
    let record = Record {
        claims,
        kept: names,
        variables: identity
            .variables
            .iter()
            .map(|(name, value)| (Cow::from(*name), Cow::from(value)))
            .collect(),
        expires_at: identity.expires_at.map(UnixTime::seconds),
        credential_id: identity.credential_id.as_deref().map(Cow::from),
        proposal: StoredProposal::of(&identity.proposal),
        access: StoredAccess::of(grant.access()),
        tags: grant.tags().into(),
        user_nkey: BASE64URL_NOPAD.encode(request.user_nkey().bytes()),
        host: (address.as_ref() != Some(&client.host)).then(|| Cow::from(&client.host)),
        lang: (&client.lang).into(),
        version: (&client.version).into(),
        server: (&server.name).into(),
        cluster: (&server.cluster).into(),
        server_tags: (&server.tags).into(),
    };
    let mut bytes = Vec::with_capacity(USUAL_RECORD);
    serde_json::to_writer(&mut bytes, &record).ok()?;
    // A copy of the right size: it stays for as long as the session.
    (bytes.len() <= MAX_RECORD).then(|| bytes.as_slice().into())
}

impl Judged {
    /// The decision of a session; `None` if it was not kept or cannot be read.
    pub(super) fn read(session: &Session, policy: &Policy) -> Option<Self> {
        let record: Record<'_> = serde_json::from_slice(session.judged()?).ok()?;
        let common = session.common();
        let declared = policy.variables(&common.authenticator);
        let variable = |(name, value): (Cow<'_, str>, Cow<'_, str>)| {
            let name = declared.iter().find(|declared| ***declared == *name)?;
            Some((*name, value.into_owned()))
        };
        let identity = Identity {
            user: session.source_user().to_owned(),
            groups: common.groups.iter().map(ToString::to_string).collect(),
            claims: record.claims,
            variables: record.variables.into_iter().filter_map(variable).collect(),
            expires_at: record.expires_at.map(UnixTime::from_seconds),
            issued_at: session.issued_at(),
            credential_id: record.credential_id.as_deref().map(Arc::from),
            proposal: match record.proposal {
                Some(stored) => stored.read()?,
                None => Proposal::default(),
            },
            notes: Vec::new(),
        };
        let grant = PastGrant {
            account: common.account.to_string(),
            user: session.user().to_owned(),
            access: record.access.read()?,
            expires_at: session.ends(),
            tags: record.tags.into_owned(),
        };
        let host = record.host.map(Cow::into_owned);
        let host = host.or_else(|| session.source().map(|ip| ip.to_string()));
        let user_nkey = BASE64URL_NOPAD.decode(record.user_nkey.as_bytes()).ok()?;
        let client = client(session, host.unwrap_or_default(), &record.lang, &record.version);
        let server = Server {
            id: session.key().server.to_string().parse().ok()?,
            name: record.server.into_owned(),
            host: String::new(),
            version: String::new(),
            cluster: record.cluster.into_owned(),
            tags: record.server_tags.into_owned(),
        };
        let user_nkey = user_nkey.try_into().ok()?;
        let kept =
            record.kept.map(|names| ClaimNames::named(names.into_iter().map(Cow::into_owned)));
        Some(Self { identity, grant, kept, client, server, user_nkey })
    }

    /// True if no claim of these names was left out.
    pub(super) fn has_claims(&self, used: &ClaimNames) -> bool {
        self.kept.as_ref().is_none_or(|kept| used.is_within(kept))
    }

    /// The connection of the session.
    pub(super) fn connection(&self) -> ConnectionInfo<'_> {
        ConnectionInfo { client: &self.client, server: &self.server, user_nkey: &self.user_nkey }
    }
}

fn client(session: &Session, host: String, lang: &str, version: &str) -> Client {
    let (kind, kind_of_client) = match session.kind() {
        ConnectionKind::Nats => ("Client", "nats"),
        ConnectionKind::WebSocket => ("Client", "websocket"),
        ConnectionKind::Mqtt => ("Client", "mqtt"),
        ConnectionKind::LeafNode => ("Leafnode", ""),
        ConnectionKind::Unknown => ("", ""),
    };
    let ip: Option<IpAddr> = session.source();
    Client {
        host,
        ip,
        id: session.key().client_id,
        connection: session.kind(),
        kind: kind.to_owned(),
        kind_of_client: kind_of_client.to_owned(),
        name: session.client_name().to_owned(),
        lang: lang.to_owned(),
        version: version.to_owned(),
        mqtt_id: session.mqtt_id().to_owned(),
    }
}

impl<'a> StoredProposal<'a> {
    /// `None` for the default.
    fn of(proposal: &'a Proposal) -> Option<Self> {
        let Proposal {
            origin,
            account,
            roles,
            permissions,
            templates: _,
            source,
            connection_types,
            expires_after,
            unrestricted_if_alone,
        } = proposal;
        let kinds = |kinds: &ConnectionKinds| kinds.iter().map(|kind| kind.to_string()).collect();
        (*proposal != Proposal::default()).then(|| Self {
            by_operator: *origin == Origin::Operator,
            account: account.as_deref().map(Cow::from),
            roles: roles.as_deref().map(Cow::from),
            permissions: permissions.as_ref().map(StoredPermissions::of),
            source: source.as_ref().map(|networks| networks.iter().map(IpNet::to_string).collect()),
            connection_types: connection_types.as_ref().map(kinds),
            expires_after: expires_after.map(|after| after.as_secs()),
            unrestricted_if_alone: *unrestricted_if_alone,
        })
    }

    fn read(self) -> Option<Proposal> {
        let kinds = |kinds: Vec<String>| -> Option<ConnectionKinds> {
            kinds.iter().map(|kind| kind.parse::<ConnectionKind>().ok()).collect()
        };
        let networks = |networks: &[String]| -> Option<Vec<IpNet>> {
            networks.iter().map(|network| network.parse().ok()).collect()
        };
        Some(Proposal {
            origin: if self.by_operator { Origin::Operator } else { Origin::Outside },
            account: self.account.map(Cow::into_owned),
            roles: self.roles.map(Cow::into_owned),
            permissions: match self.permissions {
                Some(stored) => Some(stored.read()?),
                None => None,
            },
            templates: None,
            source: match self.source {
                Some(stored) => Some(networks(&stored)?),
                None => None,
            },
            connection_types: match self.connection_types {
                Some(stored) => Some(kinds(stored)?),
                None => None,
            },
            expires_after: self.expires_after.map(Duration::from_secs),
            unrestricted_if_alone: self.unrestricted_if_alone,
        })
    }
}
