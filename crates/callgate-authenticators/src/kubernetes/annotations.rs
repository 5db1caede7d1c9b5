//! Reads a proposal from the annotations of a service account. They were written by editors of the
//! account, so policy limits the proposal to the operator's ceiling.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use callgate::{
    authn::{Origin, Proposal},
    permissions::{Permissions, Rules, mqtt_spelling},
};

use callgate::sanitize::excerpt_up_to;

/// What annotations request.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Requested {
    pub(super) proposal: Proposal,
    /// The number of malformed subjects.
    pub(super) malformed: usize,
    /// The first malformed subject and its error, for the log.
    pub(super) example: Option<String>,
    /// The first subject that is an MQTT topic filter, for the log.
    pub(super) topic_filter: Option<String>,
}

/// Reads the annotations with this prefix. Lists are separated by commas; empty items and white space
/// around items are ignored.
pub(super) fn read(prefix: &str, annotations: &BTreeMap<String, String>) -> Requested {
    let value = |name: &str| annotations.get(&format!("{prefix}{name}")).map(String::as_str);
    let mut requested = Requested::default();
    let publish = requested.subjects("allowed-pub-subjects", value("allowed-pub-subjects"));
    let subscribe = requested.subjects("allowed-sub-subjects", value("allowed-sub-subjects"));
    let roles: Vec<String> = items(value("roles").unwrap_or_default()).map(str::to_owned).collect();
    let account = value("account").map(str::trim).filter(|account| !account.is_empty());
    let permissions = Permissions {
        publish: Rules { allow: publish, deny: Vec::new() },
        subscribe: Rules { allow: subscribe, deny: Vec::new() },
        responses: None,
    };
    requested.proposal = Proposal {
        origin: Origin::Outside,
        account: account.map(str::to_owned),
        roles: (!roles.is_empty()).then_some(roles),
        permissions: (permissions != Permissions::default()).then_some(permissions),
        ..Proposal::default()
    };
    requested
}

impl Requested {
    fn subjects<T: FromStr<Err: Display>>(&mut self, name: &str, value: Option<&str>) -> Vec<T> {
        let parsed = items(value.unwrap_or_default()).map(|item| (item, item.parse::<T>()));
        let mut subjects = Vec::new();
        for (item, parsed) in parsed {
            match parsed {
                Ok(subject) => {
                    self.note_topic_filter(name, item);
                    subjects.push(subject);
                }
                Err(error) => self.note_malformed(name, item, &error),
            }
        }
        subjects
    }

    fn note_topic_filter(&mut self, name: &str, item: &str) {
        if let Some(problem) = mqtt_spelling(item) {
            let shown = excerpt_up_to(item, 64);
            self.topic_filter.get_or_insert_with(|| {
                format!("{name}: `{shown}` {}", excerpt_up_to(&problem, 200))
            });
        }
    }

    fn note_malformed(&mut self, name: &str, item: &str, error: &impl Display) {
        self.malformed += 1;
        self.example.get_or_insert_with(|| {
            format!(
                "{name}: `{}`: {}",
                excerpt_up_to(item, 64),
                excerpt_up_to(&error.to_string(), 200)
            )
        });
    }
}

fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_pub(list: &str) -> Requested {
        let annotations =
            BTreeMap::from([("nats.io/allowed-pub-subjects".to_owned(), list.to_owned())]);
        read("nats.io/", &annotations)
    }

    #[test]
    fn lists_are_lenient_and_subjects_strict() {
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
            let requested = read_pub(list);
            let permissions = requested.proposal.permissions.clone().unwrap_or_default();
            let texts: Vec<String> =
                permissions.publish.allow.iter().map(ToString::to_string).collect();
            assert_eq!(texts, allowed, "{list:?}");
            assert_eq!(requested.malformed, malformed, "{list:?}");
            assert_eq!(requested.example.is_some(), malformed > 0, "{list:?}");
            assert_eq!(requested.proposal.origin, Origin::Outside);
        }
    }

    #[test]
    fn topic_filters_are_kept_and_noted() {
        let requested = read_pub("a.b,sensors/#");
        assert_eq!(requested.proposal.permissions.unwrap().publish.allow.len(), 2);
        let noted = requested.topic_filter.unwrap();
        assert!(noted.starts_with("allowed-pub-subjects: `sensors/#` is an MQTT"), "{noted}");
        assert_eq!(read_pub("a.b").topic_filter, None);
    }

    #[test]
    fn only_annotations_with_the_prefix_are_read() {
        let annotations = [
            ("acme.io/allowed-sub-subjects", "jobs.* workers, a"),
            ("acme.io/roles", "reader, ,writer"),
            ("acme.io/account", " APP "),
            ("nats.io/account", "OTHER"),
            ("nats.io/allowed-pub-subjects", "x"),
        ];
        let annotations = annotations.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let Requested { proposal, .. } = read("acme.io/", &BTreeMap::from(annotations));
        assert_eq!(proposal.account.as_deref(), Some("APP"));
        assert_eq!(proposal.roles, Some(vec!["reader".to_owned(), "writer".to_owned()]));
        let permissions = proposal.permissions.unwrap();
        assert_eq!(permissions.publish.allow, []);
        let subscribe: Vec<String> =
            permissions.subscribe.allow.iter().map(ToString::to_string).collect();
        assert_eq!(subscribe, ["jobs.* workers", "a"]);
    }

    #[test]
    fn long_lists_are_read_and_long_errors_are_shortened() {
        let list: Vec<String> = (0..1000).map(|number| format!("a.{number}")).collect();
        let requested = read_pub(&list.join(","));
        assert_eq!(requested.proposal.permissions.unwrap().publish.allow.len(), 1000);
        let requested = read_pub(&"a b\u{202e}".repeat(10_000));
        assert!(requested.example.unwrap().len() < 1000);
    }
}
