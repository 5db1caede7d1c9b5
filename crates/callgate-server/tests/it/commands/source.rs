//! What `check` says about `source`.

use callgate_testkit::service::CommandOutput;

use super::check::configuration;
use crate::support::{callgate_in, has};

const OFFICE: &str = "\n[roles.office]\nsubscribe = [\"office.>\"]\nsource = [\"10.0.0.0/8\"]\n";
const PROXIES: &str = "[admission]\ntrusted_proxies = [\"192.0.2.1\"]\n";

fn check(more: &str) -> CommandOutput {
    let folder = configuration(|text| text + more);
    let ran = callgate_in(folder.path(), &["check", "--config", "callgate.toml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    ran
}

#[test]
fn source_behind_proxy_protocol() {
    // The configuration does not show whether nats-server accepts PROXY headers, so this is only a note. The
    // warning is about the demo's users.
    let note =
        ["note: roles.office.source: with `proxy_protocol`", "as trustworthy as the clients"];
    let ran = check(OFFICE);
    has(&ran.stdout, &note);
    has(&ran.stdout, &["0 errors, 1 warning"]);
    let ran = check(&format!("{OFFICE}{PROXIES}"));
    has(
        &ran.stdout,
        &[
            "roles.office.source: `trusted_proxies`",
            "every client that can reach the port",
            "0 errors, 2 warnings",
        ],
    );
    for more in ["", PROXIES] {
        let ran = check(more);
        assert!(!ran.stdout.contains("proxy_protocol"), "{ran:?}");
    }
}
