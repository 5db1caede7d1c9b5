//! Replaces the crate `webpki-roots` in this workspace (`[patch.crates-io]`).
//!
//! sqlx trusts the authorities of that crate in addition to the configured ones and has no option against
//! it. With an empty list only `tls.ca`, or the system's authorities, count.

#![no_std]
#![forbid(unsafe_code)]

/// No certificate authority.
pub const TLS_SERVER_ROOTS: &[pki_types::TrustAnchor<'static>] = &[];
