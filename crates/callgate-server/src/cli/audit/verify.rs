//! `callgate audit verify`

use std::{collections::BTreeSet, io::BufReader, path::Path};

use callgate::keys::{KeyKind, VerifyingKey, parse_public};
use callgate_authenticators::kind::Registry;
use serde_json::{Value, json};

use super::{From, settings, stream, stream::stored_lines};
use crate::{
    audit::verify::{Broken, Proved, Verdict, Verifier, grouped},
    cli::{GOOD, Outcome, REFUSED, output::say, progress::Shown},
};

/// Verify every chain, every seal and every join between files
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate audit verify audit/*.jsonl --config callgate.toml
  callgate audit verify audit.jsonl --key UAUD…

With a key, from --key or the configuration, only its seals count, and they must be there. Exits with 0 if
everything is intact, 1 if something is broken, 2 if a file cannot be read.")]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    from: From,
    /// The public key of seals; repeatable
    #[arg(long, value_name = "PUBLIC", value_parser = public_key)]
    key: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A user's public nkey.
fn public_key(text: &str) -> Result<String, String> {
    let key: Result<VerifyingKey, _> = parse_public(text, &[KeyKind::User]);
    key.map(|key| key.as_str().to_owned()).map_err(|error| error.to_string())
}

pub(super) fn run(args: &VerifyArgs, registry: Registry) -> Outcome {
    let config = args.from.configuration(registry)?;
    let own = settings(config.as_ref()).and_then(|audit| audit.key.as_ref());
    let expected: BTreeSet<String> =
        args.key.iter().cloned().chain(own.map(|key| key.public_key())).collect();
    let mut verifier = Verifier::new(expected);
    for path in &args.from.files {
        let failed = |error: std::io::Error| format!("cannot read `{}`: {error}", path.display());
        let file = Shown::open("verifying", path).map_err(failed)?;
        verifier.read(&name(path), BufReader::with_capacity(1 << 20, file)).map_err(failed)?;
    }
    if let Some((name, config)) = stream(&args.from, config.as_ref()) {
        let lines = stored_lines(config, name)?;
        verifier.read(&format!("stream {name}"), lines.as_slice())?;
    }
    let verdict = verifier.finish();
    if verdict.chains.is_empty() && verdict.broken.is_empty() {
        return Err("no records: the files are empty".into());
    }
    match args.json {
        true => say(to_json(&verdict)),
        false => print(&verdict),
    }
    Ok(if verdict.broken.is_empty() { GOOD } else { REFUSED })
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

fn print(verdict: &Verdict) {
    for Proved { boot, first, last, sealed, notes, is_intact } in &verdict.chains {
        if !is_intact {
            continue;
        }
        let mut line = format!("ok      boot {boot}  seq {}–{}", grouped(*first), grouped(*last));
        if let Some((to, key)) = sealed {
            line.push_str(&format!("  sealed to {} by {key}", grouped(*to)));
        }
        if !notes.is_empty() {
            line.push_str(&format!("  ({})", notes.join("; ")));
        }
        say(line);
    }
    for Broken { file, line, what, .. } in &verdict.broken {
        say(format_args!("BROKEN  {file} line {line}: {what}"));
    }
}

fn to_json(verdict: &Verdict) -> Value {
    let chain = |Proved { boot, first, last, sealed, notes, is_intact }: &Proved| {
        json!({
            "ok": is_intact,
            "boot": boot,
            "first": first,
            "last": last,
            "sealed_to": sealed.as_ref().map(|(to, _)| to),
            "key": sealed.as_ref().map(|(_, key)| key),
            "notes": notes,
        })
    };
    let broken = |Broken { file, line, what, .. }: &Broken| json!({ "file": file, "line": line, "message": what });
    json!({
        "ok": verdict.broken.is_empty(),
        "chains": verdict.chains.iter().map(chain).collect::<Vec<_>>(),
        "broken": verdict.broken.iter().map(broken).collect::<Vec<_>>(),
    })
}
