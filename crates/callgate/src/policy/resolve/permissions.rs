//! The union of all roles and permissions of an identity.

use std::{collections::BTreeSet, fmt};

use super::{
    Entitlements, Resolver,
    fill::MAX_SUBJECTS,
    fill_denial,
    trace::{Step, Trace},
    unsafe_value,
};
use crate::{
    authn::{Origin, Proposal},
    connection::ConnectionKind,
    jwt::MAX_USER_CLAIMS,
    permissions::{Access, PermissionTemplates, Permissions, Responses, Rules},
    policy::{
        compile::{
            reach::{ACKNOWLEDGEMENTS, STORED_MESSAGES, may_be_captured},
            roles::MQTT_SESSIONS,
        },
        settings::Inbox,
    },
    reason::{Denial, Reason},
    subject::{SubjectError, SubjectPattern, SubjectToken, SubscribePattern},
    template::{Pattern, encode},
};

/// `_INBOX_` and an encoded value.
const MAX_INBOX_BYTES: usize = 7 + 384;

const RESPONSES_ARE_NO_BOUNDARY: &str = "`responses` is not a boundary here: the client may publish \
    to subjects that it may subscribe to, and so choose the reply subject that opens";

impl<T: Trace> Resolver<'_, '_, '_, T> {
    pub(super) fn access(&mut self, entitlements: &Entitlements) -> Result<Access, Denial> {
        let Entitlements { roles, own, unrestricted, failed: _ } = entitlements;
        if *unrestricted {
            return Ok(Access::Unrestricted);
        }
        let scoped = roles.iter().find_map(|role| role.scope.as_ref().map(|scope| (role, scope)));
        if let Some((role, scope)) = scoped {
            if roles.len() > 1 || own.is_some() {
                let why = format!(
                    "role `{}` has a scope and cannot be combined with another role or permissions",
                    role.name
                );
                return Err(Denial::new(Reason::RoleConflict, why));
            }
            return Ok(Access::Scoped(scope.clone()));
        }
        self.union(entitlements).map(Access::Limited)
    }

    /// The union of all allows, and of all denies; a deny takes precedence.
    fn union(&mut self, entitlements: &Entitlements) -> Result<Permissions, Denial> {
        let mut union = Union::default();
        for role in &entitlements.roles {
            let owner = Owner::Role(&role.name);
            self.add_allows(&mut union, &role.publish.allow, &role.subscribe.allow, owner)?;
            self.add_denies(&mut union, &role.publish.deny, &role.subscribe.deny, owner)?;
            self.add_responses(&mut union, role.responses, owner);
        }
        if let Some(own) = &entitlements.own {
            self.add_own_allows(&mut union, own);
        }
        self.add_own_denies(&mut union);
        self.add_own_templates(&mut union, entitlements.own.is_some())?;
        self.add_inbox(&mut union, entitlements)?;
        let Union { publish, subscribe, responses, size: _ } = union;
        let permissions =
            Permissions { publish: publish.into(), subscribe: subscribe.into(), responses };
        // Also the rules of the identity's source, which are not counted one by one.
        GrantSize::of(&permissions)?;
        // Compares all pairs of rules: too expensive for every login.
        let has_responses = permissions.responses.is_some();
        if T::ENABLED && has_responses && permissions.publish_overlaps_subscribe() {
            self.trace.record(|| Step::Remark { text: RESPONSES_ARE_NO_BOUNDARY.to_owned() });
        }
        if T::ENABLED {
            self.remark_reach(&permissions);
        }
        Ok(permissions)
    }

    /// Remarks what nats-server makes possible beyond the permissions, or what it needs besides them.
    fn remark_reach(&mut self, permissions: &Permissions) {
        let Permissions { publish, subscribe, responses: _ } = permissions;
        let mut remark = |text: String| self.trace.record(|| Step::Remark { text });
        if publish.allow.iter().any(|allow| may_be_captured(allow.as_str())) {
            remark(format!("beyond this grant: {ACKNOWLEDGEMENTS}"));
        }
        let reads = |allow: &SubjectPattern| {
            let api = ["$JS.API.DIRECT.GET.>", "$JS.API.STREAM.MSG.GET.>", "$JS.API.CONSUMER.>"];
            api.iter().filter_map(|api| api.parse().ok()).any(|api| allow.overlaps(&api))
        };
        if publish.allow.iter().any(reads) {
            remark(format!("beyond this grant: {STORED_MESSAGES}"));
        }
        let subscribes = |text: &str| {
            let wanted = text.parse::<SubscribePattern>();
            wanted.is_ok_and(|wanted| subscribe.allow.iter().any(|allow| allow.covers(&wanted)))
        };
        let is_mqtt = self.request.connection.client.connection == ConnectionKind::Mqtt;
        if is_mqtt && !MQTT_SESSIONS.iter().all(|text| subscribes(text)) {
            let text =
                "MQTT with QoS 1 or 2 is refused on nats-server 2.10 and 2.11, which also need \
                        subscribe `$MQTT.sub.>` and `$MQTT.deliver.>`: set `mqtt = true` in a role"
                    .to_owned();
            self.trace.record(|| Step::Remark { text });
        }
    }

    fn add_allows(
        &mut self,
        union: &mut Union,
        publish: &[Pattern<SubjectPattern>],
        subscribe: &[Pattern<SubscribePattern>],
        owner: Owner<'_>,
    ) -> Result<(), Denial> {
        let Union { publish: published, subscribe: subscribed, size, .. } = union;
        self.add((&mut published.allow, size), publish, ("publish", "allow"), owner)?;
        self.add((&mut subscribed.allow, size), subscribe, ("subscribe", "allow"), owner)
    }

    fn add_denies(
        &mut self,
        union: &mut Union,
        publish: &[Pattern<SubjectPattern>],
        subscribe: &[Pattern<SubscribePattern>],
        owner: Owner<'_>,
    ) -> Result<(), Denial> {
        let Union { publish: published, subscribe: subscribed, size, .. } = union;
        self.add((&mut published.deny, size), publish, ("publish", "deny"), owner)?;
        self.add((&mut subscribed.deny, size), subscribe, ("subscribe", "deny"), owner)
    }

    fn add<P>(
        &mut self,
        (into, size): (&mut BTreeSet<P>, &mut GrantSize),
        patterns: &[Pattern<P>],
        (side, kind): (&'static str, &'static str),
        owner: Owner<'_>,
    ) -> Result<(), Denial>
    where
        P: std::str::FromStr<Err = SubjectError> + Clone + fmt::Display + Ord,
    {
        for pattern in patterns {
            let filled = pattern.fill(self.inputs).map_err(|error| fill_denial(owner, error))?;
            // An allow without a value allows nothing. A deny without a value would not deny what it
            // was written for.
            if filled.is_empty() && kind == "deny" {
                let why = format!("{owner}: {side} deny `{}`: the list is empty", pattern.text());
                return Err(unsafe_value(why));
            }
            for rule in filled {
                self.record_rule(side, kind, &rule, owner);
                let bytes = text_length(&rule);
                if into.insert(rule) {
                    size.add(bytes)?;
                }
            }
        }
        Ok(())
    }

    fn record_rule(
        &mut self,
        side: &'static str,
        kind: &'static str,
        rule: &impl fmt::Display,
        owner: Owner<'_>,
    ) {
        self.trace.record(|| Step::Permission {
            side,
            kind,
            rule: rule.to_string(),
            from: owner.to_string(),
        });
    }

    fn add_own_allows(&mut self, union: &mut Union, own: &Permissions) {
        for rule in &own.publish.allow {
            self.record_rule("publish", "allow", rule, Owner::Entry);
            union.publish.allow.insert(rule.clone());
        }
        for rule in &own.subscribe.allow {
            self.record_rule("subscribe", "allow", rule, Owner::Entry);
            union.subscribe.allow.insert(rule.clone());
        }
        self.add_responses(union, own.responses, Owner::Entry);
    }

    /// The denies of the identity's own source always apply, even if its allows do not.
    fn add_own_denies(&mut self, union: &mut Union) {
        let request = self.request;
        let Some(own) = &request.identity.proposal.permissions else { return };
        for rule in &own.publish.deny {
            self.record_rule("publish", "deny", rule, Owner::Entry);
            union.publish.deny.insert(rule.clone());
        }
        for rule in &own.subscribe.deny {
            self.record_rule("subscribe", "deny", rule, Owner::Entry);
            union.subscribe.deny.insert(rule.clone());
        }
    }

    /// Adds the templates of an operator's entry; those of outside data are never evaluated. Denies
    /// always apply, even if the allows do not.
    fn add_own_templates(&mut self, union: &mut Union, allows_apply: bool) -> Result<(), Denial> {
        let Proposal { origin, permissions, templates, .. } = &self.request.identity.proposal;
        let (Origin::Operator, Some(_), Some(templates)) = (origin, permissions, templates) else {
            return Ok(());
        };
        let PermissionTemplates { publish, subscribe, .. } = &**templates;
        if allows_apply {
            self.add_allows(union, &publish.allow, &subscribe.allow, Owner::Entry)?;
        }
        self.add_denies(union, &publish.deny, &subscribe.deny, Owner::Entry)
    }

    fn add_responses(&mut self, union: &mut Union, more: Option<Responses>, owner: Owner<'_>) {
        let Some(more) = more else { return };
        self.record_rule("responses", "allow", &more, owner);
        union.responses = Some(union.responses.map_or(more, |known| known.narrowest(more)));
    }

    fn add_inbox(&mut self, union: &mut Union, entitlements: &Entitlements) -> Result<(), Denial> {
        let inbox = entitlements.roles.iter().map(|role| role.inbox).max().unwrap_or_default();
        let text = match inbox {
            Inbox::None => return Ok(()),
            Inbox::Shared => "_INBOX.>".to_owned(),
            Inbox::Private => format!("{}.>", self.private_inbox()?),
        };
        let rule: SubscribePattern =
            text.parse().map_err(|error: SubjectError| unsafe_value(format!("inbox: {error}")))?;
        self.record_rule("subscribe", "allow", &rule, Owner::Inbox);
        union.subscribe.allow.insert(rule);
        Ok(())
    }

    fn private_inbox(&self) -> Result<String, Denial> {
        let text = match self.joined_variables() {
            Some(variables) => format!("_INBOX_{variables}"),
            None if self.inputs.user.is_empty() => {
                return Err(unsafe_value("inbox: the user is empty".to_owned()));
            }
            None => format!("_INBOX_{}", encode(self.inputs.user)),
        };
        match text.parse::<SubjectToken>() {
            Ok(token) if token.as_str().len() <= MAX_INBOX_BYTES => Ok(text),
            Ok(_) => Err(unsafe_value("inbox: the user is too long".to_owned())),
            Err(error) => Err(unsafe_value(format!("inbox: {error}"))),
        }
    }

    /// The values of all variables that the authenticator declares, joined with `_`. Together they
    /// identify the user.
    fn joined_variables(&self) -> Option<String> {
        let declared = self.rules.variables;
        let variables = &self.request.identity.variables;
        let values: Option<Vec<&str>> =
            declared.iter().map(|name| variables.get(name).map(String::as_str)).collect();
        values.filter(|values| !values.is_empty()).map(|values| values.join("_"))
    }
}

/// The size of the subjects of a grant, so far.
#[derive(Default)]
struct GrantSize {
    subjects: usize,
    bytes: usize,
}

impl GrantSize {
    /// Adds a subject of this many bytes.
    fn add(&mut self, bytes: usize) -> Result<(), Denial> {
        self.subjects += 1;
        // In JSON, with its quotes and a comma.
        self.bytes = self.bytes.saturating_add(bytes).saturating_add(3);
        if self.subjects <= MAX_SUBJECTS && self.bytes <= MAX_USER_CLAIMS {
            return Ok(());
        }
        let Self { subjects, bytes } = self;
        Err(Denial::new(
            Reason::GrantTooLarge,
            format!(
                "at least {subjects} subjects of {bytes} bytes: a user JWT holds at most \
                 {MAX_SUBJECTS} subjects and {MAX_USER_CLAIMS} bytes"
            ),
        ))
    }

    fn of(permissions: &Permissions) -> Result<Self, Denial> {
        let Permissions { publish, subscribe, responses: _ } = permissions;
        let mut size = Self::default();
        let publish = publish.allow.iter().chain(&publish.deny).map(text_length);
        let subscribe = subscribe.allow.iter().chain(&subscribe.deny).map(text_length);
        publish.chain(subscribe).try_for_each(|bytes| size.add(bytes))?;
        Ok(size)
    }
}

/// The length of a rule as text.
fn text_length(rule: &impl fmt::Display) -> usize {
    struct Counter(usize);

    impl fmt::Write for Counter {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 = self.0.saturating_add(text.len());
            Ok(())
        }
    }

    let mut counter = Counter(0);
    match fmt::Write::write_fmt(&mut counter, format_args!("{rule}")) {
        Ok(()) => counter.0,
        Err(fmt::Error) => usize::MAX,
    }
}

/// What a permission comes from.
#[derive(Clone, Copy)]
enum Owner<'a> {
    Role(&'a str),
    Entry,
    Inbox,
}

impl fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role(name) => write!(f, "role `{name}`"),
            Self::Entry => f.write_str("the entry"),
            Self::Inbox => f.write_str("inbox"),
        }
    }
}

#[derive(Default)]
struct Union {
    publish: UnionRules<SubjectPattern>,
    subscribe: UnionRules<SubscribePattern>,
    responses: Option<Responses>,
    /// The size of the rules that are filled from templates.
    size: GrantSize,
}

/// Ordered sets: the same request always has the same result.
struct UnionRules<P> {
    allow: BTreeSet<P>,
    deny: BTreeSet<P>,
}

impl<P> Default for UnionRules<P> {
    fn default() -> Self {
        Self { allow: BTreeSet::new(), deny: BTreeSet::new() }
    }
}

impl<P> From<UnionRules<P>> for Rules<P> {
    fn from(rules: UnionRules<P>) -> Self {
        Self { allow: rules.allow.into_iter().collect(), deny: rules.deny.into_iter().collect() }
    }
}
