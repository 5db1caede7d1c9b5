#![doc = include_str!("../docs/users.md")]

use std::{
    future::{self, Future},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use callgate::{authn::Authenticator, keys::UserKey, secret::Secret};
use callgate_config::{
    Key, Table, Type,
    file_watch::{FileWatcher, Fingerprint, POLL_INTERVAL, WatchedFile},
};
use tokio::{sync::watch, time::Instant};

use crate::{
    directory::{Directory, DirectoryAuthenticator, Entry, Lookup, PackedEntry, Remembered},
    kind::{BuildContext, FALL_THROUGH_KEY, Kind, never_falls_through},
    passwords::StoredPassword,
};

mod file;
mod table;
mod warnings;

use file::UsersFile;
use table::UserTable;

/// The kind `users`: names, passwords, tokens and nkeys in a file of the operator.
#[derive(Debug, Clone, Copy, Default)]
pub struct Users;

pub use crate::directory::FILE;

/// The value of `token_sha256` for a token: its SHA-256 in lowercase hex.
pub fn token_sha256(token: &str) -> String {
    data_encoding::HEXLOWER.encode(&crate::directory::token_hash(token))
}

const KEYS: &[Key] = &[
    Key::required(
        "file",
        Type::Path,
        "`.json`, `.yaml` or `.toml`; relative to the configuration file. It is read again when it changes",
    ),
    FALL_THROUGH_KEY,
];

impl Kind for Users {
    fn name(&self) -> &'static str {
        "users"
    }

    fn keys(&self) -> &'static [Key] {
        KEYS
    }

    fn has_entries(&self) -> bool {
        true
    }

    fn takes_passwords(&self, _table: &serde_json::Value) -> bool {
        true
    }

    fn refuses_unknown_users(&self, table: &serde_json::Value) -> bool {
        never_falls_through(table)
    }

    fn build(&self, context: &BuildContext, table: Table<'_>) -> Option<Arc<dyn Authenticator>> {
        let (report, key) = (table.report(), table.path_of("file"));
        let settings = Settings::read(context, table)?;
        let started = settings.start(context.clone());
        let authenticator = started.map_err(|error| {
            report.fault(key, format!("cannot start a thread to watch the users file: {error}"));
        });
        Some(Arc::new(authenticator.ok()?))
    }
}

/// The table `[authenticators.users]`, and the content of its file.
struct Settings {
    path: PathBuf,
    shown_path: String,
    fall_through: bool,
    fingerprint: Fingerprint,
    users: UserTable,
}

impl Settings {
    fn read(context: &BuildContext, mut table: Table<'_>) -> Option<Self> {
        let shown_path = table.required_string("file");
        let fall_through = context.chain.read_password_fall_through(&mut table);
        let report = table.report();
        let key = table.path_of("file");
        let good = table.finish();
        let shown_path = shown_path?;
        let path = context.services.sources.resolve(&shown_path);
        context.services.sources.note_watched(&path);
        let fingerprint = Fingerprint::of(&path);
        let users = UserTable::load(&path, &shown_path, &key, context, report)?;
        good.then_some(Self { path, shown_path, fall_through, fingerprint, users })
    }

    fn start(self, context: BuildContext) -> io::Result<DirectoryAuthenticator<UsersDirectory>> {
        let Self { path, shown_path, fall_through, fingerprint, users } = self;
        let watched = context.services.background.then(|| path.clone());
        let file = Arc::new(UsersFile::new(context.clone(), path, shown_path, users));
        let watch = watched.map(|path| {
            let file = Watched(Arc::clone(&file));
            FileWatcher::start(path, fingerprint, POLL_INTERVAL, file)
        });
        let directory = UsersDirectory { file, watch: Mutex::new(watch.transpose()?) };
        Ok(DirectoryAuthenticator::new(directory, context, fall_through))
    }
}

struct Watched(Arc<UsersFile>);

impl WatchedFile for Watched {
    fn load(&mut self) -> bool {
        self.0.reload()
    }

    fn report(&mut self, in_sync: bool) {
        self.0.report(in_sync);
    }
}

/// The users of a file that is watched for changes.
struct UsersDirectory {
    file: Arc<UsersFile>,
    watch: Mutex<Option<FileWatcher>>,
}

impl Directory for UsersDirectory {
    fn by_name(&self, name: &str, _: Instant) -> impl Future<Output = Lookup> + Send {
        future::ready(Ok(self.file.users().users().by_name(name)))
    }

    fn by_token(&self, token: &Secret, _: Instant) -> impl Future<Output = Lookup> + Send {
        future::ready(Ok(self.file.users().users().by_token(token)))
    }

    fn by_nkey(&self, key: &UserKey, _: Instant) -> impl Future<Output = Lookup> + Send {
        future::ready(Ok(self.file.users().users().by_nkey(key)))
    }

    fn dummy_password(&self, name: &str) -> Arc<StoredPassword> {
        Arc::clone(self.file.users().dummies().for_name(name))
    }

    fn for_each(&self, visit: &mut dyn FnMut(&Entry)) -> Option<()> {
        let users = self.file.users();
        users.entries().filter_map(PackedEntry::unpack).for_each(|entry| visit(&entry));
        Some(())
    }

    fn remembered(&self, name: &str) -> Remembered {
        let users = self.file.users();
        users.users().by_name(name).map_or(Remembered::Missing, Remembered::Entry)
    }

    fn changes(&self) -> Option<watch::Receiver<u64>> {
        Some(self.file.changes())
    }

    fn description(&self) -> &str {
        self.file.shown_path()
    }

    fn retire(&self) {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

#[cfg(test)]
mod tests;
