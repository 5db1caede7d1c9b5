//! Entry points for the fuzz targets (feature `fuzzing`), never for a service.

use std::collections::BTreeMap;

use callgate::authn::Proposal;

/// The proposal in the annotations of a service account, and the number of malformed subjects.
pub fn proposal_from_annotations(
    prefix: &str,
    annotations: &BTreeMap<String, String>,
) -> (Proposal, usize) {
    crate::kubernetes::proposal_from_annotations(prefix, annotations)
}

/// What a message of a directory contains: the texts that may be logged, and all values of attributes.
/// `None` if it is malformed.
pub fn ldap_message(content: &[u8]) -> Option<(Vec<String>, Vec<Vec<u8>>)> {
    crate::ldap_client::read_message(content)
}

/// Whether a text is a distinguished name, and one below `base`.
pub fn ldap_name_is_within(text: &str, base: &str) -> Option<bool> {
    crate::ldap_client::is_within(text, base)
}
