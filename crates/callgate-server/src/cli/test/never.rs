//! `[[never]]`: what no role and no users entry may reach, with any value of a template.

use std::collections::{BTreeMap, BTreeSet};

use callgate::{
    authn::Identity,
    clock::UnixTime,
    connection::{ConnectionKind, ConnectionKinds},
    permissions::{Access, Permissions, Rules},
    policy::{Grant, RoleView, Step, SubjectTemplate, TemplatePiece, decode},
};

use super::{access, file::Never};
use crate::{
    cli::explain::can::AccessQuery,
    rehearsal::{Connection, Rehearsal},
};

/// More combinations of values than templates of any ordinary role have.
const MAX_COMBINATIONS: usize = 4096;
/// A value that no rule names.
const OTHER: &str = "x7other";

/// What reaches a subject that nothing may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    /// `role NAME` or `entry AUTHENTICATOR/USER`.
    pub(super) holder: String,
    pub(super) query: String,
    pub(super) why: String,
}

/// Everything that violates the rule, and warnings.
pub(super) fn check(
    never: &Never,
    rehearsal: &Rehearsal,
    now: UnixTime,
) -> (Vec<Violation>, Vec<String>) {
    let mut findings = Findings { never, violations: Vec::new(), warnings: BTreeSet::new() };
    for role in rehearsal.policy().role_views() {
        if !never.except_roles.contains(&role.name) {
            findings.check_role(&role);
        }
    }
    for (authenticator, identity) in rehearsal.entries(now) {
        findings.check_entry(rehearsal, &authenticator, identity, now);
    }
    let Findings { violations, warnings, .. } = findings;
    (violations, warnings.into_iter().collect())
}

struct Findings<'a> {
    never: &'a Never,
    violations: Vec<Violation>,
    warnings: BTreeSet<String>,
}

impl Findings<'_> {
    fn check_role(&mut self, role: &RoleView) {
        let holder = format!("role `{}`", role.name);
        if let Some(scope) = &role.scope {
            let access = Access::Scoped(scope.clone());
            return self.check_access(&holder, &access);
        }
        for query in &self.never.may {
            let Some(fillings) = fillings(role, query) else {
                self.violations.push(Violation {
                    holder: holder.clone(),
                    query: query.to_string(),
                    why: "too many templates to check: use fewer in one role".to_owned(),
                });
                continue;
            };
            let failed = fillings.iter().find_map(|filling| {
                let access = filled(role, filling)?;
                match access::unreachable(&access, query) {
                    Ok(held) => {
                        self.warnings.extend(held.warning.map(|text| format!("{holder}: {text}")));
                        None
                    }
                    Err(why) => Some(format!("{why}{}", with_values(filling))),
                }
            });
            self.violations.extend(failed.map(|why| Violation {
                holder: holder.clone(),
                query: query.to_string(),
                why,
            }));
        }
    }

    /// Checks what an entry may do by its own permissions and its roles. Where it connects from does not
    /// matter.
    fn check_entry(
        &mut self,
        rehearsal: &Rehearsal,
        authenticator: &str,
        mut identity: Identity,
        now: UnixTime,
    ) {
        let holder = format!("entry `{authenticator}/{}`", identity.user);
        let kinds = identity.proposal.connection_types.take().unwrap_or_else(every_kind);
        identity.proposal.source = None;
        identity.expires_at = None;
        let mut seen: Vec<Access> = Vec::new();
        for kind in kinds.iter() {
            identity.proposal.connection_types = Some(kinds);
            let Ok(connection) = Connection::new(kind, [127, 0, 0, 1].into()) else { continue };
            let (result, explanation) =
                rehearsal.explain(authenticator, &identity, &connection, now);
            let Ok(grant) = result else { continue };
            let access = self.own_part(&grant, &explanation.steps);
            if !seen.contains(&access) {
                self.check_access(&holder, &access);
                seen.push(access);
            }
        }
    }

    /// The access of a grant without what excepted roles contribute.
    fn own_part(&self, grant: &Grant, steps: &[Step]) -> Access {
        let Access::Limited(permissions) = grant.access() else { return grant.access().clone() };
        let excepted = |from: &str| {
            let is_role = |role: &String| from == format!("role `{role}`");
            self.never.except_roles.iter().any(is_role) || from == "inbox"
        };
        if !grant.roles().iter().any(|role| self.never.except_roles.contains(role)) {
            return grant.access().clone();
        }
        let mut own = Permissions { responses: None, ..permissions.clone() };
        own.publish.allow.clear();
        own.subscribe.allow.clear();
        for step in steps {
            let Step::Permission { side, kind: "allow", rule, from } = step else { continue };
            if excepted(from) {
                continue;
            }
            match *side {
                "publish" => own.publish.allow.extend(rule.parse()),
                "subscribe" => own.subscribe.allow.extend(rule.parse()),
                _ => own.responses = permissions.responses,
            }
        }
        Access::Limited(own)
    }

    fn check_access(&mut self, holder: &str, access: &Access) {
        for query in &self.never.may {
            match access::unreachable(access, query) {
                Ok(held) => {
                    self.warnings.extend(held.warning.map(|text| format!("{holder}: {text}")));
                }
                Err(why) => self.violations.push(Violation {
                    holder: holder.to_owned(),
                    query: query.to_string(),
                    why,
                }),
            }
        }
    }
}

fn every_kind() -> ConnectionKinds {
    ConnectionKinds::default().with(ConnectionKind::LeafNode)
}

type Filling = BTreeMap<String, String>;

/// Every choice of values that can make a difference: for each template a value that occurs in the rule or
/// in the role, and one that occurs nowhere. `None` if there are too many.
fn fillings(role: &RoleView, query: &AccessQuery) -> Option<Vec<Filling>> {
    let subjects: Vec<&SubjectTemplate> = subjects(role).collect();
    let literals = literal_tokens(&subjects, query);
    let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for subject in &subjects {
        add_values(subject, &literals, &mut values);
    }
    let mut fillings = vec![Filling::new()];
    for (placeholder, choices) in values {
        if fillings.len().saturating_mul(choices.len()) > MAX_COMBINATIONS {
            return None;
        }
        let with = |filling: &Filling| -> Vec<Filling> {
            let filled = |value: &String| {
                let mut filling = filling.clone();
                filling.insert(placeholder.clone(), value.clone());
                filling
            };
            choices.iter().map(filled).collect()
        };
        fillings = fillings.iter().flat_map(with).collect();
    }
    Some(fillings)
}

fn subjects(role: &RoleView) -> impl Iterator<Item = &SubjectTemplate> {
    let sides = [&role.publish, &role.subscribe].into_iter();
    sides.flat_map(|rules| rules.allow.iter().chain(&rules.deny))
}

/// Every token without wildcard and template in the role and in the query.
fn literal_tokens(subjects: &[&SubjectTemplate], query: &AccessQuery) -> BTreeSet<String> {
    let asked = query.to_string();
    let asked = asked.split_once(':').map(|(_, subject)| subject.to_owned()).unwrap_or_default();
    let own = subjects.iter().map(|subject| subject.fill(|_| "\u{0}".to_owned()));
    let tokens = own
        .chain([asked])
        .flat_map(|text| text.split(['.', ' ']).map(str::to_owned).collect::<Vec<_>>());
    tokens.filter(|token| !token.contains(['*', '>', '\u{0}']) && !token.is_empty()).collect()
}

/// Adds the values that turn a token of `subject` into one of the literal tokens.
fn add_values(
    subject: &SubjectTemplate,
    literals: &BTreeSet<String>,
    values: &mut BTreeMap<String, BTreeSet<String>>,
) {
    let pieces = subject.pieces();
    for (index, piece) in pieces.iter().enumerate() {
        let TemplatePiece::Placeholder { text, encoded } = piece else { continue };
        let choices = values.entry(text.clone()).or_default();
        choices.insert(OTHER.to_owned());
        let text_at = |at: Option<usize>| match at.and_then(|at| pieces.get(at)) {
            Some(TemplatePiece::Text(text)) => text.as_str(),
            Some(TemplatePiece::Placeholder { .. }) | None => "",
        };
        let before = text_at(index.checked_sub(1));
        let after = text_at(Some(index + 1));
        let prefix = before.rsplit(['.', ' ']).next().unwrap_or_default();
        let suffix = after.split(['.', ' ']).next().unwrap_or_default();
        let starts_subject = index == 0;
        for literal in literals {
            let value = literal.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix));
            let safe = value.filter(|value| is_safe(value, *encoded, starts_subject));
            choices.extend(safe.map(str::to_owned));
        }
    }
}

/// Whether a login could have this value.
fn is_safe(value: &str, encoded: bool, starts_subject: bool) -> bool {
    let begins_unsafe = value.starts_with('$') || (starts_subject && value.starts_with('_'));
    !value.is_empty() && !begins_unsafe && (!encoded || decode(value).is_some())
}

/// What the role grants with these values.
fn filled(role: &RoleView, filling: &Filling) -> Option<Access> {
    let fill = |subject: &SubjectTemplate| {
        subject.fill(|placeholder| filling.get(placeholder).cloned().unwrap_or_default())
    };
    fn parsed<T: std::str::FromStr>(
        list: &[SubjectTemplate],
        fill: impl Fn(&SubjectTemplate) -> String,
    ) -> Vec<T> {
        list.iter().filter_map(|subject| fill(subject).parse().ok()).collect()
    }
    let publish =
        Rules { allow: parsed(&role.publish.allow, fill), deny: parsed(&role.publish.deny, fill) };
    let subscribe = Rules {
        allow: parsed(&role.subscribe.allow, fill),
        deny: parsed(&role.subscribe.deny, fill),
    };
    Some(Access::Limited(Permissions { publish, subscribe, responses: role.responses }))
}

/// The values, for the message.
fn with_values(filling: &Filling) -> String {
    let list: Vec<_> =
        filling.iter().map(|(placeholder, value)| format!("{placeholder} = `{value}`")).collect();
    match list.is_empty() {
        true => String::new(),
        false => format!(" (with {})", list.join(", ")),
    }
}
