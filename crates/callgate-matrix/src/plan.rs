//! What a run covers: a diagonal in every test run, or everything.

use callgate_testkit::nats_server::{Version, installed_versions};

use crate::mode::Mode;

/// The supported server lines: the minor version of each `2.MINOR`.
pub const LINES: [u16; 5] = [10, 11, 12, 14, 15];

/// The newest installed patch of every supported line, oldest first.
///
/// # Panics
/// If a line is not installed.
pub fn lines() -> Vec<Version> {
    let installed = installed_versions();
    LINES
        .map(|minor| {
            let of_line = installed.iter().filter(|version| version.minor == minor);
            *of_line.max().unwrap_or_else(|| panic!("no nats-server 2.{minor}: run `make tools`"))
        })
        .to_vec()
}

/// Every environment at every line.
pub fn all() -> Vec<(Mode, Version)> {
    let lines = lines();
    Mode::ALL.into_iter().flat_map(|mode| lines.iter().map(move |line| (mode, *line))).collect()
}

/// Every environment and every line at least once.
pub fn diagonal() -> Vec<(Mode, Version)> {
    let lines = lines();
    // Starts with the newest, so that the first modes see both ends.
    Mode::ALL.into_iter().zip(lines.iter().rev().copied().cycle()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn diagonal_covers_every_mode_and_line() {
        let diagonal = diagonal();
        let modes: HashSet<_> = diagonal.iter().map(|(mode, _)| mode).collect();
        let versions: HashSet<_> = diagonal.iter().map(|(_, version)| version).collect();
        assert_eq!((modes.len(), versions.len()), (Mode::ALL.len(), lines().len()));
    }
}
