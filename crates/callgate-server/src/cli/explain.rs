//! `callgate explain`

pub(super) mod can;
mod identity;
pub(super) mod report;
pub(super) mod request;
mod who;

use std::{path::PathBuf, sync::Arc, time::Duration};

use callgate::{
    Callgate, Explained, authn::Chain, clock::UnixTime, connection::ConnectionKind, record::Denial,
};
use callgate_authenticators::{backend::notes, kind::Registry};
use callgate_config::Report as Findings;

use self::{
    can::AccessQuery,
    report::{Judged, Report},
    who::Holders,
};
use super::{
    GOOD, REFUSED, UNUSABLE,
    output::{Style, complain, findings, print, say, unusable},
    source::{Source, build_env},
};
use crate::{
    assemble::{Assembled, PublicKeys, assemble},
    bus::ServiceBus,
    config::{self, BuildEnv, Config},
    nats,
};

/// How long authenticators may take to load their sources.
const LOAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Show what a client would get, and why, without a server
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate explain --config callgate.toml --user bob --password env:BOB --can pub:orders.new
  callgate explain --config callgate.toml --token @token.jwt --source 10.1.2.3 --why
  callgate explain --config callgate.toml --as users/bob
  callgate explain --config callgate.toml --who 'pub:orders.>'

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
    /// Its certificate and the certificates above it (PEM), as if the server had verified them
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// How it connects: nats, websocket, mqtt or leafnode
    #[arg(long, value_name = "KIND", default_value = "nats")]
    client_type: ConnectionKind,
    /// The address it connects from
    #[arg(long = "source", value_name = "IP", default_value = "127.0.0.1")]
    address: std::net::IpAddr,
    /// A request from a server, instead of these options; evaluated as of when it was made. `-` reads
    /// standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "password", "token", "nkey_seed", "cert", "client_type", "address"])]
    request: Option<PathBuf>,
    /// The server's curve key (header Nats-Server-Xkey), if that request is encrypted
    #[arg(long, value_name = "KEY", requires = "request")]
    server_xkey: Option<String>,
    /// A user of an authenticator, without a credential
    #[arg(long = "as", value_name = "AUTHENTICATOR/USER", conflicts_with_all = ["user", "password", "token", "nkey_seed", "cert", "request"])]
    named: Option<String>,
    /// The claims of a token (JSON), without its signature; with --as, those of that user
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "password", "token", "nkey_seed", "cert", "request"])]
    claims: Option<PathBuf>,
    /// List the identities that may publish (pub:SUBJECT) or subscribe (sub:SUBJECT)
    #[arg(long, value_name = "pub:SUBJECT|sub:SUBJECT", conflicts_with_all = ["user", "password", "token", "nkey_seed", "cert", "request", "named", "claims", "can"])]
    who: Option<AccessQuery>,
    /// Check whether the client may publish (pub:SUBJECT) or subscribe (sub:SUBJECT); repeatable
    #[arg(long, value_name = "pub:SUBJECT|sub:SUBJECT")]
    can: Vec<AccessQuery>,
    /// Also print how the decision came about; always printed for a refusal
    #[arg(long)]
    why: bool,
    /// Do not query backends; print what would be asked
    #[arg(long)]
    offline: bool,
    /// Print the values of claims, not only their names
    #[arg(long)]
    show_claims: bool,
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
        let bus = Arc::new(ServiceBus::read_only());
        let env = BuildEnv { bus: Some(Arc::clone(&bus)), ..build_env(registry, true) };
        let loaded = config::load(&overrides, &env);
        let Some(config) = loaded.config else {
            print_faults(&args, &loaded.report);
            return UNUSABLE;
        };
        if !args.offline {
            connect(&config, &bus).await;
        }
        let Assembled { builder, chain, keys, .. } = assemble(config, None);
        let gate = match builder.build() {
            Ok(gate) => gate,
            Err(error) => return unusable(error),
        };
        wait_until_loaded(&chain).await;
        let code = answer(&args, &gate, &chain, &keys).await.unwrap_or_else(unusable);
        for remark in chain.remarks() {
            complain(format_args!("note: {remark}"));
        }
        code
    });
    runtime.shutdown_background();
    code
}

/// Connects to NATS if an authenticator needs it. Without a connection, only those are unavailable.
async fn connect(config: &Config, bus: &ServiceBus) {
    let mut authenticators = config.authenticators.iter();
    if !authenticators.any(|authenticator| authenticator.uses_bus) {
        return;
    }
    match nats::connect_once(&config.nats).await {
        Ok(client) => bus.bind(&client),
        Err(error) => complain(format_args!(
            "warning: {error}; authenticators that need this connection are unavailable"
        )),
    }
}

pub(super) async fn wait_until_loaded(chain: &Chain) {
    let until = tokio::time::Instant::now() + LOAD_TIMEOUT;
    while !chain.waiting_for().is_empty() && tokio::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for (name, what) in chain.waiting_for() {
        complain(format_args!("warning: the authenticator {name} is not ready: {what}"));
    }
}

async fn answer(
    args: &Args,
    gate: &Callgate,
    chain: &Chain,
    keys: &PublicKeys,
) -> Result<u8, String> {
    if let Some(query) = &args.who {
        let holders = Holders::find(args, gate, chain, keys, query)?;
        print_holders(args, &holders);
        return Ok(GOOD);
    }
    let judge = judge(args, gate, chain, keys);
    let (judged, notes) = notes::collect(args.offline, judge).await;
    Ok(print_report(args, gate, &Judged { notes, ..judged? }))
}

async fn judge(
    args: &Args,
    gate: &Callgate,
    chain: &Chain,
    keys: &PublicKeys,
) -> Result<Judged, String> {
    if args.named.is_some() || args.claims.is_some() {
        return judge_identity(args, gate, chain, keys).await;
    }
    let Some(path) = &args.request else {
        let drafted = request::of_flags(args, keys)?;
        let header = drafted.xkey_header.as_deref();
        let explained = gate.explain(&drafted.payload, header, UnixTime::now()).await;
        return Ok(Judged::of(explained.unwrap_or_else(denied)));
    };
    let payload = request::read(path)?;
    let header = args.server_xkey.as_deref();
    let made = match gate.request_time(&payload, header) {
        Ok(made) => made,
        Err(denial) => return Ok(Judged::of(denied(denial))),
    };
    let explained = gate.explain(&payload, header, made).await.unwrap_or_else(denied);
    Ok(Judged { as_of: Some(made), ..Judged::of(explained) })
}

async fn judge_identity(
    args: &Args,
    gate: &Callgate,
    chain: &Chain,
    keys: &PublicKeys,
) -> Result<Judged, String> {
    let now = UnixTime::now();
    let found = identity::find(chain, args.named.as_deref(), args.claims.as_deref(), now).await?;
    let drafted = request::of_connection(args, keys)?;
    let explainer = gate.explain_identities(&drafted.payload, drafted.xkey_header.as_deref(), now);
    let explained = match (found, explainer) {
        (Ok((authenticator, identity)), Ok(explainer)) => explainer
            .explain(&authenticator, identity)
            .ok_or_else(|| "this build decides with a function, not with identities".to_owned())?,
        (Err(denial), _) | (_, Err(denial)) => denied(denial),
    };
    Ok(Judged { assumed: true, ..Judged::of(explained) })
}

impl Judged {
    fn of(explained: Explained) -> Self {
        Self { explained, as_of: None, assumed: false, notes: Vec::new() }
    }
}

/// A client that is refused, or a request that is dropped, before anything is asked.
fn denied(denial: Denial) -> Explained {
    Explained { request: None, steps: None, result: Err(denial) }
}

/// Prints errors as `check` does; as JSON with the warnings.
fn print_faults(args: &Args, report: &Findings) {
    if args.json {
        return say(findings(report));
    }
    for fault in report.faults() {
        complain(format_args!("error: {fault}"));
    }
}

fn print_holders(args: &Args, holders: &Holders) {
    if args.json {
        return say(holders.to_json());
    }
    say(holders);
    for name in &holders.unlisted {
        complain(format_args!("note: `{name}` cannot list its users: they are not included"));
    }
}

fn print_report(args: &Args, gate: &Callgate, judged: &Judged) -> u8 {
    let stated = gate.stated_callout_account();
    let report = Report {
        judged,
        queries: &args.can,
        callout_account: stated.as_deref(),
        why: args.why,
        show_claims: args.show_claims,
        style: Style::of_stdout(),
    };
    match args.json {
        true => say(report.to_json()),
        false => print(&report, report.style),
    }
    if judged.explained.result.is_ok() { GOOD } else { REFUSED }
}
