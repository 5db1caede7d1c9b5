//! The logins that every connection type runs in every environment.

use crate::{
    clients::{self, Login, Observed},
    environment::{Environment, Tokens},
    mode::Mode,
    observers::Arrived,
    report::Outcome,
    site::{JWT_TOKEN, NKEY_SEED},
    transport::{Absence, Transport},
};

/// The expected outcome of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Admitted with this name, in this account.
    Admitted {
        /// The name.
        user: &'static str,
        /// The account.
        account: &'static str,
        /// Whether it may use every subject of its account.
        unrestricted: bool,
    },
    /// Refused, for this reason.
    Refused(&'static str),
}

/// One login and its expected outcome.
#[derive(Debug, Clone)]
pub struct LoginCase {
    /// What it checks, as a sentence.
    pub check: String,
    /// The login.
    pub login: Login,
    /// The expected outcome.
    pub expected: Expected,
}

/// The credential that a client presents: not every client can send every kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Password,
    Token,
}

fn style(mode: Mode, transport: Transport) -> Style {
    match transport {
        Transport::TokenCookie => Style::Token,
        // With credentials nats-py also sends a token, but no user and password.
        Transport::TcpPython if mode.is_operator() => Style::Token,
        Transport::Tcp
        | Transport::TcpPython
        | Transport::TcpCommandLine
        | Transport::Tls
        | Transport::WebSocket
        | Transport::WebSocketJavaScript
        | Transport::UserCookie
        | Transport::JwtCookie
        | Transport::Mqtt
        | Transport::LeafNode => Style::Password,
    }
}

/// Runs one cell.
///
/// # Panics
/// With the failed checks.
pub async fn run(environment: &mut Environment, transport: Transport) -> Outcome {
    let (mode, version) = (environment.site.mode, environment.version);
    match transport.absence(mode, version) {
        Some(Absence::Unconfigurable(why)) => Outcome::absent(why),
        Some(Absence::CredentialLost { why, reason }) => {
            still_lost(environment, transport, reason).await;
            Outcome::absent(why)
        }
        None => {
            let cases = cases(mode, transport, &environment.tokens);
            let logins: Vec<Login> = cases.iter().map(|case| case.login.clone()).collect();
            let seen = clients::attempt(environment, transport, &logins).await;
            let failures: Vec<String> = cases
                .iter()
                .zip(&seen)
                .filter_map(|(case, seen)| wrong(environment, case, seen, transport))
                .collect();
            assert!(failures.is_empty(), "{}", failures.join("\n"));
            Outcome::passed(cases.into_iter().map(|case| case.check))
        }
    }
}

/// Holds the reason for an absent cell to the truth: when a server line changes, this fails.
async fn still_lost(environment: &mut Environment, transport: Transport, reason: Option<&str>) {
    let login = match style(environment.site.mode, transport) {
        Style::Password => Login::password("bob", "bob"),
        Style::Token => Login::token(JWT_TOKEN),
    };
    let seen = clients::attempt(environment, transport, &[login]).await;
    assert!(seen[0].arrived.is_none(), "this server line no longer loses the credential: {seen:?}");
    let decided = seen[0].decision.as_ref().map(|decision| decision.reason.as_str());
    assert_eq!(decided, reason, "{seen:?}");
}

/// Describes a failed check.
fn wrong(
    environment: &Environment,
    case: &LoginCase,
    seen: &Observed,
    transport: Transport,
) -> Option<String> {
    let fault = |what: String| Some(format!("{}: {what}; {seen:?}", case.check));
    let Some(decision) = &seen.decision else {
        return fault("Callgate received no request".to_owned());
    };
    if decision.connection != transport.kind() {
        return fault(format!("it came over {}", transport.kind()));
    }
    match &case.expected {
        Expected::Refused(reason) if seen.arrived.is_some() || decision.reason != *reason => {
            fault(format!("must be refused with {reason}"))
        }
        Expected::Refused(_) => None,
        Expected::Admitted { user, account, unrestricted } => {
            let arrived = Arrived { account, shut: *unrestricted };
            if seen.arrived.as_ref() != Some(&arrived) {
                return fault(format!("must be admitted and observed as {arrived:?}"));
            }
            if decision.user != *user || decision.account != *account {
                return fault(format!("the decision must name {user} in {account}"));
            }
            let Some(info) = &seen.info else {
                let silent = "the server did not return user info".to_owned();
                return if transport.can_ask() { fault(silent) } else { None };
            };
            let expected = (*user, environment.site.accounts[account].as_str());
            let told = (info.user.as_str(), info.account.as_str());
            if told != expected {
                fault(format!("the server must report {expected:?}"))
            } else {
                None
            }
        }
    }
}

fn cases(mode: Mode, transport: Transport, tokens: &Tokens) -> Vec<LoginCase> {
    let table = Table { style: style(mode, transport) };
    let kind = transport.kind();
    let mut cases = table.common(kind);
    cases.extend(table.of_kind(kind));
    if mode.has_several_accounts() {
        let second = admitted("dave", "OTHER", true);
        cases.push(table.case(
            "a user of another account is placed in that account",
            "dave",
            second,
        ));
    }
    if mode.has_scopes() {
        cases.push(table.case(
            "a scoped signing key grants its template",
            "rita",
            admitted("rita", "APP", false),
        ));
        cases.push(table.case(
            "a user name that would widen the template is refused",
            "rita.x",
            Expected::Refused("unsafe_template_value"),
        ));
    }
    cases.extend(table.bearers(tokens));
    cases.extend(table.credentials(mode, transport));
    cases
}

fn admitted(user: &'static str, account: &'static str, unrestricted: bool) -> Expected {
    Expected::Admitted { user, account, unrestricted }
}

struct Table {
    style: Style,
}

impl Table {
    fn login(&self, user: &str) -> Login {
        match self.style {
            Style::Password => Login::password(user, user),
            Style::Token => Login::token(&format!("{user}-token")),
        }
    }

    fn case(&self, check: &str, user: &str, expected: Expected) -> LoginCase {
        LoginCase { check: check.to_owned(), login: self.login(user), expected }
    }

    fn common(&self, kind: &str) -> Vec<LoginCase> {
        let refused = Expected::Refused;
        let plain = match kind {
            "leafnode" => self.case(
                "a user without the connection type cannot open a leaf node",
                "alice",
                refused("connection_type_not_allowed"),
            ),
            _ => self.case(
                "a user without restrictions may use every subject of its account",
                "alice",
                admitted("alice", "APP", true),
            ),
        };
        vec![
            plain,
            self.case("a user's permissions are enforced", "bob", admitted("bob", "APP", false)),
            self.case(
                "a role's permissions are enforced",
                "carol",
                admitted("carol", "APP", false),
            ),
            self.wrong_secret(),
            self.case(
                "a user is admitted from an allowed network",
                "near",
                admitted("near", "APP", true),
            ),
            self.case(
                "a user is refused from any other network",
                "afar",
                refused("source_not_allowed"),
            ),
            self.case(
                "a role is refused from any other network",
                "afar-role",
                refused("source_not_allowed"),
            ),
            self.case("an expired user is refused", "late", refused("user_expired")),
            self.case("a disabled user is refused", "off", refused("user_disabled")),
            self.case(
                "a user of the callout account is refused",
                "insider",
                refused("account_not_allowed"),
            ),
        ]
    }

    fn wrong_secret(&self) -> LoginCase {
        let (login, reason) = match self.style {
            Style::Password => (Login::password("trudy", "wrong"), "bad_password"),
            Style::Token => (Login::token("wrong"), "bad_token"),
        };
        LoginCase {
            check: "a wrong password or token is refused".to_owned(),
            login,
            expected: Expected::Refused(reason),
        }
    }

    fn of_kind(&self, kind: &str) -> Vec<LoginCase> {
        let refused = Expected::Refused("connection_type_not_allowed");
        let only: &'static str = match kind {
            "nats" => "only-nats",
            "websocket" => "only-websocket",
            "mqtt" => "only-mqtt",
            _ => "only-leafnode",
        };
        vec![
            self.case(
                "a user is admitted over an allowed connection type",
                only,
                admitted(only, "APP", true),
            ),
            self.case(
                "a user is refused over any other connection type",
                &format!("not-{kind}"),
                refused.clone(),
            ),
            self.case(
                "a role is refused over any other connection type",
                &format!("not-{kind}-role"),
                refused,
            ),
        ]
    }

    /// Tokens of an identity provider, in the password field where the client sends passwords.
    fn bearers(&self, tokens: &Tokens) -> Vec<LoginCase> {
        let case = |check: &str, user: &str, token: &str, expected| {
            let login = match self.style {
                Style::Password => Login::password(user, token),
                Style::Token => Login::token(token),
            };
            LoginCase { check: check.to_owned(), login, expected }
        };
        let olga = admitted("olga", "APP", false);
        let over = Expected::Refused("token_expired");
        vec![
            case("a bearer token of an identity provider is accepted", "olga", &tokens.good, olga),
            case("an expired bearer token is refused", "otto", &tokens.ended, over),
        ]
    }

    /// Credentials that only some clients can send.
    fn credentials(&self, mode: Mode, transport: Transport) -> Vec<LoginCase> {
        let case =
            |check: &str, login, expected| LoginCase { check: check.to_owned(), login, expected };
        let trudy = admitted("trudy", "APP", true);
        let nkey = Login { nkey: Some(NKEY_SEED.to_owned()), ..Login::default() };
        match transport {
            Transport::Tcp | Transport::Tls | Transport::WebSocket => {
                let mut cases = vec![
                    case(
                        "a token is accepted",
                        Login::token("bob-token"),
                        admitted("bob", "APP", false),
                    ),
                    case(
                        "a wrong token is refused",
                        Login::token("x"),
                        Expected::Refused("bad_token"),
                    ),
                    case(
                        "two credentials in one login are refused",
                        Login { token: Some("bob-token".to_owned()), ..self.login("bob") },
                        Expected::Refused("ambiguous_credential"),
                    ),
                ];
                // In operator mode the sentinel takes the place of an nkey.
                if !mode.is_operator() {
                    let nick = admitted("nick", "APP", true);
                    cases.push(case("a signed nonce is accepted", nkey, nick));
                }
                cases
            }
            Transport::Mqtt => {
                let login = Login::password("anything", JWT_TOKEN);
                vec![case("a JWT-shaped token is accepted in the password field", login, trudy)]
            }
            Transport::TokenCookie => {
                vec![case("a JWT-shaped token is accepted", Login::token(JWT_TOKEN), trudy)]
            }
            Transport::TcpPython
            | Transport::TcpCommandLine
            | Transport::WebSocketJavaScript
            | Transport::UserCookie
            | Transport::JwtCookie
            | Transport::LeafNode => Vec::new(),
        }
    }
}
