//! `callgate-bench overload`: more passwords than can be hashed.

use std::{
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use callgate::secret::Secret;
use callgate_authenticators::passwords::{StoredPassword, hash};

mod ceiling;
mod cores;
mod load;
mod report;
mod site;

use cores::Cores;
use load::{Login, Rates};
use report::Report;
use site::{Plan, Site};

use crate::Failure;

/// The right password of every user.
const PASSWORD: &str = "the right password";

/// Send several times as many password logins as the cores can hash to a separate service
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Starts a nats-server and `callgate serve`. Measures the ceiling (bare hashes on as many \
threads), tokens and remembered passwords by themselves, then all of it under a flood of passwords, half \
of them wrong, then the ceiling again. Fails if a promise is not kept.

Example:
  callgate-bench overload --nats-server .tools/nats-server/2.15.1/nats-server --json"
)]
pub(crate) struct Args {
    /// The nats-server to start
    #[arg(long, default_value = "nats-server")]
    nats_server: PathBuf,
    /// The service to start; by default the one in the folder of this program
    #[arg(long)]
    callgate: Option<PathBuf>,
    /// Threads that hash, in the service and for the ceiling; without it the cores
    #[arg(long)]
    workers: Option<usize>,
    /// The last core for the service, and for the ceiling, alone: what the service can do, and not what
    /// load and server leave of it
    #[arg(long)]
    apart: bool,
    /// Offered password logins, in multiples of the ceiling
    #[arg(long, default_value_t = 4.0)]
    times: f64,
    /// Number of source addresses of the flood
    #[arg(long, default_value_t = 8)]
    sources: usize,
    /// How long the flood lasts; requests are made before, so that it cannot last long
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(3..=20))]
    seconds: u64,
    /// The stored hash of every user (of the password `the right password`); without it argon2id as
    /// `callgate hash-password` makes it
    #[arg(long)]
    hash: Option<String>,
    /// Tokens, and remembered passwords, a second
    #[arg(long, default_value_t = 50.0)]
    others: f64,
    /// The least part of the ceiling that must be true answers; 0 only measures
    #[arg(long, default_value_t = 0.9)]
    at_least: f64,
    /// Make it an attack: every password of the flood is wrong, and each other client logs in once, from an
    /// address of its own, with the right password
    #[arg(long)]
    attack: bool,
    /// Password logins a second of clients that do not flood
    #[arg(long, default_value_t = 2.0)]
    honest: f64,
    /// Another build of the service, measured first under the same load; its results are not checked
    #[arg(long)]
    before: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let cores = args.apart.then(Cores::apart).transpose()?;
    let own = match &cores {
        Some(cores) => cores.leave_it_alone().map(|()| 1)?,
        None => thread::available_parallelism().map_or(1, usize::from),
    };
    let workers = args.workers.unwrap_or(own);
    let hash = match &args.hash {
        Some(hash) => hash.clone(),
        None => hash(&Secret::new(PASSWORD))?,
    };
    let beside = match &args.callgate {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("callgate"),
    };
    let setting = Setting { args: &args, workers, hash: &hash, cores: cores.as_ref() };
    if let Some(before) = &args.before {
        setting.measure(before).await?.print(args.json)?;
    }
    let report = setting.measure(&beside).await?;
    report.print(args.json)?;
    report.judge(args.at_least, args.attack)
}

/// The conditions under which every build is measured.
struct Setting<'a> {
    args: &'a Args,
    workers: usize,
    hash: &'a str,
    cores: Option<&'a Cores>,
}

impl Setting<'_> {
    async fn measure(&self, callgate: &Path) -> Result<Report, Failure> {
        let &Self { args, workers, hash, cores } = self;
        let stored = StoredPassword::parse(hash)?;
        let duration = Duration::from_secs(args.seconds);
        let first = ceiling::measure(&stored, workers, cores, duration / 2)?;
        let offered = args.times * first.rate;
        let users = (offered * duration.as_secs_f64()) as usize + 1000;
        let nats_server = &args.nats_server;
        let site = Site::start(&Plan { nats_server, callgate, cores, workers, users, hash })?;
        let mut next_user = 1;
        let alone = Rates {
            flood: 0.0,
            honest: 1.0,
            token: args.others,
            remembered: args.others,
            duration: duration / 2,
            sources: args.sources,
            attack: args.attack,
        };
        let quiet = load::run(&site, alone, &mut next_user).await?;
        let (memory, cpu) = (site.memory(), site.cpu());
        let flooded = Rates { flood: offered, duration, honest: args.honest, ..alone };
        let loaded = load::run(&site, flooded, &mut next_user).await?;
        let memory_then = site.memory();
        let spent = site.cpu().zip(cpu).map(|(after, before)| after - before);
        drop(site);
        let second = ceiling::measure(&stored, workers, cores, duration / 2)?;
        let report = Report::new([first.rate, second.rate], workers, &quiet, &loaded, duration);
        Ok(report.with_memory(memory, memory_then).with_cpu([first, second], spent))
    }
}
