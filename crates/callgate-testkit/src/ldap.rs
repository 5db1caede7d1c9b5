//! LDAP directories for tests: OpenLDAP's slapd, and a responder for answers that slapd does not give.

mod responder;
mod slapd;

pub use responder::{
    LdapResponder, Reply, Seen, bind_result, entry, message, reference, search_done,
};
pub use slapd::{Slapd, SlapdOptions};
