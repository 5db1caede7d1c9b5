//! The service's binary in other places, and another binary with the same commands.

use std::{
    env,
    path::{Path, PathBuf},
};

use callgate_testkit::service::{binary, command, run};

/// The service with authenticators that misbehave: cargo builds it together with whatever runs this.
pub fn faulty_binary() -> PathBuf {
    let this = env::current_exe().expect("this program has a file");
    let mut folders = this.ancestors().skip(1).map(|folder| folder.join("callgate-with-faults"));
    folders.find(|file| file.is_file()).expect("`cargo build` and `cargo test` build it")
}

/// A copy of the service's binary that every user may run.
pub fn copied_to(folder: &Path) -> PathBuf {
    let copy = folder.join("callgate");
    // A link would lead through folders that are only root's.
    std::fs::copy(binary(), &copy).expect("the binary can be copied");
    copy
}

/// A password hashed with `callgate hash-password`: argon2id, 19 MiB.
pub fn hash_password(password: &str) -> String {
    let mut command = command(binary(), Path::new("."), &["hash-password"]);
    let ran = run(&mut command, password.as_bytes());
    assert!(ran.stdout.starts_with("$argon2id$"), "no hash: {ran:?}");
    ran.stdout.trim().to_owned()
}
