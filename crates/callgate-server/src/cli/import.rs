//! `callgate import`

mod sources;

use std::path::{Path, PathBuf};

use callgate::keys::{CurveKey, KeyKind, KeyPair};
use callgate_authenticators::kind::Registry;
use serde_json::{Value, json};

use self::sources::ConfFiles;
use super::{
    GOOD, Outcome, REFUSED, UNUSABLE,
    init::SCHEMA_FILE,
    output::{Colour, Style, complain, count, print, say},
};
use crate::{
    config::{self, Overrides},
    files::write_new,
    import::{
        ByHand, Extended, Files, Finding, FindingKind, Imported, Keys, extended, is_extension,
    },
    nats_conf::{self, ConfError, Document, Location},
};

/// What to add by hand, if the text cannot be changed.
const ADDITIONS_FILE: &str = "nats-server.additions.conf";
/// With the account of Callgate, which connects before it decides.
const PREPARED_FILE: &str = "nats-server.prepared.conf";
const SERVER_FILE: &str = "nats-server.conf";

/// Take users and roles over from the configuration of nats-server
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate import nats-server.conf
  callgate import /etc/nats/nats-server.conf gate
  callgate import nats-server.conf --dry-run

Writes callgate.toml, users.json with hashed passwords, and the configuration of nats-server with Callgate as its \
auth callout. Only the owner can read the files. Existing files are never overwritten. Run it with the environment of \
nats-server if the configuration has variables. Exits with 0 if everything was taken over or stays as it is, with 1 \
if something was left out, and with 2 if the configuration is unusable.")]
pub(super) struct Args {
    /// Configuration of nats-server
    file: PathBuf,
    /// Directory to write to; created if missing
    #[arg(default_value = "callgate")]
    dir: PathBuf,
    /// Write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What to write and to print.
struct Setup {
    imported: Imported,
    files: Vec<(PathBuf, String)>,
}

pub(super) fn run(args: &Args, registry: &Registry) -> Outcome {
    let conf = ConfFiles::default();
    let document = nats_conf::read(&args.file, &conf)?;
    let imported = Imported::of(&document)?;
    if imported.users.is_empty() {
        print_findings(&imported.findings, Style::of_stdout());
        return Err(format!("`{}` has no user to import", args.file.display()).into());
    }
    let setup = setup(args, registry, imported, &document, &conf)?;
    let is_usable = match args.dry_run {
        true => true,
        false => {
            write_new(&args.dir, &setup.files)?;
            check(&args.dir, registry)
        }
    };
    match args.json {
        true => say(setup.to_json(&args.dir)),
        false => setup.print(args),
    }
    let has_left_out =
        setup.imported.findings.iter().any(|finding| finding.kind == FindingKind::LeftOut);
    Ok(match (is_usable, has_left_out) {
        (false, _) => UNUSABLE,
        (true, true) => REFUSED,
        (true, false) => GOOD,
    })
}

fn setup(
    args: &Args,
    registry: &Registry,
    mut imported: Imported,
    document: &Document,
    conf: &ConfFiles,
) -> Result<Setup, Box<dyn std::error::Error>> {
    let issuer = KeyPair::generate(KeyKind::Account)?;
    let xkey = CurveKey::generate()?;
    let user = KeyPair::generate(KeyKind::User)?;
    let keys = Keys {
        account: Keys::free_account(&imported.accounts),
        user: user.public_key(),
        issuer: issuer.public_key(),
        xkey: xkey.public_key().as_str().to_owned(),
    };
    let texts = Files::of(&imported, &keys.account, &heading(&args.file))?;
    let mut files = vec![
        (PathBuf::from("callgate.toml"), texts.callgate),
        ("users.json".into(), texts.users),
        ("issuer.nk".into(), format!("{}\n", issuer.seed().expose())),
        ("xkey.xk".into(), format!("{}\n", xkey.seed().expose())),
        ("auth.nk".into(), format!("{}\n", user.seed().expose())),
        (SCHEMA_FILE.into(), format!("{:#}\n", config::schema(registry))),
    ];
    match server_conf(&args.file, &imported, document, conf, &keys)? {
        Ok(Extended { prepared, complete }) => {
            files.push((PREPARED_FILE.into(), prepared));
            files.push((SERVER_FILE.into(), complete));
            files.extend(conf.included(&args.file));
        }
        Err(ByHand { at, why, additions }) => {
            let message = format!("add {ADDITIONS_FILE} to nats-server.conf by hand: {why}");
            imported.findings.push(Finding { kind: FindingKind::LeftOut, at, message });
            files.push((ADDITIONS_FILE.into(), additions));
        }
    }
    Ok(Setup { imported, files })
}

/// The configuration of nats-server with the callout, if it can be written.
fn server_conf(
    path: &Path,
    imported: &Imported,
    document: &Document,
    conf: &ConfFiles,
    keys: &Keys,
) -> Result<Result<Extended, ByHand>, ConfError> {
    let start = Location { file: path.display().to_string().into(), line: 1, column: 1 };
    let text = conf.text(path);
    let new = extended(&text, &start, &document.root, keys, &imported.auth_users);
    let new = match new {
        Ok(new) => new,
        Err(by_hand) => return Ok(Err(*by_hand)),
    };
    let by_hand = |at: &Location, why| {
        Ok(Err(ByHand { at: at.clone(), why, additions: keys.additions(&imported.auth_users) }))
    };
    if let Some(at) = &imported.blocked {
        return by_hand(at, "JetStream of `$G` would end");
    }
    if conf.included(path).len() != conf.included_count(path) {
        return by_hand(&start, "it includes a file outside its directory");
    }
    let complete = nats_conf::read(path, &conf.replaced(path, &new.complete))?;
    match is_extension(&document.root, &complete.root, keys) {
        true => Ok(Ok(new)),
        false => by_hand(&start, "the text with the additions would mean something else"),
    }
}

fn heading(file: &Path) -> String {
    format!(
        "#:schema ./{SCHEMA_FILE}
# Callgate with the users of {}.
# `callgate check --config callgate.toml` reports errors in this file.
",
        callgate::sanitize::visible(&file.display().to_string(), &[])
    )
}

/// Whether the written configuration is usable; prints why not.
fn check(dir: &Path, registry: &Registry) -> bool {
    let overrides = Overrides { config: Some(dir.join("callgate.toml")), ..Overrides::default() };
    let loaded = config::load(&overrides, &super::source::build_env(registry.clone(), false));
    for fault in loaded.report.faults() {
        complain(format_args!("error: {fault}"));
    }
    loaded.config.is_some()
}

fn print_findings(findings: &[Finding], style: Style) {
    for Finding { kind, at, message } in findings {
        let colour = match kind {
            FindingKind::LeftOut => Colour::Red,
            FindingKind::Differs => Colour::Yellow,
            FindingKind::Stays => Colour::Dim,
        };
        let kind = style.paint(colour, format_args!("{:<9}", kind.as_str()));
        let line = callgate::sanitize::visible(&format!("{at}: {message}"), &[]).into_owned();
        print(format_args!("{kind} {line}\n"), style);
    }
}

impl Setup {
    fn print(&self, args: &Args) {
        let Self { imported, files } = self;
        let verb = if args.dry_run { "would write" } else { "wrote" };
        for (name, _) in files {
            say(format_args!("{verb} {}", args.dir.join(name).display()));
        }
        print_findings(&imported.findings, Style::of_stdout());
        let users = count(imported.users.len(), "user");
        let roles = count(imported.roles.len(), "role");
        let kept = match imported.auth_users.len() {
            0 => String::new(),
            1 => "; 1 user stays with nats-server".to_owned(),
            kept => format!("; {kept} users stay with nats-server"),
        };
        say(format_args!("{users} and {roles} imported{kept}"));
        if args.dry_run {
            return;
        }
        let dir = args.dir.display();
        say(format_args!("next:  callgate check --config {dir}/callgate.toml"));
        if files.iter().any(|(name, _)| name == Path::new(SERVER_FILE)) {
            say(format_args!("       nats-server -t -c {dir}/{SERVER_FILE}"));
        }
    }

    fn to_json(&self, dir: &Path) -> Value {
        let Self { imported, files } = self;
        let finding = |Finding { kind, at, message }: &Finding| {
            let Location { file, line, column } = at;
            json!({
                "kind": kind.as_str().replace(' ', "_"),
                "file": file.as_ref(),
                "line": line,
                "column": column,
                "message": message,
            })
        };
        json!({
            "files": files.iter().map(|(name, _)| dir.join(name).display().to_string()).collect::<Vec<_>>(),
            "users": imported.users.keys().collect::<Vec<_>>(),
            "roles": imported.roles.keys().collect::<Vec<_>>(),
            "auth_users": imported.auth_users,
            "findings": imported.findings.iter().map(finding).collect::<Vec<_>>(),
        })
    }
}
