//! The stock service with a custom kind of authenticator: an invitation code admits its holder.
//!
//! The binary has all commands of `callgate`, and one more table in the configuration:
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

/// Builds the authenticator from its configuration table.
#[derive(Debug)]
struct InvitationKind;

impl Kind for InvitationKind {
    fn name(&self) -> &'static str {
        "invitation"
    }

    fn build(&self, _: &BuildContext, mut table: Table<'_>) -> Option<Arc<dyn Authenticator>> {
        let code = table.secret("code");
        if !table.has("code") {
            table.fault(
                "code",
                "is missing: set the invitation code, such as { env = \"INVITATION\" }",
            );
        }
        // Reports all other keys as errors and suggests the nearest valid key.
        let good = table.finish();
        let code = code.filter(|_| good)?;
        Some(Arc::new(Invitation { code }))
    }
}

/// `Debug` shows no secret, because [`Secret`] redacts it.
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
            // Another authenticator may accept this token, so it is not rejected here.
            _ => Err(Decline::NotMine),
        };
        ready(answer).boxed()
    }
}
