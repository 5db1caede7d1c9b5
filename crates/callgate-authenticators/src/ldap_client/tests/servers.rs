use crate::ldap_client::server::{Server, ServerError, Transport};

#[test]
fn only_the_loopback_is_reached_without_tls() {
    let parse = |text: &str, plain: bool| Server::parse(text, |_| plain);
    let server = parse("ldaps://DC1.corp.example", true).unwrap();
    assert_eq!((server.transport, server.port), (Transport::Tls, 636));
    assert_eq!(server.to_string(), "ldaps://dc1.corp.example:636");
    let server = parse("ldap://dc1.corp.example/", false).unwrap();
    assert_eq!((server.transport, server.port), (Transport::StartTls, 389));
    let server = parse("ldap://[::1]:3389", true).unwrap();
    assert_eq!((server.transport, server.host.as_str()), (Transport::Plain, "::1"));
    assert_eq!(server.to_string(), "ldap://[::1]:3389");
    for text in ["", "dc1", "https://dc1", "ldap://", "ldapi:///run/slapd", "ldaps://dc1:99999"] {
        assert!(matches!(parse(text, false), Err(ServerError::Form(_))), "{text}");
    }
    for text in ["ldaps://dc1/dc=x", "ldaps://dc1?uid", "ldaps://dc1/#x"] {
        assert!(matches!(parse(text, false), Err(ServerError::Path(_))), "{text}");
    }
    let secret = parse("ldaps://cn=svc:canary@dc1", false).unwrap_err();
    assert!(secret == ServerError::UserInfo && !secret.to_string().contains("canary"));
}
