//! Users files, and logins that must take equally long.

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

/// The passwords of a users file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Hash {
    Clear,
    Argon2id,
    Scrypt,
    Bcrypt,
    Pbkdf2,
    /// Equal parts of all of them
    Mixed,
    /// Equal parts of two sets of parameters that cost nearly the same
    Alike,
}

/// A failing login. Its time must not reveal its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// An unknown user.
    Unknown,
    /// Another unknown user: shows the differences that chance makes.
    UnknownAgain,
    /// A user, with a wrong password.
    WrongPassword,
    /// A disabled user, with a wrong password.
    Disabled,
    /// An expired user, with a wrong password.
    Expired,
    /// A user with only a token.
    NoPassword,
}

impl Class {
    pub(super) const ALL: [Self; 6] = [
        Self::Unknown,
        Self::UnknownAgain,
        Self::WrongPassword,
        Self::Disabled,
        Self::Expired,
        Self::NoPassword,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::UnknownAgain => "unknown again",
            Self::WrongPassword => "wrong password",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
            Self::NoPassword => "token only",
        }
    }

    /// Names of all classes have the same length.
    fn prefix(self) -> &'static str {
        match self {
            Self::Unknown => "aa",
            Self::UnknownAgain => "ab",
            Self::WrongPassword => "ac",
            Self::Disabled => "ad",
            Self::Expired => "ae",
            Self::NoPassword => "ag",
        }
    }

    /// The credentials of a client of this class: one of its names and a wrong password.
    pub(super) fn presented(self, hash: Hash, random: &mut Random) -> ClientCredentials {
        let (prefix, user) = (self.prefix(), random.below(hash.users_of_class()));
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
        }
    }

    /// In a table with several sets of parameters, the dummies of few unknown names would by chance
    /// have other frequencies than the entries.
    fn users_of_class(self) -> usize {
        match self {
            Self::Mixed | Self::Alike => 5_000,
            Self::Clear | Self::Argon2id | Self::Scrypt | Self::Bcrypt | Self::Pbkdf2 => 64,
        }
    }

    /// The password of the entry with this number, which no login matches. Cheap parameters let all
    /// other differences stand out; with `real` they are the recommended ones.
    fn stored(self, number: usize, real: bool) -> String {
        let salt = BASE64_NOPAD.encode(format!("salt-of-{number:08}").as_bytes());
        let hash = BASE64_NOPAD.encode(&[7; 32]);
        let argon2id =
            |memory, passes| format!("$argon2id$v=19$m={memory},t={passes},p=1${salt}${hash}");
        match (self, real) {
            (Self::Clear, _) => format!("clear text of {number:08}"),
            (Self::Argon2id, false) => argon2id(256, 1),
            (Self::Argon2id, true) => argon2id(19_456, 2),
            (Self::Scrypt, false) => format!("$scrypt$ln=6,r=8,p=1${salt}${hash}"),
            (Self::Scrypt, true) => format!("$scrypt$ln=15,r=8,p=3${salt}${hash}"),
            (Self::Bcrypt, false) => format!("$2b$04${number:022}{}", "a".repeat(31)),
            (Self::Bcrypt, true) => format!("$2b$10${number:022}{}", "a".repeat(31)),
            (Self::Pbkdf2, false) => format!("$pbkdf2-sha256$i=1000,l=32${salt}${hash}"),
            (Self::Pbkdf2, true) => format!("$pbkdf2-sha256$i=600000,l=32${salt}${hash}"),
            (Self::Mixed, _) => {
                let [one, two, three, four, five, ..] = Self::ALL;
                let hash = match number % 5 {
                    0 => one,
                    1 => two,
                    2 => three,
                    3 => four,
                    _ => five,
                };
                hash.stored(number, real)
            }
            (Self::Alike, _) if number.is_multiple_of(2) => Self::Argon2id.stored(number, real),
            (Self::Alike, false) => argon2id(248, 1),
            (Self::Alike, true) => argon2id(19_000, 2),
        }
    }

    fn users(self, real: bool) -> serde_json::Value {
        let mut users = serde_json::Map::new();
        for class in Class::ALL {
            for number in 0..self.users_of_class() {
                let stored = self.stored(number, real);
                let entry = match class {
                    Class::Unknown | Class::UnknownAgain => continue,
                    Class::WrongPassword => json!({ "password": stored }),
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

    /// A callout with a users file of this kind.
    pub(super) fn callout(
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
