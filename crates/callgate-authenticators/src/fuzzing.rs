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
