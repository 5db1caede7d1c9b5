use callgate::clock::UnixTime;
use ldap3::asn1::{ASNTag, write};
use proptest::prelude::*;

use crate::ldap_client::{
    ber::{OCTET_STRING, element},
    dn::Dn,
    filter::{BindTemplate, FilterTemplate, TemplateError, Values},
    time::parse_time,
};

const NAMES: [&str; 14] = [
    "alice",
    "*",
    "a*",
    "alice)(uid=*",
    "*)(objectClass=*))(|(uid=*",
    "\\",
    "\\2a",
    "x\0y",
    "álice",
    "{user}",
    "{dn}",
    "x,ou=admins",
    " #lead",
    "trail ",
];

/// The filter `(uid=…)` on the wire.
fn filter_on_the_wire(user: &str) -> Vec<u8> {
    let template = FilterTemplate::of_user("(uid={user})").unwrap();
    let filter = template.fill(Values { user, dn: "" }).unwrap();
    let mut bytes = Default::default();
    write::encode_into(&mut bytes, filter.into_structure()).unwrap();
    bytes.to_vec()
}

/// An equality match with exactly this value, whatever form the lengths have.
fn is_exact_match(wire: &[u8], user: &str) -> bool {
    let mut reader = crate::ldap_client::ber::Reader(wire);
    let Some((0xa3, content)) = reader.next() else { return false };
    let mut pair = crate::ldap_client::ber::Reader(content);
    let attribute = pair.expect(OCTET_STRING);
    let value = pair.expect(OCTET_STRING);
    reader.is_empty()
        && pair.is_empty()
        && attribute == Some(b"uid")
        && value == Some(user.as_bytes())
}

fn bind_dn(user: &str) -> Dn {
    let template = BindTemplate::parse("uid={user},ou=people,dc=example,dc=org").unwrap();
    template.fill(user).unwrap().parse().unwrap()
}

fn names_one_person(user: &str) -> bool {
    let people: Dn = "ou=people,dc=example,dc=org".parse().unwrap();
    let dn = bind_dn(user);
    dn.is_child_of(&people) && dn.own_value("uid") == Some(user)
}

#[test]
fn hostile_names_are_values_in_filters_and_names() {
    for name in NAMES {
        assert!(is_exact_match(&filter_on_the_wire(name), name), "{name:?}");
        assert!(names_one_person(name), "{name:?}");
    }
}

proptest! {
    #[test]
    fn every_name_is_a_value_in_a_filter(name in ".{1,64}") {
        prop_assert!(is_exact_match(&filter_on_the_wire(&name), &name));
    }

    #[test]
    fn every_name_is_a_value_in_a_bind_name(name in ".{1,64}") {
        prop_assert!(names_one_person(&name));
    }
}

#[test]
fn principal_names_accept_only_plain_names() {
    let template = BindTemplate::parse("{user}@corp.example").unwrap();
    assert_eq!(template.fill("al.i-c_e9").as_deref(), Some("al.i-c_e9@corp.example"));
    for name in ["", "a@other.example", "a b", "a,b", "CORP\\a", "á", "a\0", "{user}", "a/b"] {
        assert_eq!(template.fill(name), None, "{name:?}");
    }
}

#[test]
fn useless_templates_are_refused() {
    let unknown = |name: &str, names| TemplateError::UnknownPlaceholder(name.to_owned(), names);
    for (text, error) in [
        ("(uid={name})", unknown("name", "`{user}`")),
        ("(uid={user", unknown("user", "`{user}`")),
        ("(&(uid={user})(x={dn}))", unknown("dn", "`{user}`")),
        ("(objectClass=person)", TemplateError::NoPlaceholder("`{user}`")),
        ("(uid={user}", TemplateError::Filter),
        ("uid={user}", TemplateError::Filter),
        ("(uid={user}))", TemplateError::Filter),
        ("(|(uid={user})(mail))", TemplateError::Filter),
    ] {
        assert_eq!(FilterTemplate::of_user(text), Err(error), "{text}");
    }
    assert!(FilterTemplate::of_groups("(|(member={dn})(memberUid={user}))").is_ok());
    for text in ["{user}", "CORP\\{user}", "{user},dc=x", "cn=x,{user}"] {
        assert_eq!(BindTemplate::parse(text), Err(TemplateError::BindName), "{text}");
    }
    assert!(BindTemplate::parse("cn=x").is_err());
}

#[test]
fn times_are_rfc_3339_or_generalized() {
    let noon = Some(UnixTime::from_seconds(1_801_396_800));
    for text in [
        "2027-01-31T12:00:00Z",
        "2027-01-31T13:00:00+01:00",
        "20270131120000Z",
        "202701311200Z",
        "2027013112Z",
        "20270131120000.999Z",
        "20270131120000,5Z",
        "20270131130000+0100",
        "2027013107-05",
    ] {
        assert_eq!(parse_time(text), noon, "{text}");
    }
    for text in [
        "",
        "2027",
        "20270131",
        "20270131120000",
        "2027013112000Z",
        "20271331120000Z",
        "20270131120000+1",
        "20270131120000.Z",
        "20270131120000Zx",
        "never",
        "9223372036854775807",
        "20270131120000+9900",
    ] {
        assert_eq!(parse_time(text), None, "{text}");
    }
}

#[test]
fn lengths_over_127_bytes_have_a_long_form() {
    assert_eq!(element(OCTET_STRING, &[b"ab", b"c"]), [4, 3, b'a', b'b', b'c']);
    let long = element(OCTET_STRING, &[&[7; 300]]);
    assert_eq!(long.get(..6), Some(&[4, 0x84, 0, 0, 1, 44][..]));
    assert_eq!(long.len(), 306);
}
