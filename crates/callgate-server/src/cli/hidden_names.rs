//! Finds what records hide, for those who have the key: users of the operator's own files, and addresses that
//! a configuration names.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use callgate::clock::UnixTime;
use ipnet::IpNet;

use crate::{
    audit::{HIDDEN_PREFIX, Hidden, HideKey},
    config::Config,
    rehearsal::Rehearsal,
};

/// Hidden values, by their hashes.
#[derive(Debug, Default)]
pub(super) struct HiddenNames {
    users: BTreeMap<String, String>,
    sources: BTreeMap<String, IpAddr>,
}

impl HiddenNames {
    /// The names in these configurations, hidden with each key that one of them has.
    pub(super) fn of(configurations: &[(&Config, &Rehearsal)], now: UnixTime) -> Self {
        let keys: Vec<HideKey> = configurations
            .iter()
            .filter_map(|(config, _)| config.audit.as_ref()?.hide_key.as_ref())
            .map(HideKey::new)
            .collect();
        let mut names = Self::default();
        if keys.is_empty() {
            return names;
        }
        let mut sources: BTreeSet<IpAddr> =
            [[127, 0, 0, 1].into(), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])].into();
        for (_, rehearsal) in configurations {
            let roles = rehearsal.policy().role_views();
            sources.extend(roles.iter().flat_map(|role| &role.source).filter_map(single));
            for (authenticator, identity) in rehearsal.entries(now) {
                let networks = identity.proposal.source.iter().flatten();
                sources.extend(networks.filter_map(single));
                let prefix = rehearsal.policy().user_prefix(&authenticator);
                let recorded = format!("{prefix}{}", identity.user);
                for key in &keys {
                    names.users.insert(key.hash(Hidden::User, &recorded), recorded.clone());
                }
            }
        }
        for key in &keys {
            let hashed = sources.iter().map(|ip| (key.hash(Hidden::Source, &ip.to_string()), *ip));
            names.sources.extend(hashed);
        }
        names
    }

    /// A user as recorded; `None` if it is hidden and not known.
    pub(super) fn user<'a>(&'a self, recorded: &'a str) -> Option<&'a str> {
        match is_hidden(recorded) {
            true => self.users.get(recorded).map(String::as_str),
            false => Some(recorded),
        }
    }

    /// An address as recorded; `None` if it is hidden and not known, or not an address.
    pub(super) fn source(&self, recorded: &str) -> Option<IpAddr> {
        match is_hidden(recorded) {
            true => self.sources.get(recorded).copied(),
            false => recorded.parse().ok(),
        }
    }
}

/// Whether a recorded value is a hash.
pub(super) fn is_hidden(recorded: &str) -> bool {
    recorded.starts_with(HIDDEN_PREFIX)
}

/// The address of a network of one.
fn single(network: &IpNet) -> Option<IpAddr> {
    (network.prefix_len() == network.max_prefix_len()).then(|| network.addr())
}
