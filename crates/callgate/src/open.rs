//! From the bytes of a message to a verified request.
//!
//! [`Opener::open`] is the first half of the security argument: the request it returns was sealed
//! for us (if a curve key is configured), is signed by the server that it names, is meant for this
//! callout, and is fresh. Anything else is dropped without a reply, because a reply would have to be
//! signed for someone who may not be a server.

use std::{borrow::Cow, sync::Arc, time::Duration};

use quick_cache::sync::Cache;
use tokio::time::Instant;

use crate::{
    clock::UnixTime,
    connection::ConnectionKind,
    jwt::Parts,
    keys::{
        AccountKey, CurveError, CurveKey, CurvePublicKey, ServerKey, SharedKey, UserKey,
        VerifyingKeys, is_sealed,
    },
    reason::{Denial, Outcome, Reason},
    record::{Decision, RequestIds},
    reply::{ReplyContext, Sealer, reply_deadline},
    request::{AuthRequest, Certificate, Client, Credential, Server},
    sanitize,
    secret::Wiped,
    seen_requests::{RequestKey, Validity},
    shared_state::SharedState,
};

pub(crate) mod claims;
mod credential;

use claims::{
    AUDIENCE, ClientInformation, ClientTls, ConnectOptions, RequestClaims, ServerId, TYPE,
};
pub(crate) use credential::Mode;

/// The header in which a server names its curve key.
pub const XKEY_HEADER: &str = "Nats-Server-Xkey";
/// In bytes. A real request is 1 to 20 KB long, most of it certificates.
const MAX_REQUEST: usize = 256 * 1024;
/// How far the server's clock and ours may differ.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(30);
/// The longest a server is believed to wait. Whatever a request says, it is stale after this time.
const MAX_SERVER_TIMEOUT: Duration = Duration::from_secs(300);
/// How many servers' keys are cached, about 500 bytes each, per xkey of ours. Without its keys in the cache,
/// the request of a server costs three times as much.
const MAX_CACHED_SERVERS: usize = 16_384;
/// How many clients' nkeys are cached, about 300 bytes each. They have a cache of their own because
/// anyone can generate nkeys and sign with them.
const MAX_CACHED_CLIENTS: usize = 4096;

/// A request as it arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(crate) payload: &'a [u8],
    pub(crate) xkey_header: Option<&'a str>,
    pub(crate) now: UnixTime,
    pub(crate) arrived: Instant,
}

/// An opened request: how to reply, and the request or, without one usable credential, the refusal.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) context: ReplyContext,
    pub(crate) request: Result<Arc<AuthRequest>, Denial>,
    key: RequestKey,
    validity: Validity,
}

/// Why a request was dropped, and what is known about it.
#[derive(Debug)]
pub(crate) struct Dropped {
    pub(crate) denial: Denial,
    ids: Option<Box<RequestIds>>,
    clock_skew: Option<i64>,
}

impl Dropped {
    pub(crate) fn into_decision(self, arrived: Instant) -> Decision {
        debug_assert_eq!(self.denial.reason.outcome(), Outcome::Dropped);
        Decision {
            ids: self.ids.map(|ids| *ids),
            clock_skew: self.clock_skew,
            ..Decision::unopened(self.denial, arrived)
        }
    }
}

impl From<Denial> for Dropped {
    fn from(denial: Denial) -> Self {
        Self { denial, ids: None, clock_skew: None }
    }
}

fn drop_as(reason: Reason, detail: impl Into<String>) -> Dropped {
    Denial::new(reason, detail).into()
}

/// Decrypts and verifies requests.
#[derive(Debug)]
pub(crate) struct Opener {
    xkeys: Vec<CurveKey>,
    allow_plaintext: bool,
    /// `sub` of every request: the issuer, or in operator mode the callout account.
    subject: AccountKey,
    mode: Mode,
    /// Shared keys, by the index of our xkey and the server's key.
    shared: Cache<(usize, [u8; 32]), SharedKey>,
    servers: VerifyingKeys,
    clients: VerifyingKeys,
    /// Whether clients without a credential are decided about.
    takes_anonymous: bool,
    state: Arc<SharedState>,
}

impl Opener {
    pub(crate) fn new(
        subject: AccountKey,
        mode: Mode,
        xkeys: Vec<CurveKey>,
        allow_plaintext: bool,
        takes_anonymous: bool,
        state: Arc<SharedState>,
    ) -> Self {
        let shared = Cache::new(MAX_CACHED_SERVERS * xkeys.len().max(1));
        let servers = VerifyingKeys::new(MAX_CACHED_SERVERS);
        let clients = VerifyingKeys::new(MAX_CACHED_CLIENTS);
        Self {
            xkeys,
            allow_plaintext,
            subject,
            mode,
            shared,
            servers,
            clients,
            takes_anonymous,
            state,
        }
    }

    /// Decrypts, verifies and checks a request, and remembers it: it is opened once.
    ///
    /// # Errors
    /// Anything but a new, fresh request from a server to this callout must be dropped.
    pub(crate) fn open_once(&self, message: Message<'_>) -> Result<Opened, Dropped> {
        let opened = self.open(message)?;
        let Opened { context, key, validity, .. } = &opened;
        let inserted = self.state.seen_requests.insert(*key, *validity, message.now);
        inserted.map_err(|denial| Dropped {
            denial,
            ids: Some(Box::new(context.ids.clone())),
            clock_skew: Some(context.clock_skew),
        })?;
        Ok(opened)
    }

    /// The same without remembering the request, which may have been received before.
    ///
    /// # Errors
    /// Anything but a fresh request from a server to this callout must be dropped.
    pub(crate) fn open(&self, message: Message<'_>) -> Result<Opened, Dropped> {
        if message.payload.len() > MAX_REQUEST {
            let detail = format!("the request is larger than {MAX_REQUEST} bytes");
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
        let (timeout, validity) = server_timeout(&claims, message.now).map_err(dropped)?;
        let user: UserKey = claims.nats.user_nkey.parse().map_err(|error| {
            dropped(Denial::new(Reason::BadRequest, format!("user_nkey: {error}")))
        })?;
        let sealer = self.sealer(peer, message.xkey_header, &claims).map_err(dropped)?;
        let server_deadline = message.arrived + timeout;
        // Not client_info.user, which contains a clear-text token in 2.10.
        let claimed_user = sanitize::user_name(&claims.nats.connect_opts.user).into_owned();
        let deadline = reply_deadline(server_deadline);
        let request = self.request(claims, message, &server, &user, deadline);
        let context = ReplyContext {
            ids,
            server,
            user,
            sealer,
            clock_skew: skew,
            now: message.now,
            arrived: message.arrived,
            server_deadline,
            claimed_user,
        };
        let (_, signature) = parts.signed();
        let key = self.state.seen_requests.key(signature);
        Ok(Opened { context, request, key, validity })
    }

    /// When a request was issued, whether or not it is still fresh.
    pub(crate) fn issued_at(&self, message: Message<'_>) -> Result<UnixTime, Denial> {
        let bad = |error: String| Denial::new(Reason::BadRequest, error);
        let (plain, _) = self.decrypt(message).map_err(|dropped| dropped.denial)?;
        let parts = Parts::split(plain.as_ref()).map_err(|error| bad(error.to_string()))?;
        let claims: RequestClaims<'_> = parts.claims().map_err(|error| bad(error.to_string()))?;
        Ok(UnixTime::from_seconds(claims.iat))
    }

    fn decrypt<'a>(&self, message: Message<'a>) -> Result<(Plain<'a>, Option<Peer>), Dropped> {
        if !is_sealed(message.payload) {
            return match self.xkeys.is_empty() || self.allow_plaintext {
                true => Ok((Plain::Borrowed(message.payload), None)),
                false => Err(drop_as(
                    Reason::NotEncrypted,
                    format!(
                        "the server sends unencrypted requests although an xkey is configured: {}, \
                         or set insecure_allow_plaintext for the transition",
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
            let detail = format!("the request is encrypted but has no header {XKEY_HEADER}");
            return Err(cannot(detail));
        };
        let peer: CurvePublicKey =
            header.parse().map_err(|error| cannot(format!("header {XKEY_HEADER}: {error}")))?;
        for (index, key) in self.xkeys.iter().enumerate() {
            let cached = self.shared.get(&(index, *peer.bytes()));
            let is_new = cached.is_none();
            let shared = match cached {
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
                Err(CurveError::DoesNotOpen) => {}
                Err(CurveError::NotSealed) => {
                    return Err(cannot("the encrypted request is truncated".to_owned()));
                }
                Err(error @ (CurveError::BadPeer | CurveError::NoRandomness)) => {
                    return Err(cannot(error.to_string()));
                }
            }
        }
        let detail = format!("the request is encrypted for another key: {}", self.needed_xkey());
        Err(drop_as(Reason::CannotDecrypt, detail))
    }

    /// How to configure the public key that servers encrypt with.
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
            return Err(Denial::new(Reason::BadRequest, format!("the type is not `{TYPE}`")));
        }
        if claims.aud != AUDIENCE {
            return Err(Denial::new(
                Reason::WrongAudienceRequest,
                format!("the audience is not `{AUDIENCE}`"),
            ));
        }
        if claims.sub == self.subject.as_str() {
            return Ok(());
        }
        let theirs = claims.sub.parse::<AccountKey>();
        let theirs =
            theirs.as_ref().map_or("something that is not an account key", AccountKey::as_str);
        let detail = match self.mode {
            Mode::Configuration => format!(
                "the request is for the issuer {theirs}, but ours is {ours}: the server's \
                 auth_callout block needs `issuer: {ours}`, or issuer.seed the server's seed",
                ours = self.subject
            ),
            Mode::Operator => format!(
                "the request is for the callout account {theirs}, but issuer.account is {}",
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
            return Err(bad("the request is not signed by the server that it names"));
        }
        let server: ServerKey =
            claims.iss.parse().map_err(|error| bad(&format!("issuer: {error}")))?;
        let (signed, signature) = parts.signed();
        match self.servers.verified(&server, signed, signature) {
            Ok(true) => Ok(server),
            Ok(false) => Err(bad("the signature is not the server's")),
            Err(error) => Err(bad(&format!("issuer: {error}"))),
        }
    }

    /// The key in the header must be the one that the server signed, or the reply would be sealed
    /// for someone else. A server that does not encrypt sends no header, so any header is wrong there.
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
            // Only after the checks, so that invented servers cannot fill the cache.
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
        if matches!(credential, Credential::Anonymous) && !self.takes_anonymous {
            return Err(credential::no_credential());
        }
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
    Borrowed(&'a [u8]),
    Decrypted(Wiped),
}

impl AsRef<[u8]> for Plain<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Decrypted(bytes) => bytes,
        }
    }
}

/// The sender of a sealed request, not yet proven to be a server.
struct Peer {
    public: CurvePublicKey,
    shared: SharedKey,
    index: usize,
    is_new: bool,
}

/// How long the server of a fresh request waits for the reply, and for how long it stays fresh.
fn server_timeout(
    claims: &RequestClaims<'_>,
    now: UnixTime,
) -> Result<(Duration, Validity), Denial> {
    let (iat, exp) = (UnixTime::from_seconds(claims.iat), UnixTime::from_seconds(claims.exp));
    let Some(timeout) = u64::try_from(exp.seconds_since(iat)).ok().filter(|seconds| *seconds > 0)
    else {
        return Err(Denial::new(Reason::BadRequest, "the request expires before it was issued"));
    };
    let until = exp.min(iat.plus(MAX_SERVER_TIMEOUT)).plus(MAX_CLOCK_SKEW);
    if now > until || iat > now.plus(MAX_CLOCK_SKEW) {
        return Err(Denial::new(
            Reason::StaleRequest,
            format!(
                "the server issued the request at {iat}, our clock says {now}: an old request, or \
                 clocks that differ by {} s (at most {} s are tolerated): check both clocks",
                iat.seconds_since(now),
                MAX_CLOCK_SKEW.as_secs()
            ),
        ));
    }
    let timeout = Duration::from_secs(timeout).min(MAX_SERVER_TIMEOUT);
    Ok((timeout, Validity { issued: iat, until }))
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

/// The client, and the nonce that the server gave it to sign.
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

/// The certificate, if the server verified it. An unverified one proves nothing.
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
