//! Finds identities without a credential, to explain what they may do.

use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use super::{Decline, Identity};
use crate::clock::UnixTime;

/// Finds identities without a credential. Only explanations use it: nothing that decides about a client
/// calls it.
///
/// `None` always means that the source cannot answer this kind of question.
pub trait IdentityLookup: Send + Sync {
    /// The identity of `user`, as a login at `now` would find it.
    fn find<'a>(
        &'a self,
        _user: &'a str,
        _now: UnixTime,
    ) -> BoxFuture<'a, Option<Result<Identity, Decline>>> {
        Box::pin(async { None })
    }

    /// The identity of the bearer of a token with these claims, as if its signature were valid. Claims
    /// that every token of the issuer has may be missing.
    fn of_claims(
        &self,
        _claims: &Map<String, Value>,
        _now: UnixTime,
    ) -> Option<Result<Identity, Decline>> {
        None
    }

    /// Calls `visit` with every identity that could log in at `now`.
    fn for_each(&self, _now: UnixTime, _visit: &mut dyn FnMut(Identity)) -> Option<()> {
        None
    }
}
