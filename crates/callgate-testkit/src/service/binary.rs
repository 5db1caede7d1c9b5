//! The service's binary, for crates that Cargo does not build it for.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The service's binary of this checkout; built by this function, unless `CALLGATE_BIN` names another.
///
/// # Panics
/// If it does not build.
pub fn binary() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build).clone()
}

fn build() -> PathBuf {
    if let Some(named) = env::var_os("CALLGATE_BIN") {
        return PathBuf::from(named);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("a workspace");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--package", "callgate-server"])
        .current_dir(root)
        .status()
        .expect("cargo starts");
    assert!(built.success(), "callgate does not build");
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    target.join("debug").join("callgate")
}
