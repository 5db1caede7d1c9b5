//! Write a NATS auth callout: open the request, decide, answer with a signed user JWT.
//!
//! A nats-server (2.10 or newer) with an `auth_callout` block publishes a signed, usually encrypted
//! description of each connecting client to `$SYS.REQ.USER.AUTH` and waits for a signed reply: a user
//! JWT or a refusal. This crate does everything between request and reply, except for the part that
//! is yours: which clients to admit, and with which permissions.
//!
//! # A callout in ten lines
//!
//! ```no_run
//! # #[cfg(feature = "nats")]
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use callgate::{
//!     Callgate, Refusal, User,
//!     async_nats::ConnectOptions,
//!     keys::{AccountSigner, CurveKey},
//!     request::Credential,
//! };
//!
//! let issuer = AccountSigner::from_seed(&std::env::var("ISSUER_SEED")?.into())?;
//! let xkey = CurveKey::from_seed(&std::env::var("XKEY_SEED")?.into())?;
//! let login = ConnectOptions::with_user_and_password("auth".into(), "secret".into());
//! let client = login.connect("nats://127.0.0.1:4222").await?;
//!
//! let callgate = Callgate::builder(issuer).xkey(xkey).authorize(|request| async move {
//!     match request.credential() {
//!         Credential::Token(token) if token.matches("let me in") => {
//!             Ok(User::in_account("APP").publish("orders.>").subscribe("orders.>"))
//!         }
//!         _ => Err(Refusal::deny("wrong token")),
//!     }
//! });
//! callgate.build()?.serve(client).await?;
//! # Ok(())
//! # }
//! ```
//!
//! This crate re-exports `async_nats`, so that the client always has the version that `serve` expects.
//!
//! The server's configuration, with the public keys of the two seeds:
//!
//! ```text
//! accounts { AUTH { users: [ { user: auth, password: secret } ] }, APP {} }
//! authorization {
//!   auth_callout { issuer: A…, account: AUTH, auth_users: [ auth ], xkey: X… }
//! }
//! ```
//!
//! # Bytes in, bytes out
//!
//! [`Callgate::handle`] needs no NATS client: give it a message's payload and its header
//! [`XKEY_HEADER`], and send back what it returns. This example simulates the server
//! ([`simulation`]), so it runs anywhere:
//!
//! ```
//! use callgate::{
//!     Callgate, Refusal, Reply, User,
//!     clock::UnixTime,
//!     simulation::{SimulatedServer, ClientCredentials, RequestDraft},
//!     keys::{AccountSigner, CurveKey, Signer},
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (issuer, xkey) = (AccountSigner::generate()?, CurveKey::generate()?);
//! let (issuer_key, xkey_key) = (issuer.public_key().clone(), xkey.public_key().clone());
//! let callgate = Callgate::builder(issuer)
//!     .xkey(xkey)
//!     .callout_account("AUTH")
//!     .authorize(|_| async { Ok(User::in_account("APP").publish("orders.>")) })
//!     .on_decision(|decision| assert_eq!(decision.reason.as_str(), "admitted"))
//!     .build()?;
//!
//! // The request that a server would send when alice connects …
//! let (server, now) = (SimulatedServer::new()?, UnixTime::now());
//! let alice = ClientCredentials {
//!     user: Some("alice".to_owned()),
//!     password: Some("wonderland".into()),
//!     ..ClientCredentials::default()
//! };
//! let request = RequestDraft::new(alice).sign_as(&server, &issuer_key, Some(&xkey_key), now)?;
//!
//! // … and the reply: sealed for this server, and valid for this one connection.
//! let reply = callgate.handle(&request.payload, request.xkey_header.as_deref(), now).await;
//! let Reply::Answer(sealed) = reply else { panic!("a valid request is answered") };
//! let answer = server.xkey().shared_with(&xkey_key)?.open(&sealed)?;
//! let claims = claims_of(std::str::from_utf8(&answer)?);
//! assert_eq!(claims["aud"], server.id());
//! assert_eq!(claims["sub"], request.user_nkey);
//!
//! let user = claims_of(claims["nats"]["jwt"].as_str().expect("alice is admitted"));
//! assert_eq!(user["name"], "alice");
//! assert_eq!(user["aud"], "APP");
//! assert_eq!(user["nats"]["pub"]["allow"][0], "orders.>");
//! assert_eq!(user["nats"]["sub"]["deny"][0], ">"); // no permission to subscribe was granted
//! # Ok(())
//! # }
//! #
//! # fn claims_of(jwt: &str) -> serde_json::Value {
//! #     let claims = jwt.split('.').nth(1).expect("three parts");
//! #     let json = data_encoding::BASE64URL_NOPAD.decode(claims.as_bytes()).expect("base64url");
//! #     serde_json::from_slice(&json).expect("JSON")
//! # }
//! ```
//!
//! # Guarantees
//!
//! Regardless of how you decide:
//!
//! - A message that cannot be opened never gets a reply: garbage, other keys, another callout, old
//!   requests, or unencrypted requests if there is an xkey. Each is recorded with what to do about it.
//! - Exactly one credential counts. Your function is not called for a client that sent several, none,
//!   or an nkey that did not sign the server's nonce.
//! - A [`User`] without permissions may do nothing. (NATS reads an empty list as "everything".)
//! - No user is placed in the callout account, whose members could read every password. `serve` requests
//!   its name from the server; for [`Callgate::handle`] state it with
//!   [`CallgateBuilder::callout_account`].
//! - Leaf nodes and unknown kinds of connection are never implied: see [`User::only_over`].
//! - Sessions end after one hour, unless you choose otherwise.
//! - A panic or a delay in your function refuses that one client, `temporarily unavailable`, and affects
//!   no other; so does a panic in a signer or an observer of decisions. After the server's
//!   deadline nothing is sent. (The process's panic hook prints the message of a panic: see
//!   [`std::panic::set_hook`] if it may contain a secret.)
//! - The server sees `authorization failed` or `temporarily unavailable`, never the reason. The reason is
//!   in the [`record::Decision`]: exactly one per message, and never with a secret.
//!
//! # Where things are
//!
//! | you want to | look at |
//! |---|---|
//! | decide with a function of your own | [`Callgate::builder`], [`User`], [`Refusal`] |
//! | see what a client sent | [`request`] |
//! | decide with authenticators and a policy | [`authn`], [`policy`], [`CallgateBuilder::chain`] |
//! | log and count | [`record`], [`CallgateBuilder::on_decision`] |
//! | lock clients out, or keep an audit that admissions wait for | [`AdmissionHook`] |
//! | sign with something other than a seed in memory | [`keys::Signer`] |
//! | use operator mode | [`CallgateBuilder::operator_mode`], [`AccountKeys`] |
//! | run it as a NATS micro service, and stop without losing a request | `responder` (feature `nats`) |
//! | try it without a server | [`simulation`], [`Callgate::explain`] |
//!
//! # Features
//!
//! - `nats` (default): [`Callgate::serve`](#a-callout-in-ten-lines) and the module `responder`, on
//!   async-nats. Without it this crate does no I/O.
//! - `testing`: unsigned requests for tests of authenticators. Never for a service.

mod admission;
mod callgate;
mod decide;
mod hooks;
mod observers;
mod open;
mod panics;
mod pipeline;
mod placement;
mod reason;
mod refusal;
mod reply;
mod seen_requests;
mod shared_state;
#[doc(hidden)]
pub mod suggest;
mod template;

pub mod authn;
pub mod clock;
pub mod connection;
pub mod json;
pub mod jwt;
pub mod keys;
pub mod operator;
pub mod permissions;
pub mod policy;
pub mod record;
pub mod request;
#[cfg(feature = "nats")]
pub mod responder;
#[doc(hidden)]
pub mod sanitize;
pub mod secret;
pub mod simulation;
pub mod subject;
pub mod subject_set;

/// The NATS client, in the version that `serve` takes.
#[cfg(feature = "nats")]
pub use async_nats;
pub use callgate::{BuildError, Callgate, CallgateBuilder, Reply};
pub use decide::{ChainExplanation, Refusal, User};
pub use hooks::AdmissionHook;
pub use open::XKEY_HEADER;
pub use pipeline::explain::{Explained, IdentityExplainer};
pub use refusal::RefusalStyle;
pub use reply::AccountKeys;
