//! Reads raw configuration trees and reports every fault at once, each with its key path.
//!
//! A file becomes a [`Document`]; a [`Table`] is a cursor over one of its maps. Faults and
//! warnings go into a [`Report`], so that one run names all of them. Only [`Sources`] reads the
//! environment and files.
//!
//! ```
//! use callgate_authenticators::settings::{Document, Format, Report, Sources, Table};
//!
//! let document = Document::parse(br#"timeout = "5m""#, Format::Toml)?;
//! let (report, sources) = (Report::new(), Sources::new("."));
//! let mut table = Table::root(&document, "", &report, &sources);
//! assert_eq!(table.duration("timeout").map(|timeout| timeout.as_secs()), Some(300));
//! table.finish();
//! assert!(report.is_faultless());
//! # Ok::<(), callgate_authenticators::settings::DocumentError>(())
//! ```

mod document;
mod duration;
mod item;
mod mode;
mod near;
pub mod permissions;
mod report;
mod secrets;
mod sources;
mod table;

pub use document::{Document, DocumentError, Format};
pub use duration::{DurationError, parse_duration};
pub use item::Item;
pub use near::nearest;
pub(crate) use near::suggestion;
pub use report::{Fault, Report};
pub(crate) use sources::may_hang;
pub use sources::{FlagSecret, SourceError, Sources};
pub use table::Table;

#[cfg(test)]
mod tests;
