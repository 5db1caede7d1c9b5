//! The table `second_factor` of an authenticator.

use std::time::Duration;

use callgate_config::{Key, Table, Type};

/// The keys of `[authenticators.second_factor]`.
pub const SECOND_FACTOR_KEYS: &[Key] = &[
    Key::optional("position", Type::Word(&["after", "before"]), "where the code stands in what the client sends as its password").or("\"after\""),
    Key::optional("separator", Type::Text, "what stands between password and code, such as `\",\"`").or("\"\""),
    Key::optional("required", Type::Boolean, "`true` refuses password logins of entries without `totp`").or("false"),
    Key::optional("skew", Type::Integer(0, 2), "how many periods before and after the current one count").or("1"),
    Key::optional("attempts", Type::Integer(1, 100), "wrong codes of one user within 5 minutes, after which every code of the user is refused for 5 minutes").or("5"),
    Key::optional("remember", Type::Named("duration, at most `\"24h\"`", &Type::Duration), "how long the same password and code count again from the same source, for clients that reconnect with a stored password").or("\"0s\""),
    Key::optional("replay_bucket", Type::Text, "key-value bucket in which replicas record used codes. It is created if it is missing").or_else("none: a code may be used once per replica"),
    Key::optional("certificate", Type::Text, "name of a `certificate` authenticator that must accept the connection, too"),
    Key::optional("same_user", Type::Boolean, "whether the certificate must name the same user").or("true"),
];

const MAX_REMEMBER: Duration = Duration::from_secs(24 * 60 * 60);

/// The settings of second factors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecondFactorSettings {
    /// Whether the code stands before the password.
    pub before: bool,
    pub separator: String,
    /// Whether entries without `totp` are refused.
    pub required: bool,
    pub skew: u64,
    pub attempts: usize,
    pub remember: Duration,
    pub replay_bucket: Option<String>,
    /// The `certificate` authenticator that must accept the connection, too.
    pub certificate: Option<String>,
    /// Whether the certificate must name the same user.
    pub same_user: bool,
}

impl Default for SecondFactorSettings {
    fn default() -> Self {
        Self {
            before: false,
            separator: String::new(),
            required: false,
            skew: 1,
            attempts: 5,
            remember: Duration::ZERO,
            replay_bucket: None,
            certificate: None,
            same_user: true,
        }
    }
}

impl SecondFactorSettings {
    /// Reads the table. Codes need entries, so authenticators without entries take only `certificate`
    /// and `same_user`.
    pub fn read(mut table: Table<'_>, has_entries: bool) -> Self {
        let default = Self::default();
        let certificate = table.filled_string("certificate");
        let same_user = table.boolean("same_user");
        if same_user.is_some() && certificate.is_none() {
            table.fault("same_user", "needs `certificate`");
        }
        if !has_entries {
            for key in SECOND_FACTOR_KEYS
                .iter()
                .filter(|key| !["certificate", "same_user"].contains(&key.name))
            {
                table.refuse(
                    key.name,
                    "codes need an authenticator with entries: `users`, `kv` or `sql`",
                );
            }
        }
        let position = table.string("position");
        if position.as_deref().is_some_and(|position| !["after", "before"].contains(&position)) {
            table.fault("position", "must be `after` or `before`");
        }
        let separator = table.string("separator").unwrap_or_default();
        if separator.chars().any(|character| character.is_ascii_digit()) {
            table.fault("separator", "must not contain digits, of which codes consist");
        }
        let remember = table.duration("remember").unwrap_or_default();
        if remember > MAX_REMEMBER {
            table.fault("remember", "must not be longer than 24 hours");
        } else if !remember.is_zero() {
            table.warn(
                "remember",
                "a stolen password and code log in again from the same source during this time",
            );
        }
        let replay_bucket = table.filled_string("replay_bucket");
        if has_entries && replay_bucket.is_none() && certificate.is_none() {
            table.warn_here(
                "without `replay_bucket` each replica knows only the codes that it has seen itself: a code may be used once per replica",
            );
        }
        let number = |value: Option<i64>, default: usize| {
            value.and_then(|value| usize::try_from(value).ok()).unwrap_or(default)
        };
        let settings = Self {
            before: position.as_deref() == Some("before"),
            separator,
            required: table.boolean("required").unwrap_or(default.required),
            skew: table.integer("skew", 0..=2).and_then(|skew| skew.try_into().ok()).unwrap_or(1),
            attempts: number(table.integer("attempts", 1..=100), default.attempts),
            remember,
            replay_bucket,
            certificate,
            same_user: same_user.unwrap_or(true),
        };
        table.finish();
        settings
    }
}
