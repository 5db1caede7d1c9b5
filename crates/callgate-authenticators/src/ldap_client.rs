//! A client of LDAP directories (RFC 4511), as far as logins need one: bind and search.
//!
//! ldap3 parses and escapes filters, but its connection is not used: it buffers messages without a
//! limit, decodes nested elements recursively, and panics on unexpected operations. A relay in front of
//! it would have to read every message for these checks, too, and adds two copies and two task switches
//! to each.

mod ber;
mod connection;
mod dn;
mod filter;
mod message;
mod pool;
mod searcher;
mod server;
mod time;

pub(crate) use dn::Dn;
pub(crate) use filter::{BindTemplate, FilterTemplate, Values};
pub(crate) use message::{Entry, OperationResult, Scope};
pub(crate) use pool::{Account, Lease, Pool, PoolSettings, Purpose};
pub(crate) use searcher::Searcher;
pub(crate) use server::Server;
pub(crate) use time::parse_time;

#[cfg(feature = "fuzzing")]
pub(crate) fn read_message(content: &[u8]) -> Option<(Vec<String>, Vec<Vec<u8>>)> {
    use message::{Message, Response};
    let read = match Message::decode(content)?.response {
        Response::Entry(entry) => {
            let values = entry.attributes.into_iter().flat_map(|(_, values)| values);
            (Vec::new(), values.collect())
        }
        Response::Bind(result) | Response::SearchDone(result) | Response::Extended(result) => {
            let controls = result.controls.into_iter().map(|(_, value)| value);
            (vec![result.message], controls.collect())
        }
        Response::Reference => Default::default(),
    };
    Some(read)
}

#[cfg(feature = "fuzzing")]
pub(crate) fn is_within(text: &str, base: &str) -> Option<bool> {
    let base = base.parse().ok()?;
    text.parse().ok().map(|dn: Dn| dn.is_within(&base))
}

#[cfg(test)]
mod tests;
