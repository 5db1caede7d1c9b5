//! A hash of what a client was granted: equal for equal account, permissions and tags.

use callgate::{
    permissions::{Access, Permissions, Rules},
    policy::Grant,
};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use super::chain::hash;

/// In hex. User name and expiry are not part of it.
pub(crate) fn grant_hash(grant: &Grant) -> String {
    let access = match grant.access() {
        Access::Unrestricted => json!("unrestricted"),
        Access::Scoped(scope) => json!({ "scope": scope }),
        Access::Limited(permissions) => limited(permissions),
    };
    let granted = json!([grant.account(), access, grant.tags()]);
    HEXLOWER.encode(&hash(granted.to_string().as_bytes()))
}

fn limited(permissions: &Permissions) -> Value {
    let Permissions { publish, subscribe, responses } = permissions;
    let responses = responses.map(|responses| responses.to_string());
    json!([rules(publish), rules(subscribe), responses])
}

/// The order in which rules are written does not matter.
fn rules<T: ToString>(rules: &Rules<T>) -> Value {
    let texts = |list: &[T]| {
        let mut texts: Vec<String> = list.iter().map(T::to_string).collect();
        texts.sort_unstable();
        texts.dedup();
        texts
    };
    json!([texts(&rules.allow), texts(&rules.deny)])
}
