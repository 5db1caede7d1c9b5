//! Hints for keys that are easily written in the wrong table.

/// Keys that exist in one table only, and a description of that table.
pub(super) const KEY_HINTS: &[(&str, &str)] = &[
    ("nats", TOP),
    ("issuer", TOP),
    ("accounts", "the top level, as [[accounts]]"),
    ("default_account", TOP),
    ("authenticators", "the top level, as [[authenticators]]"),
    ("bindings", "the top level, as [[bindings]]"),
    ("session", TOP),
    ("refusal", TOP),
    ("admission", TOP),
    ("cache", TOP),
    ("admin", TOP),
    ("log", TOP),
    ("state", TOP),
    ("servers", "[nats]"),
    ("queue", "[nats]"),
    ("creds", "[nats]"),
    ("xkeys", "[issuer]"),
    ("callout_account", "[issuer]"),
    ("system_accounts", "[issuer]"),
    ("insecure_allow_plaintext", "[issuer]"),
    ("insecure_share_callout_account", "[issuer]"),
    ("user_prefix", "[[authenticators]]"),
    ("ceiling", "[[authenticators]]"),
    ("when", "[[bindings]]"),
    ("otherwise", "[[bindings]]"),
    ("max_lifetime", "[session]"),
    ("jitter", "[session]"),
    ("silent_max", "[refusal]"),
    ("delay", "[refusal]"),
    ("max_in_flight", "[admission]"),
    ("password_workers", "[admission]"),
    ("trusted_proxies", "[admission]"),
    ("listen", "[admin]"),
    ("level", "[log]"),
];

const TOP: &str = "the top level (in TOML: above the first [table])";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BuildEnv, Overrides, load};

    #[test]
    fn every_hint_names_the_table_that_has_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("callgate.toml");
        let overrides = Overrides { config: Some(path.clone()), ..Overrides::default() };
        let env = BuildEnv::aside();
        for (key, place) in KEY_HINTS {
            let unknown = |table: &str| {
                std::fs::write(&path, format!("{table}\n{key} = 7\n")).unwrap();
                let faults = load(&overrides, &env).report.faults();
                let ours = |fault: &&callgate_config::Fault| {
                    fault.path.ends_with(key) && fault.message.contains("unknown key")
                };
                faults.iter().find(ours).map(ToString::to_string)
            };
            let top = place.starts_with("the top level");
            assert_eq!(unknown(if top { "" } else { place }), None, "{key}");
            let fault = unknown("[roles.r]").expect("a fault");
            assert!(fault.contains(&format!("`{key}` belongs to {place}")), "{fault}");
        }
    }
}
