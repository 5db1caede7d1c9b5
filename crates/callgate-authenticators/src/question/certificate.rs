//! The client certificate, as a question describes it.

use callgate::{authn::Rejection, clock::UnixTime, record::Reason, request::Certificate};
use serde_json::{Map, Value};

use crate::client_certificate::{Names, Presented, parse};

/// The names, fingerprint and end of a certificate. Kinds of names that it does not have are left out.
///
/// # Errors
/// Rejected if it is malformed, or has a name that cannot be shown faithfully.
pub(super) fn describe(certificate: &Certificate) -> Result<Value, Rejection> {
    let described = members(certificate).map(Value::from);
    described.map_err(|text| Rejection::new(Reason::BadCertificate, text))
}

fn members(certificate: &Certificate) -> Result<Map<String, Value>, String> {
    let presented = Presented::read(&certificate.verified_chains)?;
    let leaf = parse(&presented.leaf)?;
    let Names { subject, dns, emails, uris, sha256, .. } = Names::of(&leaf, &presented.leaf)?;
    let not_after = UnixTime::from_seconds(leaf.validity().not_after.timestamp());
    let mut members = Map::new();
    members.insert("subject".to_owned(), subject.into());
    for (kind, names) in [("dns", dns), ("email", emails), ("uri", uris)] {
        if !names.is_empty() {
            members.insert(kind.to_owned(), names.into());
        }
    }
    members.insert("sha256".to_owned(), sha256.into());
    members.insert("not_after".to_owned(), not_after.to_string().into());
    Ok(members)
}
