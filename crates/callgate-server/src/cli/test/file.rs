//! Files with policy tests.

use std::{fmt, net::IpAddr, path::Path, time::Duration};

use callgate::{
    authn::Identity,
    clock::UnixTime,
    connection::ConnectionKind,
    keys::{KeyError, KeyKind, KeyPair, Seed},
    record::{Denial, Outcome, Reason},
    secret::Secret,
    suggest::did_you_mean,
};
use callgate_config::{
    Document, DocumentError, Key, Position, Report, Sources, Table, Type, schema::TEXTS,
};
use jiff::Timestamp;

use crate::{
    cli::explain::{can::AccessQuery, request::read as read_request},
    rehearsal::{Connection, IDENTITY_KEYS, IdentitySpec, SpecContext},
};

const KEYS: &[Key] = &[
    Key::optional("tests", Type::List(&Type::Table(TEST_KEYS)), "tests of single identities"),
    Key::optional(
        "never",
        Type::List(&Type::Table(NEVER_KEYS)),
        "what no role and no entry may do",
    ),
];

const TEST_KEYS: &[Key] = &[
    Key::required("name", Type::Text, "a name that no other test has"),
    Key::optional("identity", Type::Table(IDENTITY_KEYS), "an identity, without a login"),
    Key::optional("login", Type::Table(LOGIN_KEYS), "a credential, instead of an identity"),
    Key::optional("client", Type::Table(CLIENT_KEYS), "the connection"),
    Key::optional("server", Type::Table(SERVER_KEYS), "the server"),
    Key::optional("now", Type::Text, "the time of the login").or_else("the current time"),
    Key::optional("expect", Type::Table(EXPECT_KEYS), "the decision").or_else("admitted"),
    Key::optional("may", TEXTS, "`pub:SUBJECT` and `sub:SUBJECT`: all of it is allowed"),
    Key::optional("may_not", TEXTS, "`pub:SUBJECT` and `sub:SUBJECT`: nothing of it is allowed"),
];

const LOGIN_KEYS: &[Key] = &[
    Key::optional("user", Type::Text, "a user name"),
    Key::optional("password", Type::Secret, "its password"),
    Key::optional("token", Type::Secret, "a token"),
    Key::optional("nkey_seed", Type::Secret, "the seed of a user nkey"),
    Key::optional("request", Type::Path, "a file with a request from a server"),
];

const CLIENT_KEYS: &[Key] = &[
    Key::optional("type", Type::Text, "`nats`, `websocket`, `mqtt` or `leafnode`").or("\"nats\""),
    Key::optional("source", Type::Text, "its address").or("\"127.0.0.1\""),
    Key::optional("name", Type::Text, "the name that it claims"),
    Key::optional("lang", Type::Text, "the language that it claims"),
    Key::optional("version", Type::Text, "the version that it claims"),
    Key::optional("mqtt_id", Type::Text, "its MQTT client ID"),
];

const SERVER_KEYS: &[Key] = &[
    Key::optional("name", Type::Text, "its name"),
    Key::optional("cluster", Type::Text, "its cluster"),
    Key::optional("tags", TEXTS, "its tags"),
];

const EXPECT_KEYS: &[Key] = &[
    Key::optional("outcome", Type::Word(&["admitted", "refused", "dropped"]), "the outcome"),
    Key::optional("reason", Type::Text, "the reason code"),
    Key::optional("account", Type::Text, "the account"),
    Key::optional("roles", TEXTS, "exactly these roles, in any order"),
    Key::optional("ends_within", Type::Duration, "the longest session"),
];

const NEVER_KEYS: &[Key] = &[
    Key::required("may", TEXTS, "`pub:SUBJECT` and `sub:SUBJECT` that nothing may reach"),
    Key::optional("except_roles", TEXTS, "roles to which this does not apply"),
];

/// The tests of a file.
#[derive(Debug)]
pub(super) struct TestFile {
    /// As given on the command line.
    pub(super) name: String,
    pub(super) tests: Vec<Test>,
    pub(super) never: Vec<Never>,
}

/// One of `[[tests]]`.
#[derive(Debug)]
pub(super) struct Test {
    pub(super) name: String,
    /// Where it is, if known.
    pub(super) position: Option<Position>,
    pub(super) subject: TestSubject,
    pub(super) connection: Connection,
    pub(super) now: Option<UnixTime>,
    pub(super) expect: Expectation,
    pub(super) may: Vec<AccessQuery>,
    pub(super) may_not: Vec<AccessQuery>,
}

/// What a test is about.
#[derive(Debug)]
pub(super) enum TestSubject {
    Identity {
        spec: IdentitySpec,
        /// Where its user is, if known.
        user_at: Option<Position>,
        /// The identity, or why it cannot log in, once it was looked up.
        found: Option<Box<Result<Identity, Denial>>>,
    },
    Login(Login),
}

/// A credential.
#[derive(Debug)]
pub(super) enum Login {
    Password {
        user: String,
        password: Secret,
    },
    Token(Secret),
    Nkey(UserSeed),
    /// The payload of a request from a server.
    Request(Vec<u8>),
}

/// A seed of a user. A login needs a key pair of its own.
pub(super) struct UserSeed(Secret);

impl UserSeed {
    /// The key pair.
    pub(super) fn pair(&self) -> Result<KeyPair, KeyError> {
        KeyPair::from_seed(Seed::find(self.0.expose())?)
    }
}

impl fmt::Debug for UserSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserSeed([redacted])")
    }
}

/// `expect`.
#[derive(Debug)]
pub(super) struct Expectation {
    pub(super) outcome: Outcome,
    pub(super) reason: Option<Reason>,
    pub(super) account: Option<String>,
    pub(super) roles: Option<Vec<String>>,
    pub(super) ends_within: Option<Duration>,
}

/// One of `[[never]]`.
#[derive(Debug)]
pub(super) struct Never {
    pub(super) position: Option<Position>,
    pub(super) may: Vec<AccessQuery>,
    pub(super) except_roles: Vec<String>,
}

impl Never {
    /// A name for output.
    pub(super) fn name(&self) -> String {
        let list: Vec<_> = self.may.iter().map(ToString::to_string).collect();
        format!("never {}", list.join(", "))
    }
}

/// Reads the document of a test file; errors are reported.
pub(super) fn document(path: &Path, report: &Report) -> Option<Document> {
    let name = path.display().to_string();
    match Document::read(path, &sources(path)) {
        Ok(document) if document.value().is_object() => Some(document),
        Ok(_) => {
            report.fault_in(&name, None, "has no test: add `[[tests]]` or `[[never]]`");
            None
        }
        Err(DocumentError::Syntax { position, message }) => {
            report.fault_in(&name, position, message);
            None
        }
        Err(error @ (DocumentError::Source(_) | DocumentError::Extension(_))) => {
            report.fault("", error);
            None
        }
    }
}

fn sources(path: &Path) -> Sources {
    let base = path.parent().filter(|base| !base.as_os_str().is_empty());
    Sources::new(base.unwrap_or(Path::new(".")))
}

/// True if a test of the document logs in, so that authenticators must be able to answer.
pub(super) fn logs_in(document: &Document) -> bool {
    let tests = document.value().get("tests").and_then(|tests| tests.as_array());
    tests.is_some_and(|tests| tests.iter().any(|test| test.get("login").is_some()))
}

impl TestFile {
    /// Reads the tests, and reports what is wrong with them.
    pub(super) fn read(
        path: &Path,
        document: &Document,
        context: &SpecContext,
        has_hours: bool,
        report: &Report,
    ) -> Self {
        let name = path.display().to_string();
        let sources = sources(path);
        let mut root = Table::root(document, "", report, &sources).with_keys(Type::Table(KEYS));
        let tests = root.tables("tests");
        let never = root.tables("never");
        root.finish();
        let paths: Vec<String> = tests
            .iter()
            .flat_map(|table| [table.path().to_owned(), user_path(table.path())])
            .chain(never.iter().map(|table| table.path().to_owned()))
            .collect();
        let positions = document.positions_of(paths.iter().map(String::as_str));
        let at = |path: &str| positions.get(path).copied();
        let tests: Vec<Test> = tests
            .into_iter()
            .filter_map(|table| {
                let position = at(table.path());
                let user_at = at(&user_path(table.path())).or(position);
                let mut test = Test::read(table, context, has_hours)?;
                test.locate(position, user_at);
                Some(test)
            })
            .collect();
        let never: Vec<Never> = never
            .into_iter()
            .filter_map(|table| {
                let position = at(table.path());
                Some(Never { position, ..Never::read(table, context)? })
            })
            .collect();
        if report.is_faultless() && tests.is_empty() && never.is_empty() {
            report.fault("", "has no test: add `[[tests]]` or `[[never]]`");
        }
        report.locate(document, "", &name);
        Self { name, tests, never }
    }
}

/// The key of the user of a test.
fn user_path(test: &str) -> String {
    format!("{test}.identity.user")
}

impl Test {
    fn locate(&mut self, position: Option<Position>, user: Option<Position>) {
        self.position = position;
        match &mut self.subject {
            TestSubject::Identity { user_at, .. } => *user_at = user,
            TestSubject::Login(_) => {}
        }
    }

    fn read(mut table: Table<'_>, context: &SpecContext, has_hours: bool) -> Option<Self> {
        let name = table.required_string("name");
        let subject = TestSubject::read(&mut table, context);
        let connection = connection(&mut table);
        let now = now(&mut table);
        if now.is_none() && has_hours && !table.has("now") {
            table.warn_here(
                "`now` is missing, and the policy has hours: the result depends on the time",
            );
        }
        let expect = Expectation::read(&mut table, context);
        let may: Option<Vec<AccessQuery>> = table.parsed_list("may");
        let may_not: Option<Vec<AccessQuery>> = table.parsed_list("may_not");
        // A list with an error is reported as such.
        let has_access = [("may", &may), ("may_not", &may_not)]
            .into_iter()
            .any(|(key, list)| table.has(key) && list.as_ref().is_none_or(|list| !list.is_empty()));
        if !has_access && !table.has("expect") {
            table.fault_here("checks nothing: add `expect`, `may` or `may_not`");
        }
        table.finish();
        Some(Self {
            name: name?,
            position: None,
            subject: subject?,
            connection: connection?,
            now,
            expect: expect?,
            may: may.unwrap_or_default(),
            may_not: may_not.unwrap_or_default(),
        })
    }
}

impl TestSubject {
    fn read(table: &mut Table<'_>, context: &SpecContext) -> Option<Self> {
        match (table.has("identity"), table.has("login")) {
            (true, false) => {
                let spec = IdentitySpec::read(table.table("identity")?, context)?;
                Some(Self::Identity { spec, user_at: None, found: None })
            }
            (false, true) => Login::read(table.table("login")?).map(Self::Login),
            (true, true) => {
                table.fault("login", "excludes `identity`: a test has one of them");
                None
            }
            (false, false) => {
                table.fault_here("`identity` or `login` is missing");
                None
            }
        }
    }
}

impl Login {
    fn read(mut table: Table<'_>) -> Option<Self> {
        let user = table.filled_string("user");
        let password = secret(&mut table, "password");
        let token = secret(&mut table, "token");
        let nkey = secret(&mut table, "nkey_seed").and_then(|seed| nkey(&table, seed));
        let request = request(&mut table);
        let given: Vec<&str> = ["password", "token", "nkey_seed", "request"]
            .into_iter()
            .filter(|key| table.has(key))
            .collect();
        let login = match given.as_slice() {
            ["password"] => match (user, password) {
                (Some(user), Some(password)) => Some(Self::Password { user, password }),
                (None, _) if !table.has("user") => {
                    table.fault_here("`user` is missing");
                    None
                }
                (None, _) | (_, None) => None,
            },
            ["token"] => token.map(Self::Token),
            ["nkey_seed"] => nkey.map(Self::Nkey),
            ["request"] => request.map(Self::Request),
            _ => {
                let message =
                    "needs one of `user` with `password`, `token`, `nkey_seed` and `request`";
                table.fault_here(message);
                None
            }
        };
        table.finish();
        login
    }
}

/// A secret of a test may be plain text: it opens nothing but the test's own configuration.
fn secret(table: &mut Table<'_>, key: &str) -> Option<Secret> {
    let item = table.raw(key)?;
    match item.value().as_str() {
        Some(text) => Some(Secret::new(text)),
        None => table.secret(key),
    }
}

/// The request in a file.
fn request(table: &mut Table<'_>) -> Option<Vec<u8>> {
    let path = table.file_name("request")?;
    read_request(&path).map_err(|error| table.fault("request", error)).ok()
}

fn nkey(table: &Table<'_>, secret: Secret) -> Option<UserSeed> {
    match table.sources().own_seed(&secret) {
        Ok(seed) if seed.kind() == KeyKind::User => return Some(UserSeed(secret)),
        Ok(seed) => {
            let found = seed.kind().seed_in_words();
            table.fault("nkey_seed", format!("this is {found}, but a user seed (SU…) is needed"));
        }
        Err(error) => table.fault("nkey_seed", error),
    }
    None
}

fn connection(table: &mut Table<'_>) -> Option<Connection> {
    let mut client = table.table("client").unwrap_or_else(|| table.empty("client"));
    let kind = client.parse::<ConnectionKind>("type").unwrap_or(ConnectionKind::Nats);
    let source = match client.raw("source") {
        Some(item) => item.parse::<IpAddr>()?,
        None => IpAddr::from([127, 0, 0, 1]),
    };
    let connection = Connection::new(kind, source).map_err(|error| client.fault_here(error)).ok();
    let mut connection = connection?;
    let mut text = |key| client.string(key).unwrap_or_default();
    connection.client.name = text("name");
    connection.client.lang = text("lang");
    connection.client.version = text("version");
    connection.client.mqtt_id = text("mqtt_id");
    client.finish();
    let mut server = table.table("server").unwrap_or_else(|| table.empty("server"));
    connection.server.name = server.string("name").unwrap_or_default();
    connection.server.cluster = server.string("cluster").unwrap_or_default();
    connection.server.tags = server.strings("tags").unwrap_or_default();
    server.finish();
    Some(connection)
}

/// A time in RFC 3339.
fn now(table: &mut Table<'_>) -> Option<UnixTime> {
    let moment: Timestamp = table.parse("now")?;
    Some(UnixTime::from_seconds(moment.as_second()))
}

impl Expectation {
    fn read(table: &mut Table<'_>, context: &SpecContext) -> Option<Self> {
        let mut table = table.table("expect").unwrap_or_else(|| table.empty("expect"));
        let reason = reason(&mut table);
        let outcome = outcome(&mut table, reason);
        let account = table.filled_string("account");
        let roles = context.roles(&mut table, "roles");
        let ends_within = table.duration("ends_within");
        if outcome != Outcome::Admitted {
            for key in ["account", "roles", "ends_within"] {
                table.refuse(key, "only a client that is admitted has it");
            }
        }
        table.finish();
        Some(Self { outcome, reason, account, roles, ends_within })
    }
}

fn reason(table: &mut Table<'_>) -> Option<Reason> {
    let text = table.string("reason")?;
    let found = Reason::ALL.into_iter().find(|reason| reason.as_str() == text);
    if found.is_none() {
        let hint = did_you_mean(&text, Reason::ALL.iter().map(|reason| reason.as_str()));
        table.fault("reason", format!("unknown reason `{}`{hint}", text.escape_debug()));
    }
    found
}

/// A reason implies the outcome.
fn outcome(table: &mut Table<'_>, reason: Option<Reason>) -> Outcome {
    let implied = reason.map(Reason::outcome);
    let Some(text) = table.string("outcome") else { return implied.unwrap_or(Outcome::Admitted) };
    let all = [Outcome::Admitted, Outcome::Refused, Outcome::Dropped];
    match all.into_iter().find(|outcome| outcome.as_str() == text) {
        Some(outcome) if implied.is_none_or(|implied| implied == outcome) => outcome,
        Some(outcome) => {
            table.fault("outcome", format!("`{text}` contradicts `reason`"));
            outcome
        }
        None => {
            table.fault("outcome", "must be \"admitted\", \"refused\" or \"dropped\"");
            Outcome::Admitted
        }
    }
}

impl Never {
    fn read(mut table: Table<'_>, context: &SpecContext) -> Option<Self> {
        if !table.has("may") {
            table.fault_here("`may` is missing");
        }
        let may: Option<Vec<AccessQuery>> = table.parsed_list("may");
        if may.as_ref().is_some_and(Vec::is_empty) {
            table.fault("may", "must not be empty");
        }
        let except_roles = context.roles(&mut table, "except_roles").unwrap_or_default();
        table.finish();
        Some(Self { position: None, may: may?, except_roles })
    }
}
