//! The course of a fault: clients connect, the fault begins and ends, the service recovers.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use callgate_testkit::{eventually, service::View, wait::LONG};
use serde_json::Value;

use crate::{
    client::{Attempt, AttemptOutcome},
    probe::{Clients, Probe},
    report::{Counts, Observations, milliseconds},
};

/// Attempts of each kind before a fault begins, and again while it lasts.
const SOME: usize = 3;

/// The reason of refusals while a backend fails.
const UNAVAILABLE: &str = "backend_unavailable";
/// The detail of refusals by which no login waits for a backend that is down.
const NOT_ASKED: &str = "could not be reached several times in a row";

/// The service has recovered after this time without a failure. An unanswered attempt takes two seconds.
const QUIET: Duration = Duration::from_secs(5);

/// A fault under way.
#[derive(Debug)]
pub struct Trial {
    /// The clients.
    pub probe: Probe,
    view: View,
    mark: usize,
    before: Vec<(String, f64)>,
    during: Vec<(String, f64)>,
    began: Instant,
    ended: Option<Instant>,
    recovered: Option<Instant>,
    lasts: bool,
    notes: Vec<String>,
}

impl Trial {
    /// Starts clients, and waits until the valid ones are admitted. The fault begins when this returns.
    pub async fn begins(view: View, clients: Clients) -> Self {
        let start = Instant::now();
        let probe = Probe::start(clients);
        probe.come_in(start, SOME).await;
        probe.tries(start, SOME).await;
        let (mark, before) = (view.mark(), view.metrics().await);
        Self {
            probe,
            view,
            mark,
            before,
            during: Vec::new(),
            began: Instant::now(),
            ended: None,
            recovered: None,
            lasts: false,
            notes: Vec::new(),
        }
    }

    /// Observes another process, whose log and metrics start from zero.
    pub fn watch(&mut self, view: View) {
        (self.view, self.mark, self.before) = (view, 0, Vec::new());
    }

    /// Adds an observation to the report.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Waits for some attempts of each kind since the fault began.
    pub async fn clients_try(&self) {
        self.probe.tries(self.began, SOME).await;
    }

    /// Waits for some attempts of each kind from now on.
    pub async fn more_clients_try(&self) {
        self.probe.tries(Instant::now(), SOME).await;
    }

    /// Waits for a log line written since the fault began.
    pub async fn says(&self, text: &str) -> String {
        self.view.says(self.mark, text).await
    }

    /// Whether the log has this text since the fault began.
    pub fn has_said(&self, text: &str) -> bool {
        self.view.log().get(self.mark..).is_some_and(|log| log.contains(text))
    }

    /// Waits until `/readyz` is 503, and notes how long that took.
    pub async fn is_not_ready(&mut self) -> String {
        let why = self.view.not_ready().await;
        let after = seconds(self.began.elapsed());
        self.note(format!("`/readyz` is 503 after {after}: {}", text_of(&why)));
        why
    }

    /// Asserts that no attempt since the fault began was admitted.
    ///
    /// # Panics
    /// If one was.
    pub fn none_is_admitted(&self) {
        self.none_is_admitted_since(self.began);
    }

    /// The same, for a fault that begins later.
    ///
    /// # Panics
    /// If one was.
    pub fn none_is_admitted_since(&self, moment: Instant) {
        for attempt in self.probe.right_between(moment, Instant::now()) {
            let late = attempt.began > moment && attempt.is_admitted();
            assert!(!late, "admitted during the fault: {attempt:?}");
        }
    }

    /// Waits until a backend's failure reaches clients, and asserts that from then on all of them, valid
    /// or not, are refused as `backend_unavailable`.
    ///
    /// # Panics
    /// If one is decided otherwise.
    pub async fn only_unavailable(&self) {
        let mark = self.view.mark();
        eventually("a login that needed the backend to be refused", LONG, async || {
            let decisions = self.view.decisions(mark);
            // Others are refused without asking the backend, also when it would answer.
            let asked = |detail: &Value| !detail.to_string().contains(NOT_ASKED);
            decisions
                .iter()
                .any(|decision| decision["reason"] == UNAVAILABLE && asked(&decision["detail"]))
                .then_some(())
        })
        .await;
        // Logins that were under way when the backend failed.
        self.probe.tries(Instant::now(), 1).await;
        let (mark, since) = (self.view.mark(), Instant::now());
        self.probe.tries(since, SOME).await;
        self.none_is_admitted_since(since);
        for decision in self.view.decisions(mark) {
            assert_eq!(decision["reason"], UNAVAILABLE, "{decision}");
        }
    }

    /// Waits until valid clients are admitted one after another; returns how long the first one took.
    pub async fn come_back(&self) -> Duration {
        let since = Instant::now();
        let first = self.probe.comes_in(since).await;
        self.admitted_since(since).await;
        first.duration_since(since)
    }

    /// Asserts that every valid client was admitted so far.
    ///
    /// # Panics
    /// If one failed.
    pub fn all_are_admitted(&self) {
        for attempt in self.probe.right_between(self.began, Instant::now()) {
            assert!(attempt.is_admitted(), "a valid client failed: {attempt:?}");
        }
    }

    /// The fault is about to be repaired: samples the metrics a last time.
    pub async fn ends(&mut self) {
        self.during = self.view.metrics().await;
        self.ended = Some(Instant::now());
    }

    /// The fault is not repaired, and the service must recover: recovery counts from its beginning.
    pub fn lasts(&mut self) {
        self.ended = Some(self.began);
        self.lasts = true;
    }

    /// Waits for recovery: the service is ready, and clients are admitted one after another.
    pub async fn recovers(&mut self) {
        let ended = self.ended.expect("the fault has ended");
        self.view.ready().await;
        self.recovered = Some(self.probe.comes_in(ended).await);
        self.admitted_since(ended).await;
    }

    async fn admitted_since(&self, moment: Instant) {
        eventually("clients to come in one after another", LONG, async || {
            let all = self.probe.right_between(moment, Instant::now());
            let last = all.iter().rev().take(5);
            (last.len() == 5 && last.into_iter().all(Attempt::is_admitted)).then_some(())
        })
        .await;
    }

    /// Waits until no client has failed for a while: for faults that affect only some of them.
    pub async fn is_quiet(&self) {
        eventually("a while without a failure", LONG, async || {
            let now = Instant::now();
            let all = self.probe.right_between(self.began, now);
            let failed = all.iter().filter(|attempt| !attempt.is_admitted());
            let last = failed.map(Attempt::ended).max().unwrap_or(self.began);
            (now.duration_since(last) > QUIET).then_some(())
        })
        .await;
    }

    /// Ends the trial: asserts that no invalid client was admitted, and returns the observations.
    pub async fn seen(mut self) -> Observations {
        self.probe.stop().await;
        let wrong_tried = self.probe.no_invalid_client_is_admitted();
        let recovered = self.recovered.expect("it has recovered");
        let ended = self.ended.expect("it has ended");
        let attempts = self.probe.right_between(self.began, Instant::now());
        // A lasting fault may affect some attempts only: all count, and recovery is the last failure.
        let (during, recovered) = if self.lasts {
            let failed = attempts.iter().filter(|attempt| !attempt.is_admitted());
            let end = failed.map(Attempt::ended).max().unwrap_or(ended);
            (attempts, end)
        } else {
            (attempts.into_iter().filter(|a| a.ended() <= recovered).collect(), recovered)
        };
        let counts = counts(&during);
        let none_waited = during.iter().all(Attempt::is_admitted);
        let recovery = milliseconds(recovered.saturating_duration_since(ended));
        if self.during.is_empty() {
            self.during = self.view.metrics().await;
        }
        Observations {
            during: counts,
            wrong_tried,
            wrong_admitted: 0,
            log: complaints(&self.view.records(self.mark)),
            metrics: moved(&self.before, &self.during),
            recovery_ms: (!none_waited).then_some(recovery),
            mended: !self.lasts,
            notes: self.notes,
        }
    }
}

/// Counts the outcomes of attempts.
pub fn counts(attempts: &[Attempt]) -> Counts {
    let mut counts = Counts::default();
    for attempt in attempts {
        let took = milliseconds(attempt.took);
        let (number, slowest) = match attempt.outcome {
            AttemptOutcome::Admitted(_) => (&mut counts.admitted, &mut counts.slowest_admission_ms),
            AttemptOutcome::Refused => (&mut counts.refused, &mut counts.slowest_failure_ms),
            AttemptOutcome::Unanswered => (&mut counts.unanswered, &mut counts.slowest_failure_ms),
            AttemptOutcome::NoServer => (&mut counts.no_server, &mut counts.slowest_failure_ms),
        };
        *number += 1;
        *slowest = took.max(*slowest);
    }
    counts
}

/// Each warning and error once, in the order of their first appearance.
fn complaints(records: &[Value]) -> Vec<String> {
    let mut told = BTreeSet::new();
    let mut lines = Vec::new();
    for record in records {
        if !matches!(record["level"].as_str(), Some("WARN" | "ERROR")) {
            continue;
        }
        let message = record["message"].as_str().unwrap_or_default();
        let more = ["reason", "why", "error", "fault", "what"].map(|name| record[name].as_str());
        let more = more.into_iter().flatten().next().unwrap_or_default();
        if told.insert((message.to_owned(), shape(more))) {
            let more =
                if more.is_empty() { String::new() } else { format!(" ({})", text_of(more)) };
            lines
                .push(format!("{}: {message}{more}", record["level"].as_str().unwrap_or_default()));
        }
    }
    lines
}

/// A text without its numbers, so that similar ones are reported once.
fn shape(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_ascii_digit()).take(60).collect()
}

/// A text for a table: without temporary paths, and not too long.
fn text_of(text: &str) -> String {
    let words = text.split(' ').map(|word| match word.find("/tmp/") {
        Some(at) => {
            let path = &word[at..];
            let end = path.find(['`', '"', ':', ',', ')']).unwrap_or(path.len());
            let name = path[..end].rsplit('/').next().unwrap_or_default();
            format!("{}{name}{}", &word[..at], &path[end..])
        }
        None => word.to_owned(),
    });
    let text = words.collect::<Vec<_>>().join(" ");
    let cut: String = text.chars().take(160).collect();
    if cut.len() < text.len() { format!("{cut}…") } else { cut }
}

/// Counters and gauges that concern the fault, and how far they moved.
fn moved(before: &[(String, f64)], after: &[(String, f64)]) -> Vec<String> {
    let tells = |name: &str| {
        let refused =
            name.starts_with("callgate_decisions_total") && !name.contains("\"admitted\"");
        // The invalid clients cause these all the time.
        let ordinary = [
            "unknown_user",
            "bad_password",
            "bad_token",
            "token_expired",
            "wrong_audience",
            "unknown_service_account",
        ];
        (refused && !ordinary.iter().any(|reason| name.contains(reason)))
            || [
                "dropped_total",
                "jwks_refresh",
                "config_reloads",
                "config_in_sync",
                "config_last_reload_successful",
                "nats_connected",
                "clock_skew",
                "watch_lost",
                "log_lost",
            ]
            .iter()
            .any(|metric| name.strip_prefix("callgate_").is_some_and(|n| n.starts_with(metric)))
    };
    let old = |name: &str| before.iter().find(|(other, _)| other == name).map_or(0.0, |(_, v)| *v);
    let mut lines = Vec::new();
    for (name, value) in after.iter().filter(|(name, _)| tells(name)) {
        let change = value - old(name);
        if change == 0.0 {
            continue;
        }
        let gauge = ["connected", "skew", "watch_lost", "in_sync", "successful"]
            .iter()
            .any(|word| name.contains(word));
        lines.push(if gauge { format!("`{name}` {value}") } else { format!("`{name}` +{change}") });
    }
    lines
}

/// `1.2 s`
pub fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
