//! Templates: the first line is a subject with `{{ … }}`, the rest an identity in JSON.

#![no_main]

use callgate::{
    permissions::Access,
    policy::settings::{RoleSettings, SideSettings},
};
use callgate_fuzz::{caught_panics_are_fine, first_line, identity, policy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: caught_panics_are_fine(), |data: &[u8]| {
    let Ok(template) = std::str::from_utf8(first_line(data).0) else { return };
    let Some((policy, identity)) = policy::and_identity(data, publishing) else { return };
    let (granted, explained) = identity::asking(&identity, |question| {
        (policy.resolve(question), policy.explain(question).0)
    });
    assert_eq!(granted, explained, "what is explained is what is granted");
    let Ok(grant) = granted else { return };
    let Access::Limited(permissions) = grant.access() else { panic!("{grant:?}") };
    for subject in &permissions.publish.allow {
        one_token_for_each(template, subject.as_str());
    }
});

fn publishing(template: String) -> (RoleSettings, Option<String>) {
    let publish = SideSettings { allow: vec![template], deny: Vec::new() };
    (RoleSettings { publish, ..RoleSettings::default() }, None)
}

/// A template yields a subject of as many tokens as it has itself; those that it writes out stay,
/// and no other becomes a wildcard or reaches what is reserved.
fn one_token_for_each(template: &str, subject: &str) {
    let outline = outline(template);
    let (wanted, found): (Vec<&str>, Vec<&str>) =
        (outline.split('.').collect(), subject.split('.').collect());
    assert_eq!(wanted.len(), found.len(), "{template:?} became {subject:?}");
    for (at, (wanted, found)) in wanted.iter().zip(&found).enumerate() {
        match wanted.contains('\0') {
            false => assert_eq!(wanted, found, "{template:?} became {subject:?}"),
            true => {
                assert!(!found.contains(['*', '>', '{', '}']), "{template:?} became {subject:?}");
                assert!(!found.chars().any(|c| c.is_whitespace() || c.is_control()));
                let start = wanted.split('\0').next().unwrap_or_default();
                assert!(found.starts_with(start), "{template:?} became {subject:?}");
                let reserved = ["$", "_INBOX", "_REPLY"];
                let opens = |text: &str| reserved.iter().any(|start| text.starts_with(start));
                assert!(at > 0 || !opens(found) || opens(start), "{template:?}: {subject:?}");
            }
        }
    }
}

/// The template with a NUL in each hole's place. Policy has accepted it, so braces are in pairs; what
/// is in quotes inside of a hole may be anything.
fn outline(template: &str) -> String {
    let (mut outline, mut rest) = (String::new(), template);
    while let Some((before, inside)) = rest.split_once("{{") {
        outline.push_str(before);
        outline.push('\0');
        let (mut quote, mut escaped, mut depth) = (None, false, 0);
        let mut end = inside.len();
        for (at, c) in inside.char_indices() {
            match (quote, c) {
                (Some(_), _) if escaped => escaped = false,
                (Some(_), '\\') => escaped = true,
                (Some(open), c) if c == open => quote = None,
                (Some(_), _) => {}
                (None, '"' | '\'') => quote = Some(c),
                (None, '{') => depth += 1,
                (None, '}') if depth > 0 => depth -= 1,
                (None, '}') if inside[at..].starts_with("}}") => {
                    end = at + 2;
                    break;
                }
                (None, _) => {}
            }
        }
        rest = &inside[end..];
    }
    outline.push_str(rest);
    outline
}
