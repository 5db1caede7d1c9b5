//! Every command in a block of a page is run by a test, or listed here with the reason why it is not.

use std::{collections::BTreeSet, fs, path::Path};

use callgate_testkit::pages::checkout;

use super::{Page, assert_none, pages, quotes};

/// What happens to a command.
#[derive(Clone, Copy, Debug)]
pub(super) enum How {
    /// `transcript.rs` runs it, and expects one of these exit codes.
    Runs(&'static [i32]),
    /// A test with this name runs it, or does the same with other files.
    Test(&'static str),
    /// This file of the checkout runs it, and contains this text.
    Script(&'static str, &'static str),
    /// Nothing runs it, for this reason.
    Not(&'static str),
}

use How::{Not, Runs, Script, Test};

const GOOD: How = Runs(&[0]);
/// `diff` and `replay` exit with 1 if something differs.
const DIFFERS: How = Runs(&[1]);
const QUICK_START: How =
    Test("quick_start_ends_with_a_client_that_publishes_and_one_that_is_refused");
const NSC: How = Test("documented_nsc_commands_work");
const BUCKET: How = Test("user_is_created_changed_and_deleted");
const HELD: How = Test("held_change_is_dropped_or_applied_by_its_id");
const SYSTEMD: How = Script("scripts/deb_trial.py", "\"systemctl\", \"enable\", \"--now\"");
const UNIT: How = Not(
    "it changes the machine; CI installs the package, which does the same, and starts its unit",
);
const MEASUREMENT: How = Not("a measurement of minutes, for an idle machine");
const DOCKER: How = Not("it needs a Docker engine; CI builds the same image with buildah");
const RELEASE: How = Not("it compiles a release for many minutes; CI tests a debug build");

/// How each command begins, in the order in which those with [`How::Runs`] run. The first row that fits counts.
#[rustfmt::skip]
pub(super) const COMMANDS: &[(&str, How)] = &[
    ("make demo", Test("demo_passes_keeps_its_files_and_stops_its_programs")),
    ("make test", Script(".ci/run", "make test")),
    ("make build", Script("Makefile", "\nbuild: ")),
    ("make lint", Script(".ci/run", "cargo clippy --workspace --all-targets")),
    ("make fmt", Script(".ci/run", "cargo fmt --all --check")),
    ("make fuzz", Script(".ci/run", "scripts/fuzz.py")),
    ("make ci", Script("Makefile", "@.ci/run")),
    ("make docs", Script(".ci/run", "scripts/site.py")),
    ("make release", RELEASE),
    ("make deb", RELEASE),
    ("cargo build --release", RELEASE),
    ("cargo publish", Script(".ci/run", "cargo publish --dry-run")),
    ("export PATH=", GOOD),

    // The quick start.
    ("callgate init gate --kubernetes", Test("helm_installs_upgrades_and_removes_the_chart")),
    ("callgate init gate-oidc", GOOD),
    ("callgate init gate-web", GOOD),
    ("callgate init gate-pods", GOOD),
    ("callgate init gate", GOOD),
    ("export BOB=", QUICK_START),
    ("nats --user bob", QUICK_START),
    ("nats-server -c nats-server.conf", Test("configuration_mode_works_step_by_step")),
    ("callgate serve --config", Test("configuration_mode_works_step_by_step")),
    ("callgate serve --nats-url", Test("nats_by_example_service_is_replaced_by_flags")),

    // Files and keys.
    ("callgate key user --out llm-api.nk", GOOD),
    ("callgate key user --out", Test("configuration_mode_works_step_by_step")),
    ("callgate key account --out", Test("configuration_mode_works_step_by_step")),
    ("callgate key curve --out", Test("configuration_mode_works_step_by_step")),
    ("callgate key curve", GOOD),
    ("printf 'secret' | callgate hash-password", GOOD),
    ("callgate hash-password", GOOD),
    ("callgate token --seed @llm-api.nk", GOOD),
    ("export TOKEN=$(callgate token", GOOD),
    ("callgate decode env:TOKEN", GOOD),
    ("callgate schema config", GOOD),
    ("mkdir -p ~/.local/share/bash-completion", GOOD),
    ("callgate completions bash", GOOD),
    ("callgate man explain", GOOD),
    ("callgate --version", GOOD),

    // The configuration.
    ("callgate check --config callgate.toml --connect", GOOD),
    ("callgate check --config callgate.toml", GOOD),
    ("callgate explain --config callgate.toml --user alice", GOOD),
    ("callgate explain --config callgate.toml --cert", Test("explain_treats_the_certificate_as_verified_by_the_server")),
    ("callgate explain --config callgate.toml --token @token", Not("it asks the token issuer of the reader; the authenticator suite logs in with opaque tokens")),
    ("callgate test", GOOD),
    ("callgate diff callgate.toml next.toml --fail-on gain", GOOD),
    ("callgate diff", DIFFERS),

    // A running service.
    ("callgate sessions", GOOD),
    ("callgate kick", GOOD),
    ("callgate lock ", GOOD),
    ("callgate locks", GOOD),
    ("callgate unlock", GOOD),
    ("callgate revocations --config callgate.toml --", HELD),
    ("callgate revocations", GOOD),
    ("callgate audit verify", GOOD),
    ("callgate audit query audit/*.jsonl", GOOD),
    ("callgate audit query audit.jsonl --follow", Test("follow_prints_new_records_also_after_a_rotation")),
    ("callgate replay", Runs(&[0, 1])),
    ("callgate users", BUCKET),
    ("callgate watch-log", Test("rotated_logs_are_followed_and_counted")),
    ("journalctl -fu nats-server | callgate watch-log", Not("it needs a running systemd; the test of watch-log reads a file")),
    ("curl -i", Test("server_that_is_down_at_start_is_waited_for")),

    // From a server's own users.
    ("callgate import nats-server.conf gate", Test("users_of_nats_server_move_without_an_outage")),
    ("callgate check --config gate/callgate.toml", Test("users_of_nats_server_move_without_an_outage")),
    ("callgate explain --config gate/callgate.toml --as", Test("users_of_nats_server_move_without_an_outage")),
    ("callgate explain --config callgate.toml --as", Test("users_of_another_callout_move_without_an_outage")),
    ("nats-server -t -c gate/nats-server.conf", Test("users_of_nats_server_move_without_an_outage")),
    ("nats-server --signal reload", Test("users_of_nats_server_move_without_an_outage")),

    // Operator mode.
    ("nsc edit account --name AUTH --js", Not("it changes an account of the reader's own; `init --operator` writes the same permissions, and a test uses them")),
    ("nsc edit user --account AUTH --name callgate --allow-sub 'CALLGATE.>'", Not("as the command before it")),
    ("nsc ", NSC),

    // Kubernetes.
    ("kubectl create namespace nats", Test("helm_installs_upgrades_and_removes_the_chart")),
    ("kubectl create --namespace nats --filename gate/secret.yaml", Test("helm_installs_upgrades_and_removes_the_chart")),
    ("helm install callgate", Test("helm_installs_upgrades_and_removes_the_chart")),
    ("helm repo add nats", Not("it needs the chart of NATS from the Internet; a test gives nats-server the values that `init` writes")),
    ("helm install nats", Not("it needs the chart of NATS from the Internet")),
    ("kubectl --namespace nats rollout status", Not("it needs nodes, and the API server of the tests has none")),
    ("kubectl get serviceaccounts --all-namespaces", Not("it lists the reader's cluster")),
    ("export TOKEN=$(kubectl", Not("it needs kubectl 1.24 and a service account of the reader's cluster")),
    ("printenv TOKEN | callgate decode", GOOD),
    ("callgate explain --config callgate.yaml --token env:TOKEN", Test("annotations_are_limited_by_the_ceiling")),

    ("kubectl exec --namespace nats", Not("it needs a running pod, and the API server of the tests has no nodes")),

    // The image, packages and releases.
    ("python3 scripts/image.py build", Script(".ci/run", "scripts/image.py test")),
    ("python3 scripts/image.py push", Script("scripts/image.py", "push_faults")),
    ("docker ", DOCKER),
    ("sudo dpkg --install", Script(".ci/run", "scripts/deb.py check")),
    ("sudo callgate init", SYSTEMD),
    ("sudo systemctl enable --now", SYSTEMD),
    ("install -m", UNIT),
    ("callgate init /etc/callgate", SYSTEMD),
    ("systemctl enable --now", SYSTEMD),
    ("systemctl ", UNIT),
    ("git checkout TAG", Not("there is no tag yet")),
    ("sha256sum --check dist", RELEASE),

    // Measurements.
    ("python3 bench/", MEASUREMENT),
    ("make bench-", MEASUREMENT),
    ("callgate-bench ", MEASUREMENT),
    ("cargo run -p callgate-bench -- render", Test("page_chart_and_readme_are_current")),
];

/// The commands on all pages, each on one line, without comments and output.
pub(super) fn commands(page: &Page) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut fence: Option<&str> = None;
    let mut continued = false;
    for line in page.text.lines().map(str::trim) {
        if let Some(language) = line.strip_prefix("```") {
            fence = fence.xor(Some(language));
            continued = false;
            continue;
        }
        let typed = match fence {
            Some("console") if !continued => line.strip_prefix("$ "),
            Some("sh" | "bash" | "console") => Some(line),
            _ => None,
        };
        let Some(typed) = typed.filter(|typed| !typed.is_empty() && !typed.starts_with('#')) else {
            continue;
        };
        let code = typed.split_once("  #").map_or(typed, |(code, _)| code);
        let text = code.trim_end_matches('\\').split_whitespace().collect::<Vec<_>>().join(" ");
        match commands.last_mut().filter(|_| continued) {
            Some(command) => *command += &format!(" {text}"),
            None => commands.push(text),
        }
        continued = code.ends_with('\\');
    }
    commands
}

/// The index of the row of a command.
pub(super) fn row(command: &str) -> Option<usize> {
    COMMANDS.iter().position(|(start, _)| command.starts_with(start))
}

/// Commands whose output `quotes.rs` compares, as [`commands`] writes them.
pub(super) fn compared(page: &Page) -> BTreeSet<String> {
    let one_line = |command: &str| {
        command.replace("\\\n", " ").split_whitespace().collect::<Vec<_>>().join(" ")
    };
    quotes::compared_commands(page).iter().map(|command| one_line(command)).collect()
}

#[test]
fn every_command_block_is_run_or_listed_with_a_reason() {
    let mut errors = Vec::new();
    let mut used = BTreeSet::new();
    let mut not_run = BTreeSet::new();
    let mut run = 0;
    for page in pages() {
        let compared = compared(&page);
        for command in commands(&page) {
            if compared.contains(&command) {
                run += 1;
                continue;
            }
            let Some(row) = row(&command) else {
                errors.push(format!("{:?}: no row of COMMANDS begins `{command}`", page.path));
                continue;
            };
            used.insert(row);
            match COMMANDS[row].1 {
                Not(reason) => drop(not_run.insert(format!("NOT RUN: `{command}`: {reason}"))),
                Runs(_) | Test(_) | Script(..) => run += 1,
            }
        }
    }
    let unused = (0..COMMANDS.len()).filter(|row| !used.contains(row));
    errors.extend(unused.map(|row| format!("no page has the command `{}`", COMMANDS[row].0)));
    println!("{run} commands on the pages are run");
    not_run.iter().for_each(|line| println!("{line}"));
    assert!(run > 70, "{run} commands were found");
    assert_none(errors);
}

#[test]
fn every_named_test_and_script_exists() {
    let mut sources = String::new();
    read_tests(&checkout("crates"), &mut sources);
    let mut errors = Vec::new();
    for (start, how) in COMMANDS {
        match how {
            Test(name) if !sources.contains(&format!("fn {name}(")) => {
                errors.push(format!("`{start}`: there is no test {name}"));
            }
            Script(file, text) if !fs::read_to_string(checkout(file)).unwrap().contains(text) => {
                errors.push(format!("`{start}`: {file} does not contain `{text}`"));
            }
            Test(_) | Script(..) | Runs(_) | Not(_) => (),
        }
    }
    assert_none(errors);
}

fn read_tests(folder: &Path, sources: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_tests(&path, sources);
        } else if path.extension().is_some_and(|it| it == "rs") {
            *sources += &fs::read_to_string(path).unwrap();
        }
    }
}
