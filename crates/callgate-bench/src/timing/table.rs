//! A users file with one kind of hash, and the logins to it that must take the same time.

use std::{fs, path::Path, sync::Arc, time::Duration};

use callgate::{
    Callgate,
    authn::{Chain, Link},
    keys::{AccountSigner, CurveKey},
    policy::{
        Policy,
        settings::{AuthenticatorPolicy, PolicySettings},
    },
    secret::Secret,
    simulation::ClientCredentials,
};
use callgate_authenticators::kind::{BuildContext, Registry, SharedResources};
use callgate_config::{Document, Format, Report, Sources, Table};
use data_encoding::BASE64_NOPAD;
use serde_json::json;

use super::statistics::Random;
use crate::Failure;

/// Users of each class.
const USERS: usize = 64;

/// Which passwords a users file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Hash {
    Clear,
    Argon2id,
    Scrypt,
    Bcrypt,
    Pbkdf2,
    /// All of them, each class of users with another.
    Mixed,
    /// Two sets of parameters that cost nearly the same.
    Alike,
    /// The cheaper of the two.
    #[value(skip)]
    Less,
}

/// A failing login. Who watches the time must not learn which of these it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Nobody has this name.
    Unknown,
    /// The same again: how far apart two equal sets lie by chance.
    UnknownAgain,
    /// A user, and another password.
    WrongPassword,
    /// The same of a user that is disabled.
    Disabled,
    /// The same of a user whose time is over.
    Expired,
    /// The same of a user with another kind of hash, or in clear.
    OtherHash,
    /// A user who has only a token.
    NoPassword,
}

impl Class {
    pub(super) const ALL: [Self; 7] = [
        Self::Unknown,
        Self::UnknownAgain,
        Self::WrongPassword,
        Self::Disabled,
        Self::Expired,
        Self::OtherHash,
        Self::NoPassword,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::UnknownAgain => "unknown again",
            Self::WrongPassword => "wrong password",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
            Self::OtherHash => "other hash",
            Self::NoPassword => "token only",
        }
    }

    /// All names have the same length.
    fn prefix(self) -> &'static str {
        match self {
            Self::Unknown => "aa",
            Self::UnknownAgain => "ab",
            Self::WrongPassword => "ac",
            Self::Disabled => "ad",
            Self::Expired => "ae",
            Self::OtherHash => "af",
            Self::NoPassword => "ag",
        }
    }

    /// What a client of this class presents: one of its names, and a password that is nobody's.
    pub(super) fn presented(self, random: &mut Random) -> ClientCredentials {
        let (prefix, user) = (self.prefix(), random.below(USERS));
        let password = format!("{:012}", random.below(usize::MAX >> 34));
        ClientCredentials {
            user: Some(format!("{prefix}{user:04}")),
            password: Some(Secret::new(password)),
            ..ClientCredentials::default()
        }
    }
}

impl Hash {
    pub(super) const ALL: [Self; 7] = [
        Self::Clear,
        Self::Argon2id,
        Self::Scrypt,
        Self::Bcrypt,
        Self::Pbkdf2,
        Self::Mixed,
        Self::Alike,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::Argon2id => "argon2id",
            Self::Scrypt => "scrypt",
            Self::Bcrypt => "bcrypt",
            Self::Pbkdf2 => "pbkdf2",
            Self::Mixed => "mixed",
            Self::Alike => "alike",
            Self::Less => "less",
        }
    }

    /// A stored password that no password meets. Cheap parameters: what is not the hash shows best
    /// beside a short one; with `real` ones, those that are recommended.
    fn stored(self, number: usize, real: bool) -> String {
        let salt = format!("salt-of-{number:08}");
        let (salt, hash) = (BASE64_NOPAD.encode(salt.as_bytes()), BASE64_NOPAD.encode(&[7; 32]));
        match (self, real) {
            (Self::Clear | Self::Mixed, _) => format!("clear text of {number:08}"),
            (Self::Less, false) => format!("$argon2id$v=19$m=248,t=1,p=1${salt}${hash}"),
            (Self::Less, true) => format!("$argon2id$v=19$m=19000,t=2,p=1${salt}${hash}"),
            (Self::Argon2id | Self::Alike, false) => {
                format!("$argon2id$v=19$m=256,t=1,p=1${salt}${hash}")
            }
            (Self::Argon2id | Self::Alike, true) => {
                format!("$argon2id$v=19$m=19456,t=2,p=1${salt}${hash}")
            }
            (Self::Scrypt, false) => format!("$scrypt$ln=6,r=8,p=1${salt}${hash}"),
            (Self::Scrypt, true) => format!("$scrypt$ln=15,r=8,p=3${salt}${hash}"),
            (Self::Bcrypt, false) => format!("$2b$04${number:022}{}", "a".repeat(31)),
            (Self::Bcrypt, true) => format!("$2b$10${number:022}{}", "a".repeat(31)),
            (Self::Pbkdf2, false) => format!("$pbkdf2-sha256$i=1000,l=32${salt}${hash}"),
            (Self::Pbkdf2, true) => format!("$pbkdf2-sha256$i=600000,l=32${salt}${hash}"),
        }
    }

    /// Which hash users of a class have.
    fn of_class(self, class: Class) -> Self {
        match (self, class) {
            (Self::Mixed, Class::WrongPassword) => Self::Argon2id,
            (Self::Mixed, Class::Disabled) => Self::Scrypt,
            (Self::Mixed, Class::Expired) => Self::Bcrypt,
            (Self::Mixed, Class::OtherHash) => Self::Pbkdf2,
            (Self::Alike, Class::Disabled | Class::OtherHash) => Self::Less,
            (_, Class::OtherHash) => Self::Clear,
            (own, _) => own,
        }
    }

    fn users(self, real: bool) -> serde_json::Value {
        let mut users = serde_json::Map::new();
        for class in Class::ALL {
            for number in 0..USERS {
                let stored = self.of_class(class).stored(number, real);
                let entry = match class {
                    Class::Unknown | Class::UnknownAgain => continue,
                    Class::WrongPassword | Class::OtherHash => json!({ "password": stored }),
                    Class::Disabled => json!({ "password": stored, "disabled": true }),
                    Class::Expired => {
                        json!({ "password": stored, "expires": "2020-01-01T00:00:00Z" })
                    }
                    Class::NoPassword => json!({ "token": format!("token-{number}") }),
                };
                users.insert(format!("{}{number:04}", class.prefix()), entry);
            }
        }
        users.into()
    }

    /// A gate that decides by a users file of this kind.
    pub(super) fn gate(
        self,
        folder: &Path,
        real: bool,
        issuer: AccountSigner,
        xkey: CurveKey,
    ) -> Result<Callgate, Failure> {
        fs::write(folder.join("users.json"), serde_json::to_string(&self.users(real))?)?;
        let sources = Sources::new(folder);
        let document = Document::parse(b"[users]\nfile = \"users.json\"", Format::Toml)?;
        let (report, name) = (Report::new(), "staff");
        let timeout = Duration::from_secs(60);
        let context = BuildContext {
            timeout,
            ..BuildContext::new(name, sources.clone(), Arc::new(SharedResources::new(1)))
        };
        let mut entry = Table::root(&document, "", &report, &sources);
        let registry = Registry::builtin();
        let built =
            registry.kind_of(&mut entry).and_then(|(kind, table)| kind.build(&context, table));
        entry.finish();
        let authenticator = built.ok_or_else(|| format!("{:?}", report.faults()))?;
        let link = Link { name: name.into(), authenticator, timeout, required: true };
        let policy = PolicySettings {
            authenticators: vec![AuthenticatorPolicy {
                name: name.to_owned(),
                ..Default::default()
            }],
            ..PolicySettings::default()
        };
        let policy = Policy::build(policy).map_err(|faults| format!("{faults:?}"))?;
        let chain = Chain::new(vec![link]);
        Ok(Callgate::builder(issuer).xkey(xkey).chain(chain, Arc::new(policy)).build()?)
    }
}
