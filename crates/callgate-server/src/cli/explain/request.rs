//! The requests that `explain` evaluates: from a file, or as a server would send them.

use std::path::Path;

use callgate::{
    clock::UnixTime,
    keys::{KeyKind, KeyPair},
    secret::Secret,
    simulation::{ClientCredentials, RequestDraft, SimulatedRequest},
};
use callgate_config::{FlagSecret, Sources};

use super::Args;
use crate::{
    assemble::PublicKeys,
    cli::output::{complain, literal_secret_warning, read_stdin},
};

/// A request from a file, or from standard input for `-`.
pub(in crate::cli) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let payload = match path.as_os_str() == "-" {
        true => read_stdin().map_err(|error| format!("cannot read `-`: {error}"))?,
        false => Sources::read_any(path).map_err(|error| error.to_string())?.to_vec(),
    };
    // An unencrypted token may end in white space from an editor or a shell.
    let in_clear = payload.starts_with(b"ey");
    Ok(if in_clear { payload.trim_ascii().to_vec() } else { payload })
}

/// The request of a client with the credentials in the flags.
pub(super) fn of_flags(args: &Args, keys: &PublicKeys) -> Result<SimulatedRequest, String> {
    let sources = Sources::new(".");
    let secret = |flag: &Option<String>, name: &str| -> Result<Option<Secret>, String> {
        let Some(text) = flag else { return Ok(None) };
        let FlagSecret { secret, literal } =
            sources.flag_secret(text).map_err(|error| format!("{name}: {error}"))?;
        if literal {
            complain(literal_secret_warning(name));
        }
        Ok(Some(secret))
    };
    let nkey = args.nkey_seed.as_ref().map(|text| nkey(&sources, text)).transpose()?;
    let presented = ClientCredentials {
        user: args.user.clone(),
        password: secret(&args.password, "--password")?,
        token: secret(&args.token, "--token")?,
        nkey,
        certificate: args.cert.as_deref().map(chain).transpose()?.unwrap_or_default(),
    };
    sign(args, presented, keys)
}

/// The request of a client that is identified without a credential. Requests without any are refused
/// early, so it has one that nothing evaluates.
pub(super) fn of_connection(args: &Args, keys: &PublicKeys) -> Result<SimulatedRequest, String> {
    let unused = ClientCredentials {
        user: Some("unused".to_owned()),
        password: Some(Secret::new("unused")),
        ..ClientCredentials::default()
    };
    sign(args, unused, keys)
}

fn sign(
    args: &Args,
    presented: ClientCredentials,
    keys: &PublicKeys,
) -> Result<SimulatedRequest, String> {
    let draft = RequestDraft {
        connection: args.client_type,
        source: args.address.to_string(),
        ..RequestDraft::new(presented)
    };
    let signed = draft.sign(&keys.subject, keys.xkeys.first(), UnixTime::now());
    signed.map_err(|error| error.to_string())
}

/// The PEM certificates in a file, in order.
fn chain(path: &Path) -> Result<Vec<String>, String> {
    const END: &str = "-----END CERTIFICATE-----";
    let content = Sources::new(".").read_text(path).map_err(|error| format!("--cert: {error}"))?;
    let starts = content.match_indices("-----BEGIN CERTIFICATE-----");
    let certificates = starts.map(|(start, _)| {
        let rest = content.get(start..).unwrap_or_default();
        let end = rest.find(END).map(|end| end + END.len());
        end.and_then(|end| rest.get(..end)).map(|pem| format!("{pem}\n"))
    });
    let certificates: Option<Vec<String>> = certificates.collect();
    certificates
        .filter(|list| !list.is_empty())
        .ok_or_else(|| format!("--cert: `{}` contains no certificate in PEM", path.display()))
}

fn nkey(sources: &Sources, text: &str) -> Result<KeyPair, String> {
    let (seed, warning) =
        sources.flag_seed(text).map_err(|error| format!("--nkey-seed: {error}"))?;
    if let Some(warning) = warning {
        complain(format_args!("warning: --nkey-seed: {warning}"));
    }
    if seed.kind() != KeyKind::User {
        return Err(format!(
            "--nkey-seed: this is {}, but a user seed (SU…) is needed",
            seed.kind().seed_in_words()
        ));
    }
    complain(
        "note: the nkey signs a generated nonce here; in configuration mode nats-server sends a real \
         one only if its own configuration has at least one nkey user",
    );
    KeyPair::from_seed(seed).map_err(|error| format!("--nkey-seed: {error}"))
}
