//! The path of a value in a token's claims.

use std::{fmt, str::FromStr};

use serde_json::{Map, Value};

/// Member names separated by dots (`realm_access.roles`), or a JSON Pointer (RFC 6901), which starts
/// with a slash and can name members that contain dots (`/kubernetes.io/namespace`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClaimPath {
    text: String,
    members: Vec<String>,
}

/// A text that is not a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a path of claims: write member names separated by dots, or a JSON Pointer such as \
     `/kubernetes.io/namespace` (`~1` is a slash and `~0` a tilde)"
)]
pub(crate) struct PathError;

impl ClaimPath {
    /// The value at this path.
    pub(crate) fn find<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c Value> {
        let (first, rest) = self.members.split_first()?;
        rest.iter().try_fold(claims.get(first)?, |value, member| value.get(member))
    }

    /// The equivalent JSON Pointer if this looks like the name of a single claim: a URL, as some
    /// issuers require, that was split at its dots.
    pub(crate) fn pointer_if_url(&self) -> Option<String> {
        let is_split = !self.text.starts_with('/') && self.members.len() > 1;
        (is_split && self.text.contains('/'))
            .then(|| format!("/{}", self.text.replace('~', "~0").replace('/', "~1")))
    }

    /// The top-level claim that contains the value.
    pub(crate) fn top_level(&self) -> &str {
        self.members.first().map_or("", String::as_str)
    }

    /// True if this is the top-level claim `name`.
    pub(crate) fn is(&self, name: &str) -> bool {
        matches!(self.members.as_slice(), [only] if only == name)
    }
}

impl FromStr for ClaimPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let members: Option<Vec<String>> = match text.strip_prefix('/') {
            Some(pointer) => pointer.split('/').map(unescape).collect(),
            None => {
                text.split('.').map(|name| (!name.is_empty()).then(|| name.to_owned())).collect()
            }
        };
        Ok(Self { text: text.to_owned(), members: members.ok_or(PathError)? })
    }
}

fn unescape(token: &str) -> Option<String> {
    let mut pieces = token.split('~');
    let mut name = pieces.next()?.to_owned();
    for piece in pieces {
        let (character, rest) = match piece.split_at_checked(1)? {
            ("0", rest) => ('~', rest),
            ("1", rest) => ('/', rest),
            _ => return None,
        };
        name.push(character);
        name.push_str(rest);
    }
    Some(name)
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn dotted_paths_and_pointers_find_values() {
        let claims = json!({
            "sub": "a",
            "realm_access": {"roles": ["x"]},
            "kubernetes.io": {"namespace": "n"},
            "https://example.com/team": "blue",
            "a~b": 1,
        });
        let claims = claims.as_object().unwrap();
        for (path, expected) in [
            ("sub", Some(json!("a"))),
            ("realm_access.roles", Some(json!(["x"]))),
            ("/realm_access/roles", Some(json!(["x"]))),
            ("/kubernetes.io/namespace", Some(json!("n"))),
            ("/https:~1~1example.com~1team", Some(json!("blue"))),
            ("/a~0b", Some(json!(1))),
            ("kubernetes.io", None),
            ("sub.a", None),
            ("realm_access.roles.0", None),
            ("missing", None),
        ] {
            let found = path.parse::<ClaimPath>().unwrap();
            assert_eq!(found.find(claims), expected.as_ref(), "{path}");
        }
    }

    #[test]
    fn pointer_is_suggested_for_a_url() {
        for name in ["https://example.com/roles", "example.com/a~b/roles"] {
            let claims = json!({ name: "found" });
            let claims = claims.as_object().unwrap();
            let path: ClaimPath = name.parse().unwrap();
            assert_eq!(path.find(claims), None);
            let pointer: ClaimPath = path.pointer_if_url().unwrap().parse().unwrap();
            assert_eq!(pointer.find(claims), Some(&json!("found")), "{pointer}");
            assert_eq!(pointer.pointer_if_url(), None);
        }
        for path in ["sub", "realm_access.roles", "team/roles", "/kubernetes.io/namespace"] {
            assert_eq!(path.parse::<ClaimPath>().unwrap().pointer_if_url(), None, "{path}");
        }
    }

    #[test]
    fn malformed_paths_are_refused() {
        for path in ["", ".", "a.", ".a", "a..b", "/a~", "/a~2"] {
            assert_eq!(path.parse::<ClaimPath>(), Err(PathError), "{path}");
        }
    }
}
