//! Reads lines of files that grow.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Seek},
    os::unix::fs::MetadataExt,
    path::Path,
    thread,
    time::Duration,
};

/// Between two checks of a file that is followed.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// What remains after the complete lines that can be read now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// The beginning of a line; empty at the end of a line.
    Line(Vec<u8>),
    /// No more lines are wanted.
    Unwanted,
}

/// Passes complete lines to `take` until it returns false.
pub(super) fn lines(
    source: &mut impl BufRead,
    take: &mut dyn FnMut(&[u8]) -> bool,
) -> io::Result<Rest> {
    let mut line = Vec::new();
    while source.read_until(b'\n', &mut line)? > 0 {
        let Some(whole) = line.strip_suffix(b"\n") else { return Ok(Rest::Line(line)) };
        if !take(whole) {
            return Ok(Rest::Unwanted);
        }
        line.clear();
    }
    Ok(Rest::Line(line))
}

/// Passes the lines of a file, and those that are appended later, to `take` until it returns false. A file
/// that takes the place of another one, or that was cut to its beginning (`copytruncate`), is read from its
/// beginning. `at_end` is called whenever everything is read.
pub(super) fn follow(
    path: &Path,
    take: &mut dyn FnMut(&[u8]) -> bool,
    at_end: &mut dyn FnMut(),
) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut source = BufReader::new(file.try_clone()?);
    let mut begun = Vec::new();
    loop {
        match lines(&mut Read::chain(begun.as_slice(), &mut source), take)? {
            Rest::Line(rest) => begun = rest,
            Rest::Unwanted => return Ok(()),
        }
        let own = file.metadata()?;
        let is_same = fs::metadata(path)
            .is_ok_and(|found| (own.dev(), own.ino()) == (found.dev(), found.ino()));
        if is_same {
            at_end();
            // Everything is read, so this is where the next line begins.
            if own.len() < file.stream_position()? {
                source = BufReader::new(File::open(path)?);
                file = source.get_ref().try_clone()?;
                begun = Vec::new();
                continue;
            }
            thread::sleep(POLL_INTERVAL);
            continue;
        }
        // What was written before the rotation.
        if lines(&mut Read::chain(begun.as_slice(), &mut source), take)? == Rest::Unwanted {
            return Ok(());
        }
        begun = Vec::new();
        match File::open(path) {
            Ok(next) => {
                source = BufReader::new(next.try_clone()?);
                file = next;
            }
            Err(_) => thread::sleep(POLL_INTERVAL),
        }
    }
}
