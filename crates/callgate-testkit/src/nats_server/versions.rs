//! Which nats-servers are installed.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::str::FromStr;

use crate::tools;

/// A version of nats-server, ordered as versions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// 2
    pub major: u16,
    /// Such as 10
    pub minor: u16,
    /// Such as 26
    pub patch: u16,
}

/// The versions that `make tools` installed, oldest first: one of every supported line.
///
/// # Panics
/// If there are none: a test over all versions must not pass by running over nothing.
pub fn installed_versions() -> Vec<Version> {
    let folder = tools::installed("nats-server");
    let entries = fs::read_dir(&folder).expect("a folder can be listed");
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut versions: Vec<Version> = names.filter_map(|name| name.parse().ok()).collect();
    assert!(!versions.is_empty(), "{folder:?} has no nats-server: run `make tools`");
    versions.sort_unstable();
    versions
}

/// The server of a version, whole or in part, or the default one.
pub(super) fn binary(version: Option<&str>) -> PathBuf {
    let Some(wanted) = version else { return tools::installed("nats-server/default") };
    let installed = installed_versions();
    let newest = newest_of(wanted, &installed)
        .unwrap_or_else(|| panic!("nats-server {wanted} is not installed, only {installed:?}"));
    tools::installed(&format!("nats-server/{newest}/nats-server"))
}

fn newest_of(wanted: &str, installed: &[Version]) -> Option<Version> {
    let line = format!("{wanted}.");
    let matches = |version: &&Version| {
        let text = version.to_string();
        text == wanted || text.starts_with(&line)
    };
    installed.iter().filter(matches).max().copied()
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let numbers: Vec<u16> =
            text.split('.').map(str::parse).collect::<Result<_, _>>().map_err(|_| NotAVersion)?;
        let [major, minor, patch] = numbers[..] else { return Err(NotAVersion) };
        Ok(Version { major, minor, patch })
    }
}

/// The text is not three numbers with dots between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAVersion;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_version_selects_the_newest_patch() {
        let installed = ["2.1.9", "2.10.9", "2.10.26", "2.11.0"].map(|text| text.parse().unwrap());
        let cases = [
            ("2.10", Some("2.10.26")),
            ("2.10.9", Some("2.10.9")),
            ("2.1", Some("2.1.9")),
            ("2", Some("2.11.0")),
            ("2.12", None),
            ("2.10.2", None),
        ];
        for (wanted, expected) in cases {
            let found = newest_of(wanted, &installed).map(|version| version.to_string());
            assert_eq!(found.as_deref(), expected, "{wanted}");
        }
    }

    #[test]
    fn every_supported_line_is_installed() {
        let minors: Vec<u16> = installed_versions().iter().map(|version| version.minor).collect();
        for minor in [10, 11, 12, 14, 15] {
            assert!(minors.contains(&minor), "no 2.{minor} among {minors:?}");
        }
    }
}
