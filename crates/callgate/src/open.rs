//! From bytes to a request that can be believed, and back.
//!
//! [`Opener::open`] is the first half of the security argument: what it returns was sealed for us
//! (where a curve key is configured), is signed by the server that it names, is meant for this
//! callout, and is fresh. Everything else is dropped without an answer, because an answer would
//! have to be signed for somebody who may not be a server.

use std::{borrow::Cow, sync::Arc, time::Duration};

use quick_cache::sync::Cache;
use tokio::time::Instant;

use crate::{
    clock::UnixTime,
    connection::ConnectionKind,
    jwt::Parts,
    keys::{
        AccountKey, BoxError, CurveKey, CurvePublicKey, ServerKey, SharedKey, UserKey,
        VerifyingKeys, is_sealed,
    },
    record::{Denial, Reason, RequestIds},
    request::{AuthRequest, Certificate, Client, Server},
    secret::Wiped,
};

pub(crate) mod claims;
mod credential;

use claims::{
    AUDIENCE, ClientInformation, ClientTls, ConnectOptions, RequestClaims, ServerId, TYPE,
};
pub(crate) use credential::Mode;

/// The header in which a server names its curve key.
pub const XKEY_HEADER: &str = "Nats-Server-Xkey";
/// The largest request that is looked at, in bytes. A real one is 1 to 20 KB, most of it
/// certificates.
const MAX_REQUEST: usize = 256 * 1024;
/// How far the server's clock and ours may differ.
const TOLERANCE: Duration = Duration::from_secs(30);
/// Kept back from the server's patience for signing, sealing and the way back.
const MARGIN: Duration = Duration::from_millis(100);
/// Longest patience that a server is believed to have. Whatever the request says, it can be played again no
/// longer than this.
const MAX_PATIENCE: Duration = Duration::from_secs(300);
/// Servers whose shared keys are remembered, for each of our keys.
const REMEMBERED_SERVERS: usize = 1024;
/// Clients' nkeys that are remembered, some 300 bytes each. Not among those of the servers: anybody
/// can make up nkeys and sign with them.
const REMEMBERED_CLIENTS: usize = 4096;

/// Why a request was dropped, with what is known of it.
#[derive(Debug)]
pub(crate) struct Dropped {
    pub(crate) denial: Denial,
    pub(crate) ids: Option<Box<RequestIds>>,
    pub(crate) clock_skew: Option<i64>,
}

impl From<Denial> for Dropped {
    fn from(denial: Denial) -> Self {
        Self { denial, ids: None, clock_skew: None }
    }
}

fn drop_as(reason: Reason, detail: impl Into<String>) -> Dropped {
    Denial::new(reason, detail).into()
}

/// A message as it came in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(crate) payload: &'a [u8],
    pub(crate) xkey_header: Option<&'a str>,
    pub(crate) now: UnixTime,
    pub(crate) arrived: Instant,
}

/// A request that was opened: whom to answer, with what key, and the request itself or, where the
/// client's credential is none, the refusal.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) request: Result<Arc<AuthRequest>, Denial>,
    pub(crate) ids: RequestIds,
    pub(crate) server: ServerKey,
    pub(crate) user: UserKey,
    pub(crate) sealer: Sealer,
    pub(crate) clock_skew: i64,
    /// When the server stops waiting.
    pub(crate) given_up: Instant,
    /// The user name that the client typed, for the record only.
    pub(crate) claimed_user: String,
}

/// Opens requests.
#[derive(Debug)]
pub(crate) struct Opener {
    xkeys: Vec<CurveKey>,
    allow_plaintext: bool,
    /// `sub` of every request: the issuer, or in operator mode the callout account.
    subject: AccountKey,
    mode: Mode,
    /// Shared keys with servers, by our key's place and theirs.
    shared: Cache<(usize, [u8; 32]), SharedKey>,
    servers: VerifyingKeys,
    clients: VerifyingKeys,
}

impl Opener {
    pub(crate) fn new(
        subject: AccountKey,
        mode: Mode,
        xkeys: Vec<CurveKey>,
        allow_plaintext: bool,
    ) -> Self {
        let shared = Cache::new(REMEMBERED_SERVERS * xkeys.len().max(1));
        let servers = VerifyingKeys::new(REMEMBERED_SERVERS);
        let clients = VerifyingKeys::new(REMEMBERED_CLIENTS);
        Self { xkeys, allow_plaintext, subject, mode, shared, servers, clients }
    }

    /// Decrypts, verifies and checks a request.
    ///
    /// # Errors
    /// What is not a fresh request of a server to this callout is to be dropped.
    pub(crate) fn open(&self, message: Message<'_>) -> Result<Opened, Dropped> {
        if message.payload.len() > MAX_REQUEST {
            let detail = format!("it is larger than {MAX_REQUEST} bytes");
            return Err(drop_as(Reason::BadRequest, detail));
        }
        let (plain, peer) = self.decrypt(message)?;
        let parts =
            Parts::split(plain.as_ref()).map_err(|e| drop_as(Reason::BadRequest, e.to_string()))?;
        let claims: RequestClaims<'_> =
            parts.claims().map_err(|e| drop_as(Reason::BadRequest, e.to_string()))?;
        let server = self.signed_by_its_server(&parts, &claims)?;
        let ids = ids(&claims);
        let skew = claims.iat.saturating_sub(message.now.seconds());
        let dropped =
            |denial| Dropped { denial, ids: Some(Box::new(ids.clone())), clock_skew: Some(skew) };
        self.meant_for_us(&claims).map_err(dropped)?;
        let patience = fresh(&claims, message.now).map_err(dropped)?;
        let user: UserKey = claims.nats.user_nkey.parse().map_err(|error| {
            dropped(Denial::new(Reason::BadRequest, format!("its user_nkey: {error}")))
        })?;
        let sealer = self.sealer(peer, message.xkey_header, &claims).map_err(dropped)?;
        let given_up = message.arrived + patience;
        // Not client_info.user: 2.10 puts a token there in clear.
        let claimed_user = claims.nats.connect_opts.user.to_string();
        let request = self.request(claims, message, &server, &user, deadline(given_up));
        Ok(Opened { request, ids, server, user, sealer, clock_skew: skew, given_up, claimed_user })
    }

    /// When a request was made, whether or not it is still fresh.
    pub(crate) fn made_at(&self, message: Message<'_>) -> Result<UnixTime, Denial> {
        let bad = |error: String| Denial::new(Reason::BadRequest, error);
        let (plain, _) = self.decrypt(message).map_err(|dropped| dropped.denial)?;
        let parts = Parts::split(plain.as_ref()).map_err(|error| bad(error.to_string()))?;
        let claims: RequestClaims<'_> = parts.claims().map_err(|error| bad(error.to_string()))?;
        Ok(UnixTime::from_seconds(claims.iat))
    }

    fn decrypt<'a>(&self, message: Message<'a>) -> Result<(Plain<'a>, Option<Peer>), Dropped> {
        if !is_sealed(message.payload) {
            return match self.xkeys.is_empty() || self.allow_plaintext {
                true => Ok((Plain::AsItCame(message.payload), None)),
                false => Err(drop_as(
                    Reason::NotEncrypted,
                    format!(
                        "the server sends requests in clear although an xkey is configured: {}, or \
                         set insecure_allow_plaintext for the change-over",
                        self.needed_xkey()
                    ),
                )),
            };
        }
        if self.xkeys.is_empty() {
            return Err(drop_as(
                Reason::CannotDecrypt,
                format!(
                    "the server encrypts its requests but no xkey is configured: add the seed of the \
                     xkey in {} to issuer.xkeys",
                    match self.mode {
                        Mode::Configuration => "its auth_callout block",
                        Mode::Operator => "the callout account's JWT",
                    }
                ),
            ));
        }
        let cannot = |detail: String| drop_as(Reason::CannotDecrypt, detail);
        let Some(header) = message.xkey_header else {
            return Err(cannot(format!("it is encrypted, but without the header {XKEY_HEADER}")));
        };
        let peer: CurvePublicKey =
            header.parse().map_err(|error| cannot(format!("its header {XKEY_HEADER}: {error}")))?;
        for (index, key) in self.xkeys.iter().enumerate() {
            let remembered = self.shared.get(&(index, *peer.bytes()));
            let is_new = remembered.is_none();
            let shared = match remembered {
                Some(shared) => shared,
                None => key.shared_with(&peer).map_err(|error| cannot(error.to_string()))?,
            };
            match shared.open(message.payload) {
                Ok(plain) => {
                    return Ok((
                        Plain::Decrypted(plain),
                        Some(Peer { public: peer, shared, index, is_new }),
                    ));
                }
                Err(BoxError::DoesNotOpen) => {}
                Err(BoxError::NotABox) => {
                    return Err(cannot("it is encrypted, but was cut off on its way".to_owned()));
                }
                Err(error @ (BoxError::BadPeer | BoxError::NoRandomness)) => {
                    return Err(cannot(error.to_string()));
                }
            }
        }
        let detail = format!("it is encrypted for another key: {}", self.needed_xkey());
        Err(drop_as(Reason::CannotDecrypt, detail))
    }

    /// What to do where servers have the public key from.
    fn needed_xkey(&self) -> String {
        let ours: Vec<_> = self.xkeys.iter().map(|key| key.public_key().as_str()).collect();
        let ours = ours.join("` or `");
        match self.mode {
            Mode::Configuration => format!("the server's auth_callout block needs `xkey: {ours}`"),
            Mode::Operator => format!(
                "the callout account's JWT needs the xkey `{ours}` (`nsc edit authcallout --curve`)"
            ),
        }
    }

    fn meant_for_us(&self, claims: &RequestClaims<'_>) -> Result<(), Denial> {
        if !["", TYPE].contains(&&*claims.nats.kind) {
            return Err(Denial::new(Reason::BadRequest, format!("its type is not `{TYPE}`")));
        }
        if claims.aud != AUDIENCE {
            return Err(Denial::new(
                Reason::WrongAudienceRequest,
                format!("its audience is not `{AUDIENCE}`"),
            ));
        }
        if claims.sub == self.subject.as_str() {
            return Ok(());
        }
        let theirs = claims.sub.parse::<AccountKey>();
        let theirs = theirs.as_ref().map_or("something that is no account key", AccountKey::as_str);
        let detail = match self.mode {
            Mode::Configuration => format!(
                "the server asks for the issuer {theirs}, but ours is {ours}: the server's \
                 auth_callout block needs `issuer: {ours}`, or issuer.seed the server's seed",
                ours = self.subject
            ),
            Mode::Operator => format!(
                "the server asks for the callout account {theirs}, but issuer.account is {}",
                self.subject
            ),
        };
        Err(Denial::new(Reason::WrongAudienceRequest, detail))
    }

    fn signed_by_its_server(
        &self,
        parts: &Parts<'_>,
        claims: &RequestClaims<'_>,
    ) -> Result<ServerKey, Dropped> {
        let bad = |detail: &str| drop_as(Reason::BadRequest, detail);
        if claims.iss != claims.nats.server_id.id {
            return Err(bad("it is signed by another key than the server that it names"));
        }
        let server: ServerKey =
            claims.iss.parse().map_err(|error| bad(&format!("its issuer: {error}")))?;
        let (signed, signature) = parts.signed();
        match self.servers.verified(&server, signed, signature) {
            Ok(true) => Ok(server),
            Ok(false) => Err(bad("its signature is not the server's")),
            Err(error) => Err(bad(&format!("its issuer: {error}"))),
        }
    }

    /// The key in the header must be the one that the server signed: else somebody else would be
    /// sent the answer. A server that sends in clear sets no header, and one is no less of a lie there.
    fn sealer(
        &self,
        peer: Option<Peer>,
        header: Option<&str>,
        claims: &RequestClaims<'_>,
    ) -> Result<Sealer, Denial> {
        if header.is_some_and(|header| header != claims.nats.server_id.xkey) {
            return Err(Denial::new(
                Reason::BadRequest,
                format!("the curve key in the header {XKEY_HEADER} is not the one that was signed"),
            ));
        }
        let Some(peer) = peer else { return Ok(Sealer(None)) };
        if peer.is_new {
            // Only after the checks: whoever can make up servers must not fill the memory first.
            self.shared.insert((peer.index, *peer.public.bytes()), peer.shared.clone());
        }
        Ok(Sealer(Some(peer.shared)))
    }

    fn request(
        &self,
        claims: RequestClaims<'_>,
        message: Message<'_>,
        server: &ServerKey,
        user: &UserKey,
        deadline: Instant,
    ) -> Result<Arc<AuthRequest>, Denial> {
        let RequestClaims { jti, iss: _, sub: _, aud: _, iat: _, exp: _, nats } = claims;
        let certificate = nats.client_tls.and_then(certificate);
        let options = nats.connect_opts;
        let (client, nonce) = client(nats.client_info, &options);
        let credential =
            credential::choose(options, &nonce, certificate.as_ref(), self.mode, &self.clients)?;
        Ok(Arc::new(AuthRequest {
            id: jti.into_owned(),
            server: server_of(nats.server_id, server.clone()),
            user_nkey: user.clone(),
            client,
            credential,
            certificate,
            received: message.now,
            deadline,
        }))
    }
}

enum Plain<'a> {
    AsItCame(&'a [u8]),
    Decrypted(Wiped),
}

impl AsRef<[u8]> for Plain<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::AsItCame(bytes) => bytes,
            Self::Decrypted(bytes) => bytes,
        }
    }
}

/// The server's side of a sealed request, not yet proven to be a server's.
struct Peer {
    public: CurvePublicKey,
    shared: SharedKey,
    index: usize,
    is_new: bool,
}

/// Seals answers with the key that opened the request; in clear for a request in clear.
#[derive(Debug, Clone)]
pub(crate) struct Sealer(Option<SharedKey>);

impl Sealer {
    pub(crate) fn seal(&self, answer: String) -> Result<Vec<u8>, BoxError> {
        match &self.0 {
            Some(shared) => shared.seal(answer.as_bytes()),
            None => Ok(answer.into_bytes()),
        }
    }
}

/// The last moment at which an answer is begun for a server that waits until `given_up`.
pub(crate) fn deadline(given_up: Instant) -> Instant {
    given_up.checked_sub(MARGIN).unwrap_or(given_up)
}

/// How long the server waits for the answer.
fn fresh(claims: &RequestClaims<'_>, now: UnixTime) -> Result<Duration, Denial> {
    let (iat, exp) = (UnixTime::from_seconds(claims.iat), UnixTime::from_seconds(claims.exp));
    let Some(patience) = u64::try_from(exp.seconds_since(iat)).ok().filter(|seconds| *seconds > 0)
    else {
        return Err(Denial::new(Reason::BadRequest, "it expires before it was made"));
    };
    if now > exp.min(iat.plus(MAX_PATIENCE)).plus(TOLERANCE) || iat > now.plus(TOLERANCE) {
        return Err(Denial::new(
            Reason::StaleRequest,
            format!(
                "the server made it at {iat}, by our clock it is {now}: an old request, or clocks \
                 that differ by {} s (at most {} s are tolerated): check the time on both machines",
                iat.seconds_since(now),
                TOLERANCE.as_secs()
            ),
        ));
    }
    Ok(Duration::from_secs(patience).min(MAX_PATIENCE))
}

fn ids(claims: &RequestClaims<'_>) -> RequestIds {
    let info = &claims.nats.client_info;
    let name = if info.name.is_empty() { &claims.nats.connect_opts.name } else { &info.name };
    RequestIds {
        request: claims.jti.to_string(),
        server_id: claims.nats.server_id.id.to_string(),
        server_name: claims.nats.server_id.name.to_string(),
        client_id: info.id,
        user_nkey: claims.nats.user_nkey.to_string(),
        client_host: info.host.to_string(),
        connection: Some(ConnectionKind::from_wire(&info.kind, &info.kind_of_client)),
        client_name: name.to_string(),
    }
}

fn server_of(id: ServerId<'_>, key: ServerKey) -> Server {
    let ServerId { id: _, name, host, version, cluster, tags, xkey: _ } = id;
    Server {
        id: key,
        name: name.into_owned(),
        host: host.into_owned(),
        version: version.into_owned(),
        cluster: cluster.into_owned(),
        tags,
    }
}

/// The client and the nonce that it was given to sign.
fn client<'a>(info: ClientInformation<'a>, options: &ConnectOptions<'_>) -> (Client, Cow<'a, str>) {
    let connection = ConnectionKind::from_wire(&info.kind, &info.kind_of_client);
    let ClientInformation { host, id, name: seen, kind, kind_of_client, mqtt_id, nonce } = info;
    let client = Client {
        ip: host.parse().ok(),
        host: host.into_owned(),
        id,
        connection,
        kind: kind.into_owned(),
        kind_of_client: kind_of_client.into_owned(),
        name: if seen.is_empty() { options.name.to_string() } else { seen.into_owned() },
        lang: options.lang.to_string(),
        version: options.version.to_string(),
        mqtt_id: mqtt_id.into_owned(),
    };
    (client, nonce)
}

/// The certificate, if the server verified it. What it did not verify proves nothing.
fn certificate(tls: ClientTls<'_>) -> Option<Certificate> {
    let ClientTls { version, cipher, verified_chains } = tls;
    let verified_chains: Vec<_> =
        verified_chains.into_iter().filter(|chain| !chain.is_empty()).collect();
    (!verified_chains.is_empty()).then_some(Certificate {
        verified_chains,
        tls_version: version.into_owned(),
        cipher: cipher.into_owned(),
    })
}
