//! Finds the tools that `make tools` installed.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of installed tools: `CALLGATE_TOOLS`, or `.tools` of the checkout.
///
/// # Panics
/// If the folder does not exist.
pub fn folder() -> PathBuf {
    if let Some(named) = env::var_os("CALLGATE_TOOLS") {
        return PathBuf::from(named);
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .map(|folder| folder.join(".tools"))
        .find(|tools| tools.is_dir())
        .unwrap_or_else(|| panic!("no `.tools` folder in or above {here:?}: run `make tools`"))
}

/// The Python interpreter that has the libraries of `scripts/python/requirements.txt`.
///
/// # Panics
/// If it is not installed.
pub fn python() -> PathBuf {
    installed("python/bin/python")
}

/// Node.js; its packages are in [`node_modules`].
///
/// # Panics
/// If it is not installed. Tests that need it require the cargo feature `node`, which `make test`
/// enables where Node.js is installed: without it they are skipped, not passed.
pub fn node() -> PathBuf {
    installed("node/bin/node")
}

/// The packages of `scripts/node/package-lock.json`.
///
/// # Panics
/// If they are not installed.
pub fn node_modules() -> PathBuf {
    installed("node/node_modules")
}

/// The `go` command in `module`, a folder that becomes a Go module with the dependencies of
/// `scripts/go`. It downloads neither dependencies nor another Go version.
///
/// # Panics
/// If the dependencies are not installed. Tests that need it require the cargo feature `go`.
pub fn go(module: &Path) -> Command {
    let installed = installed("go").canonicalize().expect("the folder of installed Go modules");
    for name in ["go.mod", "go.sum"] {
        fs::copy(installed.join(name), module.join(name)).expect("a copy of the module file");
    }
    let mut command = Command::new("go");
    command.current_dir(module);
    command.env("GOMODCACHE", installed.join("modules"));
    command.envs([("GOPROXY", "off"), ("GOTOOLCHAIN", "local"), ("GOFLAGS", "-mod=readonly")]);
    command
}

/// A path below [`folder`].
///
/// # Panics
/// If it is not installed.
pub fn installed(path: &str) -> PathBuf {
    let found = folder().join(path);
    assert!(found.exists(), "{found:?} is not installed: run `make tools`");
    found
}
