//! The table `certificate` of an authenticator.

use callgate_config::{Item, Key, Sources, Table, Type, schema::TEXTS};
use data_encoding::HEXLOWER_PERMISSIVE;

use super::{
    spiffe::TrustDomain,
    trust::{File, Files},
    watch::LoadedFiles,
};
use crate::client_certificate::Names;

/// The keys of the table.
pub(super) const KEYS: &[Key] = &[
    Key::optional("ca", Type::Path, "PEM file with the only roots to trust; it is read again when it changes. Required unless there are `trust_domains`"),
    Key::optional("trust_domains", Type::Map(&Type::Path), "SPIFFE: the roots of each trust domain, such as `{ \"example.org\" = \"bundle.pem\" }`"),
    Key::optional("user", Type::Word(USERS), "the name that identifies the client. The certificate must have exactly one of this kind").or_else("required with `ca`; `\"spiffe\"` with `trust_domains`"),
    Key::optional("required", Type::Table(REQUIRED), "names that the certificate must have: for each key, one name must equal one of the texts. A text that ends in `*` matches any name that starts like it").or_else("nothing"),
    Key::optional("groups", Type::Word(&["o", "ou"]), "names of the subject that become groups").or_else("no groups"),
    Key::optional("pinned_keys", TEXTS, "the only keys to accept: SHA-256 of the SubjectPublicKeyInfo in hex, as in nats-server's `pinned_certs`").or_else("any key"),
    Key::optional("crl", Type::List(&Type::Path), "revocation lists, PEM or DER; they are read again when they change. They must cover every certificate below the root").or_else("revocation is not checked"),
    Key::optional("crl_end_entity_only", Type::Boolean, "check revocation only for the client's own certificate").or("false"),
];

const USERS: &[&str] = &["cn", "dns", "email", "uri", "subject", "sha256", "spiffe"];

const REQUIRED: &[Key] = &[
    Key::optional("o", TEXTS, "organization"),
    Key::optional("ou", TEXTS, "organizational unit"),
    Key::optional("dns", TEXTS, "DNS name"),
    Key::optional("email", TEXTS, "email address"),
    Key::optional("uri", TEXTS, "URI"),
    Key::optional("issuer", TEXTS, "distinguished name of the issuer (RFC 4514)"),
];

/// The settings of a `certificate` authenticator.
#[derive(Debug)]
pub(super) struct Settings {
    /// Whether revocation is checked.
    pub(super) has_crls: bool,
    pub(super) user: NameKind,
    pub(super) required: Vec<(NameKind, Vec<Pattern>)>,
    pub(super) groups: Option<NameKind>,
    /// SHA-256 of keys, in lowercase hex; empty for any key.
    pub(super) pinned_keys: Vec<String>,
    pub(super) crl_end_entity_only: bool,
}

/// A kind of name in a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NameKind {
    CommonName,
    Organization,
    Unit,
    Dns,
    Email,
    Uri,
    Subject,
    Issuer,
    Sha256,
    /// The SPIFFE ID, which is the only URI.
    Spiffe,
}

/// A text, or the start of one.
#[derive(Debug)]
pub(super) enum Pattern {
    Exact(String),
    Prefix(String),
}

impl Settings {
    /// Reads the table and its files, and reports the errors of both.
    pub(super) fn read(table: &mut Table<'_>) -> Option<(Self, LoadedFiles)> {
        let files = Files { roots: roots(table), crls: crl_files(table) };
        let has_crls = !files.crls.is_empty();
        let loaded = LoadedFiles::read(files, table.report());
        let user = user(table);
        let settings = Self {
            has_crls,
            required: required(table),
            groups: groups(table),
            pinned_keys: pinned_keys(table),
            crl_end_entity_only: table.boolean("crl_end_entity_only").unwrap_or(false),
            user: user?,
        };
        Some((settings, loaded?))
    }
}

impl NameKind {
    /// The kinds and their names in the configuration.
    const ALL: [(Self, &'static str); 10] = [
        (Self::CommonName, "cn"),
        (Self::Organization, "o"),
        (Self::Unit, "ou"),
        (Self::Dns, "dns"),
        (Self::Email, "email"),
        (Self::Uri, "uri"),
        (Self::Subject, "subject"),
        (Self::Issuer, "issuer"),
        (Self::Sha256, "sha256"),
        (Self::Spiffe, "spiffe"),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
    }

    /// Its name in the configuration.
    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map(|(_, name)| *name).unwrap_or_default()
    }

    /// The names of this kind.
    pub(super) fn of(self, names: &Names) -> Vec<&str> {
        match self {
            Self::CommonName => texts(&names.common_names),
            Self::Organization => texts(&names.organizations),
            Self::Unit => texts(&names.units),
            Self::Dns => texts(&names.dns),
            Self::Email => texts(&names.emails),
            Self::Uri | Self::Spiffe => texts(&names.uris),
            Self::Subject => filled(&names.subject),
            Self::Issuer => filled(&names.issuer),
            Self::Sha256 => filled(&names.sha256),
        }
    }
}

impl Pattern {
    pub(super) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(text) => text == name,
            Self::Prefix(start) => name.starts_with(start),
        }
    }
}

fn texts(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}

/// An empty subject is none.
fn filled(text: &str) -> Vec<&str> {
    if text.is_empty() { Vec::new() } else { vec![text] }
}

fn roots(table: &mut Table<'_>) -> Vec<(Option<TrustDomain>, File)> {
    let ca = table.raw("ca");
    let domains = table.raw("trust_domains");
    if ca.is_some() && domains.is_some() {
        table.fault("trust_domains", "cannot be combined with `ca`: use two authenticators");
    }
    if ca.is_none() && domains.is_none() {
        table.fault_here(
            "`ca` is missing: name the certificate authorities of your clients, because \
             nats-server may accept those of the system (or set `trust_domains` for SPIFFE)",
        );
    }
    let ca = ca.and_then(|item| file(&item, table.sources()));
    let domains = domains.map(|item| trust_domains(&item)).unwrap_or_default();
    ca.map(|file| (None, file)).into_iter().chain(domains).collect()
}

fn trust_domains(item: &Item<'_>) -> Vec<(Option<TrustDomain>, File)> {
    let Some(mut table) = item.table() else { return Vec::new() };
    let names: Vec<String> = table.map().keys().cloned().collect();
    if names.is_empty() {
        item.fault("must name at least one trust domain");
    }
    let domains = names.iter().filter_map(|name| {
        let domain = name.parse::<TrustDomain>().map_err(|error| {
            table.fault_here(format!("`{}` is not a trust domain: {error}", name.escape_debug()));
        });
        let file = table.raw(name).and_then(|item| file(&item, table.sources()));
        Some((domain.ok(), file?))
    });
    domains.collect()
}

fn user(table: &mut Table<'_>) -> Option<NameKind> {
    let has_domains = table.has("trust_domains");
    if !table.has("user") {
        if !has_domains {
            let kinds = USERS.join("`, `");
            table.fault_here(format!("`user` is missing: write one of `{kinds}`"));
        }
        return has_domains.then_some(NameKind::Spiffe);
    }
    let name = table.string("user")?;
    let Some(kind) = NameKind::named(&name).filter(|_| USERS.contains(&name.as_str())) else {
        let (shown, kinds) = (name.escape_debug(), USERS.join("`, `"));
        table.fault("user", format!("`{shown}` is not one of `{kinds}`"));
        return None;
    };
    if has_domains != (kind == NameKind::Spiffe) {
        let message = match has_domains {
            true => "with `trust_domains` the user is always the SPIFFE ID",
            false => "`spiffe` needs `trust_domains` instead of `ca`",
        };
        table.fault("user", message);
        return None;
    }
    Some(kind)
}

fn required(table: &mut Table<'_>) -> Vec<(NameKind, Vec<Pattern>)> {
    let Some(mut table) = table.raw("required").and_then(|item| item.table()) else {
        return Vec::new();
    };
    let read = |key: &Key| {
        let texts = table.filled_strings(key.name)?;
        let patterns = texts.into_iter().map(|text| match text.strip_suffix('*') {
            Some(start) => Pattern::Prefix(start.to_owned()),
            None => Pattern::Exact(text),
        });
        Some((NameKind::named(key.name)?, patterns.collect()))
    };
    let required: Vec<_> = REQUIRED.iter().filter_map(read).collect();
    if table.map().is_empty() {
        table
            .fault_here("requires nothing: name an attribute and its values, or leave the key out");
    }
    table.finish();
    required
}

fn groups(table: &mut Table<'_>) -> Option<NameKind> {
    let name = table.string("groups")?;
    let kind = NameKind::named(&name);
    let kind = kind.filter(|kind| matches!(kind, NameKind::Organization | NameKind::Unit));
    if kind.is_none() {
        table.fault("groups", format!("`{}` is not `o` or `ou`", name.escape_debug()));
    }
    kind
}

fn pinned_keys(table: &mut Table<'_>) -> Vec<String> {
    let keys = table.filled_strings("pinned_keys").unwrap_or_default();
    for key in &keys {
        let digest = HEXLOWER_PERMISSIVE.decode(key.as_bytes());
        if digest.is_ok_and(|digest| digest.len() == 32) {
            continue;
        }
        let shown = key.escape_debug();
        table.fault("pinned_keys", format!("`{shown}` is not a SHA-256 digest (64 hex digits)"));
    }
    keys.iter().map(|key| key.to_ascii_lowercase()).collect()
}

fn crl_files(table: &mut Table<'_>) -> Vec<File> {
    let Some(item) = table.raw("crl") else { return Vec::new() };
    let items = item.items();
    if items.is_empty() {
        item.fault("must name at least one file: leave the key out to skip revocation checks");
    }
    items.iter().filter_map(|item| file(item, table.sources())).collect()
}

fn file(item: &Item<'_>, sources: &Sources) -> Option<File> {
    let shown = item.string()?;
    if shown.is_empty() {
        item.fault("must not be empty");
        return None;
    }
    let path = sources.resolve(shown);
    Some(File { path, shown: shown.to_owned(), key: item.path().to_owned() })
}
