//! Reads configuration trees and reports all errors together, each with its key path.
//!
//! A file becomes a [`Document`]; a [`Table`] is a cursor over one of its maps. Errors and warnings go
//! into a [`Report`], so that one run lists all of them. Only [`Sources`] reads the environment and files.
//!
//! ```
//! use callgate_config::{Document, Format, Report, Sources, Table};
//!
//! let document = Document::parse(br#"timeout = "5m""#, Format::Toml)?;
//! let (report, sources) = (Report::new(), Sources::new("."));
//! let mut table = Table::root(&document, "", &report, &sources);
//! assert_eq!(table.duration("timeout").map(|timeout| timeout.as_secs()), Some(300));
//! table.finish();
//! assert!(report.is_faultless());
//! # Ok::<(), callgate_config::DocumentError>(())
//! ```

mod document;
mod duration;
mod entries;
pub mod file_watch;
mod folders;
mod format;
mod misplaced;
mod mode;
pub mod permissions;
mod position;
mod report;
pub mod roles;
pub mod schema;
mod secrets;
mod sources;
mod syntax;
mod table;
mod wiped;

pub use document::{Document, DocumentError};
pub use duration::{DurationError, parse_duration};
pub use entries::{EntryFile, EntryReader};
pub use format::{Format, UnknownExtension, UnknownFormat};
pub use position::Position;
pub use report::{Fault, Report};
pub use schema::{Key, Type};
pub use sources::{FlagSecret, SourceError, Sources};
pub use table::{Item, Table};
pub use wiped::WipedBytes;

#[cfg(test)]
mod tests;
