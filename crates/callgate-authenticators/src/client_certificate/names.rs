//! The names in a certificate, as text.
//!
//! Names are compared as the exact text of their bytes: nothing is folded, and the order of a
//! distinguished name is kept. A certificate with a name that cannot be shown faithfully is refused as a
//! whole, so that two different certificates never look alike in a policy or a log.

use callgate::subject::is_invisible;
use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use x509_parser::{
    asn1_rs::{Oid, Tag, oid},
    certificate::X509Certificate,
    extensions::GeneralName,
    prelude::FromDer,
    x509::{AttributeTypeAndValue, X509Name},
};

/// The attribute types with a short name (RFC 4514 section 3).
const SHORT_NAMES: [(Oid<'static>, &str); 9] = [
    (oid!(2.5.4.3), "CN"),
    (oid!(2.5.4.7), "L"),
    (oid!(2.5.4.8), "ST"),
    (oid!(2.5.4.10), "O"),
    (oid!(2.5.4.11), "OU"),
    (oid!(2.5.4.6), "C"),
    (oid!(2.5.4.9), "STREET"),
    (oid!(0.9.2342.19200300.100.1.25), "DC"),
    (oid!(0.9.2342.19200300.100.1.1), "UID"),
];

/// What identifies and describes the holder of a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// RFC 4514 text.
    pub(crate) subject: String,
    /// RFC 4514 text.
    pub(crate) issuer: String,
    pub(crate) common_names: Vec<String>,
    pub(crate) organizations: Vec<String>,
    pub(crate) units: Vec<String>,
    pub(crate) dns: Vec<String>,
    pub(crate) emails: Vec<String>,
    pub(crate) uris: Vec<String>,
    /// Lowercase hex of the serial number's bytes.
    pub(crate) serial: String,
    /// SHA-256 of the certificate, in lowercase hex.
    pub(crate) sha256: String,
    /// SHA-256 of its SubjectPublicKeyInfo, in lowercase hex.
    pub(crate) key_sha256: String,
}

impl Names {
    /// Reads the names of a certificate.
    pub(crate) fn of(certificate: &X509Certificate<'_>, der: &[u8]) -> Result<Self, String> {
        let mut names = Self {
            subject: distinguished_name(certificate.subject())?,
            issuer: distinguished_name(certificate.issuer())?,
            common_names: values(certificate.subject(), &oid!(2.5.4.3))?,
            organizations: values(certificate.subject(), &oid!(2.5.4.10))?,
            units: values(certificate.subject(), &oid!(2.5.4.11))?,
            serial: HEXLOWER.encode(certificate.raw_serial()),
            sha256: HEXLOWER.encode(&Sha256::digest(der)),
            key_sha256: HEXLOWER.encode(&Sha256::digest(certificate.public_key().raw)),
            ..Self::default()
        };
        let alternative = certificate
            .subject_alternative_name()
            .map_err(|_| "its subject alternative name occurs twice or is malformed")?;
        let general_names = alternative.map(|extension| &extension.value.general_names);
        for name in general_names.into_iter().flatten() {
            let (kind, list, text) = match name {
                GeneralName::DNSName(text) => ("DNS", &mut names.dns, text),
                GeneralName::RFC822Name(text) => ("email", &mut names.emails, text),
                GeneralName::URI(text) => ("URI", &mut names.uris, text),
                GeneralName::Invalid(..) => {
                    return Err("a subject alternative name is malformed".to_owned());
                }
                _ => continue,
            };
            list.push(visible(kind, text)?);
        }
        Ok(names)
    }

    /// The members of `claims.certificate`. A common name is there if it is the only one.
    pub(crate) fn claims(&self, not_after: String) -> Map<String, Value> {
        let mut claims = Map::new();
        let mut put = |name: &str, value: Value| drop(claims.insert(name.to_owned(), value));
        put("subject", json!(self.subject));
        if let [common_name] = self.common_names.as_slice() {
            put("cn", json!(common_name));
        }
        put("o", json!(self.organizations));
        put("ou", json!(self.units));
        put("dns", json!(self.dns));
        put("email", json!(self.emails));
        put("uri", json!(self.uris));
        put("issuer", json!(self.issuer));
        put("serial", json!(self.serial));
        put("sha256", json!(self.sha256));
        put("key_sha256", json!(self.key_sha256));
        put("not_after", json!(not_after));
        claims
    }
}

/// Parses a certificate that ends where its text ends.
pub(crate) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) | Err(_) => Err("it is not an X.509 certificate".to_owned()),
    }
}

/// A distinguished name as RFC 4514 text: the last relative name first, each with its values in the
/// order of the certificate.
fn distinguished_name(name: &X509Name<'_>) -> Result<String, String> {
    let mut parts = Vec::new();
    for relative in name.iter() {
        let attributes = relative.iter().map(attribute).collect::<Result<Vec<_>, _>>()?;
        parts.push(attributes.join("+"));
    }
    parts.reverse();
    Ok(parts.join(","))
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> Result<String, String> {
    let kind = attribute.attr_type();
    let short = SHORT_NAMES.iter().find(|(oid, _)| oid == kind).map(|(_, name)| *name);
    let Some(short) = short else {
        return Ok(format!("{}=#{}", kind.to_id_string(), encoded(attribute)));
    };
    Ok(format!("{short}={}", escaped(&text(attribute)?)))
}

/// The value in DER, in lowercase hex (RFC 4514 section 2.4).
fn encoded(attribute: &AttributeTypeAndValue<'_>) -> String {
    let value = attribute.attr_value();
    let length = value.data.len();
    let mut der = vec![u8::try_from(value.tag().0).unwrap_or(u8::MAX)];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => der.push(short),
        Ok(_) | Err(_) => {
            let bytes = length.to_be_bytes();
            let significant: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
            der.push(0x80 | u8::try_from(significant.len()).unwrap_or_default());
            der.extend(significant);
        }
    }
    der.extend(value.data);
    HEXLOWER.encode(&der)
}

/// The texts of all attributes of this type.
fn values(name: &X509Name<'_>, kind: &Oid<'_>) -> Result<Vec<String>, String> {
    name.iter_attributes().filter(|one| one.attr_type() == kind).map(text).collect()
}

/// The text of an attribute. Encodings that are not a subset of UTF-8 are refused, because they could
/// make another name of the same bytes.
fn text(attribute: &AttributeTypeAndValue<'_>) -> Result<String, String> {
    let value = attribute.attr_value();
    let is_text = matches!(
        value.tag(),
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString
    );
    let text = std::str::from_utf8(value.data).ok().filter(|_| is_text);
    let text = text.ok_or("its subject or issuer has a value that is not UTF-8 text")?;
    visible("subject or issuer", text)
}

fn visible(kind: &str, text: &str) -> Result<String, String> {
    match text.chars().any(is_invisible) {
        true => Err(format!("a {kind} name contains control or invisible characters")),
        false => Ok(text.to_owned()),
    }
}

/// Escapes a value (RFC 4514 section 2.4).
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let last = text.chars().count().saturating_sub(1);
    for (index, character) in text.chars().enumerate() {
        let special = matches!(character, '"' | '+' | ',' | ';' | '<' | '>' | '\\')
            || (character == ' ' && (index == 0 || index == last))
            || (character == '#' && index == 0);
        if special {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests;
