//! What the fuzz targets call (feature `fuzzing`). Never for a service.

use std::collections::BTreeMap;

use callgate::authn::Proposal;

/// What the annotations of a service account ask for, and how many subjects in them are malformed.
pub fn asked_by_annotations(
    prefix: &str,
    annotations: &BTreeMap<String, String>,
) -> (Proposal, usize) {
    crate::kubernetes::asked(prefix, annotations)
}
