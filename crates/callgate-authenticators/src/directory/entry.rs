//! The entry of a user, checked completely when it is read.

use std::{collections::BTreeSet, sync::Arc};

use callgate::{
    authn::{Identity, Origin, Proposal, Rejection},
    clock::UnixTime,
    jwt::{is_nats_user, looks_like_jwt},
    keys::UserKey,
    record::Reason,
    request::{MAX_PASSWORD, MAX_TOKEN, MAX_USER},
    subject::is_invisible,
};
use callgate_config::{
    Item, Key, Table, Type, permissions,
    schema::{CONNECTION_TYPES, NETWORKS, TEXTS},
};
use data_encoding::HEXLOWER_PERMISSIVE;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::credentials::{CredentialDigest, CredentialKind};
use crate::{
    kind::BuildContext,
    passwords::{StoredPassword, form},
    second_factor::{TOTP, Totp, read_totp},
};

/// The type of a users file: a table of entries by user name.
pub const FILE: Type = Type::Map(&ENTRY);

/// The type of one entry.
pub(crate) const ENTRY: Type = Type::Table(KEYS);

const KEYS: &[Key] = &[
    Key::optional("pass", Type::Text, "plain text, or a hash: argon2id, scrypt, bcrypt (`$2a$`, `$2b$`, `$2y$`), pbkdf2-sha256, pbkdf2-sha512, Django's `pbkdf2_sha256$…`").also(&["password"]),
    Key::optional("password_plain", Type::Text, "plain text that looks like a hash (`$word$…`, `{WORD}…`, `word$…$…`) or a variable (`$NAME`)"),
    Key::optional("token", Type::Text, "a token; must be unique in the file"),
    Key::optional("token_sha256", Type::Text, "the SHA-256 hash of a token, as 64 hex digits, instead of `token`"),
    Key::optional("nkey", Type::Text, "a public user nkey (`U…`); the client proves it by signing the server's nonce"),
    Key::optional("totp", TOTP, "the secret of one-time codes: an `otpauth://totp/…` URI, or a table with `secret`, `digits`, `period` and `algorithm`. Password logins then need a [code](second-factors.md)"),
    Key::optional("account", Type::Text, "the account in which to place the user"),
    Key::optional("roles", TEXTS, "names of [roles](policy.md); `[]` means none"),
    Key::optional("permissions", Type::Named("table", &Type::Table(permissions::KEYS)), "`publish`, `subscribe`, `responses`; `{}` permits nothing. [Templates](configuration.md#templates) work, such as `\"u.{{ user }}.>\"`"),
    Key::optional("source", NETWORKS, "networks from which the client must connect, such as `[\"10.0.0.0/8\"]`").or_else("anywhere"),
    Key::optional("connection_types", CONNECTION_TYPES, "`nats`, `websocket`, `mqtt`, `leafnode`").or_else("the first three"),
    Key::optional("expires", Type::Text, "when the entry expires, such as `\"2027-01-31T18:00:00Z\"`").or_else("never"),
    Key::optional("expires_after", Type::Duration, "longest session, such as `\"8h\"`"),
    Key::optional("disabled", Type::Boolean, "`true` refuses the user").or("false"),
];

/// A user.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) user: String,
    pub(crate) groups: Vec<String>,
    pub(crate) claims: serde_json::Map<String, serde_json::Value>,
    pub(crate) password: Option<Arc<StoredPassword>>,
    /// Identifies a password in clear text, also in other processes.
    pub(crate) clear_text_digest: Option<CredentialDigest>,
    pub(crate) token: Option<TokenHash>,
    pub(crate) nkey: Option<UserKey>,
    pub(crate) totp: Option<Arc<Totp>>,
    pub(crate) disabled: bool,
    /// The entry has errors, and its user is refused.
    pub(crate) faulty: bool,
    pub(crate) expires: Option<UnixTime>,
    pub(crate) proposal: Proposal,
    /// Changes when anything in the entry changes.
    pub(crate) fingerprint: u64,
    /// Verifications of the password are remembered for this version only; never zero.
    pub(crate) version: u64,
}

impl Entry {
    /// The entry of a user that cannot be read: the user is refused.
    pub(crate) fn unreadable(user: &str, version: u64) -> Self {
        Self {
            user: user.to_owned(),
            groups: Vec::new(),
            claims: serde_json::Map::new(),
            password: None,
            clear_text_digest: None,
            token: None,
            nkey: None,
            totp: None,
            disabled: true,
            faulty: true,
            expires: None,
            proposal: Proposal::default(),
            fingerprint: 0,
            version,
        }
    }

    /// The identity, unless the entry is disabled or expired at `now`. Call it after the credential
    /// proved correct, for every login: remembered verifications do not cover it.
    pub(super) fn identity(&self, now: UnixTime) -> Result<Identity, Rejection> {
        let rejected = |reason, what: &str| {
            let detail = format!("the entry of `{}` {what}", self.user.escape_debug());
            Err(Rejection::new(reason, detail))
        };
        if self.faulty {
            return rejected(Reason::UserDisabled, "has errors: see the log");
        }
        if self.disabled {
            return rejected(Reason::UserDisabled, "is disabled");
        }
        match self.expires {
            Some(end) if end <= now => rejected(Reason::UserExpired, &format!("expired at {end}")),
            Some(_) | None => Ok(Identity {
                groups: self.groups.clone(),
                claims: self.claims.clone(),
                expires_at: self.expires,
                proposal: self.proposal.clone(),
                ..Identity::of_user(self.user.clone())
            }),
        }
    }
}

/// The SHA-256 hash of a token.
pub(crate) type TokenHash = [u8; 32];

/// The hash by which the entry of a token is found.
pub(crate) fn token_hash(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

impl Entry {
    /// Reads the entry of `user`, which `origin` wrote. Errors go into the table's report.
    pub(crate) fn read(
        user: &str,
        mut table: Table<'_>,
        origin: Origin,
        context: &BuildContext,
        version: u64,
    ) -> Self {
        let faults_before = table.report().fault_count();
        let report = table.report();
        check_name(user, &table);
        let password = password(&mut table);
        if password.is_some() && user.len() > MAX_USER {
            table.report().warn(
                table.path(),
                format!("the name has more than {MAX_USER} bytes: logins with it and a password are always refused"),
            );
        }
        let totp = read_totp(&mut table);
        let token = token(&mut table);
        let nkey = nkey(&mut table, context);
        let keys = ["pass", "password", "password_plain", "token", "token_sha256", "nkey"];
        if !keys.iter().any(|key| table.has(key)) {
            table.fault_here("has no credential: give it a `password`, a `token` or an `nkey`");
        }
        if table.has("totp") {
            if password.is_none() {
                table.fault("totp", "needs a `password`: codes are sent together with it");
            } else if table.has("token") || table.has("nkey") {
                table.warn("totp", "logins with the token or nkey of this entry need no code");
            }
        }
        permissions::refuse_limits(&mut table);
        let proposal = proposal(&mut table, origin, context);
        if origin == Origin::Operator {
            for error in (context.policy.scope_errors)(user, &proposal) {
                table.warn_here(error);
            }
        }
        let disabled = table.boolean("disabled").unwrap_or(false);
        let expires = expires(&mut table);
        let fingerprint = table.fingerprint();
        table.finish();
        let clear_text = password.as_ref().filter(|(password, _)| password.cost().is_none());
        let clear_text_digest = clear_text.map(|(_, text)| {
            let key = &context.services.dummy_key;
            CredentialDigest::of(key, CredentialKind::Password, user, text.as_bytes())
        });
        let password = password.map(|(password, _)| Arc::new(password));
        let faulty = report.fault_count() > faults_before;
        Self {
            user: user.to_owned(),
            groups: Vec::new(),
            claims: serde_json::Map::new(),
            password,
            clear_text_digest,
            token,
            nkey,
            totp: totp.map(Arc::new),
            disabled,
            faulty,
            expires,
            proposal,
            fingerprint,
            version,
        }
    }
}

/// The first few names in order, of many.
#[derive(Debug)]
pub(crate) struct FirstNames {
    names: BTreeSet<String>,
    max: usize,
    count: usize,
}

impl FirstNames {
    /// At most `max` names.
    pub(crate) fn new(max: usize) -> Self {
        Self { names: BTreeSet::new(), max, count: 0 }
    }

    pub(crate) fn add(&mut self, user: &str) {
        self.count += 1;
        let is_among = self.names.len() < self.max
            || self.names.last().is_some_and(|last| user < last.as_str());
        if is_among {
            self.names.insert(user.escape_debug().to_string());
        }
        if self.names.len() > self.max {
            self.names.pop_last();
        }
    }

    /// The first of these names.
    pub(crate) fn of<'a>(max: usize, users: impl Iterator<Item = &'a str>) -> Self {
        let mut first = Self::new(max);
        users.for_each(|user| first.add(user));
        first
    }

    /// How many names there are in all.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The names, and how many there are beyond them.
    pub(crate) fn names(self) -> (Vec<String>, usize) {
        let more = self.count - self.names.len();
        (self.names.into_iter().collect(), more)
    }
}

/// `1 user was`, `2 users were`: the number with the matching verb.
pub(crate) fn users_in_words(count: usize, one: &str, many: &str) -> String {
    match count {
        1 => format!("1 user{one}"),
        _ => format!("{count} users{many}"),
    }
}

/// The library refuses longer credentials (`callgate::request`).
fn warn_length(item: &Item<'_>, text: &str, limit: usize) {
    if text.len() > limit {
        item.warn(format!("has more than {limit} bytes: logins with it are always refused"));
    }
}

fn check_name(user: &str, table: &Table<'_>) {
    if user.is_empty() {
        table.fault_here("the user name must not be empty");
    }
    if user.chars().any(is_invisible) {
        table.fault_here("the user name must not contain control or invisible characters");
    }
}

/// A text that must not be empty.
fn filled(item: Item<'_>) -> Option<Zeroizing<String>> {
    let text = item.string()?;
    if text.is_empty() {
        item.fault("must not be empty");
        return None;
    }
    Some(Zeroizing::new(text.to_owned()))
}

/// The password, and its text.
fn password(table: &mut Table<'_>) -> Option<(StoredPassword, Zeroizing<String>)> {
    let usual = table.raw_of(&["pass", "password"]);
    let plain = table.raw("password_plain");
    match (usual, plain) {
        (Some(_), Some(plain)) => {
            plain.fault("cannot be combined with another password: keep one of them");
            None
        }
        (Some(item), None) => {
            let text = filled(item.clone())?;
            let stored = StoredPassword::parse(&text).map_err(|error| item.fault(error)).ok()?;
            if stored.cost().is_none() {
                warn_clear_text(&item, &text);
            }
            Some((stored, text))
        }
        (None, Some(item)) => {
            let text = filled(item.clone())?;
            warn_clear_text(&item, &text);
            Some((StoredPassword::clear(&text), text))
        }
        (None, None) => None,
    }
}

fn warn_clear_text(item: &Item<'_>, text: &str) {
    warn_length(item, text, MAX_PASSWORD);
    if looks_like_jwt(text) {
        item.warn("has the form of a JWT, which counts as a token: write it as `token`");
    }
}

fn token(table: &mut Table<'_>) -> Option<TokenHash> {
    let plain = table.raw("token");
    let hashed = table.raw("token_sha256");
    match (plain, hashed) {
        (Some(_), Some(hashed)) => {
            hashed.fault("cannot be combined with `token`: keep one of them");
            None
        }
        (Some(item), None) => plain_token(&item),
        (None, Some(item)) => hashed_token(&item),
        (None, None) => None,
    }
}

fn plain_token(item: &Item<'_>) -> Option<TokenHash> {
    let token = filled(item.clone())?;
    if form(&token).is_some() {
        item.fault(
            "has the form of a hash or of a variable that was not expanded: write the token itself, or \
             its SHA-256 hash as `token_sha256`",
        );
        return None;
    }
    if token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        item.warn(
            "has the form of a SHA-256 hash, but is the token itself: if it is a hash, write it as \
             `token_sha256`",
        );
    }
    warn_length(item, &token, MAX_TOKEN);
    if is_nats_user(&token) {
        item.warn("is a NATS user JWT, which Callgate does not accept as a token");
    }
    Some(token_hash(&token))
}

fn hashed_token(item: &Item<'_>) -> Option<TokenHash> {
    let hash = HEXLOWER_PERMISSIVE.decode(item.string()?.as_bytes()).ok();
    let hash = hash.and_then(|hash| TokenHash::try_from(hash).ok());
    if hash.is_none() {
        item.fault(
            "is not a SHA-256 hash: write 64 hex digits, as `printf %s TOKEN | sha256sum` prints them",
        );
    }
    hash
}

fn nkey(table: &mut Table<'_>, context: &BuildContext) -> Option<UserKey> {
    let key: UserKey = table.parse("nkey")?;
    if let Err(error) = key.verifying() {
        table.fault("nkey", error);
        return None;
    }
    if context.chain.token_keys.contains(key.as_str()) {
        table.fault(
            "nkey",
            "this key also signs service tokens: a hostile server could have a token signed as the \
             nonce of a login, so use two keys",
        );
        return None;
    }
    Some(key)
}

/// What an entry proposes for its user: the keys from `account` to `expires_after`.
pub(crate) fn proposal(table: &mut Table<'_>, origin: Origin, context: &BuildContext) -> Proposal {
    let is_operators = origin == Origin::Operator;
    let unrestricted_if_alone = is_operators && !table.has("permissions") && !table.has("roles");
    let permissions = permissions::of_entry(table);
    let has_templates = permissions.as_ref().is_some_and(|own| own.templates.is_some());
    if !is_operators && has_templates {
        table.fault("permissions", "templates need `operator_owned = true`");
    }
    Proposal {
        origin,
        account: account(table, context),
        roles: match origin {
            Origin::Operator => context.policy.read_roles(table),
            // Policy drops and counts roles beyond the ceiling.
            Origin::Outside => table.strings("roles"),
        },
        templates: permissions.as_ref().and_then(|own| own.templates.clone()),
        permissions: permissions.map(|own| own.plain),
        source: table.networks("source"),
        connection_types: table.connection_kinds("connection_types"),
        expires_after: expires_after(table),
        unrestricted_if_alone,
    }
}

fn account(table: &mut Table<'_>, context: &BuildContext) -> Option<String> {
    let account = table.filled_string("account")?;
    if let Some(warning) = context.policy.account_warning(&account) {
        table.warn("account", warning);
    }
    Some(account)
}

fn expires_after(table: &mut Table<'_>) -> Option<std::time::Duration> {
    let duration = table.duration("expires_after")?;
    if duration.as_secs() == 0 {
        table.fault("expires_after", "must be at least \"1s\"");
        return None;
    }
    Some(duration)
}

fn expires(table: &mut Table<'_>) -> Option<UnixTime> {
    let item = table.raw("expires")?;
    let text = item.string()?;
    let time = parse_time(text);
    if time.is_none() {
        let shown = text.escape_debug();
        item.fault(format!(
            "`{shown}` is not a time in RFC 3339 with an offset, such as \
             \"2027-01-31T18:00:00Z\""
        ));
    }
    time
}

/// A time in RFC 3339, with an offset.
pub(crate) fn parse_time(text: &str) -> Option<UnixTime> {
    let time: jiff::Timestamp = text.parse().ok()?;
    is_rfc_3339(text).then(|| UnixTime::from_seconds(time.as_second()))
}

/// True if a time in one of the forms of ISO 8601 has the form of RFC 3339 section 5.6.
fn is_rfc_3339(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let Some(rest) = shape.strip_prefix("0000-00-00") else { return false };
    let Some(rest) = rest.strip_prefix(['T', 't', ' ']) else { return false };
    let Some(rest) = rest.strip_prefix("00:00:00") else { return false };
    let offset = rest.strip_prefix('.').map_or(rest, |fraction| fraction.trim_start_matches('0'));
    matches!(offset, "Z" | "z" | "+00:00" | "-00:00")
}
