//! What makes up a run: the diagonal for every day, and the whole.

use callgate_testkit::nats_server::{Version, installed_versions};

use crate::mode::Mode;

/// The newest patch of every supported line, oldest first.
///
/// # Panics
/// If a line is not installed.
pub fn lines() -> Vec<Version> {
    let installed = installed_versions();
    [10, 11, 12, 14, 15]
        .map(|minor| {
            let of_line = installed.iter().filter(|version| version.minor == minor);
            *of_line.max().unwrap_or_else(|| panic!("no nats-server 2.{minor}: run `make tools`"))
        })
        .to_vec()
}

/// Every environment at every line.
pub fn whole() -> Vec<(Mode, Version)> {
    let lines = lines();
    Mode::ALL.into_iter().flat_map(|mode| lines.iter().map(move |line| (mode, *line))).collect()
}

/// Every environment and every line at least once.
pub fn diagonal() -> Vec<(Mode, Version)> {
    let lines = lines();
    // From the newest backwards, so that both first modes see the ends.
    Mode::ALL.into_iter().zip(lines.iter().rev().copied().cycle()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_diagonal_meets_every_mode_and_every_line() {
        let diagonal = diagonal();
        let modes: HashSet<_> = diagonal.iter().map(|(mode, _)| mode).collect();
        let versions: HashSet<_> = diagonal.iter().map(|(_, version)| version).collect();
        assert_eq!((modes.len(), versions.len()), (Mode::ALL.len(), lines().len()));
    }
}
