//! A callout in ten lines: whoever knows the password may publish and subscribe to `orders`.
//!
//! ```text
//! NATS_URL=nats://127.0.0.1:4222 NATS_PASSWORD=… ISSUER_SEED=SA… XKEY_SEED=SX… \
//!     cargo run --example closure
//! ```

use std::{env, error::Error, sync::Arc};

use async_nats::ConnectOptions;
use callgate::{
    Callgate, Refusal, User,
    keys::{AccountSigner, CurveKey},
    request::{AuthRequest, Credential},
    secret::Secret,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let issuer = AccountSigner::from_seed(&Secret::new(env::var("ISSUER_SEED")?))?;
    let xkey = CurveKey::from_seed(&Secret::new(env::var("XKEY_SEED")?))?;
    let gate = Callgate::builder(issuer).xkey(xkey).authorize(authorize).build()?;
    let login = ConnectOptions::with_user_and_password("auth".into(), env::var("NATS_PASSWORD")?);
    let client = login.connect(env::var("NATS_URL")?).await?;
    Ok(gate.serve(client).await?)
}

async fn authorize(request: Arc<AuthRequest>) -> Result<User, Refusal> {
    match request.credential() {
        Credential::Password { user, password }
            if user == "alice" && password.matches("wonderland") =>
        {
            Ok(User::in_account("APP").publish("orders.>").subscribe("orders.>"))
        }
        _ => Err(Refusal::deny("only alice is known here")),
    }
}
