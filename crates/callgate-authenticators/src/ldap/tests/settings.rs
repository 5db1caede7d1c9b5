use super::{build, context, try_build, warnings};
use crate::{
    kind::{ChainPosition, Kind},
    ldap::LdapKind,
};

const ACCOUNT: &str = "bind_dn = \"cn=svc,dc=x\"\nbind_password = \"canary\"\n";

/// The settings of a working table, changed by `more`.
fn faults(more: &str) -> String {
    let toml = format!("url = \"ldap://127.0.0.1\"\nbase = \"ou=people,dc=x\"\n{ACCOUNT}{more}");
    try_build(&toml, &context()).err().unwrap_or_default()
}

#[test]
fn smallest_configurations_are_accepted() {
    for schema in ["rfc2307bis", "active-directory", "freeipa", "lldap"] {
        assert_eq!(faults(&format!("schema = \"{schema}\"")), "", "{schema}");
    }
    build("url = \"ldap://localhost\"\nbase = \"dc=x\"\nanonymous_search = true");
    build("url = \"ldap://[::1]:3389\"\nbase = \"dc=x\"\nbind_as = \"uid={user},ou=people,dc=x\"");
}

#[test]
fn faulty_settings_are_reported_with_a_remedy() {
    for (more, expected) in [
        ("schema = \"ad\"", "`ad` is not one of \"rfc2307bis\", \"active-directory\""),
        ("scope = \"base\"", "`base` is not one of \"sub\", \"one\""),
        ("filter = \"(objectClass=person)\"", "contains no `{user}`"),
        ("filter = \"(uid={user}\"", "not a filter in the syntax of RFC 4515"),
        ("filter = \"(uid={name})\"", "unknown placeholder `{name}`"),
        ("user_attribute = \"u id\"", "`u id` is not the name of an attribute"),
        ("bind_as = \"uid={user},dc=x\"", "binds without a service account"),
        ("anonymous_search = true", "cannot be combined with a service account"),
        ("remember_rejected = \"x\"", "remember_rejected"),
        ("connections = 0", "connections"),
        ("connections = 257", "connections"),
        ("connect_timeout = \"0s\"", "must be greater than zero"),
        ("fall_through = true", "no authenticator follows"),
        ("[groups]\nbase = \"groups\"", "`groups` is not a DN"),
        ("[groups]\nnested = 9", "must be \"no\", \"in-chain\", or a number from 1 to 8"),
        ("[groups]\nnested = \"yes\"", "must be \"no\", \"in-chain\""),
        (
            "[groups]\nnested = 2\nfilter = \"(memberUid={user})\"",
            "needs `{dn}` in `groups.filter`",
        ),
        ("[groups]\nfilter = \"(member=alice)\"", "contains no `{user}` or `{dn}`"),
        ("[groups]\nfrom = \"memberof\"", "`memberof` is not one of"),
        ("[map]\nsource = \"x\"", "source"),
        ("[tls]\nca = \"missing.pem\"", "tls.ca"),
        ("[tls]\ncert = \"missing.pem\"", "belong together"),
    ] {
        let faults = faults(more);
        assert!(faults.contains(expected), "{more}:\n{faults}");
        assert!(!faults.contains("canary"), "{more}:\n{faults}");
    }
    for (toml, expected) in [
        ("base = \"dc=x\"\nanonymous_search = true", "`url` is missing"),
        ("url = \"ldap://127.0.0.1\"\nanonymous_search = true", "`base` is missing"),
        (
            "url = \"ldap://127.0.0.1\"\nbase = \"dc=x\"",
            "`bind_dn` and `bind_password` are missing",
        ),
        ("url = \"ldap://127.0.0.1\"\nbase = \"people\"\nanonymous_search = true", "is not a DN"),
        ("url = []\nbase = \"dc=x\"\nanonymous_search = true", "url"),
    ] {
        let faults = try_build(toml, &context()).err().unwrap_or_default();
        assert!(faults.contains(expected), "{toml}:\n{faults}");
    }
}

#[test]
fn unknown_names_pass_only_if_configured() {
    let kind = LdapKind;
    assert!(kind.takes_passwords(&serde_json::Value::Null));
    assert!(kind.refuses_unknown_users(&serde_json::json!({})));
    assert!(!kind.refuses_unknown_users(&serde_json::json!({ "fall_through": true })));
    let mut context = context();
    context.chain = ChainPosition { is_followed: true, ..ChainPosition::default() };
    let toml =
        "url = \"ldap://127.0.0.1\"\nbase = \"dc=x\"\nanonymous_search = true\nfall_through = true";
    assert!(try_build(toml, &context).is_ok());
}

#[test]
fn mapped_access_without_a_ceiling_causes_a_warning() {
    for (more, has_ceiling, expected) in [
        ("[map]\nroles = \"r\"", false, 1),
        ("[map]\npublish = \"p\"", false, 1),
        ("[map]\nexpires = \"e\"", false, 0),
        ("[map]\nroles = \"r\"", true, 0),
    ] {
        let mut context = context();
        context.policy.has_ceiling = has_ceiling;
        let toml = format!(
            "url = \"ldap://127.0.0.1\"\nbase = \"dc=x\"\n{ACCOUNT}groups.from = \"none\"\n{more}"
        );
        let warnings = warnings(&toml, &context);
        let found = warnings.iter().filter(|warning| warning.contains("no `ceiling`")).count();
        assert_eq!(found, expected, "{more}: {warnings:?}");
    }
}

#[test]
fn debug_output_shows_no_secret() {
    let toml = format!("url = \"ldap://127.0.0.1\"\nbase = \"dc=x\"\n{ACCOUNT}");
    let shown = format!("{:?}", build(&toml));
    assert!(shown.contains("ldap://127.0.0.1:389") && !shown.contains("canary"), "{shown}");
}
