//! `callgate watch-log`: counts and records permission violations in the log of nats-server.

mod join;

use std::{
    cell::Cell,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use callgate::policy::Policy;
use callgate_authenticators::kind::Registry;
use tokio::{runtime::Runtime, sync::watch};

use self::join::Sessions;
use super::{
    GOOD, Outcome,
    follow::{follow, lines},
    output::say,
    source::build_env,
};
use crate::{
    admin::{self, Admin},
    audit::{
        Audit, Environment, SinkSettings,
        event::{Event, Session, Violation},
    },
    config::{self, Config, Overrides},
    expected::Expected,
    health::Health,
    nats,
    server_log::{self, Operation, Reading},
    telemetry::Metrics,
};

/// What counts for an account that the configuration does not have.
const OTHER: &str = "other";
/// What counts for a line that is not understood.
const UNPARSED: &str = "unparsed";

/// Count and record permission violations in the log of nats-server
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate watch-log /var/log/nats-server.log --server nats-0 --listen 127.0.0.1:8281
  journalctl -fu nats-server | callgate watch-log - --server nats-0 --config callgate.toml

nats-server reports violations only to the client and to its own log: those of servers whose log is not read are
missed. Files are read from their beginning and followed, also after a rotation. With `[control]` in the
configuration, the running service is asked for the session of each new violation.")]
pub(super) struct Args {
    /// Log files of one nats-server, or `-` for standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The name of the server
    #[arg(long, value_name = "NAME")]
    server: String,
    /// Address for /metrics
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Configuration: its accounts are counted by name, and violations are recorded in its audit
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(args: &Args, registry: Registry) -> Outcome {
    let config = args.config.as_deref().map(|path| load(path, registry)).transpose()?;
    let runtime =
        Runtime::new().map_err(|error| format!("cannot start the async runtime: {error}"))?;
    let metrics = Arc::new(Metrics::of_watch_log());
    let audit = Audit::default();
    runtime.block_on(prepare(args, config.as_ref(), &metrics, &audit))?;
    let socket = config.as_ref().and_then(|config| config.control.clone());
    let sessions =
        socket.map(|socket| Sessions::new(socket, &args.server, runtime.handle().clone()));
    register_violations(&metrics, config.as_ref());
    let policy = config.map(|config| config.policy);
    let watcher = Watcher { server: args.server.clone(), policy, metrics, audit, sessions };
    let read = watcher.read_all(&args.files);
    watcher.audit.stop();
    runtime.shutdown_background();
    read.map(|()| GOOD).map_err(Into::into)
}

/// Counters begin at zero: an alert on an increase misses whatever a counter begins with.
fn register_violations(metrics: &Metrics, config: Option<&Config>) {
    let operations = [Operation::Publish, Operation::Subscribe].map(Operation::as_str);
    let accounts = config.into_iter().flat_map(|config| &config.issuer.accounts);
    for account in accounts.map(|account| &*account.name).chain([OTHER]) {
        metrics.register_violations(account, &operations);
    }
    metrics.register_violations(UNPARSED, &[UNPARSED]);
}

fn load(path: &Path, registry: Registry) -> Result<Config, String> {
    let overrides = Overrides { config: Some(path.to_owned()), ..Overrides::default() };
    let loaded = config::load(&overrides, &build_env(registry, false));
    let faults = loaded.report.faults();
    loaded.config.ok_or_else(|| faults.first().map(ToString::to_string).unwrap_or_default())
}

/// Serves the metrics, and starts the audit.
async fn prepare(
    args: &Args,
    config: Option<&Config>,
    metrics: &Arc<Metrics>,
    audit: &Audit,
) -> Result<(), Box<dyn std::error::Error>> {
    if let Some(address) = args.listen {
        let listener = admin::bind(address).await?;
        let address = listener.local_addr()?;
        let health = Health::default();
        health.ready(Vec::new());
        let admin = Admin { health, metrics: Arc::clone(metrics) };
        tokio::spawn(admin::serve(listener, admin, std::future::pending()));
        say(format_args!("serving /livez, /readyz and /metrics on {address}"));
    }
    let Some((config, settings)) = config.and_then(|config| Some((config, config.audit.as_ref()?)))
    else {
        return Ok(());
    };
    let streams = settings.sinks.iter().any(|sink| matches!(sink, SinkSettings::Stream(_)));
    let client = match streams {
        true => Some(nats::connect_once(&config.nats).await?),
        false => None,
    };
    audit.start(Environment {
        settings: settings.beside("violations"),
        metrics: Arc::clone(metrics),
        fleet: config.nats.queue.clone(),
        // Its sender is gone, and its value stays.
        connection: watch::Sender::new(client).subscribe(),
        expected: Expected::default(),
    })?;
    Ok(())
}

/// Reads the log of one server.
struct Watcher {
    server: String,
    policy: Option<Arc<Policy>>,
    metrics: Arc<Metrics>,
    audit: Audit,
    /// Absent without `[control]`.
    sessions: Option<Sessions>,
}

impl Watcher {
    /// Reads all files at the same time; files never end.
    fn read_all(&self, files: &[PathBuf]) -> Result<(), String> {
        std::thread::scope(|scope| {
            let readers: Vec<_> =
                files.iter().map(|path| scope.spawn(move || self.read_one(path))).collect();
            let ended = readers.into_iter().map(|reader| match reader.join() {
                Ok(result) => result,
                Err(_) => Err("a reader panicked, which is a bug".to_owned()),
            });
            ended.collect::<Result<Vec<()>, String>>().map(drop)
        })
    }

    fn read_one(&self, path: &Path) -> Result<(), String> {
        // What was in the file before may be about connections of an earlier process of the server.
        let is_new = Cell::new(path.as_os_str() == "-");
        let mut take = |line: &[u8]| {
            self.take(&String::from_utf8_lossy(line), is_new.get());
            true
        };
        let read = match path.as_os_str() == "-" {
            true => lines(&mut io::stdin().lock(), &mut take).map(drop),
            false => follow(path, &mut take, &mut || is_new.set(true)),
        };
        read.map_err(|error| format!("cannot read `{}`: {error}", path.display()))
    }

    fn take(&self, line: &str, is_new: bool) {
        let violation = match server_log::read(line) {
            Reading::Other => return,
            Reading::Unparsed => {
                self.metrics.count_permission_violation(UNPARSED, UNPARSED);
                return;
            }
            Reading::Violation(violation) => violation,
        };
        let is_known = |account: &&str| {
            self.policy.as_ref().is_some_and(|policy| policy.knows_account(account))
        };
        let account = violation.account.as_deref().filter(is_known).unwrap_or(OTHER);
        self.metrics.count_permission_violation(account, violation.operation.as_str());
        self.audit.event(|| {
            let session = self.session(&violation, is_new);
            let operation = violation.operation.as_str().to_owned();
            Event::Violation(Violation { session, operation, subject: violation.subject })
        });
    }

    /// The session of a violation, or what the line says of it.
    fn session(&self, violation: &server_log::Violation, is_new: bool) -> Session {
        let server_log::Violation { client_id, account, user, operation: _, subject: _ } =
            violation;
        let sessions = self.sessions.as_ref().filter(|_| is_new);
        let known = sessions.and_then(|sessions| sessions.find(*client_id, user.as_deref()));
        known.unwrap_or_else(|| Session {
            user: user.clone(),
            account: account.clone(),
            client_id: Some(*client_id),
            server: Some(self.server.clone()),
            ..Session::default()
        })
    }
}
