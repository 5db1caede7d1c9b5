//! `callgate-bench growth`: the cost of a decision with larger configurations, and on more cores.

use std::{fs, path::Path};

use callgate::policy::settings::PolicySettings;
use callgate_testkit::oidc_provider::SigningKey;
use serde::Serialize;
use serde_json::{Map, json};

use crate::{
    Failure,
    callouts::{binding, one_role},
    decisions::Bench,
    logins::{self, Login, Shown, oidc},
};

/// Time decisions with more users, roles and bindings, groups, and threads
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many rounds of each, interleaved
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// How many decisions in a round
    #[arg(long, default_value_t = 500)]
    decisions: usize,
    /// Numbers of concurrent threads to measure
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    threads: Vec<usize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How one thing grows.
#[derive(Serialize)]
struct Curve {
    what: &'static str,
    unit: &'static str,
    points: Vec<(usize, f64)>,
}

pub(crate) async fn run(args: &Args) -> Result<(), Failure> {
    let worlds: [(&'static str, &[usize], World); 5] = [
        ("users in the file", &[1, 1_000, 100_000], of_users),
        ("roles and bindings for one group each", &[1, 10, 100, 1_000], of_bindings),
        ("roles and bindings that must be evaluated", &[1, 10, 100, 1_000], of_conditions),
        ("groups in the token", &[1, 10, 100, 1_000], of_groups),
        ("bindings that match", &[1, 10, 100], of_matches),
    ];
    let mut curves = Vec::new();
    for (what, sizes, world) in worlds {
        curves.push(Curve { what, unit: "µs", points: curve(sizes, world, args).await? });
    }
    curves.push(Curve { what: "threads", unit: "decisions/s", points: scaling(args)? });
    print(&curves, args.json)
}

/// Makes a world of a size in a folder.
type World = fn(&Path, usize) -> Result<(Login, PolicySettings), Failure>;

async fn curve(sizes: &[usize], world: World, args: &Args) -> Result<Vec<(usize, f64)>, Failure> {
    let mut benches = Vec::new();
    for size in sizes {
        let folder = tempfile::tempdir()?;
        let (login, policy) = world(folder.path(), *size)?;
        let bench = Bench::with_policy(&login, folder.path(), policy, args.decisions.max(1))?;
        benches.push((*size, bench, folder));
    }
    for _ in 0..args.rounds.max(1) {
        for (_, bench, _) in &mut benches {
            bench.round().await?;
        }
    }
    Ok(benches.iter().map(|(size, bench, _)| (*size, bench.micros())).collect())
}

fn scaling(args: &Args) -> Result<Vec<(usize, f64)>, Failure> {
    let mut points = Vec::new();
    for threads in &args.threads {
        let mut best = 0.0_f64;
        for _ in 0..args.rounds.clamp(1, 3) {
            let folder = tempfile::tempdir()?;
            let login = logins::users(folder.path(), 0)?.into_iter().next().ok_or("no login")?;
            let bench = Bench::of_login(&login, folder.path(), args.decisions.max(1))?;
            best = best.max(bench.at_once(*threads, 2.0)?);
        }
        points.push((*threads, best));
    }
    Ok(points)
}

fn of_users(folder: &Path, size: usize) -> Result<(Login, PolicySettings), Failure> {
    let login = logins::users(folder, size.saturating_sub(1))?.into_iter().next();
    Ok((login.ok_or("no login")?, one_role()))
}

/// Bindings of which a group decides; one of them is for this client.
fn of_bindings(folder: &Path, size: usize) -> Result<(Login, PolicySettings), Failure> {
    Ok((member(folder, 1)?, many(size, |number| format!("\"group-{number}\" in groups"))))
}

/// Bindings that no index can pass over.
fn of_conditions(folder: &Path, size: usize) -> Result<(Login, PolicySettings), Failure> {
    let condition = |number| format!("groups.exists(g, g == \"group-{number}\")");
    Ok((member(folder, 1)?, many(size, condition)))
}

fn of_groups(folder: &Path, size: usize) -> Result<(Login, PolicySettings), Failure> {
    let condition = |number| format!("\"group-{number}\" in groups");
    Ok((member(folder, size)?, many(1, condition)))
}

fn of_matches(folder: &Path, size: usize) -> Result<(Login, PolicySettings), Failure> {
    let condition = |number| format!("\"group-{number}\" in groups");
    Ok((member(folder, size)?, many(size, condition)))
}

fn many(size: usize, condition: impl Fn(usize) -> String) -> PolicySettings {
    let mut settings = one_role();
    settings.bindings.clear();
    for number in 0..size {
        let name = format!("role-{number}");
        let mut role = settings.roles.get("service").cloned().unwrap_or_default();
        role.publish.allow = vec![format!("orders.{number}.>")];
        settings.roles.insert(name.clone(), role);
        settings.bindings.push(binding(Some(condition(number)), &name));
    }
    settings
}

/// A client with a token that was seen, in groups 0 to `groups` − 1.
fn member(folder: &Path, groups: usize) -> Result<Login, Failure> {
    let key = SigningKey::generate("bench", "EdDSA");
    fs::write(folder.join("keys.json"), logins::key_set(&key))?;
    let groups: Vec<_> = (0..groups).map(|number| format!("group-{number}")).collect();
    let claims = Map::from_iter([("groups".to_owned(), json!(groups))]);
    Ok(Login {
        name: "member".to_owned(),
        toml: format!("{}groups_claim = \"groups\"\n", oidc("keys.json")),
        shown: vec![Shown::Token(logins::token(&key, 0, claims))],
        first_seen: false,
        verifies: None,
    })
}

#[expect(clippy::print_stdout, reason = "the result of a command-line tool")]
fn print(curves: &[Curve], json: bool) -> Result<(), Failure> {
    if json {
        println!("{}", serde_json::to_string_pretty(curves)?);
        return Ok(());
    }
    for Curve { what, unit, points } in curves {
        println!("{what}");
        let first = points.first().map_or(1.0, |(_, value)| *value);
        for (size, value) in points {
            println!("{size:>10}{value:>12.1} {unit:12}{:>6.2} ×", value / first);
        }
    }
    Ok(())
}
