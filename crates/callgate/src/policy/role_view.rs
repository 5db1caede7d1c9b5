//! Roles as configured, for tools that look at a policy without resolving an identity.

use ipnet::IpNet;

use super::{
    Policy,
    compile::{binding::Binding, role::Role},
    settings::Inbox,
};
use crate::{
    permissions::{Responses, Rules},
    template::{Encoding, Part, Pattern},
};

/// A role, or the `defaults` of an authenticator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleView {
    /// Its name. The `defaults` of an authenticator are called `NAME.defaults`.
    pub name: String,
    /// Subjects to publish to, including those of macros such as `kv`.
    pub publish: Rules<SubjectTemplate>,
    /// Subjects to subscribe to, including those of macros and of `inbox`; a queue group may follow.
    pub subscribe: Rules<SubjectTemplate>,
    /// Permission to reply.
    pub responses: Option<Responses>,
    /// The scoped signing key that grants instead.
    pub scope: Option<String>,
    /// The other keys that matter: each name, and its value in words.
    pub conditions: Vec<(&'static str, String)>,
    /// `source`.
    pub source: Vec<IpNet>,
    /// Whether it applies only at some times of day.
    pub has_hours: bool,
}

/// A binding as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindingView {
    /// Its position in `[[bindings]]`, from 0.
    pub index: usize,
    /// Whether it has a `when`.
    pub has_condition: bool,
    /// Whether its `when` can be true or false because a claim is absent, as `has(claims.x)` is.
    pub tests_claims: bool,
}

/// A subject that may contain templates.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubjectTemplate {
    text: String,
    pieces: Vec<TemplatePiece>,
}

/// A piece of a [`SubjectTemplate`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TemplatePiece {
    /// Text that stays as it is.
    Text(String),
    /// A value of the identity: one literal token, or a part of one.
    Placeholder {
        /// As written, with its braces.
        text: String,
        /// Whether the value is encoded.
        encoded: bool,
    },
}

impl SubjectTemplate {
    fn of<T>(pattern: &Pattern<T>) -> Self
    where
        T: std::str::FromStr<Err = crate::subject::SubjectError> + Clone + std::fmt::Display,
    {
        let pieces = match pattern {
            Pattern::Literal(pattern) => vec![TemplatePiece::Text(pattern.to_string())],
            Pattern::Template(template) => template.parts.iter().map(TemplatePiece::of).collect(),
        };
        Self { text: pattern.text(), pieces }
    }

    /// A subject without templates.
    pub fn literal(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { pieces: vec![TemplatePiece::Text(text.clone())], text }
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its pieces, in order.
    pub fn pieces(&self) -> &[TemplatePiece] {
        &self.pieces
    }

    /// The subject with `value` in place of each placeholder.
    pub fn fill(&self, mut value: impl FnMut(&str) -> String) -> String {
        let pieces = self.pieces.iter().map(|piece| match piece {
            TemplatePiece::Text(text) => text.clone(),
            TemplatePiece::Placeholder { text, .. } => value(text),
        });
        pieces.collect()
    }
}

impl TemplatePiece {
    fn of(part: &Part) -> Self {
        match part {
            Part::Text(text) => Self::Text(text.clone()),
            Part::Placeholder(placeholder) => Self::Placeholder {
                text: placeholder.text.clone(),
                encoded: match placeholder.encoding {
                    Encoding::Raw => false,
                    Encoding::Encode | Encoding::Guaranteed => true,
                },
            },
        }
    }
}

impl Policy {
    /// Every role and the `defaults` of every authenticator, sorted by name.
    pub fn role_views(&self) -> Vec<RoleView> {
        let defaults = self.authenticators.values().filter_map(|rules| rules.defaults.as_deref());
        let roles = self.roles.values().map(|role| &**role);
        let mut views: Vec<RoleView> = roles.chain(defaults).map(RoleView::of).collect();
        views.sort_by(|one, other| one.name.cmp(&other.name));
        views
    }

    /// Every binding, by its position.
    pub fn binding_views(&self) -> Vec<BindingView> {
        let view = |binding: &Binding| BindingView {
            index: binding.index,
            has_condition: binding.when.is_some(),
            tests_claims: binding.when.as_ref().is_some_and(|when| when.tests_claims),
        };
        let mut all: Vec<_> = self.bindings.all().map(view).collect();
        all.sort_unstable_by_key(|view| view.index);
        all
    }
}

impl RoleView {
    fn of(role: &Role) -> Self {
        let templates = SubjectTemplate::of;
        let mut subscribe = Rules {
            allow: role.subscribe.allow.iter().map(SubjectTemplate::of).collect::<Vec<_>>(),
            deny: role.subscribe.deny.iter().map(SubjectTemplate::of).collect(),
        };
        subscribe.allow.extend(inbox(role.inbox));
        Self {
            name: role.name.to_string(),
            publish: Rules {
                allow: role.publish.allow.iter().map(templates).collect(),
                deny: role.publish.deny.iter().map(templates).collect(),
            },
            subscribe,
            responses: role.responses,
            scope: role.scope.clone(),
            conditions: conditions(role),
            source: role.source.clone().unwrap_or_default(),
            has_hours: role.times.is_some(),
        }
    }
}

fn conditions(role: &Role) -> Vec<(&'static str, String)> {
    let networks = role
        .source
        .as_ref()
        .map(|networks| networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    let tags: Vec<&str> = role.tags.iter().map(|tag| tag.text()).collect();
    let seconds = |duration: std::time::Duration| format!("{}s", duration.as_secs());
    let all = [
        ("source", networks),
        ("connection_types", Some(role.connection_types.to_string())),
        ("times", role.times.as_ref().map(ToString::to_string)),
        ("expires_after", role.expires_after.map(seconds)),
        ("responses", role.responses.map(|responses| responses.to_string())),
        ("scope", role.scope.clone()),
        ("tags", (!tags.is_empty()).then(|| tags.join(", "))),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// What `inbox` adds to the subjects to subscribe to.
fn inbox(inbox: Inbox) -> Option<SubjectTemplate> {
    match inbox {
        Inbox::None => None,
        Inbox::Shared => Some(SubjectTemplate::literal("_INBOX.>")),
        Inbox::Private => {
            let placeholder = "{{ encode(user) }}".to_owned();
            Some(SubjectTemplate {
                text: format!("_INBOX_{placeholder}.>"),
                pieces: vec![
                    TemplatePiece::Text("_INBOX_".to_owned()),
                    TemplatePiece::Placeholder { text: placeholder, encoded: true },
                    TemplatePiece::Text(".>".to_owned()),
                ],
            })
        }
    }
}
