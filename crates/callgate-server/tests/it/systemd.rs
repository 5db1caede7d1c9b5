//! The systemd unit runs what `init` writes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
};

use callgate_testkit::pages::checkout;

use crate::support::{callgate_in, command, has, run};

const FOLDER: &str = "/etc/callgate/";
const DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

fn unit() -> String {
    fs::read_to_string(checkout("deploy/systemd/callgate.service")).unwrap()
}

/// Copies the files of `LoadCredential=`, as systemd does. `SetCredential=` replaces a file that does not exist.
fn load_credentials(unit: &str, written: &Path, credentials: &Path) -> BTreeSet<String> {
    let entries = |key: &'static str| unit.lines().filter_map(move |line| line.strip_prefix(key));
    let defaults: BTreeMap<_, _> =
        entries("SetCredential=").map(|entry| entry.split_once(':').unwrap()).collect();
    let loaded = entries("LoadCredential=").map(|entry| {
        let (id, source) = entry.split_once(':').unwrap();
        let name = source.strip_prefix(FOLDER).unwrap();
        let copy = credentials.join(id);
        let text = fs::read_to_string(written.join(name));
        let text = text.unwrap_or_else(|error| {
            let default = defaults.get(id).unwrap_or_else(|| panic!("{name}: {error}"));
            (*default).to_owned()
        });
        fs::write(&copy, text).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o400)).unwrap();
        id.to_owned()
    });
    loaded.collect()
}

/// Every file name in the configuration.
fn named_files(configuration: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(configuration).unwrap();
    let code = text.lines().map(|line| line.split('#').next().unwrap());
    let strings = code.flat_map(|line| line.split('"').skip(1).step_by(2));
    let is_file = |text: &&str| {
        [".nk", ".xk", ".creds", ".json", ".token"].iter().any(|end| text.ends_with(end))
    };
    strings.filter(is_file).map(str::to_owned).collect()
}

#[test]
fn systemd_unit_loads_the_files_of_init() {
    let unit = unit();
    let forms = [
        &[][..],
        &["--operator"],
        &["--oidc", "https://id.example.com"],
        &["--http", "https://decide.example.com"],
    ];
    for arguments in forms {
        let folder = tempfile::tempdir().unwrap();
        let init = callgate_in(folder.path(), &[&["init", "written"], arguments].concat());
        assert_eq!(init.code, 0, "{init:?}");
        let written = folder.path().join("written");
        let credentials = folder.path().join("credentials");
        fs::create_dir(&credentials).unwrap();
        let loaded = load_credentials(&unit, &written, &credentials);
        let named = named_files(&written.join("callgate.toml"));
        assert!(named.len() > 2 && loaded.is_superset(&named), "{named:?}");

        fs::set_permissions(&credentials, fs::Permissions::from_mode(0o500)).unwrap();
        let start =
            unit.lines().find_map(|line| line.strip_prefix("ExecStartPre=/usr/bin/callgate "));
        let directory = credentials.to_str().unwrap();
        let start = start.unwrap().replace(&format!("${{{DIRECTORY}}}"), directory);
        let arguments: Vec<_> = start.split_whitespace().chain(["--strict"]).collect();
        let check = run(command(folder.path(), &arguments).env(DIRECTORY, directory), b"");
        assert_eq!(check.code, 0, "{check:?}");
        has(&check.stdout, &["0 errors, 0 warnings"]);
        fs::set_permissions(&credentials, fs::Permissions::from_mode(0o700)).unwrap();
    }
}
