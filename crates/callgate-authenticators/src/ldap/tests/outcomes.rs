use callgate::record::Reason;

use crate::{backend::QueryError, ldap::outcome::check_bind, ldap_client::OperationResult};

fn result(code: i32, message: &str) -> OperationResult {
    OperationResult { code, message: message.to_owned(), controls: Vec::new() }
}

fn reason(result: &OperationResult) -> Option<Reason> {
    match check_bind(result, "alice") {
        Err(QueryError::Rejected(rejection)) => Some(rejection.reason),
        Ok(()) | Err(_) => None,
    }
}

#[test]
fn every_other_code_is_unavailable() {
    for code in (-1..200).filter(|code| ![0, 19, 49, 53].contains(code)) {
        let unusable =
            matches!(check_bind(&result(code, ""), "alice"), Err(QueryError::Unusable(_)));
        assert!(unusable, "{code}");
    }
    assert_eq!(check_bind(&result(0, ""), "alice"), Ok(()));
    assert_eq!(reason(&result(49, "")), Some(Reason::BadPassword));
    assert_eq!(reason(&result(19, "")), Some(Reason::UserDisabled));
    assert_eq!(reason(&result(53, "")), Some(Reason::UserDisabled));
}

#[test]
fn codes_of_active_directory_give_the_reason() {
    for (code, expected) in [
        ("52e", Reason::BadPassword),
        ("525", Reason::UnknownUser),
        ("530", Reason::OutsideHours),
        ("531", Reason::SourceNotAllowed),
        ("532", Reason::UserExpired),
        ("533", Reason::UserDisabled),
        ("701", Reason::UserExpired),
        ("773", Reason::UserExpired),
        ("775", Reason::UserDisabled),
        ("999", Reason::BadPassword),
    ] {
        let message = format!(
            "80090308: LdapErr: DSID-0C090439, comment: AcceptSecurityContext error, data {code}, v4563"
        );
        assert_eq!(reason(&result(49, &message)), Some(expected), "{code}");
        assert_eq!(reason(&result(1, &message)), None, "{code}");
    }
    assert_eq!(reason(&result(49, "data 532")), Some(Reason::BadPassword));
}

#[test]
fn password_policy_controls_expire_a_success() {
    const POLICY: &str = "1.3.6.1.4.1.42.2.27.8.5.1";
    const NETSCAPE: &str = "2.16.840.1.113730.3.4.4";
    for (oid, value, expired) in [
        (POLICY, &b"\x30\x03\x81\x01\x00"[..], true),
        (POLICY, b"\x30\x03\x81\x01\x02", true),
        (POLICY, b"\x30\x05\xa0\x03\x81\x01\x02", true),
        (POLICY, b"garbage", true),
        (POLICY, b"\x30\x00", false),
        // It will expire in five minutes.
        (POLICY, b"\x30\x06\xa0\x04\x80\x02\x01\x2c", false),
        (POLICY, b"\x30\x03\x81\x01\x05", false),
        (NETSCAPE, b"0", true),
        ("2.16.840.1.113730.3.4.5", b"300", false),
    ] {
        let controls = vec![(oid.to_owned(), value.to_vec())];
        let result = OperationResult { controls, ..result(0, "") };
        let expected = expired.then_some(Reason::UserExpired);
        assert_eq!(reason(&result), expected, "{oid} {value:02x?}");
    }
}
