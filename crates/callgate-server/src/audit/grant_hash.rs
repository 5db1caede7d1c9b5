//! A hash of what a client was granted: equal for equal account, permissions and tags.

use std::borrow::Cow;

use callgate::{
    permissions::{Access, Permissions, Rules},
    policy::Grant,
};
use data_encoding::HEXLOWER;
use serde::Serialize;

use super::chain::hash;
use crate::subject_text::{publish_text, subscribe_text};

/// What is hashed, as JSON. It must not change: recorded hashes are compared with those of later versions.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Granted<'a> {
    Unrestricted(&'static str),
    Scoped { scope: &'a str },
    Limited(Texts<'a>, Texts<'a>, Option<String>),
}

/// The rules that allow, and those that deny.
type Texts<'a> = (Vec<Cow<'a, str>>, Vec<Cow<'a, str>>);

/// In hex. User name and expiry are not part of it.
pub(crate) fn grant_hash(grant: &Grant) -> String {
    HEXLOWER.encode(&hash(&hashed(grant.account(), grant.access(), grant.tags())))
}

fn hashed(account: &str, access: &Access, tags: &[String]) -> Vec<u8> {
    let granted = match access {
        Access::Unrestricted => Granted::Unrestricted("unrestricted"),
        Access::Scoped(scope) => Granted::Scoped { scope },
        Access::Limited(Permissions { publish, subscribe, responses }) => {
            let responses = responses.map(|responses| responses.to_string());
            let publish = rules(publish, publish_text);
            Granted::Limited(publish, rules(subscribe, subscribe_text), responses)
        }
    };
    // Texts are always valid JSON.
    serde_json::to_vec(&(account, granted, tags)).unwrap_or_default()
}

/// The order in which rules are written does not matter.
fn rules<'a, T>(rules: &'a Rules<T>, text: fn(&'a T) -> Cow<'a, str>) -> Texts<'a> {
    let texts = |list: &'a [T]| {
        let mut texts: Vec<Cow<'a, str>> = list.iter().map(text).collect();
        texts.sort_unstable();
        texts.dedup();
        texts
    };
    (texts(&rules.allow), texts(&rules.deny))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(access: &Access, tags: &[&str]) -> String {
        let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
        String::from_utf8(hashed("APP", access, &tags)).unwrap()
    }

    #[test]
    fn hashed_text_stays_the_same() {
        let subjects =
            |list: &[&str]| list.iter().map(|subject| subject.parse().unwrap()).collect();
        let publish = Rules { allow: subjects(&["b", "a.>", "b"]), deny: subjects(&["a.secret"]) };
        let limited = Access::Limited(Permissions { publish, ..Permissions::default() });
        assert_eq!(json(&Access::Unrestricted, &[]), r#"["APP","unrestricted",[]]"#);
        assert_eq!(json(&Access::Scoped("ops".into()), &["a"]), r#"["APP",{"scope":"ops"},["a"]]"#);
        let expected = r#"["APP",[[["a.>","b"],["a.secret"]],[[],[]],null],["x:y"]]"#;
        assert_eq!(json(&limited, &["x:y"]), expected);
    }
}
