//! `callgate test`

mod access;
mod case;
mod coverage;
mod file;
mod junit;
mod never;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use callgate::clock::UnixTime;
use callgate_authenticators::kind::Registry;
use callgate_config::{Document, Report};
use serde_json::{Value, json};

use self::{
    case::{Bench, Failure, Ran},
    coverage::Coverage,
    file::{Never, Test, TestFile, TestSubject, document, logs_in},
    never::Violation,
};
use super::{
    GOOD, Outcome, REFUSED, UNUSABLE,
    explain::wait_until_loaded,
    output::{Colour, Style, complain, findings, print, say},
    source::{Source, build_env},
};
use crate::{
    assemble::{Assembled, assemble},
    config::{self, Config},
    rehearsal::{Rehearsal, SpecContext},
    telemetry::sanitize_detail,
};

/// Run policy tests
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  callgate test policy-tests.toml --config callgate.toml
  callgate test tests/*.yaml --config callgate.toml --coverage --junit report.xml

Exits with 0 if all tests hold, with 1 if one does not or if less than --min-coverage is covered, and with 2 \
if a file or the configuration is unusable or a file has no test.")]
pub(super) struct Args {
    /// Files with tests (.toml, .yaml or .json)
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    source: Source,
    /// Write the results to this file, in the JUnit format
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Print which parts of the policy no test reaches
    #[arg(long)]
    coverage: bool,
    /// Fail if less than this percentage of the policy is covered
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=100))]
    min_coverage: Option<u64>,
    /// Run only tests whose name contains this text
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The results of a file.
#[derive(Debug)]
struct Suite {
    file: String,
    verdicts: Vec<Verdict>,
}

/// The result of a test or of a `[[never]]`.
#[derive(Debug)]
struct Verdict {
    name: String,
    line: Option<usize>,
    took: Duration,
    failures: Vec<String>,
    details: Vec<Value>,
    warnings: Vec<String>,
    because: Vec<String>,
}

impl Verdict {
    fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

pub(super) fn run(args: &Args, registry: Registry) -> Outcome {
    let overrides = args.source.overrides()?;
    let report = Report::new();
    let documents: Vec<(PathBuf, Document)> = args
        .files
        .iter()
        .filter_map(|path| Some((path.clone(), document(path, &report)?)))
        .collect();
    let needs_sources = documents.iter().any(|(_, document)| logs_in(document));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let code = runtime.block_on(async {
        let env = build_env(registry, needs_sources);
        let loaded = config::load(&overrides, &env);
        let Some(config) = loaded.config else {
            return Ok(unusable(args, &loaded.report));
        };
        run_files(args, config, documents, &report, needs_sources).await
    });
    runtime.shutdown_background();
    code
}

async fn run_files(
    args: &Args,
    config: Config,
    documents: Vec<(PathBuf, Document)>,
    report: &Report,
    needs_sources: bool,
) -> Outcome {
    let rehearsal = Rehearsal::of(&config);
    let context = SpecContext::of(&rehearsal);
    let has_hours = rehearsal.policy().role_views().iter().any(|role| role.has_hours);
    let mut files: Vec<TestFile> = documents
        .iter()
        .map(|(path, document)| TestFile::read(path, document, &context, has_hours, report))
        .collect();
    refuse_equal_names(&files, report);
    find_identities(&mut files, &rehearsal, report).await;
    if !report.is_faultless() {
        return Ok(unusable(args, report));
    }
    report.warnings().iter().for_each(|warning| complain(format_args!("warning: {warning}")));
    if let Some(text) = &args.filter {
        files.iter_mut().for_each(|file| file.keep(text));
    }
    if files.iter().all(|file| file.tests.is_empty() && file.never.is_empty()) {
        return Err("no test matches --filter".into());
    }
    let Assembled { builder, chain, keys, .. } = assemble(config, None);
    let gate = builder.build()?;
    if needs_sources {
        wait_until_loaded(&chain).await;
    }
    let bench = Bench { rehearsal, gate, keys };
    let wants_coverage = args.coverage || args.min_coverage.is_some();
    let mut coverage = wants_coverage.then(|| Coverage::of(&bench.rehearsal, UnixTime::now()));
    let mut suites = Vec::new();
    for file in &files {
        suites.push(run_file(&bench, file, &mut coverage).await);
    }
    if let Some(path) = &args.junit {
        let written = std::fs::write(path, junit::report(&suites));
        written.map_err(|error| format!("cannot write `{}`: {error}", path.display()))?;
    }
    match args.json {
        true => say(to_json(&suites, coverage.as_ref())),
        false => print_results(&suites, coverage.as_ref().filter(|_| args.coverage)),
    }
    Ok(verdict(args, &suites, coverage.as_ref()))
}

fn verdict(args: &Args, suites: &[Suite], coverage: Option<&Coverage>) -> u8 {
    let all_hold = suites.iter().flat_map(|suite| &suite.verdicts).all(Verdict::passed);
    let mut code = if all_hold { GOOD } else { REFUSED };
    if let (Some(min), Some(coverage)) = (args.min_coverage, coverage)
        && coverage.percent() < min
    {
        complain(format_args!("coverage is {} %, less than {min} %", coverage.percent()));
        code = REFUSED;
    }
    code
}

async fn run_file(bench: &Bench, file: &TestFile, coverage: &mut Option<Coverage>) -> Suite {
    let mut verdicts = Vec::new();
    for test in &file.tests {
        let started = Instant::now();
        let ran = bench.run(test, coverage.as_mut()).await;
        verdicts.push(Verdict::of_test(test, ran, started.elapsed()));
    }
    for never in &file.never {
        let started = Instant::now();
        let (violations, warnings) = never::check(never, &bench.rehearsal, UnixTime::now());
        verdicts.push(Verdict::of_never(never, &violations, warnings, started.elapsed()));
    }
    Suite { file: file.name.clone(), verdicts }
}

impl Verdict {
    fn of_test(test: &Test, ran: Ran, took: Duration) -> Self {
        let Ran { failures, warnings, because } = ran;
        let text = |Failure { what, expected, actual }: &Failure| {
            format!("{what}: expected {expected}, actual {actual}")
        };
        let detail = |Failure { what, expected, actual }: &Failure| json!({ "what": what, "expected": expected, "actual": actual });
        Self {
            name: test.name.clone(),
            line: test.position.map(|at| at.line),
            took,
            details: failures.iter().map(detail).collect(),
            failures: failures.iter().map(text).collect(),
            warnings,
            because,
        }
    }

    fn of_never(
        never: &Never,
        violations: &[Violation],
        warnings: Vec<String>,
        took: Duration,
    ) -> Self {
        let text = |Violation { holder, query, why }: &Violation| {
            format!("{holder}: {query}: expected not allowed, actual {why}")
        };
        let detail = |Violation { holder, query, why }: &Violation| json!({ "what": format!("{holder}: {query}"), "expected": "not allowed", "actual": why });
        Self {
            name: never.name(),
            line: never.position.map(|at| at.line),
            took,
            failures: violations.iter().map(text).collect(),
            details: violations.iter().map(detail).collect(),
            warnings,
            because: Vec::new(),
        }
    }
}

impl TestFile {
    /// Keeps the tests whose name contains `text`.
    fn keep(&mut self, text: &str) {
        self.tests.retain(|test| test.name.contains(text));
        self.never.retain(|never| never.name().contains(text));
    }
}

fn refuse_equal_names(files: &[TestFile], report: &Report) {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for file in files {
        for test in &file.tests {
            if let Some(first) = seen.insert(&test.name, &file.name) {
                let name = test.name.escape_debug();
                let message = format!("duplicate test name `{name}`, also in {first}");
                report.fault_in(&file.name, test.position, message);
            }
        }
    }
}

/// Looks up the identity of each test. A test of a user that its directory does not know is an error: it
/// would only prove that unknown users are refused.
async fn find_identities(files: &mut [TestFile], rehearsal: &Rehearsal, report: &Report) {
    let now = UnixTime::now();
    for file in files {
        for test in &mut file.tests {
            let TestSubject::Identity { spec, user_at, found } = &mut test.subject else {
                continue;
            };
            match rehearsal.identity(spec, test.now.unwrap_or(now)).await {
                Ok(identity) => *found = Some(Box::new(identity)),
                Err(error) => {
                    let name = test.name.escape_debug();
                    report.fault_in(&file.name, *user_at, format!("test `{name}`: {error}"));
                }
            }
        }
    }
}

/// Prints errors as `check` does.
fn unusable(args: &Args, report: &Report) -> u8 {
    if args.json {
        say(findings(report));
        return UNUSABLE;
    }
    for fault in report.faults() {
        complain(format_args!("error: {fault}"));
    }
    UNUSABLE
}

fn to_json(suites: &[Suite], coverage: Option<&Coverage>) -> Value {
    let all = || suites.iter().flat_map(|suite| &suite.verdicts);
    let tests = suites.iter().flat_map(|Suite { file, verdicts }| {
        verdicts.iter().map(move |verdict| {
            json!({
                "name": verdict.name, "file": file, "line": verdict.line, "passed": verdict.passed(),
                "failures": verdict.details, "warnings": verdict.warnings, "because": verdict.because,
            })
        })
    });
    json!({
        "passed": all().filter(|verdict| verdict.passed()).count(),
        "failed": all().filter(|verdict| !verdict.passed()).count(),
        "tests": tests.collect::<Vec<_>>(),
        "coverage": coverage.map(Coverage::to_json),
    })
}

fn print_results(suites: &[Suite], coverage: Option<&Coverage>) {
    let style = Style::of_stdout();
    let mut passed = 0;
    let mut failed = 0;
    for Suite { file, verdicts } in suites {
        for verdict in verdicts {
            let place = verdict.line.map(|line| format!("{file}:{line}"));
            let place = place.unwrap_or_else(|| file.clone());
            let name = sanitize_detail(&verdict.name);
            for warning in &verdict.warnings {
                complain(format_args!("warning: {place}: {name}: {warning}"));
            }
            if verdict.passed() {
                passed += 1;
                continue;
            }
            failed += 1;
            for failure in &verdict.failures {
                let failure = sanitize_detail(failure);
                let label = style.paint(Colour::Red, "FAIL");
                print(format_args!("{label}  {place}: {name}: {failure}\n"), style);
            }
            for line in &verdict.because {
                print(format_args!("        {}\n", sanitize_detail(line)), style);
            }
        }
    }
    if let Some(coverage) = coverage {
        let (reached, all) = coverage.counts();
        say(format_args!("coverage {} % ({reached} of {all})", coverage.percent()));
        for missing in coverage.missing() {
            say(format_args!("  not reached: {missing}"));
        }
    }
    say(format_args!("{passed} passed, {failed} failed"));
}
