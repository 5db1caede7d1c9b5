//! Users and roles from the configuration of nats-server.
//!
//! No user gets more than nats-server gave: what cannot be expressed exactly becomes narrower and is listed, or
//! the user stays in the configuration of nats-server and is listed.

mod accounts;
mod fields;
mod files;
mod permissions;
mod server_conf;
mod settings;
mod users;

use std::collections::BTreeMap;

pub(crate) use self::{
    files::Files,
    server_conf::{ByHand, Extended, Keys, extended, is_extension},
};
use self::{
    permissions::Permissions,
    users::{Credential, UserGrant},
};
use crate::nats_conf::{ConfError, Document, Location};

/// What happens to a part of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FindingKind {
    /// Callgate cannot take it over.
    LeftOut,
    /// Taken over with less, or with another effect.
    Differs,
    /// It stays in the configuration of nats-server and works as before.
    Stays,
}

impl FindingKind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::LeftOut => "left out",
            Self::Differs => "differs",
            Self::Stays => "stays",
        }
    }
}

/// A part of the configuration that is not taken over as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) kind: FindingKind,
    pub(crate) at: Location,
    pub(crate) message: String,
}

/// A user of nats-server that becomes an entry of the users file.
#[derive(Debug)]
pub(crate) struct User {
    account: String,
    credential: Credential,
    grant: UserGrant,
    connection_types: Option<Vec<&'static str>>,
}

/// What was found in a configuration.
#[derive(Debug, Default)]
pub(crate) struct Imported {
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) roles: BTreeMap<String, Permissions>,
    pub(crate) findings: Vec<Finding>,
    /// Names and nkeys of users that stay with nats-server.
    pub(crate) auth_users: Vec<String>,
    pub(crate) accounts: Vec<String>,
    pub(crate) system_account: Option<String>,
    /// The client port, if the configuration has one.
    pub(crate) port: Option<u16>,
    pub(crate) has_websocket: bool,
    /// JetStream is on.
    has_jetstream: bool,
    /// Users are identified by their certificates.
    maps_certificates: bool,
    /// Why accounts cannot be added to the configuration.
    pub(crate) blocked: Option<Location>,
}

impl Imported {
    /// Takes users and roles from a configuration.
    ///
    /// # Errors
    /// If nats-server would not accept it, or its users are not in it.
    pub(crate) fn of(document: &Document) -> Result<Self, ConfError> {
        let mut imported = Self::default();
        for (key, at) in &document.overridden {
            imported.add(
                FindingKind::Differs,
                at,
                format!("duplicate key `{key}`: nats-server and this command use the last one"),
            );
        }
        settings::read(&mut imported, &document.root)?;
        accounts::read(&mut imported, &document.root)?;
        imported.findings.sort_by(|a, b| (&a.at, a.kind).cmp(&(&b.at, b.kind)));
        Ok(imported)
    }

    fn add(&mut self, kind: FindingKind, at: &Location, message: impl Into<String>) {
        self.findings.push(Finding { kind, at: at.clone(), message: message.into() });
    }

    /// Lets nats-server decide about a user as before.
    fn keep(&mut self, user: &str) {
        if !self.auth_users.iter().any(|kept| kept == user) {
            self.auth_users.push(user.to_owned());
        }
    }
}
