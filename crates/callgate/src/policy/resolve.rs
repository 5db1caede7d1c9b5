//! From an identity to a grant: the order of the steps is the security argument.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    AuthenticatorRules, Policy,
    access::overlaps_itself,
    binding::{Binding, BindingAccount, BindingRole},
    condition::EvalError,
    expiry::Expiry,
    explain::{BindingVerdict, Enforcer, RoleVerdict, Step, Trace},
    facts::Question,
    grant::{Dropped, Grant, shown},
    inputs::Inputs,
    permissions::{Access, Permissions, Responses, Rules},
    role::{Role, check_kind, check_source},
    settings::Inbox,
    template::{MAX_SUBJECTS, Pattern, Rule, Template, TemplateError, encode},
};
use crate::{
    authn::{Origin, Proposal},
    clock::UnixTime,
    connection::{ConnectionKind, ConnectionKinds},
    decision::{Denial, Reason},
    subject::{SubjectError, SubjectToken, SubscribePattern},
};

const NO_RULES: &AuthenticatorRules = &AuthenticatorRules {
    account: None,
    expires_after: None,
    user_prefix: String::new(),
    ceiling: super::Ceiling {
        accounts: Vec::new(),
        roles: Vec::new(),
        publish: Vec::new(),
        subscribe: Vec::new(),
        responses: None,
    },
    defaults: None,
};

/// Decides what an identity may do.
pub(super) fn resolve<T: Trace>(
    policy: &Policy,
    question: &Question<'_>,
    trace: &mut T,
) -> Result<Grant, Denial> {
    let rules = policy.authenticators.get(question.authenticator).unwrap_or(NO_RULES);
    let user = format!("{}{}", rules.user_prefix, question.identity.user);
    let inputs = Inputs::new(&user, question);
    let mut expiry = Expiry::new(question.now);

    check_entry(question, &mut expiry, trace)?;
    let mut resolver = Resolver { policy, rules, question, inputs: &inputs, trace, expiry };
    let bindings = resolver.matching_bindings()?;
    let named = resolver.named_account(&bindings)?;
    let mut dropped = Dropped::default();
    let found = resolver.contributions(&bindings, &mut dropped)?;
    let access = resolver.access(&found)?;
    let (account, account_origin) = match named {
        Some(named) => named,
        None => resolver.default_account()?,
    };
    let tags = resolver.tags(&found)?;
    if let Access::Scoped(scope) = &access {
        resolver.check_scoped(scope, &account, &tags)?;
    }
    let Resolver { trace, mut expiry, .. } = resolver;
    expiry.after(rules.expires_after, trace, || "the authenticator's expires_after".to_owned());
    expiry.after(policy.session.max_lifetime, trace, || "session.max_lifetime".to_owned());
    tell_enforcement(trace, &access);
    let roles = found.roles.iter().map(|role| role.name.to_string()).collect();
    let expires_at = expiry.spread(policy.session.jitter, question.facts.user_nkey);
    Ok(Grant {
        account,
        account_origin,
        user: user.clone(),
        access,
        expires_at,
        tags,
        roles,
        dropped,
    })
}

/// What refuses by itself, before any rule is looked at.
fn check_entry<T: Trace>(
    question: &Question<'_>,
    expiry: &mut Expiry,
    trace: &mut T,
) -> Result<(), Denial> {
    let Question { identity, facts, now, .. } = question;
    if facts.client.connection == ConnectionKind::Unknown {
        let detail = format!(
            "unknown kind of connection `{}`, type `{}`",
            shown(&facts.client.kind),
            shown(&facts.client.kind_of_client)
        );
        return Err(Denial::new(Reason::ConnectionTypeNotAllowed, detail));
    }
    if let Some(end) = identity.expires_at
        && end <= *now
    {
        return Err(Denial::new(Reason::TokenExpired, format!("the credential ended at {end}")));
    }
    let Proposal { source, connection_types, expires_after, .. } = &identity.proposal;
    if let Some(kinds) = connection_types {
        check_kind(*kinds, facts, &identity.user)?;
    }
    check_source(source.as_deref(), facts, &identity.user)?;
    expiry.at(identity.expires_at, trace, || "the credential".to_owned());
    expiry.after(*expires_after, trace, || "the entry's expires_after".to_owned());
    Ok(())
}

struct Resolver<'p, 'q, 'i, T> {
    policy: &'p Policy,
    rules: &'p AuthenticatorRules,
    question: &'q Question<'q>,
    inputs: &'i Inputs<'q>,
    trace: &'q mut T,
    expiry: Expiry,
}

/// What an identity has.
#[derive(Default)]
struct Found {
    /// Roles whose conditions hold.
    roles: Vec<Arc<Role>>,
    /// The entry's own permissions.
    own: Option<Permissions>,
    /// Everything inside the account.
    unrestricted: bool,
    /// The first condition that failed.
    failed: Option<Denial>,
}

impl<T: Trace> Resolver<'_, '_, '_, T> {
    fn proposal(&self) -> &Proposal {
        &self.question.identity.proposal
    }

    /// An entry of the operator's with something of its own is touched only by bindings that name
    /// its authenticator.
    fn has_own(&self) -> bool {
        let Proposal { origin, account, roles, permissions, .. } = self.proposal();
        *origin == Origin::Operator
            && (account.is_some() || roles.is_some() || permissions.is_some())
    }

    fn matching_bindings(&mut self) -> Result<Vec<Arc<Binding>>, Denial> {
        let policy = self.policy;
        let authenticator = self.question.authenticator;
        if T::LISTENS {
            for other in policy.bindings.others(authenticator) {
                self.tell_binding(other, BindingVerdict::OtherAuthenticator);
            }
        }
        let mine = policy.bindings.of(authenticator);
        let mut matched = Vec::new();
        for binding in mine.iter().filter(|binding| !binding.otherwise) {
            if self.matches(binding)? {
                matched.push(Arc::clone(binding));
            }
        }
        let nobody_else = matched.is_empty();
        for binding in mine.iter().filter(|binding| binding.otherwise) {
            if !nobody_else {
                self.tell_binding(binding, BindingVerdict::OtherMatched);
            } else if self.matches(binding)? {
                matched.push(Arc::clone(binding));
            }
        }
        for binding in &matched {
            self.expiry.after(binding.expires_after, self.trace, || {
                format!("bindings[{}].expires_after", binding.index)
            });
        }
        Ok(matched)
    }

    fn tell_binding(&mut self, binding: &Binding, verdict: BindingVerdict) {
        self.trace.note(|| Step::Binding { index: binding.index, verdict });
    }

    fn matches(&mut self, binding: &Binding) -> Result<bool, Denial> {
        if binding.every && self.has_own() {
            self.tell_binding(binding, BindingVerdict::NotNamed);
            return Ok(false);
        }
        let value = binding.when.as_ref().map_or(Ok(true), |when| when.is_true(self.inputs));
        let (matched, verdict) = match value {
            Ok(true) => (true, BindingVerdict::Matched),
            Ok(false) => (false, BindingVerdict::ConditionFalse),
            Err(EvalError::Absent(name)) => (false, BindingVerdict::ConditionAbsent { name }),
            Err(error) => {
                let detail = format!("bindings[{}].when: {error}", binding.index);
                return Err(Denial::new(Reason::PolicyError, detail));
            }
        };
        self.tell_binding(binding, verdict);
        Ok(matched)
    }

    /// The account that the entry or the bindings name; every one named must be allowed, and all
    /// must be the same.
    fn named_account(
        &mut self,
        bindings: &[Arc<Binding>],
    ) -> Result<Option<(String, Origin)>, Denial> {
        let mut named: Vec<(String, Origin, String)> = Vec::new();
        if let Some(account) = &self.proposal().account {
            let origin = self.proposal().origin;
            named.push((account.clone(), origin, "the identity's source".to_owned()));
        }
        for binding in bindings {
            let from = || format!("bindings[{}].account", binding.index);
            match &binding.account {
                None => {}
                Some(BindingAccount::Literal(account)) => {
                    named.push((account.clone(), Origin::Operator, from()));
                }
                Some(BindingAccount::Template(template)) => {
                    named.push((self.account_of(template, &from())?, Origin::Outside, from()));
                }
            }
        }
        for (account, origin, from) in &named {
            self.check_account(account, *origin, from)?;
        }
        let mut named = named.into_iter();
        let Some((account, origin, from)) = named.next() else { return Ok(None) };
        if let Some((other, _, other_from)) = named.find(|(other, ..)| *other != account) {
            let detail = format!("{from} says `{account}`, {other_from} says `{other}`");
            return Err(Denial::new(Reason::AccountConflict, detail));
        }
        Ok(Some((account, origin)))
    }

    fn account_of(&self, template: &Template, from: &str) -> Result<String, Denial> {
        let filled =
            template.fill(self.inputs, Rule::Text).map_err(|error| refused(from, error))?;
        match <[String; 1]>::try_from(filled) {
            Ok([account]) => Ok(account),
            Err(several) => {
                let why = format!("{from}: {} accounts where one is needed", several.len());
                Err(Denial::new(Reason::UnsafeTemplateValue, why))
            }
        }
    }

    fn check_account(&mut self, account: &str, origin: Origin, from: &str) -> Result<(), Denial> {
        self.trace.note(|| Step::Account { name: account.to_owned(), from: from.to_owned() });
        let in_ceiling = |name: &str| self.rules.ceiling.allows_account(name, self.inputs);
        self.policy
            .accounts
            .check(account, origin, self.question.callout_account, in_ceiling)
            .map_err(|denial| Denial { detail: format!("{from}: {}", denial.detail), ..denial })
    }

    fn default_account(&mut self) -> Result<(String, Origin), Denial> {
        let policy = self.policy;
        let of_authenticator =
            self.rules.account.as_deref().map(|name| (name, "the authenticator"));
        let default = || policy.accounts.default_account().map(|name| (name, "default_account"));
        let Some((account, from)) = of_authenticator.or_else(default) else {
            let detail = "nothing names an account: not the identity's source, no binding, not the \
                          authenticator, and there is no default_account";
            return Err(Denial::new(Reason::NoAccount, detail));
        };
        self.check_account(account, Origin::Operator, from)?;
        Ok((account.to_owned(), Origin::Operator))
    }

    /// Roles and permissions, from wherever, whose conditions hold.
    fn contributions(
        &mut self,
        bindings: &[Arc<Binding>],
        dropped: &mut Dropped,
    ) -> Result<Found, Denial> {
        let mut found = Found::default();
        self.own_permissions(&mut found, dropped);
        let roles = self.named_roles(bindings, dropped)?;
        let Proposal { origin, roles: own_roles, permissions, unrestricted_if_alone, .. } =
            self.proposal();
        let alone =
            roles.is_empty() && bindings.is_empty() && own_roles.is_none() && permissions.is_none();
        if alone && *unrestricted_if_alone && *origin == Origin::Operator {
            check_kind(self.implied_kinds(), &self.question.facts, self.inputs.user)?;
            self.trace.note(|| Step::Unrestricted);
            return Ok(Found { unrestricted: true, ..found });
        }
        for (role, from) in roles {
            self.weigh(&role, from, &mut found);
        }
        if found.roles.is_empty() && found.own.is_none() {
            return Err(found.failed.unwrap_or_else(|| self.nothing(bindings, dropped)));
        }
        Ok(found)
    }

    fn nothing(&self, bindings: &[Arc<Binding>], dropped: &Dropped) -> Denial {
        let what = match bindings.is_empty() {
            true => "no binding matches, and there are no roles or permissions of its own",
            false => {
                "the bindings that match give no role, and there are no permissions of its own"
            }
        };
        let over = match dropped.count() {
            0 => String::new(),
            count => format!("; the ceiling dropped {count}"),
        };
        let user = shown(self.inputs.user);
        Denial::new(Reason::NoBinding, format!("`{user}`: {what}{over}"))
    }

    /// Kinds of connection that an entry is open to without a role: leaf nodes only if the
    /// operator says so.
    fn implied_kinds(&self) -> ConnectionKinds {
        match (self.proposal().origin, self.proposal().connection_types) {
            (Origin::Operator, Some(kinds)) => kinds,
            (Origin::Outside, _) | (Origin::Operator, None) => ConnectionKinds::default(),
        }
    }

    fn own_permissions(&mut self, found: &mut Found, dropped: &mut Dropped) {
        let question = self.question;
        let Some(asked) = &question.identity.proposal.permissions else { return };
        let (permissions, nothing_left) = match question.identity.proposal.origin {
            Origin::Operator => (asked.clone(), false),
            Origin::Outside => {
                let clipped = self.rules.ceiling.clip(asked, self.inputs, dropped);
                (clipped.permissions, clipped.nothing_left)
            }
        };
        let verdict = match check_kind(self.implied_kinds(), &question.facts, self.inputs.user) {
            Err(denial) => {
                let verdict = fails(&denial);
                found.failed.get_or_insert(denial);
                verdict
            }
            Ok(()) if nothing_left => RoleVerdict::Dropped,
            Ok(()) => {
                found.own = Some(permissions);
                RoleVerdict::Contributes
            }
        };
        self.trace.note(|| Step::OwnPermissions { verdict });
    }

    /// Every role that somebody gives, once, with who gives it.
    fn named_roles(
        &mut self,
        bindings: &[Arc<Binding>],
        dropped: &mut Dropped,
    ) -> Result<Vec<(Arc<Role>, String)>, Denial> {
        let mut roles: Vec<(Arc<Role>, String)> = Vec::new();
        if let Some(defaults) = &self.rules.defaults {
            roles.push((Arc::clone(defaults), "the authenticator's defaults".to_owned()));
        }
        let (policy, proposal) = (self.policy, &self.question.identity.proposal);
        for name in proposal.roles.iter().flatten() {
            match proposal.origin {
                Origin::Operator => {
                    let Some(role) = policy.roles.get(name.as_str()) else {
                        let detail = format!("there is no role `{}`", shown(name));
                        return Err(Denial::new(Reason::PolicyError, detail));
                    };
                    roles.push((Arc::clone(role), "the entry".to_owned()));
                }
                Origin::Outside => {
                    let from = "the identity's source";
                    roles.extend(self.outside_role(name, from, dropped));
                }
            }
        }
        for binding in bindings {
            let from = format!("bindings[{}]", binding.index);
            for role in &binding.roles {
                match role {
                    BindingRole::Literal(role) => roles.push((Arc::clone(role), from.clone())),
                    BindingRole::Template(template) => {
                        for name in self.role_names(template, &from, dropped)? {
                            roles.extend(self.outside_role(&name, &from, dropped));
                        }
                    }
                }
            }
        }
        let mut seen = BTreeSet::new();
        roles.retain(|(role, _)| seen.insert(Arc::as_ptr(role)));
        Ok(roles)
    }

    /// The names that a template gives. Outside data without a usable name gives no role.
    fn role_names(
        &mut self,
        template: &Template,
        from: &str,
        dropped: &mut Dropped,
    ) -> Result<Vec<String>, Denial> {
        match template.fill(self.inputs, Rule::Text) {
            Ok(names) => Ok(names),
            Err(TemplateError::Unsafe(why)) => {
                dropped.note("role", template.text());
                self.trace.note(|| Step::Remark { text: format!("{from}.roles: {why}") });
                Ok(Vec::new())
            }
            Err(error) => Err(refused(from, error)),
        }
    }

    fn outside_role(
        &mut self,
        name: &str,
        from: &str,
        dropped: &mut Dropped,
    ) -> Option<(Arc<Role>, String)> {
        let role = self.policy.roles.get(name).filter(|_| self.rules.ceiling.allows_role(name));
        if role.is_none() {
            dropped.note("role", name);
            let verdict = RoleVerdict::Dropped;
            self.trace.note(|| Step::Role { name: shown(name), from: from.to_owned(), verdict });
        }
        role.map(|role| (Arc::clone(role), from.to_owned()))
    }

    /// Takes the role if its conditions hold.
    fn weigh(&mut self, role: &Arc<Role>, from: String, found: &mut Found) {
        let counts = role.counts(&self.question.facts, self.question.now);
        let name = || role.name.to_string();
        let verdict = match counts {
            Err(denial) => {
                let verdict = fails(&denial);
                found.failed.get_or_insert(denial);
                verdict
            }
            Ok(window_end) => {
                self.end_with(role, window_end);
                found.roles.push(Arc::clone(role));
                RoleVerdict::Contributes
            }
        };
        self.trace.note(|| Step::Role { name: name(), from, verdict });
    }

    fn end_with(&mut self, role: &Role, window_end: Option<UnixTime>) {
        let name = &role.name;
        self.expiry.at(window_end, self.trace, || format!("the window of role `{name}`"));
        self.expiry
            .after(role.expires_after, self.trace, || format!("expires_after of role `{name}`"));
    }

    fn access(&mut self, found: &Found) -> Result<Access, Denial> {
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
            self.add(&mut union.publish.allow, &role.publish.allow, ("publish", "allow"), role)?;
            self.add(&mut union.publish.deny, &role.publish.deny, ("publish", "deny"), role)?;
            let subscribe = &role.subscribe;
            self.add(&mut union.subscribe.allow, &subscribe.allow, ("subscribe", "allow"), role)?;
            self.add(&mut union.subscribe.deny, &subscribe.deny, ("subscribe", "deny"), role)?;
            self.add_responses(&mut union.responses, role.responses, &role.name);
        }
        if let Some(own) = &found.own {
            self.add_own(&mut union, own);
        }
        self.add_denies_of_source(&mut union);
        self.add_inbox(&mut union, found)?;
        let Union { publish, subscribe, responses } = union;
        let permissions =
            Permissions { publish: publish.into(), subscribe: subscribe.into(), responses };
        self.check_size(&permissions)?;
        if permissions.responses.is_some() && overlaps_itself(&permissions) {
            self.trace.note(|| Step::Remark { text: RESPONSES_ARE_NO_BOUNDARY.to_owned() });
        }
        Ok(permissions)
    }

    fn add<P>(
        &mut self,
        into: &mut BTreeSet<P>,
        patterns: &[Pattern<P>],
        (side, kind): (&'static str, &'static str),
        role: &Role,
    ) -> Result<(), Denial>
    where
        P: std::str::FromStr<Err = SubjectError> + Clone + std::fmt::Display + Ord,
    {
        for pattern in patterns {
            let filled = pattern
                .fill(self.inputs)
                .map_err(|error| refused(&format!("role `{}`", role.name), error))?;
            for rule in filled {
                self.tell(side, kind, &rule, || format!("role `{}`", role.name));
                into.insert(rule);
            }
            if into.len() > MAX_SUBJECTS {
                return Err(refused(&format!("role `{}`", role.name), TemplateError::TooMany));
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
        self.add_responses(&mut union.responses, own.responses, "the entry");
    }

    /// What an identity's own source denies stays denied, whatever became of its allows.
    fn add_denies_of_source(&mut self, union: &mut Union) {
        let question = self.question;
        let Some(own) = &question.identity.proposal.permissions else { return };
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

    fn add_responses(&mut self, into: &mut Option<Responses>, more: Option<Responses>, from: &str) {
        let Some(more) = more else { return };
        let text = || format!("max {:?}, ttl {:?}", more.max, more.ttl);
        self.trace.note(|| Step::Permission {
            side: "responses",
            kind: "allow",
            rule: text(),
            from: from.to_owned(),
        });
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
        let variables = &self.question.identity.variables;
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

    fn tags(&mut self, found: &Found) -> Result<Vec<String>, Denial> {
        let mut tags = BTreeSet::new();
        for role in &found.roles {
            for template in &role.tags {
                let filled = template
                    .fill(self.inputs, Rule::Text)
                    .map_err(|error| refused(&format!("tags of role `{}`", role.name), error))?;
                tags.extend(filled);
            }
        }
        Ok(tags.into_iter().collect())
    }

    /// The server puts name and tags into the templates of the scoped key, with no more than a
    /// syntax check.
    fn check_scoped(&self, scope: &str, account: &str, tags: &[String]) -> Result<(), Denial> {
        if !self.policy.accounts.has_scope(account, scope) {
            let detail = format!("account `{account}` has no scoped signing key `{scope}`");
            return Err(Denial::new(Reason::PolicyError, detail));
        }
        for text in std::iter::once(self.inputs.user).chain(tags.iter().map(String::as_str)) {
            let literal = text.parse::<SubjectToken>().is_ok() && !text.contains(['{', '}']);
            if !literal {
                let why = format!("scope `{scope}`: `{}` is not one literal token", shown(text));
                return Err(unsafe_value(why));
            }
        }
        // nats-io/jwt `TagList` lower-cases: `Red` would have what is meant for `red`.
        if let Some(tag) = tags.iter().find(|tag| tag.chars().any(char::is_uppercase)) {
            let why = format!("scope `{scope}`: the tag `{}` has capitals", shown(tag));
            return Err(unsafe_value(why));
        }
        Ok(())
    }
}

const RESPONSES_ARE_NO_BOUNDARY: &str = "responses is no boundary here: the client may publish to \
    what it may subscribe to, and so choose the reply subject that opens";

#[derive(Default)]
struct Union {
    publish: SideUnion<crate::subject::SubjectPattern>,
    subscribe: SideUnion<SubscribePattern>,
    responses: Option<Responses>,
}

/// Ordered sets: the same question has the same answer.
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

fn fails(denial: &Denial) -> RoleVerdict {
    RoleVerdict::Fails { reason: denial.reason.as_str(), detail: denial.detail.clone() }
}

fn unsafe_value(why: String) -> Denial {
    Denial::new(Reason::UnsafeTemplateValue, why)
}

fn refused(whose: &str, error: TemplateError) -> Denial {
    match error {
        TemplateError::Unsafe(why) => unsafe_value(format!("{whose}: {why}")),
        TemplateError::Failed(why) => Denial::new(Reason::PolicyError, format!("{whose}: {why}")),
        TemplateError::TooMany => Denial::new(
            Reason::GrantTooLarge,
            format!("{whose}: more than {MAX_SUBJECTS} subjects, roles or tags"),
        ),
    }
}

/// Who sees to what (facts about nats-server 2.10 to 2.15).
fn tell_enforcement<T: Trace>(trace: &mut T, access: &Access) {
    let by_server: &[&'static str] = match access {
        Access::Unrestricted => &["account", "expiry"],
        Access::Limited(_) => &["account", "expiry", "publish", "subscribe", "responses"],
        Access::Scoped(_) => &["account", "expiry", "scope"],
    };
    for what in by_server {
        trace.note(|| Step::Enforced { what, by: Enforcer::NatsServer });
    }
    for what in ["source", "connection_types", "times"] {
        trace.note(|| Step::Enforced { what, by: Enforcer::Callgate });
    }
}
