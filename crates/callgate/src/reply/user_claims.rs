//! The user JWT (nats-io/jwt v2 `user_claims.go`).

use serde::Serialize;

use crate::{
    jwt::NO_LIMIT,
    permissions::{Access, Permissions, Responses, Rules},
    subject::SubscribePattern,
};

#[derive(Serialize)]
pub(crate) struct UserClaims<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) jti: &'a str,
    pub(crate) iat: i64,
    pub(crate) iss: &'a str,
    pub(crate) name: &'a str,
    pub(crate) sub: &'a str,
    /// Configuration mode: the account's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) aud: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exp: Option<i64>,
    pub(crate) nats: User<'a>,
}

#[derive(Serialize)]
pub(crate) struct User<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    r#pub: Option<Permission>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<Permission>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resp: Option<ResponsePermission>,
    // A user under a scoped signing key must not carry a single limit, not even "none"
    // (nats-io/jwt `ValidateScopedSigner`): hence the options.
    #[serde(skip_serializing_if = "Option::is_none")]
    subs: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer_account: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tags: &'a [String],
    #[serde(rename = "type")]
    kind: &'static str,
    version: u8,
}

#[derive(Serialize)]
struct Permission {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allow: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deny: Vec<String>,
}

#[derive(Serialize)]
struct ResponsePermission {
    max: i64,
    ttl: i64,
}

impl<'a> User<'a> {
    /// With `explicit`, unrestricted access is written out instead of left out.
    pub(crate) fn new(
        access: &Access,
        tags: &'a [String],
        issuer_account: Option<&'a str>,
        explicit: bool,
    ) -> Self {
        let no_limit = (!matches!(access, Access::Scoped(_))).then_some(NO_LIMIT);
        let (publish, subscribe, resp) = match access {
            Access::Unrestricted if explicit => (Some(everything()), Some(everything()), None),
            Access::Unrestricted | Access::Scoped(_) => (None, None, None),
            Access::Limited(permissions) => sides(permissions),
        };
        Self {
            r#pub: publish,
            sub: subscribe,
            resp,
            subs: no_limit,
            data: no_limit,
            payload: no_limit,
            issuer_account,
            tags,
            kind: "user",
            version: 2,
        }
    }
}

type Sides = (Option<Permission>, Option<Permission>, Option<ResponsePermission>);

fn sides(permissions: &Permissions) -> Sides {
    let Permissions { publish, subscribe, responses } = permissions;
    let subscribe = subscribe_side(subscribe);
    (Some(deny_all_unless_allowed(publish)), Some(subscribe), responses.as_ref().map(response))
}

fn subscribe_side(rules: &Rules<SubscribePattern>) -> Permission {
    let mut written = deny_all_unless_allowed(rules);
    let (with_group, without): (Vec<_>, Vec<_>) =
        rules.deny.iter().partition(|deny| deny.queue().is_some());
    // If a deny with a queue group matches, nats-server 2.10 and 2.11 consult only those: next to
    // deny `a one`, deny `a` would not apply to `a two` (client.go, canSubscribe). So add it for
    // every group.
    if !rules.allow.is_empty() && !with_group.is_empty() {
        written.deny.extend(without.iter().map(|deny| format!("{deny} >")));
    }
    written
}

fn everything() -> Permission {
    Permission { allow: vec![">".to_owned()], deny: Vec::new() }
}

/// The allow and deny lists of one direction. An empty allow list becomes a deny of `>`: nats-server
/// reads an absent allow list as "everything" (client.go, pubAllowedFullCheck).
fn deny_all_unless_allowed<T: ToString>(rules: &Rules<T>) -> Permission {
    let texts = |list: &[T]| list.iter().map(T::to_string).collect::<Vec<_>>();
    if rules.allow.is_empty() {
        return Permission { allow: Vec::new(), deny: vec![">".to_owned()] };
    }
    Permission { allow: texts(&rules.allow), deny: texts(&rules.deny) }
}

fn response(responses: &Responses) -> ResponsePermission {
    let nanoseconds = |ttl: std::time::Duration| i64::try_from(ttl.as_nanos()).unwrap_or(i64::MAX);
    ResponsePermission {
        max: responses.max.map_or(NO_LIMIT, i64::from),
        ttl: responses.ttl.map_or(NO_LIMIT, nanoseconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deny_without_group_also_covers_every_group() {
        let parse = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        let written =
            |deny: &[&str]| subscribe_side(&Rules { allow: parse(&[">"]), deny: parse(deny) }).deny;
        assert_eq!(written(&["a", "a one"]), ["a", "a one", "a >"]);
        assert_eq!(written(&["a", "b"]), ["a", "b"]);
        assert_eq!(written(&["a one"]), ["a one"]);
        let nothing = Rules { allow: Vec::new(), deny: parse(&["a", "a one"]) };
        assert_eq!(subscribe_side(&nothing).deny, [">"]);
    }
}
