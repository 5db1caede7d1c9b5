//! Shared by the tests: a server with a callout, Callgate, and clients.

mod world;

pub(crate) use world::World;

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_nats::{ConnectError, ConnectOptions};
use callgate_testkit::{
    OidcProvider, Session,
    service::{CommandOutput, command, run},
};

/// The binary under test.
pub(crate) const CALLGATE: &str = env!("CARGO_BIN_EXE_callgate");

/// Runs the binary to its end, without the developer's variables.
pub(crate) fn callgate(folder: &Path, arguments: &[&str]) -> CommandOutput {
    run(&mut command(CALLGATE, folder, arguments), b"")
}

/// Connects with a token.
pub(crate) async fn connect(url: &str, token: &str, name: &str) -> Result<Session, ConnectError> {
    let options = ConnectOptions::with_token(token.to_owned());
    let options = options.name(name).connection_timeout(Duration::from_secs(20));
    Session::connect(url, options).await
}

/// The npm package if available, else the stand-in; for tests too slow to run with both.
pub(crate) async fn best_provider() -> OidcProvider {
    match cfg!(feature = "node") {
        true => OidcProvider::npm().await,
        false => OidcProvider::stand_in().await,
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// Asserts that `text` contains all `words`.
#[track_caller]
pub(crate) fn has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is not in:\n{text}");
    }
}
