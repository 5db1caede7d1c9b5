//! Builds the parts of the service from a configuration file, flags and environment variables.
//!
//! All errors are reported together. Nothing connects to a server.

mod admin;
mod admission;
mod audit;
mod cache;
mod chain;
mod control;
mod expected;
mod flags;
mod issuer;
mod key_hints;
mod log;
mod login;
mod nats;
mod policy;
mod refusal;
mod revocation;
mod session;
mod shadow;
mod shadowing;
mod source;
mod state;
mod system;
mod tls;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use callgate::{
    RefusalStyle,
    authn::Chain,
    keys::Signer as _,
    policy::{Policy, settings::PolicySettings},
};
use callgate_authenticators::{
    kind::{Observer, Registry, SharedResources},
    passwords::DummyKey,
    state_dir::{StateDir, StateError},
};
use callgate_config::{
    Document, DocumentError, Key, Report, Sources, Table, Type, file_watch::Fingerprints,
    permissions::refuse_bare_limits, roles, schema::set,
};
use serde_json::{Value, json};

use crate::{
    audit::AuditSettings, bus::ServiceBus, expected::ExpectedSources, nats::NatsSettings,
    revocation::RevocationSettings, state::StateSettings, system::SystemSettings,
};
pub(crate) use admission::Admission;
pub(crate) use chain::BuiltAuthenticator;
use chain::{ChainBuilder, Known, KnownRoles};
pub(crate) use flags::{Flag, Input, Overrides};
pub(crate) use issuer::IssuerSettings;
pub(crate) use log::LogSettings;
pub(crate) use shadow::ShadowSettings;

/// The keys of the top level.
pub(crate) const KEYS: &[Key] = &[
    Key::optional(
        "default_account",
        Type::Text,
        "account for identities to which nothing else assigns an account",
    ),
    Key::optional(
        "state_dir",
        Type::Path,
        "a folder of Callgate's own (mode 0700, created at the start) in which verified key sets are kept, so that \
         a provider that is down at a start refuses only its own users",
    )
    .or_else("nothing is kept"),
    Key::optional("nats", Type::Table(nats::KEYS), "the connection to NATS").or_else("required"),
    Key::optional("issuer", Type::Table(issuer::KEYS), "keys that sign answers and open requests")
        .or_else("required"),
    Key::optional(
        "accounts",
        Type::List(&Type::Table(issuer::ACCOUNT_KEYS)),
        "accounts that outside data may choose; in operator mode, all accounts",
    )
    .or("[]"),
    Key::required(
        "authenticators",
        Type::List(&Type::Table(policy::AUTHENTICATOR_KEYS)),
        "authenticators, tried in this order",
    ),
    Key::optional("roles", Type::Map(&Type::Table(roles::KEYS)), "named sets of permissions")
        .or("{}"),
    Key::optional(
        "bindings",
        Type::List(&Type::Table(policy::BINDING_KEYS)),
        "which identities get which roles and account",
    )
    .or("[]"),
    Key::optional("session", Type::Table(session::KEYS), "how long sessions last").or("{}"),
    Key::optional("refusal", Type::Table(refusal::KEYS), "how refusals are answered").or("{}"),
    Key::optional("admission", Type::Table(admission::KEYS), "how many requests are accepted")
        .or("{}"),
    Key::optional("cache", Type::Table(cache::KEYS), "what is remembered").or("{}"),
    Key::optional("admin", Type::Table(admin::KEYS), "health and metrics over HTTP").or("{}"),
    Key::optional("log", Type::Table(log::KEYS), "the log").or("{}"),
    Key::optional(
        "revocation",
        Type::Table(revocation::KEYS),
        "which live sessions a change ends",
    )
    .or("{}"),
    Key::optional(
        "shadow",
        Type::Table(shadow::KEYS),
        "a candidate configuration beside this one, compared but never applied",
    )
    .or_else("none"),
    Key::optional("state", Type::Table(state::KEYS), "what replicas share, such as locks")
        .or_else("nothing is shared"),
    Key::optional("control", Type::Table(control::KEYS), "commands to the running service").or("{}"),
    Key::optional(
        "system",
        Type::Table(system::KEYS),
        "the connection to the system account, which lists and ends sessions",
    ),
    Key::optional(
        "expected",
        Type::List(&Type::Table(expected::KEYS)),
        "networks from which the users of an account are [expected](operations.md#expected-sources)",
    )
    .or("[]"),
    Key::optional(
        "audit",
        Type::Table(audit::KEYS),
        "the [audit](audit.md): a chained record of every decision and order",
    )
    .or_else("off"),
];

/// The JSON Schema of a configuration with these kinds of authenticators.
pub(crate) fn schema(registry: &Registry) -> Value {
    let mut schema = Type::Table(KEYS).document_schema("Configuration of Callgate");
    let kinds: Vec<Key> = registry.keys().collect();
    if let Some(entry) = schema.pointer_mut("/properties/authenticators/items") {
        if let Some(properties) = entry.get_mut("properties") {
            kinds.iter().for_each(|kind| set(properties, kind.name, kind.schema()));
        }
        let one_kind = kinds.iter().map(|kind| json!({ "required": [kind.name] })).collect();
        set(entry, "oneOf", one_kind);
    }
    schema
}

/// The checked parts of the service.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) nats: NatsSettings,
    pub(crate) system: Option<SystemSettings>,
    /// The files that `nats` and `system` were read from, such as that of a password.
    pub(crate) nats_files: BTreeSet<PathBuf>,
    pub(crate) issuer: IssuerSettings,
    pub(crate) policy: Arc<Policy>,
    pub(crate) chain: Chain,
    pub(crate) refusal: RefusalStyle,
    pub(crate) admission: Admission,
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) log: LogSettings,
    pub(crate) revocation: RevocationSettings,
    pub(crate) shadow: Option<ShadowSettings>,
    /// The configuration file, and the files that authenticators watch.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) state: Option<StateSettings>,
    /// The socket of `[control]`.
    pub(crate) control: Option<PathBuf>,
    pub(crate) audit: Option<AuditSettings>,
    pub(crate) expected: ExpectedSources,
    pub(crate) shared: Arc<SharedResources>,
    pub(crate) authenticators: Vec<BuiltAuthenticator>,
    /// For `check`: what is neither an error nor a reason for a warning.
    pub(crate) notes: Vec<String>,
}

/// A configuration that was read, valid or not, with all findings.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// `None` if there is an error.
    pub(crate) config: Option<Config>,
    pub(crate) report: Report,
    /// Every file that was read, with its fingerprint from before; without files that authenticators
    /// watch themselves.
    pub(crate) files: Fingerprints,
    /// The same of the files that authenticators watch themselves.
    pub(crate) watched_elsewhere: Fingerprints,
    /// The keys of the file that flags and variables replaced.
    pub(crate) overridden: Vec<String>,
}

/// The environment in which a configuration is built.
#[derive(Debug, Clone)]
pub(crate) struct BuildEnv {
    pub(crate) registry: Registry,
    /// Resources of the previous configuration.
    pub(crate) shared: Option<Arc<SharedResources>>,
    /// The number of this configuration.
    pub(crate) generation: u64,
    /// Whether authenticators may run background tasks.
    pub(crate) background: bool,
    /// Whether this is the service, which writes to `state_dir`.
    pub(crate) keeps_state: bool,
    pub(crate) observer: Arc<dyn Observer>,
    /// The connection to NATS, once there is one; `None` for commands that do not connect.
    pub(crate) bus: Option<Arc<ServiceBus>>,
}

#[cfg(any(test, feature = "fuzzing"))]
impl BuildEnv {
    /// For a configuration that is only checked.
    pub(crate) fn aside() -> Self {
        Self {
            registry: Registry::builtin(),
            shared: None,
            generation: 0,
            background: false,
            keeps_state: false,
            observer: Arc::new(callgate_authenticators::kind::NoObserver),
            bus: None,
        }
    }
}

/// Reads the configuration file `overrides.config`, or only the flags if there is none.
pub(crate) fn load(overrides: &Overrides, env: &BuildEnv) -> Loaded {
    let report = Report::with_key_hints(key_hints::key_hints(&env.registry));
    let base = overrides.config.as_deref().and_then(Path::parent);
    let base = base.filter(|base| !base.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let sources = Sources::new(base);
    let sources = match &overrides.config {
        Some(path) => sources.for_document(path),
        None => sources,
    };
    let document = document(overrides, &sources, &report);
    if let Some(warning) = overrides.config.as_deref().and_then(Sources::writable_by_others) {
        report.warn("", warning);
    }
    match overrides.config.as_deref().map(|path| sources.check_folders(path)) {
        Some(Ok(Some(warning))) => report.warn("", warning),
        Some(Err(error)) => report.fault("", error),
        Some(Ok(None)) | None => {}
    }
    let mut overridden = Vec::new();
    let config = document.as_ref().and_then(|document| {
        let root = Table::root(document, "", &report, &sources).with_keys(Type::Table(KEYS));
        read(root, overrides, env, &sources, &mut overridden)
    });
    if let (Some(document), Some(name)) = (&document, overrides.document_name()) {
        report.locate(document, "", &name);
    }
    let config = config.filter(|_| report.is_faultless());
    let watched_elsewhere = sources.files_watched_elsewhere();
    let files = overrides.config.iter().chain(watched_elsewhere.keys()).cloned().collect();
    let config = config.map(|config| Config { files, ..config });
    Loaded { config, report, files: sources.files_read(), watched_elsewhere, overridden }
}

fn document(overrides: &Overrides, sources: &Sources, report: &Report) -> Option<Document> {
    let Some(name) = overrides.document_name() else {
        return overrides.document().map_err(|error| report.fault("", error)).ok();
    };
    let read = match (&overrides.config, &overrides.input) {
        (Some(path), _) => Document::read(path, sources),
        (None, Some(Input { text, format })) => Document::parse(text, *format),
        (None, None) => overrides.document(),
    };
    match read {
        Ok(document) if document.value().is_object() => return Some(document),
        Ok(_) => report.fault_in(
            &name,
            None,
            "has no sections: `nats`, `issuer` and `authenticators` are required; \
             `callgate init DIR` writes a configuration to start from",
        ),
        Err(DocumentError::Syntax { position, message }) => {
            report.fault_in(&name, position, message);
        }
        Err(DocumentError::Source(error)) if error.is_absence() => report.fault(
            "",
            format!(
                "{error}: name the file with --config; `callgate init DIR` writes one to start from"
            ),
        ),
        Err(error @ (DocumentError::Source(_) | DocumentError::Extension(_))) => {
            report.fault("", error);
        }
    }
    None
}

/// Reads only the path in `[control]`, so that a command needs no access to secrets; `None` without one.
///
/// # Errors
/// If the file cannot be read, or the path cannot be used.
pub(crate) fn control_socket(overrides: &Overrides) -> Result<Option<PathBuf>, String> {
    let report = Report::new();
    let base = overrides.config.as_deref().and_then(Path::parent);
    let sources =
        Sources::new(base.filter(|base| !base.as_os_str().is_empty()).unwrap_or(Path::new(".")));
    let document = document(overrides, &sources, &report);
    let read = |document| control::read(&mut Table::root(document, "", &report, &sources));
    let socket = document.as_ref().and_then(read);
    if let (Some(document), Some(name)) = (&document, overrides.document_name()) {
        report.locate(document, "", &name);
    }
    match report.faults().first() {
        Some(fault) => Err(fault.to_string()),
        None => Ok(socket),
    }
}

/// Reads only `[log]`, so that the rest can be logged. Its errors are reported by [`load`].
pub(crate) fn log_settings(overrides: &Overrides) -> LogSettings {
    let (report, sources) = (Report::new(), Sources::new("."));
    let document = document(overrides, &sources, &report);
    document
        .map(|document| log::read(&mut Table::root(&document, "", &report, &sources)))
        .unwrap_or_default()
}

fn read(
    mut root: Table<'_>,
    overrides: &Overrides,
    env: &BuildEnv,
    sources: &Sources,
    overridden: &mut Vec<String>,
) -> Option<Config> {
    let before = sources.files_read();
    let nats = nats::read(&mut root, overrides, overridden);
    let has_system = root.has("system");
    let system = system::read(&mut root, nats.as_ref());
    let revocation = revocation::read(&mut root, has_system);
    let shadow = shadow::read(&mut root, &env.registry);
    let mut nats_files: BTreeSet<PathBuf> = sources.files_read().into_keys().collect();
    nats_files.retain(|path| !before.contains_key(path));
    let (issuer, accounts) = issuer::read(&mut root, overrides, overridden);
    let state_dir = state_dir(&mut root, issuer.as_ref(), env.keeps_state);
    let refusal = refusal::read(&mut root);
    let admission = admission::read(&mut root);
    let cache = cache::read(&mut root);
    let admin = admin::read(&mut root, overrides, overridden);
    let log = log::read(&mut root);
    let state = state::read(&mut root);
    let control = control::read(&mut root);
    let audit = audit::read(&mut root);
    let expected = expected::read(&mut root);
    let session = session::read(&mut root);
    let roles = roles::read(&mut root);
    let entries = policy::authenticators(&mut root, &env.registry);
    let bindings = policy::bindings(&mut root, entries.len());
    refuse_bare_limits(&mut root);
    let report = root.report();
    root.finish();

    let settings = PolicySettings {
        roles,
        bindings,
        authenticators: entries.iter().map(|entry| entry.policy.clone()).collect(),
        accounts,
        session,
    };
    let roles = KnownRoles::of(&settings);
    let notes = source::notes(&settings, &admission, report);
    let policy = policy::build(settings, report);
    let shared = env
        .shared
        .clone()
        .unwrap_or_else(|| Arc::new(SharedResources::new(admission.password_workers)));
    let builder = ChainBuilder {
        // An invalid configuration is built only to find all errors.
        background: env.background && report.is_faultless(),
        env,
        sources,
        known: Known { roles, policy: policy.clone() },
        shared: &shared,
        cache,
        trusted_proxies: admission.trusted_proxies.as_slice().into(),
        dummy_key: dummy_key(issuer.as_ref()),
        state_dir,
    };
    let built = builder.build(entries);
    Some(Config {
        nats: nats?,
        system,
        nats_files,
        issuer: issuer?,
        policy: policy?,
        chain: built.chain?,
        refusal,
        admission,
        admin,
        log,
        revocation,
        shadow,
        files: Vec::new(),
        state,
        control,
        audit,
        expected,
        shared,
        authenticators: built.authenticators,
        notes,
    })
}

/// Only the connection to NATS, from flags alone.
///
/// # Errors
/// Every error in the flags.
pub(crate) fn connection(overrides: &Overrides) -> Result<NatsSettings, Vec<String>> {
    let (report, sources) = (Report::new(), Sources::new("."));
    let document = Document::from_value(json!({}));
    let mut root = Table::root(&document, "", &report, &sources).with_keys(Type::Table(KEYS));
    let settings = nats::read(&mut root, overrides, &mut Vec::new());
    root.finish();
    let faults = report.faults();
    match settings {
        Some(settings) if faults.is_empty() => Ok(settings),
        Some(_) | None => Err(faults.iter().map(ToString::to_string).collect()),
    }
}

/// Reads `state_dir`. Only the service creates it and writes there. Its files are authenticated with a key derived from the
/// issuer's seed, as [`dummy_key`] is.
fn state_dir(
    root: &mut Table<'_>,
    issuer: Option<&IssuerSettings>,
    keeps_state: bool,
) -> Option<StateDir> {
    let path = root.file_name("state_dir")?;
    let signature = issuer?.signer.sign(b"callgate state directory").ok()?;
    let state_dir = StateDir::new(path, &signature);
    let usable = match keeps_state {
        true => state_dir.create(),
        false if state_dir.path().exists() => state_dir.check(),
        false => Ok(()),
    };
    match usable {
        Ok(()) if keeps_state => Some(state_dir),
        Ok(()) => Some(state_dir.read_only()),
        // Root may check the folder of the service's user.
        Err(StateError::Owner(..)) if !keeps_state => None,
        Err(error) => {
            root.fault("state_dir", error);
            None
        }
    }
}

/// Derived from the issuer's seed, which all replicas have: an Ed25519 signature is deterministic, and
/// only the holder of the seed can make it. The text is not a JWT.
fn dummy_key(issuer: Option<&IssuerSettings>) -> DummyKey {
    let signature = issuer.and_then(|issuer| issuer.signer.sign(b"callgate dummy passwords").ok());
    signature.map_or_else(DummyKey::random, |signature| DummyKey::from_secret(&signature))
}

#[cfg(test)]
mod tests;
