//! Messages of a directory: nothing comes out that did not come in, and texts for the log are safe.

#![no_main]

use callgate_authenticators::fuzzing::{ldap_message, ldap_name_is_within};
use libfuzzer_sys::fuzz_target;

const BASE: &str = "ou=groups,dc=example,dc=org";

/// A message is cut after 200 characters; each may become an escape such as `\u{10ffff}`.
const MAX_TEXT: usize = 200 * 10 + 1;

fuzz_target!(|data: &[u8]| {
    if let Some((texts, values)) = ldap_message(data) {
        for text in texts {
            assert!(text.chars().count() <= MAX_TEXT);
            assert!(!text.chars().any(char::is_control), "{text:?}");
        }
        for value in values.iter().filter(|value| !value.is_empty()) {
            assert!(data.windows(value.len()).any(|window| window == value));
        }
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if ldap_name_is_within(text, BASE).is_some() && !text.trim().is_empty() {
        // A whole name stays whole in front of another one.
        assert_eq!(ldap_name_is_within(&format!("{text},{BASE}"), BASE), Some(true));
    }
});
