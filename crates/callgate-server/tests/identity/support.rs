//! What the tests share: a server that asks, a gate that answers, and clients that want in.

mod clients;
mod gate;
mod world;

pub(crate) use clients::{Session, connect};
pub(crate) use gate::Gate;
pub(crate) use world::World;

use std::{
    path::Path,
    process::{Command, Output},
    time::{SystemTime, UNIX_EPOCH},
};

use callgate_testkit::OidcProvider;

/// The binary under test.
pub(crate) const CALLGATE: &str = env!("CARGO_BIN_EXE_callgate");

/// Runs the binary to its end, without variables of the developer's.
pub(crate) fn callgate(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(CALLGATE);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CALLGATE_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).args(arguments).output().expect("the binary starts")
}

/// The npm package where it is, else the stand-in: for tests that take too long to run with each.
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

/// Asserts that `text` has every one of `words`.
#[track_caller]
pub(crate) fn has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is not in:\n{text}");
    }
}
