//! `[[expected]]`: networks from which the users of an account are expected. Others are marked and
//! counted, and not refused.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use callgate::record::Decision;
use ipnet::IpNet;

/// The networks of each account that has some.
pub(crate) type ExpectedSources = HashMap<String, Vec<IpNet>>;

/// The expected sources of the configuration in force.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expected(Arc<ArcSwap<ExpectedSources>>);

impl Expected {
    pub(crate) fn replace(&self, sources: ExpectedSources) {
        self.0.store(Arc::new(sources));
    }

    /// The account, if its client came from elsewhere. A decision without a grant has no account.
    pub(crate) fn unexpected<'a>(&self, decision: &'a Decision) -> Option<&'a str> {
        let host = &decision.ids.as_ref()?.client_host;
        self.unexpected_host(decision, host)
    }

    /// The same for a decision whose request is not recorded yet.
    pub(crate) fn unexpected_host<'a>(
        &self,
        decision: &'a Decision,
        host: &str,
    ) -> Option<&'a str> {
        let account = decision.grant.as_ref()?.account();
        is_unexpected(&self.0.load(), account, host).then_some(account)
    }
}

/// A host that is not an address is unexpected.
fn is_unexpected(sources: &ExpectedSources, account: &str, host: &str) -> bool {
    let Some(networks) = sources.get(account) else { return false };
    let address = host.parse::<IpAddr>().map(|address| address.to_canonical());
    !address.is_ok_and(|address| networks.iter().any(|network| network.contains(&address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_accounts_with_networks_have_unexpected_sources() {
        let networks = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let sources = HashMap::from([("APP".to_owned(), networks)]);
        for (account, host, expected) in [
            ("APP", "10.1.2.3", false),
            ("APP", "::ffff:10.1.2.3", false),
            ("APP", "fd00::1", false),
            ("APP", "192.0.2.1", true),
            ("APP", "", true),
            ("OTHER", "192.0.2.1", false),
        ] {
            assert_eq!(is_unexpected(&sources, account, host), expected, "{account} {host}");
        }
    }
}
