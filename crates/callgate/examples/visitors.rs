//! The first program of docs/library.md. Run it in the folder that `callgate init` wrote.

#![allow(clippy::print_stdout, reason = "the program prints its decisions")]

use std::{env, error::Error, fs, io, time::Duration};

use callgate::{
    Callgate, Refusal, User,
    async_nats::ConnectOptions,
    keys::{AccountSigner, CurveKey},
    request::Credential,
    secret::Secret,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let gate = Callgate::builder(AccountSigner::from_seed(&seed("issuer.nk")?)?)
        .xkey(CurveKey::from_seed(&seed("xkey.xk")?)?)
        .authorize(|request| async move {
            match request.credential() {
                Credential::Token(token) if token.matches("let me in") => {
                    Ok(User::in_account("APP")
                        .named("visitor")
                        .publish("visits.>")
                        .expires_in(Duration::from_secs(600)))
                }
                _ => Err(Refusal::deny("no visitor")),
            }
        })
        .on_decision(|decision| println!("{} {}", decision.reason, decision.detail))
        .build()?;
    let url = env::var("NATS_URL").unwrap_or("nats://127.0.0.1:4222".to_owned());
    let login = ConnectOptions::with_nkey(seed("auth.nk")?.expose().to_owned());
    gate.serve(login.connect(url).await?).await?;
    Ok(())
}

fn seed(path: &str) -> io::Result<Secret> {
    Ok(Secret::new(fs::read_to_string(path)?.trim()))
}
