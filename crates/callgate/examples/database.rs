//! A callout with shared state: it looks tokens up in an SQLite database. Run it in the folder that
//! `callgate init` wrote, with a database `tokens.db`:
//!
//! ```sql
//! CREATE TABLE tokens (sha256 BLOB PRIMARY KEY, name TEXT NOT NULL);
//! ```

#![allow(clippy::print_stdout, reason = "the program prints its decisions")]

use std::{env, error::Error, fs, io, sync::Arc};

use callgate::{
    Callgate, Refusal, User,
    async_nats::ConnectOptions,
    keys::{AccountSigner, CurveKey},
    request::{AuthRequest, Credential},
    secret::Secret,
};
use sha2::{Digest, Sha256};
use sqlx::SqlitePool;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let database = SqlitePool::connect("sqlite:tokens.db").await?;
    let gate = Callgate::builder(AccountSigner::from_seed(&seed("issuer.nk")?)?)
        .xkey(CurveKey::from_seed(&seed("xkey.xk")?)?)
        .authorize(move |request| authorize(database.clone(), request))
        .on_decision(|decision| println!("{} {}", decision.reason, decision.detail))
        .build()?;
    let url = env::var("NATS_URL").unwrap_or("nats://127.0.0.1:4222".to_owned());
    let login = ConnectOptions::with_nkey(seed("auth.nk")?.expose().to_owned());
    gate.serve(login.connect(url).await?).await?;
    Ok(())
}

async fn authorize(database: SqlitePool, request: Arc<AuthRequest>) -> Result<User, Refusal> {
    let Credential::Token(token) = request.credential() else {
        return Err(Refusal::deny("not a token"));
    };
    let hash = Sha256::digest(token.expose()).to_vec();
    let name: Option<String> = sqlx::query_scalar("SELECT name FROM tokens WHERE sha256 = ?")
        .bind(hash)
        .fetch_optional(&database)
        .await
        .map_err(|error| Refusal::Unavailable(format!("the database failed: {error}")))?;
    let name = name.ok_or(Refusal::deny("unknown token"))?;
    Ok(User::in_account("APP").named(name).publish("visits.>"))
}

fn seed(path: &str) -> io::Result<Secret> {
    Ok(Secret::new(fs::read_to_string(path)?.trim()))
}
