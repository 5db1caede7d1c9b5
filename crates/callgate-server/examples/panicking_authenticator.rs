//! The stock service with an authenticator that panics for the client `boom`, with the password in the panic
//! message. Tests check that only that request is refused and that no secret is logged.
//!
//! ```toml
//! [[authenticators]]
//! [authenticators.panicking]
//! ```

use std::{process::ExitCode, sync::Arc};

use callgate::{
    authn::{Authenticator, Decline, Identity},
    request::{AuthRequest, Credential},
};
use callgate_authenticators::kind::{BuildContext, Kind, Registry};
use callgate_config::Table;
use futures_util::future::BoxFuture;

fn main() -> ExitCode {
    callgate_server::run(Registry::builtin().with(PanickingKind))
}

#[derive(Debug)]
struct PanickingKind;

impl Kind for PanickingKind {
    fn name(&self) -> &'static str {
        "panicking"
    }

    fn takes_passwords(&self, _table: &serde_json::Value) -> bool {
        true
    }

    fn build(&self, _: &BuildContext, table: Table<'_>) -> Option<Arc<dyn Authenticator>> {
        table.finish().then(|| Arc::new(Panicking) as _)
    }
}

#[derive(Debug)]
struct Panicking;

impl Authenticator for Panicking {
    fn authenticate<'a>(
        &'a self,
        request: &'a AuthRequest,
    ) -> BoxFuture<'a, Result<Identity, Decline>> {
        Box::pin(async move {
            let Credential::Password { user, password } = request.credential() else {
                return Err(Decline::NotMine);
            };
            assert_ne!(user, "boom", "shown the password {}", password.expose());
            Ok(Identity::of_user(user))
        })
    }
}
