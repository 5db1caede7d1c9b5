//! A nats-server with a callout and Callgate, in a directory of their own.

use std::{fs, path::PathBuf};

use callgate_testkit::{CurveKey, NatsServer, Nkey, service::PERMISSIONS};
use serde_json::Value;
use tempfile::TempDir;

use super::{Credential, Service, Session, connect_to, serve, write_private};

/// The server's full timeout, since the machine may be busy with a build.
const USERS: &str = "[[authenticators]]
name = \"staff\"
timeout = \"10s\"
[authenticators.users]
file = \"users.json\"";

/// A server and Callgate; dropping it stops both.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) server: NatsServer,
    pub(crate) server_config: String,
    pub(crate) gate: Service,
    pub(crate) folder: TempDir,
    pub(crate) issuer: Nkey,
    pub(crate) xkey: CurveKey,
}

/// Options of a [`Pair`].
#[derive(Debug)]
pub(crate) struct PairBuilder {
    users: String,
    files: Vec<(String, String)>,
    version: Option<String>,
    with_xkey: bool,
    server_extra: String,
    gate_extra: String,
    server_issuer: Option<String>,
    server_xkey: Option<String>,
    callout_permissions: bool,
    calls_out: bool,
    server_down: bool,
    wait: bool,
    authenticators: Option<String>,
    private_files: Vec<(String, String)>,
    service: Option<ServiceIn>,
    audit_stream: bool,
}

/// The account of a service that decides on [`SERVICE_SUBJECT`], and logs in as `team`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServiceIn {
    CalloutAccount,
    /// It serves `decide.login`, which the callout account imports.
    OtherAccount,
}

/// What the callout user may publish to for the audit's stream.
const AUDIT_STREAM: &str = "\"CALLGATE.audit.>\", \"$JS.API.STREAM.INFO.CALLGATE_AUDIT\", \
                            \"$JS.API.STREAM.CREATE.CALLGATE_AUDIT\"";
const JETSTREAM: &str = "jetstream { store_dir: \"{{dir}}/jetstream\", max_file_store: 256MB }";

/// The subject of questions.
pub(crate) const SERVICE_SUBJECT: &str = "callgate.ask.team";

impl Pair {
    /// Starts with these users and default options.
    pub(crate) async fn of(users: Value) -> Self {
        Self::builder(users).start().await
    }

    pub(crate) fn builder(users: Value) -> PairBuilder {
        PairBuilder {
            users: users.to_string(),
            files: Vec::new(),
            version: None,
            with_xkey: true,
            server_extra: String::new(),
            gate_extra: String::new(),
            server_issuer: None,
            server_xkey: None,
            callout_permissions: true,
            calls_out: true,
            server_down: false,
            wait: true,
            authenticators: None,
            private_files: Vec::new(),
            service: None,
            audit_stream: false,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces a file atomically, as editors do.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let fresh = self.path("fresh");
        fs::write(&fresh, text).unwrap();
        fs::rename(fresh, self.path(name)).unwrap();
    }

    /// Changes Callgate's configuration.
    pub(crate) fn rewrite_config(&self, change: impl FnOnce(String) -> String) {
        let text = fs::read_to_string(self.path("callgate.toml")).unwrap();
        self.write("callgate.toml", change(text));
    }

    /// Connects a client; returns the outcome and the logged decision.
    pub(crate) async fn attempt(
        &self,
        credential: &Credential,
    ) -> (Result<Session, async_nats::ConnectError>, Value) {
        self.attempt_at(&self.server.url(), credential).await
    }

    /// The same at another listener of the server.
    pub(crate) async fn attempt_at(
        &self,
        url: &str,
        credential: &Credential,
    ) -> (Result<Session, async_nats::ConnectError>, Value) {
        let mark = self.gate.mark();
        let outcome = connect_to(url, credential).await;
        (outcome, self.gate.decision(mark).await)
    }

    /// Connects a client that must be admitted.
    pub(crate) async fn admits(&self, credential: &Credential) -> Session {
        let (outcome, decision) = self.attempt(credential).await;
        outcome.unwrap_or_else(|error| panic!("{credential:?}: {error}, {decision}"))
    }

    /// Connects a client that must be refused; returns the reason.
    pub(crate) async fn refuses(&self, credential: &Credential) -> String {
        let (outcome, decision) = self.attempt(credential).await;
        assert!(outcome.is_err(), "{credential:?} was let in: {decision}");
        decision["reason"].as_str().expect("a reason").to_owned()
    }
}

impl PairBuilder {
    pub(crate) fn version(mut self, version: &str) -> Self {
        self.version = Some(version.to_owned());
        self
    }

    /// Another file beside the configuration.
    pub(crate) fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// The users file, as text.
    pub(crate) fn users_text(mut self, text: &str) -> Self {
        text.clone_into(&mut self.users);
        self
    }

    pub(crate) fn without_xkey(mut self) -> Self {
        self.with_xkey = false;
        self
    }

    /// Additional configuration of nats-server.
    pub(crate) fn server_config(mut self, text: &str) -> Self {
        self.server_extra.push_str(text);
        self
    }

    /// Additional configuration of Callgate.
    pub(crate) fn gate_config(mut self, text: &str) -> Self {
        self.gate_extra.push_str(text);
        self
    }

    /// These `[[authenticators]]` and what follows them, instead of a users file.
    pub(crate) fn authenticators(mut self, text: &str) -> Self {
        self.authenticators = Some(text.to_owned());
        self
    }

    /// A file that only its owner can read.
    pub(crate) fn private_file(mut self, name: &str, text: &str) -> Self {
        self.private_files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Lets a service decide.
    pub(crate) fn service(mut self, account: ServiceIn) -> Self {
        self.service = Some(account);
        self
    }

    /// JetStream in the callout account, and the permissions for the stream `CALLGATE_AUDIT`.
    pub(crate) fn audit_stream(mut self) -> Self {
        self.audit_stream = true;
        self
    }

    /// Configures another issuer in the server.
    pub(crate) fn server_issuer(mut self, public: &str) -> Self {
        self.server_issuer = Some(public.to_owned());
        self
    }

    /// Configures another xkey in the server.
    pub(crate) fn server_xkey(mut self, public: &str) -> Self {
        self.server_xkey = Some(public.to_owned());
        self
    }

    /// A callout user without permission limits.
    pub(crate) fn unlimited_callout_user(mut self) -> Self {
        self.callout_permissions = false;
        self
    }

    /// A server without a callout, so that a test can send requests in its place, as `watcher`.
    pub(crate) fn without_callout(mut self) -> Self {
        self.calls_out = false;
        self
    }

    /// The server is down when Callgate starts.
    pub(crate) fn server_down(mut self) -> Self {
        self.server_down = true;
        self.never_ready()
    }

    /// Does not wait until Callgate is ready.
    pub(crate) fn never_ready(mut self) -> Self {
        self.wait = false;
        self
    }

    pub(crate) async fn start(self) -> Pair {
        let (issuer, xkey, auth) = (Nkey::account(), CurveKey::generate(), Nkey::user());
        let config = self.server_text(&issuer, &xkey, &auth);
        let mut server = NatsServer::builder().config(&config);
        if let Some(version) = &self.version {
            server = server.version(version);
        }
        let mut server = server.start().await;
        if self.server_down {
            server.stop().await;
        }
        let folder = tempfile::tempdir().unwrap();
        write_private(&folder.path().join("issuer.nk"), &issuer.seed());
        write_private(&folder.path().join("xkey.xk"), &xkey.seed());
        write_private(&folder.path().join("auth.nk"), &auth.seed());
        for (name, text) in &self.private_files {
            write_private(&folder.path().join(name), text);
        }
        fs::write(folder.path().join("users.json"), &self.users).unwrap();
        for (name, text) in &self.files {
            write_private(&folder.path().join(name), text);
        }
        fs::write(folder.path().join("callgate.toml"), self.gate_text(&server.url())).unwrap();
        let gate = serve(folder.path(), &["--config", "callgate.toml"]).await;
        if self.wait {
            gate.ready().await;
        }
        Pair { server, server_config: config, gate, folder, issuer, xkey }
    }

    fn server_text(&self, issuer: &Nkey, xkey: &CurveKey, auth: &Nkey) -> String {
        let issuer = self.server_issuer.clone().unwrap_or_else(|| issuer.public());
        let xkey = self.server_xkey.clone().unwrap_or_else(|| xkey.public());
        let xkey = if self.with_xkey { format!("xkey: \"{xkey}\",") } else { String::new() };
        let permissions = match self.callout_permissions {
            true => PERMISSIONS
                .replace("\"$SRV.INFO\"", &format!("\"$SRV.INFO\", \"{SERVICE_SUBJECT}\"")),
            false => String::new(),
        };
        let permissions = match self.audit_stream {
            true => permissions.replace("\"$SRV.INFO\"", &format!("\"$SRV.INFO\", {AUDIT_STREAM}")),
            false => permissions,
        };
        let jetstream = if self.audit_stream { "jetstream: enabled," } else { "" };
        let store = if self.audit_stream { JETSTREAM } else { "" };
        let (auth, extra) = (auth.public(), &self.server_extra);
        const TEAM: &str = "{ user: team, password: team }";
        let team = self.service.map_or("", |_| ", team");
        let (member, import, other) = match self.service {
            None => (String::new(), String::new(), String::new()),
            Some(ServiceIn::CalloutAccount) => (format!(", {TEAM}"), String::new(), String::new()),
            Some(ServiceIn::OtherAccount) => (
                String::new(),
                format!(
                    ", imports: [ {{ service: {{ account: DECIDE, subject: \"decide.login\" }}, to: \
                     \"{SERVICE_SUBJECT}\" }} ]"
                ),
                format!(
                    "DECIDE {{ users: [ {TEAM} ], exports: [ {{ service: \"decide.login\", accounts: \
                     [AUTH] }} ] }}"
                ),
            ),
        };
        let callout = match self.calls_out {
            true => format!(
                "authorization {{ auth_callout {{ issuer: \"{issuer}\", {xkey} account: AUTH, \
                 auth_users: [ \"{auth}\", operator, watcher{team} ] }} }}"
            ),
            false => String::new(),
        };
        format!(
            "accounts {{
  AUTH {{ {jetstream} users: [ {{ nkey: \"{auth}\", {permissions} }}, {{ user: watcher, password: watcher }}{member} ] {import} }}
  {other}
  APP {{}}
  SYS {{ users: [ {{ user: operator, password: operator }} ] }}
}}
system_account: SYS
{callout}
{store}
{extra}
"
        )
    }

    fn gate_text(&self, url: &str) -> String {
        let xkeys = if self.with_xkey { "xkeys = [{ file = \"xkey.xk\" }]" } else { "" };
        let log = if self.gate_extra.contains("[log]") { "" } else { "[log]\nformat = \"json\"" };
        let extra = &self.gate_extra;
        let authenticators = self.authenticators.as_deref().unwrap_or(USERS);
        format!(
            "[nats]
servers = [\"{url}\"]
nkey = {{ file = \"auth.nk\" }}
[issuer]
seed = {{ file = \"issuer.nk\" }}
{xkeys}
{authenticators}
[admin]
listen = \"127.0.0.1:0\"
{log}
{extra}
"
        )
    }
}
