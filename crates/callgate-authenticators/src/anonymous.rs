#![doc = include_str!("../docs/anonymous.md")]

use std::{sync::Arc, time::Duration};

use callgate::{
    authn::{
        Authenticator, Decline, GoneCause, Identity, Origin, Proposal, Reassessment, Standing,
    },
    connection::ConnectionKind,
    request::{AuthRequest, Credential, MAX_USER},
    subject::is_invisible,
};
use callgate_config::{
    Key, Table, Type, permissions,
    schema::{CONNECTION_TYPES, NETWORKS, TEXTS},
};
use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::{
    directory::proposal,
    kind::{BuildContext, Kind},
};

const KEYS: &[Key] = &[
    Key::optional("user", Type::Text, "the user of all anonymous clients").or("\"anonymous\""),
    Key::optional("account", Type::Text, "the account in which to place them"),
    Key::optional("roles", TEXTS, "names of [roles](policy.md). This or `permissions` is required"),
    Key::optional(
        "permissions",
        Type::Named("table", &Type::Table(permissions::KEYS)),
        "`publish`, `subscribe`, `responses`; `{}` permits nothing",
    ),
    Key::optional("source", NETWORKS, "networks from which they must connect").or_else("anywhere"),
    Key::optional("connection_types", CONNECTION_TYPES, "`nats`, `websocket`, `mqtt`, `leafnode`")
        .or("[\"nats\", \"websocket\"]"),
    Key::optional("expires_after", Type::Duration, "longest session").or("\"15m\""),
];

const DEFAULT_EXPIRES_AFTER: Duration = Duration::from_secs(15 * 60);

/// The kind `anonymous`: clients without any credential.
#[derive(Debug, Clone, Copy, Default)]
pub struct AnonymousKind;

impl Kind for AnonymousKind {
    fn name(&self) -> &'static str {
        "anonymous"
    }

    fn keys(&self) -> &'static [Key] {
        KEYS
    }

    fn build(
        &self,
        context: &BuildContext,
        mut table: Table<'_>,
    ) -> Option<Arc<dyn Authenticator>> {
        if context.chain.is_followed {
            table.fault_here(
                "must be the last authenticator: it is never asked after another answer",
            );
        }
        let user = read_user(&mut table);
        if !table.has("roles") && !table.has("permissions") {
            table.fault_here(
                "has neither `roles` nor `permissions`: name what anonymous clients may do",
            );
        }
        warn_if_wide(&mut table, context);
        let proposal = proposal(&mut table, Origin::Operator, context);
        let is_faultless = table.finish();
        let default_kinds =
            || [ConnectionKind::Nats, ConnectionKind::WebSocket].into_iter().collect();
        let proposal = Proposal {
            connection_types: proposal.connection_types.or_else(|| Some(default_kinds())),
            expires_after: proposal.expires_after.or(Some(DEFAULT_EXPIRES_AFTER)),
            unrestricted_if_alone: false,
            ..proposal
        };
        let identity = Identity { proposal, ..Identity::of_user(user?) };
        is_faultless.then(|| Arc::new(Anonymous { identity }) as _)
    }
}

fn read_user(table: &mut Table<'_>) -> Option<String> {
    if !table.has("user") {
        return Some("anonymous".to_owned());
    }
    let user = table.filled_string("user")?;
    if user.len() > MAX_USER || user.chars().any(is_invisible) {
        table.fault(
            "user",
            format!("must have at most {MAX_USER} bytes and no control or invisible characters"),
        );
        return None;
    }
    Some(user)
}

/// Warns about roles and permissions with which everyone who reaches the server may do everything.
fn warn_if_wide(table: &mut Table<'_>, context: &BuildContext) {
    const WIDE: &str = "contains `>`: every client that reaches the server may use every subject of \
                        the account";
    let roles = table.map().get("roles").cloned().unwrap_or_default();
    let is_wide =
        |role: &Value| role.as_str().is_some_and(|role| context.policy.wide_roles.contains(role));
    let named = roles.as_array().map_or_else(|| is_wide(&roles), |roles| roles.iter().any(is_wide));
    if named {
        table.warn("roles", WIDE);
    }
    let sides = table.map().get("permissions").and_then(Value::as_object);
    let lists = sides.into_iter().flatten().map(|(_, side)| side.get("allow").unwrap_or(side));
    let is_everything = |list: &Value| {
        list == ">" || list.as_array().is_some_and(|list| list.iter().any(|one| one == ">"))
    };
    if lists.into_iter().any(is_everything) {
        table.warn("permissions", WIDE);
    }
}

/// Admits clients without any credential, as one user.
#[derive(Debug)]
struct Anonymous {
    identity: Identity,
}

impl Authenticator for Anonymous {
    fn authenticate<'a>(
        &'a self,
        request: &'a AuthRequest,
    ) -> BoxFuture<'a, Result<Identity, Decline>> {
        Box::pin(async move {
            match request.credential() {
                Credential::Anonymous => Ok(self.identity.clone()),
                _ => Err(Decline::NotMine),
            }
        })
    }

    fn takes_anonymous(&self) -> bool {
        true
    }

    fn reassess(&self, identity: &Identity, _how: &Reassessment) -> Standing {
        match identity.user == self.identity.user {
            true => Standing::Current(Box::new(self.identity.clone())),
            false => Standing::Gone(GoneCause::UserRemoved),
        }
    }
}

#[cfg(test)]
mod tests;
