//! What several roles and permissions are together.

use std::{collections::BTreeSet, fmt};

use super::{Found, Resolver, refused, unsafe_value};
use crate::{
    authn::{Origin, Proposal},
    policy::{
        access::overlaps_itself,
        explain::{Step, Trace},
        grant::shown,
        permission_templates::PermissionTemplates,
        permissions::{Access, Permissions, Responses, Rules},
        scope::{literal_name, literal_tag},
        settings::Inbox,
        template::{FillError, MAX_SUBJECTS, Pattern, Rule, encode},
    },
    record::{Denial, Reason},
    subject::{SubjectError, SubjectPattern, SubjectToken, SubscribePattern},
};

impl<T: Trace> Resolver<'_, '_, '_, T> {
    pub(super) fn access(&mut self, found: &Found) -> Result<Access, Denial> {
        if found.unrestricted {
            return Ok(Access::Unrestricted);
        }
        let scoped = found.roles.iter().find_map(|role| role.scope.as_ref().map(|s| (role, s)));
        if let Some((role, scope)) = scoped {
            if found.roles.len() > 1 || found.own.is_some() {
                let why = format!(
                    "role `{}` has a scope and combines with no other role or permissions",
                    role.name
                );
                return Err(Denial::new(Reason::RoleConflict, why));
            }
            return Ok(Access::Scoped(scope.clone()));
        }
        self.united(found).map(Access::Limited)
    }

    /// Allows are united; denies are united too, and win.
    fn united(&mut self, found: &Found) -> Result<Permissions, Denial> {
        let mut union = Union::default();
        for role in &found.roles {
            let whose = Whose::Role(&role.name);
            self.add_allows(&mut union, &role.publish.allow, &role.subscribe.allow, whose)?;
            self.add_denies(&mut union, &role.publish.deny, &role.subscribe.deny, whose)?;
            self.add_responses(&mut union.responses, role.responses, whose);
        }
        if let Some(own) = &found.own {
            self.add_own(&mut union, own);
        }
        self.add_denies_of_source(&mut union);
        self.add_templates_of_source(&mut union, found.own.is_some())?;
        self.add_inbox(&mut union, found)?;
        let Union { publish, subscribe, responses } = union;
        let permissions =
            Permissions { publish: publish.into(), subscribe: subscribe.into(), responses };
        self.check_size(&permissions)?;
        // Each with each: not for every login.
        if T::LISTENS && permissions.responses.is_some() && overlaps_itself(&permissions) {
            self.trace.note(|| Step::Remark { text: RESPONSES_ARE_NO_BOUNDARY.to_owned() });
        }
        Ok(permissions)
    }

    fn add_allows(
        &mut self,
        union: &mut Union,
        publish: &[Pattern<SubjectPattern>],
        subscribe: &[Pattern<SubscribePattern>],
        whose: Whose<'_>,
    ) -> Result<(), Denial> {
        self.add(&mut union.publish.allow, publish, ("publish", "allow"), whose)?;
        self.add(&mut union.subscribe.allow, subscribe, ("subscribe", "allow"), whose)
    }

    fn add_denies(
        &mut self,
        union: &mut Union,
        publish: &[Pattern<SubjectPattern>],
        subscribe: &[Pattern<SubscribePattern>],
        whose: Whose<'_>,
    ) -> Result<(), Denial> {
        self.add(&mut union.publish.deny, publish, ("publish", "deny"), whose)?;
        self.add(&mut union.subscribe.deny, subscribe, ("subscribe", "deny"), whose)
    }

    fn add<P>(
        &mut self,
        into: &mut BTreeSet<P>,
        patterns: &[Pattern<P>],
        (side, kind): (&'static str, &'static str),
        whose: Whose<'_>,
    ) -> Result<(), Denial>
    where
        P: std::str::FromStr<Err = SubjectError> + Clone + std::fmt::Display + Ord,
    {
        for pattern in patterns {
            let filled = pattern.fill(self.inputs).map_err(|error| refused(whose, error))?;
            for rule in filled {
                self.tell(side, kind, &rule, || whose.to_string());
                into.insert(rule);
            }
            if into.len() > MAX_SUBJECTS {
                return Err(refused(whose, FillError::TooMany));
            }
        }
        Ok(())
    }

    fn tell(
        &mut self,
        side: &'static str,
        kind: &'static str,
        rule: &impl std::fmt::Display,
        from: impl FnOnce() -> String,
    ) {
        self.trace.note(|| Step::Permission { side, kind, rule: rule.to_string(), from: from() });
    }

    fn add_own(&mut self, union: &mut Union, own: &Permissions) {
        let from = || "the entry".to_owned();
        for rule in &own.publish.allow {
            self.tell("publish", "allow", rule, from);
            union.publish.allow.insert(rule.clone());
        }
        for rule in &own.subscribe.allow {
            self.tell("subscribe", "allow", rule, from);
            union.subscribe.allow.insert(rule.clone());
        }
        self.add_responses(&mut union.responses, own.responses, Whose::Entry);
    }

    /// What an identity's own source denies stays denied, whatever became of its allows.
    fn add_denies_of_source(&mut self, union: &mut Union) {
        let request = self.request;
        let Some(own) = &request.identity.proposal.permissions else { return };
        let from = || "the entry".to_owned();
        for rule in &own.publish.deny {
            self.tell("publish", "deny", rule, from);
            union.publish.deny.insert(rule.clone());
        }
        for rule in &own.subscribe.deny {
            self.tell("subscribe", "deny", rule, from);
            union.subscribe.deny.insert(rule.clone());
        }
    }

    /// Only what the operator wrote is evaluated. Its denies count whatever became of its allows.
    fn add_templates_of_source(&mut self, union: &mut Union, counts: bool) -> Result<(), Denial> {
        let Proposal { origin, permissions, templates, .. } = &self.request.identity.proposal;
        let (Origin::Operator, Some(_), Some(templates)) = (origin, permissions, templates) else {
            return Ok(());
        };
        let PermissionTemplates { publish, subscribe } = &**templates;
        if counts {
            self.add_allows(union, &publish.allow, &subscribe.allow, Whose::Entry)?;
        }
        self.add_denies(union, &publish.deny, &subscribe.deny, Whose::Entry)
    }

    fn add_responses(
        &mut self,
        into: &mut Option<Responses>,
        more: Option<Responses>,
        whose: Whose<'_>,
    ) {
        let Some(more) = more else { return };
        self.tell("responses", "allow", &more, || whose.to_string());
        *into = Some(into.map_or(more, |known| known.narrowest(more)));
    }

    fn add_inbox(&mut self, union: &mut Union, found: &Found) -> Result<(), Denial> {
        let inbox = found.roles.iter().map(|role| role.inbox).max().unwrap_or_default();
        let text = match inbox {
            Inbox::None => return Ok(()),
            Inbox::Shared => "_INBOX.>".to_owned(),
            Inbox::Private => format!("{}.>", self.private_inbox()?),
        };
        let rule: SubscribePattern =
            text.parse().map_err(|error: SubjectError| unsafe_value(format!("inbox: {error}")))?;
        self.tell("subscribe", "allow", &rule, || "inbox".to_owned());
        union.subscribe.allow.insert(rule);
        Ok(())
    }

    fn private_inbox(&self) -> Result<String, Denial> {
        let variables = &self.request.identity.variables;
        let guaranteed = variables.get("namespace").zip(variables.get("service_account"));
        let text = match guaranteed {
            Some((namespace, account)) => format!("_INBOX_{namespace}_{account}"),
            None if self.inputs.user.is_empty() => {
                return Err(unsafe_value("inbox: the user is empty".to_owned()));
            }
            None => format!("_INBOX_{}", encode(self.inputs.user)),
        };
        match text.parse::<SubjectToken>() {
            // The prefix, and an encoded value of at most 384 bytes.
            Ok(token) if token.as_str().len() <= 7 + 384 => Ok(text),
            Ok(_) => Err(unsafe_value("inbox: the user is too long".to_owned())),
            Err(error) => Err(unsafe_value(format!("inbox: {error}"))),
        }
    }

    fn check_size(&self, permissions: &Permissions) -> Result<(), Denial> {
        let Permissions { publish, subscribe, responses: _ } = permissions;
        let count =
            publish.allow.len() + publish.deny.len() + subscribe.allow.len() + subscribe.deny.len();
        match count <= MAX_SUBJECTS {
            true => Ok(()),
            false => Err(Denial::new(
                Reason::GrantTooLarge,
                format!("{count} subjects, at most {MAX_SUBJECTS} are granted"),
            )),
        }
    }

    pub(super) fn tags(&mut self, found: &Found) -> Result<Vec<String>, Denial> {
        let mut tags = BTreeSet::new();
        for role in &found.roles {
            for template in &role.tags {
                let filled = template
                    .fill(self.inputs, Rule::Text)
                    .map_err(|error| refused(format!("tags of role `{}`", role.name), error))?;
                tags.extend(filled);
            }
        }
        Ok(tags.into_iter().collect())
    }

    /// The server puts name and tags into the templates of the scoped key, with no more than a
    /// syntax check.
    pub(super) fn check_scoped(
        &self,
        scope: &str,
        account: &str,
        tags: &[String],
    ) -> Result<(), Denial> {
        if !self.policy.accounts.has_scope(account, scope) {
            let detail = format!("account `{account}` has no scoped signing key `{scope}`");
            return Err(Denial::new(Reason::PolicyError, detail));
        }
        let literal = |what: &str, text: &str, checked: Result<(), &'static str>| {
            checked.map_err(|why| {
                unsafe_value(format!("scope `{scope}`: the {what} `{}` {why}", shown(text)))
            })
        };
        literal("user name", self.inputs.user, literal_name(self.inputs.user))?;
        tags.iter().try_for_each(|tag| literal("tag", tag, literal_tag(tag)))
    }
}

const RESPONSES_ARE_NO_BOUNDARY: &str = "responses is no boundary here: the client may publish to \
    what it may subscribe to, and so choose the reply subject that opens";

/// Who gives a permission.
#[derive(Clone, Copy)]
enum Whose<'a> {
    Role(&'a str),
    Entry,
}

impl fmt::Display for Whose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role(name) => write!(f, "role `{name}`"),
            Self::Entry => f.write_str("the entry"),
        }
    }
}

#[derive(Default)]
struct Union {
    publish: SideUnion<SubjectPattern>,
    subscribe: SideUnion<SubscribePattern>,
    responses: Option<Responses>,
}

/// Ordered sets: the same request has the same answer.
struct SideUnion<P> {
    allow: BTreeSet<P>,
    deny: BTreeSet<P>,
}

impl<P> Default for SideUnion<P> {
    fn default() -> Self {
        Self { allow: BTreeSet::new(), deny: BTreeSet::new() }
    }
}

impl<P> From<SideUnion<P>> for Rules<P> {
    fn from(side: SideUnion<P>) -> Self {
        Self { allow: side.allow.into_iter().collect(), deny: side.deny.into_iter().collect() }
    }
}
