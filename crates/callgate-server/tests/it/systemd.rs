//! The systemd unit runs what `init` writes.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::Path};

use callgate_testkit::pages::checkout;

use crate::support::{callgate_in, command, has, run};

const FOLDER: &str = "/etc/callgate/";
const DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

fn unit() -> String {
    fs::read_to_string(checkout("deploy/systemd/callgate.service")).unwrap()
}

/// The unit changed as its comment says.
fn unit_for_operator_mode() -> String {
    let unit = unit().replace("\nLoadCredential=auth.nk:", "\n");
    unit.replace("\n#LoadCredential=", "\nLoadCredential=")
}

/// Copies the files of `LoadCredential=`, as systemd does.
fn load_credentials(unit: &str, written: &Path, credentials: &Path) -> BTreeSet<String> {
    let loaded = unit.lines().filter_map(|line| line.strip_prefix("LoadCredential="));
    let loaded = loaded.map(|entry| {
        let (id, source) = entry.split_once(':').unwrap();
        let name = source.strip_prefix(FOLDER).unwrap();
        let copy = credentials.join(id);
        fs::copy(written.join(name), &copy).unwrap_or_else(|error| panic!("{name}: {error}"));
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
    let is_file =
        |text: &&str| [".nk", ".xk", ".creds", ".json"].iter().any(|end| text.ends_with(end));
    strings.filter(is_file).map(str::to_owned).collect()
}

#[test]
fn systemd_unit_loads_the_files_of_init() {
    for (arguments, unit) in [(&[][..], unit()), (&["--operator"], unit_for_operator_mode())] {
        let folder = tempfile::tempdir().unwrap();
        let init = callgate_in(folder.path(), &[&["init", "written"], arguments].concat());
        assert_eq!(init.code, 0, "{init:?}");
        let written = folder.path().join("written");
        let credentials = folder.path().join("credentials");
        fs::create_dir(&credentials).unwrap();
        let mut loaded = load_credentials(&unit, &written, &credentials);
        assert!(loaded.remove("callgate.toml"));
        assert_eq!(loaded, named_files(&written.join("callgate.toml")));

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
