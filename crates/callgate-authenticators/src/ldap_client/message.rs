//! The LDAP messages that Callgate sends and accepts (RFC 4511 section 4).

use callgate::{sanitize::excerpt_up_to, secret::Secret};
use ldap3::asn1::{ASNTag, Tag, write};
use zeroize::Zeroizing;

use super::ber::{
    BOOLEAN, ENUMERATED, INTEGER, OCTET_STRING, Reader, SEQUENCE, SET, element, number, put,
};

const BIND: u8 = 0x60;
const BIND_DONE: u8 = 0x61;
const SEARCH: u8 = 0x63;
const SEARCH_ENTRY: u8 = 0x64;
const SEARCH_DONE: u8 = 0x65;
const SEARCH_REFERENCE: u8 = 0x73;
const EXTENDED: u8 = 0x77;
const EXTENDED_DONE: u8 = 0x78;
const CONTROLS: u8 = 0xa0;
/// Context-specific, primitive, number 0: a simple password, the name of an extended operation.
const CONTEXT_0: u8 = 0x80;

const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";
/// draft-behera-ldap-password-policy.
const PASSWORD_POLICY: &str = "1.3.6.1.4.1.42.2.27.8.5.1";
/// Netscape's control: the password has expired and must be changed.
const PASSWORD_EXPIRED: &str = "2.16.840.1.113730.3.4.4";

/// A request without its message id. It may contain a password.
#[derive(Debug)]
pub(crate) struct Request {
    operation: Zeroizing<Vec<u8>>,
    controls: Vec<u8>,
}

/// What to search. Aliases are never dereferenced.
#[derive(Debug)]
pub(crate) struct Search<'a> {
    pub(crate) base: &'a str,
    pub(crate) scope: Scope,
    pub(crate) filter: Tag,
    pub(crate) attributes: &'a [&'a str],
    /// The server returns at most this many entries.
    pub(crate) size_limit: u16,
    /// In seconds.
    pub(crate) time_limit: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Base = 0,
    One = 1,
    Sub = 2,
}

impl Request {
    /// A simple bind. Its result may carry the directory's password policy.
    pub(crate) fn bind(name: &str, password: &Secret) -> Self {
        let version = number(INTEGER, 3);
        let name = element(OCTET_STRING, &[name.as_bytes()]);
        let password = Zeroizing::new(element(CONTEXT_0, &[password.expose().as_bytes()]));
        let operation = element(BIND, &[&version, &name, &password]);
        let oid = element(OCTET_STRING, &[PASSWORD_POLICY.as_bytes()]);
        let controls = element(CONTROLS, &[&element(SEQUENCE, &[&oid])]);
        Self { operation: Zeroizing::new(operation), controls }
    }

    pub(crate) fn search(search: Search<'_>) -> Self {
        let Search { base, scope, filter, attributes, size_limit, time_limit } = search;
        let mut encoded = Default::default();
        // Writing into a buffer cannot fail; an empty filter would be refused by the server.
        let _ = write::encode_into(&mut encoded, filter.into_structure());
        let names: Vec<_> =
            attributes.iter().map(|name| element(OCTET_STRING, &[name.as_bytes()])).collect();
        let names: Vec<_> = names.iter().map(Vec::as_slice).collect();
        let operation = element(
            SEARCH,
            &[
                &element(OCTET_STRING, &[base.as_bytes()]),
                &number(ENUMERATED, scope as i32),
                &number(ENUMERATED, 0),
                &number(INTEGER, size_limit.into()),
                &number(INTEGER, time_limit.into()),
                &element(BOOLEAN, &[&[0]]),
                &encoded,
                &element(SEQUENCE, &names),
            ],
        );
        Self { operation: Zeroizing::new(operation), controls: Vec::new() }
    }

    pub(crate) fn start_tls() -> Self {
        let operation = element(EXTENDED, &[&element(CONTEXT_0, &[START_TLS])]);
        Self { operation: Zeroizing::new(operation), controls: Vec::new() }
    }

    /// The message with this id.
    pub(crate) fn encode(&self, id: i32) -> Zeroizing<Vec<u8>> {
        let id = number(INTEGER, id);
        let length = id.len() + self.operation.len() + self.controls.len() + 6;
        let mut message = Zeroizing::new(Vec::with_capacity(length));
        put(&mut message, SEQUENCE, &[&id, &self.operation, &self.controls]);
        message
    }
}

/// A message of the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: i32,
    pub(crate) response: Response,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Response {
    Bind(OperationResult),
    Entry(Entry),
    /// A continuation reference: never followed.
    Reference,
    SearchDone(OperationResult),
    Extended(OperationResult),
}

/// The result of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OperationResult {
    pub(crate) code: i32,
    /// The directory's message, escaped and cut.
    pub(crate) message: String,
    /// The object identifiers and values of the controls.
    pub(crate) controls: Vec<(String, Vec<u8>)>,
}

/// An entry. Attributes are as the server names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) dn: String,
    pub(crate) attributes: Vec<(String, Vec<Vec<u8>>)>,
}

impl Message {
    /// Reads a message without its outer header. `None` if it is malformed.
    pub(crate) fn decode(content: &[u8]) -> Option<Self> {
        let mut message = Reader(content);
        let id = message.number(INTEGER)?;
        let (tag, content) = message.next()?;
        let controls = match message.is_empty() {
            true => Vec::new(),
            false => controls(message.expect(CONTROLS)?)?,
        };
        let operation = Reader(content);
        let response = match tag {
            BIND_DONE => Response::Bind(OperationResult::decode(operation, controls)?),
            SEARCH_ENTRY => Response::Entry(Entry::decode(operation)?),
            SEARCH_REFERENCE => Response::Reference,
            SEARCH_DONE => Response::SearchDone(OperationResult::decode(operation, controls)?),
            EXTENDED_DONE => Response::Extended(OperationResult::decode(operation, controls)?),
            _ => return None,
        };
        message.is_empty().then_some(Self { id, response })
    }
}

impl OperationResult {
    /// What follows the message (referrals, server credentials) is ignored.
    fn decode(mut content: Reader<'_>, controls: Vec<(String, Vec<u8>)>) -> Option<Self> {
        let code = content.number(ENUMERATED)?;
        content.expect(OCTET_STRING)?;
        let message = String::from_utf8_lossy(content.expect(OCTET_STRING)?);
        let message = message.trim_end_matches('\0');
        Some(Self { code, message: excerpt_up_to(message, 200), controls })
    }

    /// The directory's message, for a sentence.
    pub(crate) fn said(&self) -> String {
        match self.message.as_str() {
            "" => String::new(),
            message => format!(": the directory says `{message}`"),
        }
    }

    /// Whether a bind succeeded only so that the password can be changed.
    pub(crate) fn must_change_password(&self) -> bool {
        self.controls.iter().any(|(oid, value)| match oid.as_str() {
            PASSWORD_EXPIRED => true,
            PASSWORD_POLICY => policy_requires_change(value),
            _ => false,
        })
    }
}

impl Entry {
    fn decode(mut content: Reader<'_>) -> Option<Self> {
        let dn = text(content.expect(OCTET_STRING)?)?;
        let mut list = Reader(content.expect(SEQUENCE)?);
        let mut attributes = Vec::new();
        while !list.is_empty() {
            let mut attribute = Reader(list.expect(SEQUENCE)?);
            let name = text(attribute.expect(OCTET_STRING)?)?;
            let mut set = Reader(attribute.expect(SET)?);
            let mut values = Vec::new();
            while !set.is_empty() {
                values.push(set.expect(OCTET_STRING)?.to_vec());
            }
            attributes.push((name, values));
        }
        content.is_empty().then_some(Self { dn, attributes })
    }

    /// The values of an attribute, without those of its subtypes such as `cn;lang-de`.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let same = move |(found, _): &&(String, Vec<Vec<u8>>)| found.eq_ignore_ascii_case(name);
        self.attributes.iter().filter(same).flat_map(|(_, values)| values).map(Vec::as_slice)
    }
}

fn controls(content: &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
    let mut list = Reader(content);
    let mut controls = Vec::new();
    while !list.is_empty() {
        let mut control = Reader(list.expect(SEQUENCE)?);
        let oid = text(control.expect(OCTET_STRING)?)?;
        let mut value = Vec::new();
        while let Some((tag, content)) = control.next() {
            if tag == OCTET_STRING {
                value = content.to_vec();
            }
        }
        controls.push((oid, value));
    }
    Some(controls)
}

fn text(bytes: &[u8]) -> Option<String> {
    str::from_utf8(bytes).ok().map(str::to_owned)
}

/// Reads the `PasswordPolicyResponseValue` of draft-behera-ldap-password-policy section 6.2.
///
/// A malformed value counts as a required change: it must not admit a user by accident.
fn policy_requires_change(value: &[u8]) -> bool {
    const WARNING: u8 = 0xa0;
    const GRACE_LOGINS: u8 = 0x81;
    const ERROR: u8 = 0x81;
    let Some(content) = Reader(value).expect(SEQUENCE) else { return true };
    let mut response = Reader(content);
    while !response.is_empty() {
        match response.next() {
            // The password has expired, and a last login is tolerated.
            Some((WARNING, warning)) if warning.first() == Some(&GRACE_LOGINS) => return true,
            Some((WARNING, _)) => {}
            // 0: the password has expired. 2: it must be changed after a reset.
            Some((ERROR, error)) => return matches!(error, [0 | 2]),
            Some(_) | None => return true,
        }
    }
    false
}
