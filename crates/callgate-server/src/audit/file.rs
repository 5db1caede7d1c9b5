//! A file as sink: opened for append, locked, checked before each write, and rotated.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use super::{
    chain::{Hash, Lines, hash},
    event::{Gap, GapCause},
    lines::{Head, head},
    rotate::Rotation,
    sink::Output,
};

/// A file that cannot be used from the start.
#[derive(Debug, thiserror::Error)]
#[error("audit file `{path}`: {problem}")]
pub(crate) struct FileError {
    path: String,
    problem: Problem,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("is a symbolic link, which could lead elsewhere: write the path of the file itself")]
    Link,
    #[error("is not a regular file")]
    NotRegular,
    #[error("is in use by another process: each process needs a file of its own")]
    Busy,
}

/// Bytes that are read at once to find the end of the last line.
const BLOCK: usize = 64 * 1024;

/// See the top of the file.
#[derive(Debug)]
pub(super) struct FileOutput {
    path: PathBuf,
    /// Whether lines are synced to the disk.
    sync: bool,
    open: Option<Open>,
    rotation: Option<Rotation>,
}

/// What was found in an existing file.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The hash of the last line.
    pub(super) last: Option<Hash>,
    /// A line that an earlier process did not finish, and that was cut off.
    pub(super) gap: Option<Gap>,
}

#[derive(Debug)]
struct Open {
    file: File,
    device: u64,
    inode: u64,
    length: u64,
    /// The first line.
    head: Option<Head>,
    /// Lines that this process has written to this file.
    written: u64,
}

impl FileOutput {
    pub(super) fn open(
        path: &Path,
        sync: bool,
        rotation: Option<Rotation>,
    ) -> Result<(Self, Found), FileError> {
        let failed = |problem| FileError { path: path.display().to_string(), problem };
        let (open, found) = Open::new(path).map_err(failed)?;
        Ok((Self { path: path.to_owned(), sync, open: Some(open), rotation }, found))
    }

    /// What happened to the file since the last write.
    fn change(&self) -> io::Result<Option<GapCause>> {
        let Some(open) = &self.open else { return Ok(None) };
        match std::fs::symlink_metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) != (open.device, open.inode) => {
                Ok(Some(GapCause::FileReplaced))
            }
            Ok(found) if found.len() < open.length => Ok(Some(GapCause::FileTruncated)),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Some(GapCause::FileRemoved))
            }
            Err(error) => Err(error),
        }
    }

    fn opened(&mut self) -> io::Result<&mut Open> {
        let open = match self.open.take() {
            Some(open) => open,
            None => Open::new(&self.path).map_err(io::Error::other)?.0,
        };
        Ok(self.open.insert(open))
    }

    fn rotate(&mut self) {
        let (Some(rotation), Some(open)) = (&mut self.rotation, &self.open) else { return };
        let Some(head) = open.head.as_ref().filter(|head| rotation.is_due(open.length, head.time))
        else {
            return;
        };
        if rotation.rename(&self.path, head) {
            self.open = None;
            // If this fails, the next write tries again and reports it.
            let _ = self.opened();
            if self.sync {
                let _ = self.path.parent().map(sync_folder);
            }
        }
    }
}

impl Output for FileOutput {
    fn check(&mut self) -> io::Result<Option<Gap>> {
        let Some(why) = self.change()? else { return Ok(None) };
        let records = self.open.take().map_or(0, |open| open.written);
        self.opened()?;
        Ok(Some(Gap { records, why }))
    }

    fn write(&mut self, lines: &Lines) -> io::Result<()> {
        let sync = self.sync;
        let open = self.opened()?;
        let text = lines.text();
        let written = open.file.write_all(text).and_then(|()| match sync {
            true => open.file.sync_data(),
            false => Ok(()),
        });
        if let Err(error) = written {
            // A part of them may have been written, for example until the disk was full.
            open.file.set_len(open.length)?;
            return Err(error);
        }
        open.length += u64::try_from(text.len()).unwrap_or_default();
        open.written += u64::try_from(lines.len()).unwrap_or_default();
        if open.head.is_none() {
            open.head = lines.iter().next().and_then(|line| head(line.bytes));
        }
        Ok(())
    }

    fn maintain(&mut self) {
        self.rotate();
    }

    fn maintenance_due(&self) -> Option<std::time::Duration> {
        let time = self.open.as_ref()?.head.as_ref()?.time;
        self.rotation.as_ref()?.due_in(time)
    }

    fn finish(&mut self) {
        if let Some(open) = &self.open {
            let _ = open.file.sync_data();
        }
        if let Some(rotation) = self.rotation.take() {
            rotation.finish();
        }
    }
}

impl Open {
    fn new(path: &Path) -> Result<(Self, Found), Problem> {
        match std::fs::symlink_metadata(path) {
            Ok(found) if found.is_symlink() => return Err(Problem::Link),
            Ok(found) if !found.is_file() => return Err(Problem::NotRegular),
            Ok(_) | Err(_) => {}
        }
        let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600).custom_flags(flags);
        let mut file = options.open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Problem::Busy),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(Problem::NotRegular);
        }
        let Tail { length, last, incomplete } = Tail::of(&mut file, found.len())?;
        if incomplete {
            file.set_len(length)?;
        }
        let open = Self {
            device: found.dev(),
            inode: found.ino(),
            length,
            head: first_line(&mut file)?.as_deref().and_then(head),
            written: 0,
            file,
        };
        let gap = incomplete.then_some(Gap { records: 1, why: GapCause::IncompleteLine });
        Ok((open, Found { last, gap }))
    }
}

/// The end of a file.
#[derive(Debug)]
struct Tail {
    /// Up to the last newline.
    length: u64,
    last: Option<Hash>,
    /// Something follows the last newline.
    incomplete: bool,
}

impl Tail {
    fn of(file: &mut File, size: u64) -> io::Result<Self> {
        let mut tail = Vec::new();
        let mut start = size;
        // Until the newline before the last line is found.
        while start > 0 && tail.iter().filter(|byte| **byte == b'\n').nth(1).is_none() {
            let block = start.min(BLOCK as u64);
            start -= block;
            file.seek(SeekFrom::Start(start))?;
            let mut bytes = vec![0; usize::try_from(block).unwrap_or(BLOCK)];
            file.read_exact(&mut bytes)?;
            bytes.append(&mut tail);
            tail = bytes;
        }
        let end = tail.iter().rposition(|byte| *byte == b'\n');
        let whole = end.map_or(&[][..], |end| tail.get(..end).unwrap_or_default());
        let last = whole.rsplit(|byte| *byte == b'\n').next();
        let length = end.map_or(0, |end| start + u64::try_from(end).unwrap_or_default() + 1);
        let last = end.and(last).map(hash);
        Ok(Self { length, last, incomplete: length < size })
    }
}

/// The first line, if the file has a line.
fn first_line(file: &mut File) -> io::Result<Option<Vec<u8>>> {
    file.seek(SeekFrom::Start(0))?;
    let mut line = Vec::new();
    let block = u64::try_from(BLOCK).unwrap_or(u64::MAX);
    io::BufRead::read_until(&mut io::BufReader::new(file.take(block)), b'\n', &mut line)?;
    Ok(line.strip_suffix(b"\n").map(<[u8]>::to_vec))
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[&str]) -> Lines {
        Lines::of(texts)
    }

    fn opened(path: &Path) -> (FileOutput, Found) {
        FileOutput::open(path, true, None).unwrap()
    }

    fn why(gap: Option<Gap>) -> Option<GapCause> {
        gap.map(|gap| gap.why)
    }

    #[test]
    fn file_is_private_and_locked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let (mut output, found) = opened(&path);
        assert_eq!((found.last, why(found.gap)), (None, None));
        output.write(&lines(&["a", "b"])).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let busy = FileOutput::open(&path, true, None).unwrap_err().to_string();
        assert!(busy.contains("in use by another process"), "{busy}");
        drop(output);
        assert_eq!(opened(&path).1.last, Some(hash(b"b")));
    }

    #[test]
    fn incomplete_line_is_cut_off_and_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        for (text, last) in [("{\"v\"", None), ("a\nb\n{\"v", Some(hash(b"b")))] {
            std::fs::write(&path, text).unwrap();
            let (_, found) = opened(&path);
            assert_eq!(why(found.gap), Some(GapCause::IncompleteLine), "{text}");
            assert_eq!(found.last, last, "{text}");
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\nb\n");
        let long = format!("{}\n", "x".repeat(3 * BLOCK));
        std::fs::write(&path, format!("first\n{long}")).unwrap();
        assert_eq!(opened(&path).1.last, Some(hash(long.trim_end().as_bytes())));
    }

    #[test]
    fn links_folders_and_devices_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("target", &link).unwrap();
        for (path, why) in [
            (link.as_path(), "symbolic link"),
            (folder.path(), "not a regular file"),
            (Path::new("/dev/null"), "not a regular file"),
            (&folder.path().join("absent/audit.jsonl"), "No such file"),
        ] {
            let error = FileOutput::open(path, false, None).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn removed_replaced_and_truncated_files_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let (mut output, _) = opened(&path);
        output.write(&lines(&["a", "b"])).unwrap();
        assert_eq!(why(output.check().unwrap()), None);
        std::fs::remove_file(&path).unwrap();
        let gap = output.check().unwrap().unwrap();
        assert_eq!((gap.records, gap.why), (2, GapCause::FileRemoved));
        output.write(&lines(&["c"])).unwrap();
        std::fs::write(folder.path().join("other"), "").unwrap();
        std::fs::rename(folder.path().join("other"), &path).unwrap();
        assert_eq!(why(output.check().unwrap()), Some(GapCause::FileReplaced));
        output.write(&lines(&["d"])).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        assert_eq!(why(output.check().unwrap()), Some(GapCause::FileTruncated));
        output.write(&lines(&["e"])).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "e\n");
    }
}
