//! `callgate-bench timing`: does the time of a refusal reveal whether a user exists?

use std::time::{Duration, Instant};

use callgate::{
    Callgate, Reply,
    clock::UnixTime,
    keys::{AccountKey, AccountSigner, CurveKey, CurvePublicKey, Signer as _},
    simulation::{RequestDraft, SimulatedRequest, SimulatedServer},
};
use serde::Serialize;

mod statistics;
mod table;

use statistics::{Comparison, Random, median};
use table::{Class, Hash};

use crate::Failure;

/// Logins of each class before the measurement.
const WARM_UP: usize = 100;
/// Requests of each class that are prepared together, to bound the memory.
const BATCH: usize = 250;

/// A difference of medians in microseconds that always passes: sockets and nats-server alone vary
/// by hundreds of times as much.
const NEGLIGIBLE: f64 = 0.2;

/// Measure whether the duration of a refusal reveals which users exist and how their passwords are hashed
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Failing logins of several classes (unknown user, wrong password, disabled user, …), in random \
order, from the bytes of the request to the bytes of the answer, without a network. Each class is compared with \
unknown users; in tables with several kinds of hashes the distributions are compared. Fails if an effect is \
larger than the bound, unless it is a fifth of a microsecond at most.

Example:
  callgate-bench timing --samples 4000 --json"
)]
pub(crate) struct Args {
    /// Logins of each class, for each kind of hash
    #[arg(long, default_value_t = 4000)]
    samples: usize,
    /// Only these tables
    #[arg(long)]
    hash: Vec<Hash>,
    /// Use recommended parameters, which hide all other differences, instead of cheap ones
    #[arg(long)]
    real: bool,
    /// The largest effect that passes, as Cohen's d; 0.2 is called small
    #[arg(long, default_value_t = 0.1)]
    bound: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One class of logins compared with unknown users. Times are in microseconds.
#[derive(Debug, Serialize)]
struct Row {
    hash: &'static str,
    class: &'static str,
    samples: usize,
    median: f64,
    #[serde(flatten)]
    comparison: Comparison,
}

#[derive(Debug, Serialize)]
struct Outcome {
    samples: usize,
    bound: f64,
    recommended_parameters: bool,
    rows: Vec<Row>,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let hashes = if args.hash.is_empty() { Hash::ALL.to_vec() } else { args.hash.clone() };
    let mut random = Random(u64::from(std::process::id()) | 1 << 40);
    let mut rows = Vec::new();
    for hash in hashes {
        let times = Measured::new(hash, args.real)?.times(args.samples, &mut random).await?;
        let mut times = times.into_iter();
        let unknown = times.next().ok_or("no class was measured")?;
        for (class, times) in Class::ALL.into_iter().skip(1).zip(times) {
            rows.push(Row {
                hash: hash.name(),
                class: class.name(),
                samples: times.len(),
                median: median(&mut times.clone()),
                comparison: Comparison::of(&times, &unknown, &mut random),
            });
        }
    }
    let (samples, bound) = (args.samples, args.bound);
    let outcome = Outcome { samples, bound, recommended_parameters: args.real, rows };
    print(&outcome, args.json)?;
    let differs = |row: &&Row| {
        !row.comparison.is_within(bound) && row.comparison.median_difference.abs() > NEGLIGIBLE
    };
    match outcome.rows.iter().find(differs) {
        None => Ok(()),
        Some(row) => Err(format!(
            "{}: `{}` differs from unknown users by more than d = {bound}",
            row.hash, row.class
        )
        .into()),
    }
}

/// A callout and a server that sends requests to it.
struct Measured {
    hash: Hash,
    callout: Callgate,
    server: SimulatedServer,
    issuer: AccountKey,
    xkey: CurvePublicKey,
    now: UnixTime,
    _folder: tempfile::TempDir,
}

impl Measured {
    fn new(hash: Hash, real: bool) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let (signer, curve) = (AccountSigner::generate()?, CurveKey::generate()?);
        let (issuer, xkey) = (signer.public_key().clone(), curve.public_key().clone());
        let callout = hash.callout(folder.path(), real, signer, curve)?;
        let (server, now) = (SimulatedServer::new()?, UnixTime::now());
        Ok(Self { hash, callout, server, issuer, xkey, now, _folder: folder })
    }

    /// Times of each class in microseconds, in the order of [`Class::ALL`].
    async fn times(&self, samples: usize, random: &mut Random) -> Result<Vec<Vec<f64>>, Failure> {
        let mut times: Vec<Vec<f64>> = Class::ALL.iter().map(|_| Vec::new()).collect();
        self.batch(WARM_UP, random, |_, _| {}).await?;
        let mut left = samples;
        while left > 0 {
            let now = left.min(BATCH);
            self.batch(now, random, |class, took| {
                times.get_mut(class).into_iter().for_each(|times| times.push(took));
            })
            .await?;
            left -= now;
        }
        Ok(times)
    }

    /// `of_each` logins of each class, in random order.
    async fn batch(
        &self,
        of_each: usize,
        random: &mut Random,
        mut note: impl FnMut(usize, f64),
    ) -> Result<(), Failure> {
        // Shuffled before they are made: even their places in memory must not depend on the class.
        let of_each = |(index, class)| std::iter::repeat_n((index, class), of_each);
        let mut classes: Vec<_> = Class::ALL.into_iter().enumerate().flat_map(of_each).collect();
        random.shuffle(&mut classes);
        let mut requests = Vec::with_capacity(classes.len());
        for (index, class) in classes {
            let draft = RequestDraft {
                patience: Duration::from_secs(240),
                ..RequestDraft::new(class.presented(self.hash, random))
            };
            let (issuer, xkey) = (&self.issuer, Some(&self.xkey));
            requests.push((index, draft.sign_as(&self.server, issuer, xkey, self.now)?));
        }
        for (index, request) in requests {
            let SimulatedRequest { payload, xkey_header, .. } = request;
            let began = Instant::now();
            let reply = self.callout.handle(&payload, xkey_header.as_deref(), self.now).await;
            let took = began.elapsed();
            if reply == Reply::Silent {
                return Err("a login was not answered".into());
            }
            note(index, took.as_secs_f64() * 1e6);
        }
        Ok(())
    }
}

#[expect(clippy::print_stdout, reason = "the result of a command-line tool")]
fn print(outcome: &Outcome, json: bool) -> Result<(), Failure> {
    if json {
        println!("{}", serde_json::to_string_pretty(outcome)?);
        return Ok(());
    }
    println!(
        "{:<10}{:<16}{:>10}{:>12}{:>22}{:>9}{:>8}",
        "hash", "class", "median µs", "difference", "95 %", "d", "AUC"
    );
    for Row { hash, class, median, comparison, .. } in &outcome.rows {
        let Comparison { median_difference, interval: [from, to], d, auc } = comparison;
        println!(
            "{hash:<10}{class:<16}{median:>10.1}{median_difference:>+12.2}{:>22}{d:>+9.3}{auc:>8.3}",
            format!("{from:+.2} to {to:+.2}")
        );
    }
    println!("each class compared with unknown users; {} logins each", outcome.samples);
    Ok(())
}
