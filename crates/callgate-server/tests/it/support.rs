//! Shared by the tests: the binary, a nats-server with Callgate, and clients.

mod client;
mod pair;
mod site;
mod web_service;
pub(crate) mod wire;

use std::{path::Path, process::Command};

use callgate_testkit::service::{self, Launch};

pub(crate) use callgate_testkit::{
    Service, Session,
    files::write_private,
    service::{CommandOutput, run},
};
pub(crate) use client::{Credential, connect, connect_to, expect_no_admission, refusal};
pub(crate) use pair::{Pair, PairBuilder, SERVICE_SUBJECT, ServiceIn};
pub(crate) use site::{Fixed, LINES, Mode, Site, everywhere, servers};
pub(crate) use web_service::WebService;

/// The binary under test.
pub(crate) const CALLGATE: &str = env!("CARGO_BIN_EXE_callgate");

/// Starts the service in a folder with these arguments.
pub(crate) async fn serve(folder: &Path, arguments: &[&str]) -> Service {
    serve_with(folder, arguments, &[]).await
}

/// The same, with variables.
pub(crate) async fn serve_with(
    folder: &Path,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Service {
    let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let variables = variables.iter().map(|&(name, value)| (name.to_owned(), value.into()));
    let variables = variables.collect();
    Service::start(folder, &Launch { arguments, variables, ..Launch::of(CALLGATE) }).await
}

/// Asserts that `text` contains all `words`, as it is or without positions.
#[track_caller]
pub(crate) fn has(text: &str, words: &[&str]) {
    let plain = without_positions(text);
    for word in words {
        assert!(text.contains(word) || plain.contains(word), "`{word}` is not in:\n{text}");
    }
}

/// Findings without line and column, and those of `callgate.toml` without its name.
pub(crate) fn without_positions(text: &str) -> String {
    let plain = |line: &str| {
        let (level, rest) = line.split_once(": ")?;
        let (place, finding) = rest.split_once(": ")?;
        let file = place.trim_end_matches(|c: char| c.is_ascii_digit() || c == ':');
        let is_file = ["error", "warning"].contains(&level) && file.contains('.');
        match file {
            _ if !is_file || (file == place && file != "callgate.toml") => None,
            "callgate.toml" => Some(format!("{level}: {finding}\n")),
            _ => Some(format!("{level}: {file}: {finding}\n")),
        }
    };
    text.lines().map(|line| plain(line).unwrap_or_else(|| format!("{line}\n"))).collect()
}

/// Runs `callgate` to its end in `folder`, without `CALLGATE_…` variables.
pub(crate) fn callgate_in(folder: &Path, arguments: &[&str]) -> CommandOutput {
    run(&mut command(folder, arguments), b"")
}

/// The same in the current directory.
pub(crate) fn callgate(arguments: &[&str]) -> CommandOutput {
    callgate_in(Path::new("."), arguments)
}

/// The command, for adding variables.
pub(crate) fn command(folder: &Path, arguments: &[&str]) -> Command {
    service::command(CALLGATE, folder, arguments)
}

/// An unsigned token with the claims of a Kubernetes service account.
pub(crate) fn service_account_token() -> String {
    let encode = |json: serde_json::Value| {
        data_encoding::BASE64URL_NOPAD.encode(json.to_string().as_bytes())
    };
    let header = encode(serde_json::json!({ "alg": "RS256", "kid": "a" }));
    let claims = encode(serde_json::json!({
        "iss": "https://kubernetes.default.svc", "sub": "system:serviceaccount:ns:app",
        "aud": ["nats"], "exp": 4_102_444_800_u64,
        "kubernetes.io": { "namespace": "ns", "serviceaccount": { "name": "app", "uid": "u" } },
    }));
    format!("{header}.{claims}.c2ln")
}
