//! `callgate-bench floor`: decisions of every kind, compared with the cryptography they require.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use callgate::{
    Callgate, User,
    clock::UnixTime,
    keys::{AccountSigner, CurveKey, Seed, ServerKey, Signer},
    policy::settings::PolicySettings,
    record::{Decision, Reason, Stages},
    secret::Secret,
    simulation::{RequestDraft, SimulatedRequest, SimulatedServer},
};
use callgate_testkit::cpu::thread_time;
use serde::Serialize;

use crate::{
    Failure,
    callouts::{ACCOUNT, one_role, with_authenticator},
    floor::{Floor, Operation, Spent, open_and_verify},
    logins::{self, Login, Shown},
};

/// Time the bare cryptography that a decision cannot do without, and decisions of each kind
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many rounds of each, interleaved
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// How many decisions in a round
    #[arg(long, default_value_t = 1000)]
    decisions: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Made-up requests stay fresh for as long as a measurement takes.
const PATIENCE: Duration = Duration::from_secs(900);

/// The result.
#[derive(Serialize)]
struct Report {
    /// Microseconds of each operation.
    operations: BTreeMap<&'static str, f64>,
    decisions: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    login: String,
    /// Microseconds of a whole decision, and its parts.
    whole: f64,
    open_and_verify: f64,
    authenticate: f64,
    resolve: f64,
    mint_and_seal: f64,
    /// What it cannot do without: its request opened and verified, the signature of its credential
    /// if it has one, two signatures, the answer sealed.
    floor: f64,
    ratio: f64,
}

pub(crate) async fn run(args: &Args) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let mut floor = Floor::new()?;
    let count = args.decisions.max(1);
    let mut benches = vec![(None, Bench::of_function(count)?)];
    for login in logins::all(folder.path(), count)? {
        let bench = Bench::of_login(&login, folder.path(), count)?;
        benches.push((Some(login), bench));
    }
    for _ in 0..args.rounds.max(1) {
        floor.round(count)?;
        for (login, bench) in &mut benches {
            if login.as_ref().is_some_and(|login| login.first_seen) {
                bench.forget(folder.path())?;
            }
            bench.round().await?;
        }
    }
    let rows = benches.iter().map(|(login, bench)| row(login.as_ref(), bench, &floor));
    let decisions = rows.collect();
    for Bare { name, spent, .. } in benches.iter().flat_map(|(_, bench)| &bench.bare) {
        floor.add(name, *spent);
    }
    let report = Report { operations: floor.all(), decisions };
    report.print(args.json)
}

fn row(login: Option<&Login>, bench: &Bench, floor: &Floor) -> Row {
    let (whole, sums) = (bench.whole.micros(), bench.sums());
    let more = login.and_then(|login| login.verifies).map_or(0.0, |name| floor.of(name));
    let opened: f64 = bench.bare.iter().map(|bare| bare.spent.micros()).sum();
    let floor = opened + more + floor.answer();
    let part = |part: Duration| part.as_secs_f64() * 1e6 / sums.admitted.max(1) as f64;
    Row {
        login: login
            .map_or("a function that admits everyone".to_owned(), |login| login.name.clone()),
        whole,
        open_and_verify: part(sums.stages.open),
        authenticate: part(sums.authenticators),
        resolve: part(sums.stages.decide.saturating_sub(sums.authenticators)),
        mint_and_seal: part(sums.stages.answer),
        floor,
        ratio: whole / floor,
    }
}

impl Report {
    #[expect(clippy::print_stdout, reason = "the result of a command-line tool")]
    fn print(&self, json: bool) -> Result<(), Failure> {
        if json {
            println!("{}", serde_json::to_string_pretty(self)?);
            return Ok(());
        }
        for (name, micros) in &self.operations {
            println!("{name:8} {micros:7.2} µs");
        }
        println!(
            "\n{:28}{:>8}{:>13}{:>8}{:>8}{:>8}{:>8}{:>7}",
            "", "open", "authenticate", "resolve", "answer", "whole", "floor", "ratio"
        );
        for row in &self.decisions {
            println!(
                "{:28}{:8.1}{:13.1}{:8.1}{:8.1}{:8.1}{:8.1}{:7.2}",
                row.login,
                row.open_and_verify,
                row.authenticate,
                row.resolve,
                row.mint_and_seal,
                row.whole,
                row.floor,
                row.ratio
            );
        }
        Ok(())
    }
}

/// A callout in this process, and requests for it.
pub(crate) struct Bench {
    callout: Callgate,
    keys: Keys,
    toml: Option<(String, PolicySettings)>,
    requests: Vec<SimulatedRequest>,
    sums: Arc<Mutex<Sums>>,
    whole: Spent,
    /// The bare opening and verifying of one of the requests.
    bare: [Bare; 2],
}

struct Bare {
    name: &'static str,
    operation: Operation,
    spent: Spent,
}

struct Keys {
    signer: Secret,
    xkey: Secret,
}

#[derive(Clone, Copy, Default)]
struct Sums {
    stages: Stages,
    /// Of `stages.decide`, what the authenticators took.
    authenticators: Duration,
    admitted: usize,
    refused: Option<Reason>,
}

impl Bench {
    fn of_function(count: usize) -> Result<Self, Failure> {
        let keys = Keys::new()?;
        let user = || User::in_account(ACCOUNT).publish("orders.>").subscribe("_INBOX.>");
        let builder = keys.builder()?.authorize(move |_| async move { Ok(user()) });
        let shown = [Shown::Token("t".repeat(40))];
        Self::new(keys, builder, None, &shown, count)
    }

    pub(crate) fn of_login(login: &Login, folder: &Path, count: usize) -> Result<Self, Failure> {
        Self::with_policy(login, folder, one_role(), count)
    }

    pub(crate) fn with_policy(
        login: &Login,
        folder: &Path,
        policy: PolicySettings,
        count: usize,
    ) -> Result<Self, Failure> {
        let keys = Keys::new()?;
        let builder = with_authenticator(keys.builder()?, &login.toml, folder, policy.clone())?;
        Self::new(keys, builder, Some((login.toml.clone(), policy)), &login.shown, count)
    }

    fn new(
        keys: Keys,
        builder: callgate::CallgateBuilder,
        toml: Option<(String, PolicySettings)>,
        shown: &[Shown],
        count: usize,
    ) -> Result<Self, Failure> {
        let sums = Arc::default();
        let callout = observed(builder, &sums).build()?;
        let server = SimulatedServer::new()?;
        let requests = keys.requests(&server, shown, count)?;
        let first = requests.first().ok_or("no requests")?.payload.clone();
        let shared = keys.xkey()?.shared_with(server.xkey().public_key())?;
        let key = server.id().parse::<ServerKey>()?.verifying()?;
        let bare = open_and_verify(shared, first, key)?.map(|(name, operation)| Bare {
            name,
            operation,
            spent: Spent::default(),
        });
        Ok(Self { callout, keys, toml, requests, sums, whole: Spent::default(), bare })
    }

    /// Rebuilds the authenticator, so that its caches are empty.
    fn forget(&self, folder: &Path) -> Result<(), Failure> {
        let Some((toml, policy)) = &self.toml else { return Ok(()) };
        let builder = with_authenticator(self.keys.builder()?, toml, folder, policy.clone())?;
        self.callout.replace(observed(builder, &self.sums))?;
        Ok(())
    }

    /// Has every request decided once.
    pub(crate) async fn round(&mut self) -> Result<(), Failure> {
        for Bare { operation, spent, .. } in &mut self.bare {
            let started = thread_time();
            for _ in 0..self.requests.len() {
                operation()?;
            }
            spent.add(thread_time().saturating_sub(started), self.requests.len());
        }
        let before = self.sums().admitted;
        self.callout.forget_requests();
        // Nothing here waits: all of it is done on this thread.
        let started = thread_time();
        self.decide(self.requests.len()).await;
        self.whole.add(thread_time().saturating_sub(started), self.requests.len());
        match self.sums() {
            Sums { admitted, .. } if admitted == before + self.requests.len() => Ok(()),
            Sums { refused, .. } => {
                Err(format!("not every client was admitted: {refused:?}").into())
            }
        }
    }

    async fn decide(&self, count: usize) {
        decide(&self.callout, self.requests.iter().take(count)).await;
    }

    /// Microseconds of a decision.
    pub(crate) fn micros(&self) -> f64 {
        self.whole.micros()
    }

    /// The parts of all decisions, by the clock.
    fn sums(&self) -> Sums {
        *self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides on this many threads concurrently for a while; returns decisions per second.
    pub(crate) fn at_once(self, threads: usize, seconds: f64) -> Result<f64, Failure> {
        let shared = Arc::new(Load { callout: self.callout, requests: self.requests });
        let started = Instant::now();
        let workers: Vec<_> = (0..threads)
            .map(|number| {
                let bench = Arc::clone(&shared);
                std::thread::spawn(move || bench.decide_until(started, seconds, number, threads))
            })
            .collect();
        let mut decided = 0;
        for worker in workers {
            decided += worker.join().map_err(|_| "a worker panicked")??;
        }
        Ok(decided as f64 / started.elapsed().as_secs_f64())
    }
}

/// What several threads share.
struct Load {
    callout: Callgate,
    requests: Vec<SimulatedRequest>,
}

impl Load {
    /// Decides on this thread's part of the requests, again and again.
    fn decide_until(
        &self,
        started: Instant,
        seconds: f64,
        thread: usize,
        threads: usize,
    ) -> Result<usize, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let mut decided = 0;
        while started.elapsed().as_secs_f64() < seconds {
            self.callout.forget_requests();
            let part = self.requests.iter().skip(thread).step_by(threads);
            decided += part.len();
            runtime.block_on(decide(&self.callout, part));
        }
        Ok(decided)
    }
}

async fn decide(callout: &Callgate, requests: impl Iterator<Item = &SimulatedRequest>) {
    let now = UnixTime::now();
    for SimulatedRequest { payload, xkey_header, .. } in requests {
        std::hint::black_box(callout.handle(payload, xkey_header.as_deref(), now).await);
    }
}

impl Keys {
    fn new() -> Result<Self, Failure> {
        let signer = callgate::keys::KeyPair::generate(callgate::keys::KeyKind::Account)?;
        Ok(Self { signer: signer.seed(), xkey: CurveKey::generate()?.seed() })
    }

    fn signer(&self) -> Result<AccountSigner, Failure> {
        Ok(AccountSigner::try_from(Seed::parse(self.signer.expose())?)?)
    }

    fn xkey(&self) -> Result<CurveKey, Failure> {
        Ok(CurveKey::from_seed(&self.xkey)?)
    }

    fn builder(&self) -> Result<callgate::CallgateBuilder, Failure> {
        Ok(Callgate::builder(self.signer()?).xkey(self.xkey()?))
    }

    /// Requests of one server, for clients that show these in turn.
    fn requests(
        &self,
        server: &SimulatedServer,
        shown: &[Shown],
        count: usize,
    ) -> Result<Vec<SimulatedRequest>, Failure> {
        let now = UnixTime::now();
        let (subject, xkey) = (self.signer()?.public_key().clone(), self.xkey()?);
        let request = |shown: &Shown| {
            let draft =
                RequestDraft { patience: PATIENCE, ..RequestDraft::new(shown.presented()?) };
            Ok(draft.sign_as(server, &subject, Some(xkey.public_key()), now)?)
        };
        shown.iter().cycle().take(count).map(request).collect()
    }
}

fn observed(
    builder: callgate::CallgateBuilder,
    sums: &Arc<Mutex<Sums>>,
) -> callgate::CallgateBuilder {
    let sums = Arc::clone(sums);
    builder.on_decision(move |decision: &Decision| {
        let mut sums = sums.lock().unwrap_or_else(PoisonError::into_inner);
        sums.stages.open += decision.stages.open;
        sums.stages.decide += decision.stages.decide;
        sums.stages.answer += decision.stages.answer;
        sums.authenticators += decision.authenticator_took;
        match decision.reason {
            Reason::Admitted => sums.admitted += 1,
            other => sums.refused = Some(other),
        }
    })
}
