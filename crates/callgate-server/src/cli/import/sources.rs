//! The files of a configuration of nats-server.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    env, fs, io,
    path::{Component, Path, PathBuf},
};

use crate::nats_conf::Outside;

/// Reads files and remembers their texts.
#[derive(Debug, Default)]
pub(super) struct ConfFiles {
    texts: RefCell<BTreeMap<PathBuf, Vec<u8>>>,
}

impl ConfFiles {
    pub(super) fn text(&self, path: &Path) -> String {
        let texts = self.texts.borrow();
        String::from_utf8_lossy(texts.get(path).map(Vec::as_slice).unwrap_or_default()).into_owned()
    }

    /// The same files, with another text in one of them.
    pub(super) fn replaced(&self, path: &Path, text: &str) -> Self {
        let mut texts = self.texts.borrow().clone();
        texts.insert(path.to_owned(), text.as_bytes().to_vec());
        Self { texts: RefCell::new(texts) }
    }

    /// How many files `main` includes, itself or by others.
    pub(super) fn included_count(&self, main: &Path) -> usize {
        self.texts.borrow().keys().filter(|path| *path != main).count()
    }

    /// The included files in the folder of `main`, by the path from there, with their texts.
    pub(super) fn included(&self, main: &Path) -> Vec<(PathBuf, String)> {
        let folder = main.parent().unwrap_or(Path::new(""));
        let texts = self.texts.borrow();
        let inside = texts.keys().filter(|path| *path != main).filter_map(|path| {
            let name = path.strip_prefix(folder).ok()?;
            let is_inside = name.components().all(|part| matches!(part, Component::Normal(_)));
            is_inside.then(|| (name.to_owned(), path))
        });
        inside.map(|(name, path)| (name, self.text(path))).collect()
    }
}

impl Outside for ConfFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if let Some(text) = self.texts.borrow().get(path) {
            return Ok(text.clone());
        }
        let text = fs::read(path)?;
        self.texts.borrow_mut().insert(path.to_owned(), text.clone());
        Ok(text)
    }

    fn variable(&self, name: &str) -> Option<String> {
        env::var(name).ok()
    }
}
