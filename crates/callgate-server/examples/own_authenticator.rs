//! The stock service with one more kind of authenticator: whoever knows the invitation comes in.
//!
//! The binary has all commands of `callgate`, and its configuration one more table:
//!
//! ```toml
//! [[authenticators]]
//! name = "party"
//! [authenticators.invitation]
//! code = { env = "INVITATION" }
//!
//! [roles.guest]
//! subscribe = ["news.>"]
//!
//! [[bindings]]
//! account = "APP"
//! roles   = ["guest"]
//! ```

use std::{process::ExitCode, sync::Arc};

use callgate::{
    authn::{Authenticator, Decline, Identity},
    request::{AuthRequest, Credential},
    secret::Secret,
};
use callgate_authenticators::kind::{BuildContext, Kind, Registry};
use callgate_config::Table;
use futures_util::future::{BoxFuture, FutureExt, ready};

fn main() -> ExitCode {
    callgate_server::run(Registry::builtin().with(InvitationKind))
}

/// How an authenticator is made from its table.
#[derive(Debug)]
struct InvitationKind;

impl Kind for InvitationKind {
    fn name(&self) -> &'static str {
        "invitation"
    }

    fn build(&self, _: &BuildContext, mut table: Table<'_>) -> Option<Arc<dyn Authenticator>> {
        let code = table.secret("code");
        if !table.has("code") {
            table
                .fault("code", "is missing: the word that opens, such as { env = \"INVITATION\" }");
        }
        // Every other key is a fault, with the nearest right one: `check` says so.
        let good = table.finish();
        let code = code.filter(|_| good)?;
        Some(Arc::new(Invitation { code }))
    }
}

/// Its `Debug` shows no secret, because [`Secret`] does not.
#[derive(Debug)]
struct Invitation {
    code: Secret,
}

impl Authenticator for Invitation {
    fn authenticate<'a>(
        &'a self,
        request: &'a AuthRequest,
    ) -> BoxFuture<'a, Result<Identity, Decline>> {
        let answer = match request.credential() {
            Credential::Token(token) if token.matches(self.code.expose()) => {
                Ok(Identity::of_user("guest"))
            }
            // Another token may be somebody else's, so it is not ours to reject.
            _ => Err(Decline::NotMine),
        };
        ready(answer).boxed()
    }
}
