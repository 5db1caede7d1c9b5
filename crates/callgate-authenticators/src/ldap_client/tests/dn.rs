use crate::ldap_client::Dn;

fn dn(text: &str) -> Dn {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn spellings_of_one_name_are_equal() {
    let reference = dn("cn=NATS Readers,ou=groups,dc=example,dc=org");
    for same in [
        "CN=nats readers,OU=Groups,DC=EXAMPLE,DC=org",
        "cn = NATS  Readers , ou=groups ,dc=example, dc=org",
        r"cn=NATS\20Readers,ou=groups,dc=example,dc=org",
        r"cn=\4eATS Readers;ou=groups;dc=example;dc=org",
    ] {
        assert_eq!(dn(same), reference, "{same}");
    }
    assert_eq!(dn("cn=a+ou=b,dc=x"), dn("OU=b+CN=A,dc=x"));
    for other in [
        "cn=NATS Readers,ou=group,dc=example,dc=org",
        "cn=NATS Readers,dc=example,dc=org",
        r"cn=NATS Readers\,ou=groups,dc=example,dc=org",
        "ou=NATS Readers,ou=groups,dc=example,dc=org",
    ] {
        assert_ne!(dn(other), reference, "{other}");
    }
}

#[test]
fn texts_that_are_not_names_are_refused() {
    for text in [
        "alice",
        "=alice",
        "uid=",
        "uid=alice,",
        ",uid=alice",
        "uid=alice,,dc=x",
        "uid=a\\",
        "uid=a\\4",
        "uid=a\\xy",
        "uid=a\"b",
        "uid=a<b",
        "ui d=a",
        "uid=\\ff",
        "uid=a\0",
    ] {
        assert!(text.parse::<Dn>().is_err(), "{text:?}");
    }
    assert!(dn("").is_empty() && dn("  ").is_empty());
}

#[test]
fn position_below_a_base_is_exact() {
    let base = dn("ou=groups,dc=example,dc=org");
    let (child, deeper) =
        (dn("CN=a,OU=groups,dc=example,dc=org"), dn("cn=a,ou=b,ou=groups,dc=example,dc=org"));
    assert!(base.is_within(&base) && child.is_within(&base) && deeper.is_within(&base));
    assert!(child.is_child_of(&base) && !deeper.is_child_of(&base) && !base.is_child_of(&base));
    for outside in
        [r"cn=a\,ou=groups,dc=example,dc=org", "cn=a,ou=xgroups,dc=example,dc=org", "dc=org"]
    {
        assert!(!dn(outside).is_within(&base), "{outside}");
    }
    assert_eq!(child.own_value("cn"), Some("a"));
    assert_eq!(child.own_value("ou"), None);
    assert_eq!(dn("cn=a+ou=b,dc=x").own_value("cn"), None);
    assert_eq!(dn(r"cn=\,a \ ,dc=x").own_value("CN"), Some(",a  "));
}
