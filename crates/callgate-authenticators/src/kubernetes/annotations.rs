//! From the annotations of a service account to a proposal. Whoever may edit the account wrote
//! them: policy clips what is proposed here to the operator's ceiling.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use callgate::{
    authn::{Origin, Proposal},
    permissions::{Permissions, Rules},
};

/// What annotations ask for, and what of it is no subject.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Asked {
    pub(super) proposal: Proposal,
    /// How many items are malformed.
    pub(super) malformed: usize,
    /// The first malformed item with the reason, fit for a log.
    pub(super) example: Option<String>,
}

/// Reads what annotations below `prefix` ask for. Lists are separated by commas; white space
/// around an item and empty items count for nothing.
pub(super) fn read(prefix: &str, annotations: &BTreeMap<String, String>) -> Asked {
    let value = |name: &str| annotations.get(&format!("{prefix}{name}")).map(String::as_str);
    let mut asked = Asked::default();
    let publish = asked.subjects("allowed-pub-subjects", value("allowed-pub-subjects"));
    let subscribe = asked.subjects("allowed-sub-subjects", value("allowed-sub-subjects"));
    let roles: Vec<String> = items(value("roles").unwrap_or_default()).map(str::to_owned).collect();
    let account = value("account").map(str::trim).filter(|account| !account.is_empty());
    let permissions = Permissions {
        publish: Rules { allow: publish, deny: Vec::new() },
        subscribe: Rules { allow: subscribe, deny: Vec::new() },
        responses: None,
    };
    asked.proposal = Proposal {
        origin: Origin::Outside,
        account: account.map(str::to_owned),
        roles: (!roles.is_empty()).then_some(roles),
        permissions: (permissions != Permissions::default()).then_some(permissions),
        ..Proposal::default()
    };
    asked
}

impl Asked {
    fn subjects<T: FromStr<Err: Display>>(&mut self, name: &str, value: Option<&str>) -> Vec<T> {
        let parsed = items(value.unwrap_or_default()).map(|item| (item, item.parse::<T>()));
        let mut subjects = Vec::new();
        for (item, parsed) in parsed {
            match parsed {
                Ok(subject) => subjects.push(subject),
                Err(error) => self.note(name, item, &error),
            }
        }
        subjects
    }

    fn note(&mut self, name: &str, item: &str, error: &impl Display) {
        self.malformed += 1;
        self.example.get_or_insert_with(|| {
            let item: String = item.chars().take(64).flat_map(char::escape_debug).collect();
            let error: String = error.to_string().chars().take(200).collect();
            format!("{name}: `{item}`: {}", error.escape_debug())
        });
    }
}

fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_pub(list: &str) -> Asked {
        let annotations =
            BTreeMap::from([("nats.io/allowed-pub-subjects".to_owned(), list.to_owned())]);
        read("nats.io/", &annotations)
    }

    #[test]
    fn lists_are_forgiving_and_subjects_are_not() {
        for (list, allowed, malformed) in [
            ("", &[][..], 0),
            (" , ,", &[], 0),
            ("a.b", &["a.b"], 0),
            (" a.b ,c.> ", &["a.b", "c.>"], 0),
            ("a.b,,c", &["a.b", "c"], 0),
            ("a b", &[], 1),
            ("a..b,.a,a.,>.a,a.b", &["a.b"], 4),
            (">,$SYS.>,_INBOX.>,*", &[">", "$SYS.>", "_INBOX.>", "*"], 0),
            ("a\tb,a\u{0}b,a\nb", &[], 3),
        ] {
            let asked = read_pub(list);
            let permissions = asked.proposal.permissions.clone().unwrap_or_default();
            let texts: Vec<String> =
                permissions.publish.allow.iter().map(ToString::to_string).collect();
            assert_eq!(texts, allowed, "{list:?}");
            assert_eq!(asked.malformed, malformed, "{list:?}");
            assert_eq!(asked.example.is_some(), malformed > 0, "{list:?}");
            assert_eq!(asked.proposal.origin, Origin::Outside);
        }
    }

    #[test]
    fn roles_account_and_queue_groups_are_read_below_the_prefix_only() {
        let annotations = [
            ("acme.io/allowed-sub-subjects", "jobs.* workers, a"),
            ("acme.io/roles", "reader, ,writer"),
            ("acme.io/account", " APP "),
            ("nats.io/account", "OTHER"),
            ("nats.io/allowed-pub-subjects", "x"),
        ];
        let annotations = annotations.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let Asked { proposal, .. } = read("acme.io/", &BTreeMap::from(annotations));
        assert_eq!(proposal.account.as_deref(), Some("APP"));
        assert_eq!(proposal.roles, Some(vec!["reader".to_owned(), "writer".to_owned()]));
        let permissions = proposal.permissions.unwrap();
        assert_eq!(permissions.publish.allow, []);
        let subscribe: Vec<String> =
            permissions.subscribe.allow.iter().map(ToString::to_string).collect();
        assert_eq!(subscribe, ["jobs.* workers", "a"]);
    }

    #[test]
    fn a_thousand_subjects_are_read_and_an_endless_malformed_one_is_shown_short() {
        let list: Vec<String> = (0..1000).map(|number| format!("a.{number}")).collect();
        let asked = read_pub(&list.join(","));
        assert_eq!(asked.proposal.permissions.unwrap().publish.allow.len(), 1000);
        let asked = read_pub(&"a b\u{202e}".repeat(10_000));
        assert!(asked.example.unwrap().len() < 1000);
    }
}
