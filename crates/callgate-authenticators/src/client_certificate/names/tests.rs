use callgate_testkit::client_certificates::{
    ClientAuthority, CustomExtension, DnType, DnValue, client_params, dns, email, uri,
};

use super::*;

fn names_of(
    params: &callgate_testkit::client_certificates::CertificateParams,
) -> Result<Names, String> {
    let der = ClientAuthority::root("root").sign(params).der;
    Names::of(&parse(&der)?, &der)
}

#[test]
fn distinguished_names_follow_rfc_4514() {
    let mut params = client_params("", vec![], 7);
    for (kind, value) in [
        (DnType::CountryName, "DE"),
        (DnType::OrganizationName, "Acme, \"Inc\"; <a>+b\\"),
        (DnType::OrganizationalUnitName, " leading and trailing "),
        (DnType::CommonName, "#alice"),
    ] {
        params.distinguished_name.push(kind, value);
    }
    params.distinguished_name.push(DnType::CustomDnType(vec![1, 2, 3, 4]), "x");
    let names = names_of(&params).unwrap();
    assert_eq!(
        names.subject,
        "1.2.3.4=#0c0178,CN=\\#alice,OU=\\ leading and trailing\\ ,\
         O=Acme\\, \\\"Inc\\\"\\; \\<a\\>\\+b\\\\,C=DE"
    );
    assert_eq!(names.issuer, "CN=root");
    assert_eq!(names.common_names, ["#alice"]);
    assert_eq!(names.units, [" leading and trailing "]);
    assert_eq!(names.serial, "07");
}

#[test]
fn long_values_of_other_types_have_a_long_length() {
    let mut params = client_params("", vec![], 1);
    params.distinguished_name.push(DnType::CustomDnType(vec![1, 2, 3, 4]), "x".repeat(300));
    let names = names_of(&params).unwrap();
    let expected = format!("1.2.3.4=#0c82012c{}", "78".repeat(300));
    assert_eq!(names.subject, expected);
}

#[test]
fn alternative_names_are_kept_by_kind() {
    let list = vec![dns("a.example"), email("a@example.com"), uri("urn:a"), dns("b.example")];
    let names = names_of(&client_params("a", list, 1)).unwrap();
    assert_eq!(names.dns, ["a.example", "b.example"]);
    assert_eq!(names.emails, ["a@example.com"]);
    assert_eq!(names.uris, ["urn:a"]);
    let claims = names.claims("2099-01-01T00:00:00Z".to_owned());
    assert_eq!(claims["cn"], "a");
    assert_eq!(claims["dns"], json!(["a.example", "b.example"]));
    assert_eq!(claims["key_sha256"].as_str().map(str::len), Some(64));
}

#[test]
fn names_that_cannot_be_shown_are_refused() {
    for common_name in ["a\0b", "a\nb", "a\u{202e}b", "a\u{200b}b", "a\u{85}b"] {
        let error = names_of(&client_params(common_name, vec![], 1)).unwrap_err();
        assert!(error.contains("invisible"), "{error}");
    }
    for name in [dns("a\0b"), email("a\0b@example.com"), uri("urn:a\0b")] {
        let error = names_of(&client_params("a", vec![name], 1)).unwrap_err();
        assert!(error.contains("invisible"), "{error}");
    }
    let mut params = client_params("", vec![], 1);
    let bmp = DnValue::BmpString("alice".try_into().unwrap());
    params.distinguished_name.push(DnType::CommonName, bmp);
    let error = names_of(&params).unwrap_err();
    assert!(error.contains("not UTF-8"), "{error}");
}

#[test]
fn malformed_alternative_name_is_refused() {
    let mut params = client_params("a", vec![], 1);
    // A sequence with a URI whose bytes are not text.
    let content = vec![0x30, 0x04, 0x86, 0x02, 0xff, 0xfe];
    params.custom_extensions.push(CustomExtension::from_oid_content(&[2, 5, 29, 17], content));
    assert!(names_of(&params).is_err());
}

#[test]
fn trailing_bytes_are_not_a_certificate() {
    let mut der = ClientAuthority::root("root").sign(&client_params("a", vec![], 1)).der;
    der.push(0);
    assert!(parse(&der).is_err());
    assert!(parse(b"").is_err());
}
