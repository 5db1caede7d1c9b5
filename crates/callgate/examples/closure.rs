//! A callout in ten lines: every client with the right token may publish and subscribe to `orders.>`.
//!
//! ```text
//! NATS_URL=nats://127.0.0.1:4222 NATS_PASSWORD=… ISSUER_SEED=SA… XKEY_SEED=SX… \
//!     cargo run --example closure
//! ```

use std::{env, error::Error};

use callgate::{
    Callgate, Refusal, User,
    async_nats::ConnectOptions,
    keys::{AccountSigner, CurveKey},
    request::Credential,
    secret::Secret,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let issuer = AccountSigner::from_seed(&Secret::new(env::var("ISSUER_SEED")?))?;
    let xkey = CurveKey::from_seed(&Secret::new(env::var("XKEY_SEED")?))?;
    let login = ConnectOptions::with_user_and_password("auth".into(), env::var("NATS_PASSWORD")?);
    let client = login.connect(env::var("NATS_URL")?).await?;

    let callout = Callgate::builder(issuer).xkey(xkey).authorize(|request| async move {
        match request.credential() {
            Credential::Token(token) if token.matches("let me in") => {
                Ok(User::in_account("APP").publish("orders.>").subscribe("orders.>"))
            }
            _ => Err(Refusal::deny("wrong token")),
        }
    });
    Ok(callout.build()?.serve(client).await?)
}
