//! `callgate explain`

mod can;
mod report;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use callgate::{
    Callgate, Explained,
    clock::UnixTime,
    connection::ConnectionKind,
    keys::{KeyKind, KeyPair},
    record::Denial,
    secret::Secret,
    simulation::{ClientCredentials, RequestDraft, SimulatedRequest},
};
use callgate_authenticators::kind::Registry;
use callgate_config::{FlagSecret, Report, Sources};

use self::can::AccessQuery;
use super::{
    GOOD, REFUSED, UNUSABLE,
    output::{complain, findings, read_stdin, say, unusable},
    source::{Source, build_env},
};
use crate::{
    assemble::{Assembled, PublicKeys, assemble},
    config,
};

/// How long authenticators may take to load their sources.
const LOAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Show what a client would get, and why, without a server
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate explain --config callgate.toml --user bob --password env:BOB --can pub:orders.new
  callgate explain --config callgate.toml --token @token.jwt --source 10.1.2.3

Exits with 0 if the client would be admitted, and with 1 if it would be refused.")]
pub(super) struct Args {
    #[command(flatten)]
    source: Source,
    /// The client's user name
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Its password
    #[arg(long, value_name = "@FILE|env:NAME")]
    password: Option<String>,
    /// Its token
    #[arg(long, value_name = "@FILE|env:NAME")]
    token: Option<String>,
    /// The seed of its nkey, which signs a generated nonce
    #[arg(long, value_name = "@FILE|env:NAME")]
    nkey_seed: Option<String>,
    /// How it connects: nats, websocket, mqtt or leafnode
    #[arg(long, value_name = "KIND", default_value = "nats")]
    client_type: ConnectionKind,
    /// The address it connects from
    #[arg(long = "source", value_name = "IP", default_value = "127.0.0.1")]
    address: std::net::IpAddr,
    /// A request from a server, instead of these options; evaluated as of when it was made. `-` reads
    /// standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "password", "token", "nkey_seed", "client_type", "address"])]
    request: Option<PathBuf>,
    /// The server's curve key (header Nats-Server-Xkey), if that request is encrypted
    #[arg(long, value_name = "KEY", requires = "request")]
    server_xkey: Option<String>,
    /// Check whether the client may publish (pub:SUBJECT) or subscribe (sub:SUBJECT); repeatable
    #[arg(long, value_name = "pub:SUBJECT|sub:SUBJECT")]
    can: Vec<AccessQuery>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args, registry: Registry) -> u8 {
    let overrides = match args.source.overrides() {
        Ok(overrides) => overrides,
        Err(error) => return unusable(error),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return unusable(format_args!("the runtime cannot start: {error}")),
    };
    let code = runtime.block_on(async {
        // With background tasks, so that keys are fetched as by the service.
        let loaded = config::load(&overrides, &build_env(registry, true));
        let Some(config) = loaded.config else {
            print_faults(&args, &loaded.report);
            return UNUSABLE;
        };
        let Assembled { builder, chain, keys, .. } = assemble(config, None);
        let gate = match builder.build() {
            Ok(gate) => gate,
            Err(error) => return unusable(error),
        };
        wait_until_loaded(&chain).await;
        match explain(&args, &gate, &keys).await {
            Ok(judged) => print_report(&args, &gate, &judged),
            Err(error) => unusable(error),
        }
    });
    runtime.shutdown_background();
    code
}

async fn wait_until_loaded(chain: &callgate::authn::Chain) {
    let until = tokio::time::Instant::now() + LOAD_TIMEOUT;
    while !chain.waiting_for().is_empty() && tokio::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for (name, what) in chain.waiting_for() {
        complain(format_args!("warning: the authenticator {name} is not ready: {what}"));
    }
}

/// The explained decision, and the time of a request from a server.
struct Judged {
    explained: Explained,
    as_of: Option<UnixTime>,
}

async fn explain(args: &Args, gate: &Callgate, keys: &PublicKeys) -> Result<Judged, String> {
    let Some(path) = &args.request else {
        let drafted = draft(args, keys)?;
        let header = drafted.xkey_header.as_deref();
        let explained = gate.explain(&drafted.payload, header, UnixTime::now()).await;
        return Ok(Judged { explained: explained.unwrap_or_else(dropped), as_of: None });
    };
    let payload = read_request(path)?;
    let header = args.server_xkey.as_deref();
    let made = match gate.request_time(&payload, header) {
        Ok(made) => made,
        Err(denial) => return Ok(Judged { explained: dropped(denial), as_of: None }),
    };
    let explained = gate.explain(&payload, header, made).await.unwrap_or_else(dropped);
    Ok(Judged { explained, as_of: Some(made) })
}

/// A request from a file, or from standard input for `-`.
fn read_request(path: &Path) -> Result<Vec<u8>, String> {
    let payload = match path.as_os_str() == "-" {
        true => read_stdin().map_err(|error| format!("cannot read `-`: {error}"))?,
        false => Sources::read_any(path).map_err(|error| error.to_string())?.to_vec(),
    };
    // An unencrypted token may end in white space from an editor or a shell.
    let in_clear = payload.starts_with(b"ey");
    Ok(if in_clear { payload.trim_ascii().to_vec() } else { payload })
}

/// A request that would be dropped without an answer.
fn dropped(denial: Denial) -> Explained {
    Explained { request: None, steps: None, result: Err(denial) }
}

fn draft(args: &Args, keys: &PublicKeys) -> Result<SimulatedRequest, String> {
    let sources = Sources::new(".");
    let secret = |flag: &Option<String>, name: &str| -> Result<Option<Secret>, String> {
        let Some(text) = flag else { return Ok(None) };
        let FlagSecret { secret, literal } =
            sources.flag_secret(text).map_err(|error| format!("--{name}: {error}"))?;
        if literal {
            complain(format_args!(
                "warning: --{name} is visible to other users of this machine on the command line: use \
                 @FILE or env:NAME"
            ));
        }
        Ok(Some(secret))
    };
    let nkey = args.nkey_seed.as_ref().map(|text| nkey(&sources, text)).transpose()?;
    let presented = ClientCredentials {
        user: args.user.clone(),
        password: secret(&args.password, "password")?,
        token: secret(&args.token, "token")?,
        nkey,
    };
    let draft = RequestDraft {
        connection: args.client_type,
        source: args.address.to_string(),
        ..RequestDraft::new(presented)
    };
    let signed = draft.sign(&keys.subject, keys.xkeys.first(), UnixTime::now());
    signed.map_err(|error| error.to_string())
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

/// Prints errors as `check` does; as JSON with the warnings.
fn print_faults(args: &Args, report: &Report) {
    if args.json {
        return say(findings(report));
    }
    for fault in report.faults() {
        complain(format_args!("error: {fault}"));
    }
}

fn print_report(args: &Args, gate: &Callgate, judged: &Judged) -> u8 {
    let Judged { explained, as_of } = judged;
    let stated = gate.stated_callout_account();
    let report = report::Report::of(explained, *as_of, &args.can, stated.as_deref());
    match args.json {
        true => say(report.to_json()),
        false => say(report),
    }
    if explained.result.is_ok() { GOOD } else { REFUSED }
}
