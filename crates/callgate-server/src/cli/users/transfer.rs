//! Import and export of whole users files.

use std::path::PathBuf;

use callgate::policy::{decode, encode};
use callgate_config::{Document, Format, Sources};
use serde_json::{Map, Value, json};

use super::{
    super::{
        GOOD, Outcome, REFUSED,
        output::{complain, say},
        progress::{Progress, Unit},
    },
    change::conflict,
    target::Users,
};
use crate::buckets::{Stored, Written};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate users import users.json --dry-run
  callgate users import users.json

Creates and replaces the users of the file, and leaves other users alone. Nothing is written if an entry is
invalid.")]
pub(super) struct ImportArgs {
    /// Users file (.json, .yaml or .toml)
    file: PathBuf,
    /// Print what would change, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// What an import does to a user.
struct Step {
    user: String,
    value: Vec<u8>,
    revision: u64,
    exists: bool,
}

pub(super) async fn import(users: &Users, args: &ImportArgs) -> Outcome {
    let text = Sources::read_any(&args.file)?;
    let document = Document::parse(&text, Format::of(&args.file)?)?;
    let Value::Object(entries) = document.value() else {
        return Err(format!("`{}` is not a users file", args.file.display()).into());
    };
    if !check(users, entries) {
        return users.refuse(REFUSED, "the file has errors: nothing was written");
    }
    let mut steps = Vec::new();
    let mut unchanged = 0;
    let mut progress = Progress::new("reading entries", Unit::Items, entries.len() as u64);
    for (user, entry) in entries {
        progress.add(1);
        let Stored { revision, value, .. } = users.access.read(&encode(user)).await?;
        let same = value.as_ref().and_then(|value| serde_json::from_slice::<Value>(value).ok());
        if same.as_ref() == Some(entry) {
            unchanged += 1;
            continue;
        }
        let exists = value.is_some();
        let value = entry.to_string().into_bytes();
        steps.push(Step { user: user.clone(), value, revision, exists });
    }
    drop(progress);
    if !args.dry_run {
        let mut progress = Progress::new("writing entries", Unit::Items, steps.len() as u64);
        for Step { user, value, revision, .. } in &steps {
            let written = users.access.write(&encode(user), value.clone(), *revision).await?;
            progress.add(1);
            if written == Written::Conflict {
                let user = user.escape_debug().to_string();
                return users.refuse(
                    REFUSED,
                    format_args!("{}; earlier users of the file were written", conflict(&user)),
                );
            }
        }
    }
    print(users, args, &steps, unchanged);
    Ok(GOOD)
}

/// Prints the errors and warnings of all entries; true if there are no errors.
fn check(users: &Users, entries: &Map<String, Value>) -> bool {
    let mut good = true;
    for (user, entry) in entries {
        let checked = users.check(user, entry.to_string().as_bytes());
        for warning in checked.warnings {
            complain(format_args!("warning: {warning}"));
        }
        for error in checked.errors {
            complain(format_args!("error: {error}"));
            good = false;
        }
    }
    good
}

fn print(users: &Users, args: &ImportArgs, steps: &[Step], unchanged: usize) {
    let names = |exists| -> Vec<&str> {
        steps.iter().filter(|step| step.exists == exists).map(|step| step.user.as_str()).collect()
    };
    let (created, changed) = (names(false), names(true));
    if users.json {
        say(json!({
            "created": created, "changed": changed, "unchanged": unchanged, "dry_run": args.dry_run,
        }));
        return;
    }
    for step in steps {
        let sign = if step.exists { '~' } else { '+' };
        say(format_args!("{sign} {}", step.user.escape_debug()));
    }
    let would = if args.dry_run { "; nothing was written (--dry-run)" } else { "" };
    let (created, changed) = (created.len(), changed.len());
    say(format_args!("created {created}, changed {changed}, unchanged {unchanged}{would}"));
}

pub(super) async fn export(users: &Users) -> Outcome {
    let mut file = Map::new();
    let mut unreadable = false;
    for (key, stored) in users.access.all().await? {
        let value = stored.value.unwrap_or_default();
        let entry = serde_json::from_slice::<Value>(&value).ok();
        let (Some(user), Some(entry)) = (decode(&key), entry) else {
            complain(format_args!(
                "error: the key `{}` holds no entry of a user",
                key.escape_debug()
            ));
            unreadable = true;
            continue;
        };
        file.insert(user, entry);
    }
    say(serde_json::to_string_pretty(&Value::Object(file))?);
    Ok(if unreadable { REFUSED } else { GOOD })
}
