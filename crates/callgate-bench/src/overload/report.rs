//! The results of the run, and whether the guarantees held.

use std::time::Duration;

use serde::Serialize;

use super::{
    Login,
    ceiling::Bare,
    load::{ClientGroup, Outcome},
};
use crate::Failure;

/// Until the queue is full the flood is not an overload.
const WARM_UP: Duration = Duration::from_secs(2);

/// The result. Times are in milliseconds.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    workers: usize,
    /// Bare hashes a second, before and after.
    ceiling: [f64; 2],
    /// Password logins per second.
    offered: f64,
    /// True answers to them a second, once the queue was full.
    answered: f64,
    /// `answered` in parts of the mean ceiling.
    ratio: f64,
    /// CPU time of bare hashes, in parts of what the service spent for as many true answers, all other
    /// work included. Unlike `ratio` it holds on a machine that has other work too.
    efficiency: Option<f64>,
    flood: Kind,
    /// A client with its own passwords, from an address that does not flood.
    honest: Kind,
    /// The part of them that was answered, once the queue was full.
    honest_ratio: f64,
    token_alone: Kind,
    token_flooded: Kind,
    remembered_alone: Kind,
    remembered_flooded: Kind,
    /// Resident memory of the service in MiB: before, after, the most.
    memory: Option<[f64; 3]>,
}

/// Logins of one kind.
#[derive(Debug, Serialize)]
struct Kind {
    logins: usize,
    answered: usize,
    overloaded: usize,
    unanswered: usize,
    wrong: usize,
    /// Median and 99th percentile of true answers.
    answer: [f64; 2],
    /// The same of `temporarily unavailable`.
    refusal: [f64; 2],
}

impl Kind {
    fn of(logins: &[Login], group: ClientGroup) -> Self {
        let of = |outcome: Outcome| {
            let logins =
                logins.iter().filter(|login| login.group == group && login.outcome == outcome);
            logins.map(|login| login.took).collect::<Vec<_>>()
        };
        let (answers, refusals) = (of(Outcome::Correct), of(Outcome::Overloaded));
        Self {
            logins: logins.iter().filter(|login| login.group == group).count(),
            answered: answers.len(),
            overloaded: refusals.len(),
            unanswered: of(Outcome::Unanswered).len(),
            wrong: of(Outcome::Wrong).len(),
            answer: quantiles(answers),
            refusal: quantiles(refusals),
        }
    }

    fn line(&self, name: &str) -> String {
        let Self { logins, answered, overloaded, unanswered, wrong, answer, refusal } = self;
        format!(
            "{name:<22}{logins:>7}{answered:>9}{overloaded:>11}{unanswered:>11}{wrong:>6}   \
             {:>8.1} {:>8.1}   {:>8.1} {:>8.1}",
            answer[0], answer[1], refusal[0], refusal[1]
        )
    }
}

fn quantiles(mut took: Vec<Duration>) -> [f64; 2] {
    took.sort_unstable();
    [50, 99].map(|percent| {
        let index = (took.len() * percent / 100).min(took.len().saturating_sub(1));
        took.get(index).map_or(0.0, |took| took.as_secs_f64() * 1e3)
    })
}

impl Report {
    pub(super) fn new(
        ceiling: [f64; 2],
        workers: usize,
        quiet: &[Login],
        loaded: &[Login],
        duration: Duration,
    ) -> Self {
        let passwords =
            |login: &&Login| matches!(login.group, ClientGroup::Flood | ClientGroup::Honest);
        let offered = loaded.iter().filter(passwords).count() as f64 / duration.as_secs_f64();
        let in_time = |login: &&Login| {
            let at = login.sent + login.took;
            login.outcome == Outcome::Correct && at >= WARM_UP && at < duration
        };
        let answered = loaded.iter().filter(passwords).filter(in_time).count() as f64
            / duration.saturating_sub(WARM_UP).as_secs_f64();
        let honest = loaded
            .iter()
            .filter(|login| login.group == ClientGroup::Honest && login.sent >= WARM_UP);
        let honest: Vec<bool> = honest.map(|login| login.outcome == Outcome::Correct).collect();
        Self {
            workers,
            honest_ratio: honest.iter().filter(|answered| **answered).count() as f64
                / honest.len().max(1) as f64,
            ceiling,
            offered,
            answered,
            ratio: answered / (ceiling.iter().sum::<f64>() / 2.0),
            efficiency: None,
            flood: Kind::of(loaded, ClientGroup::Flood),
            honest: Kind::of(loaded, ClientGroup::Honest),
            token_alone: Kind::of(quiet, ClientGroup::Token),
            token_flooded: Kind::of(loaded, ClientGroup::Token),
            remembered_alone: Kind::of(quiet, ClientGroup::Remembered),
            remembered_flooded: Kind::of(loaded, ClientGroup::Remembered),
            memory: None,
        }
    }

    /// Resident memory and its peak before and after the flood.
    pub(super) fn with_memory(
        mut self,
        before: Option<(f64, f64)>,
        after: Option<(f64, f64)>,
    ) -> Self {
        let both = before.zip(after);
        self.memory = both.map(|((before, _), (after, peak))| [before, after, peak]);
        self
    }

    /// What a bare hash costs, and what the service spent during the flood; both in milliseconds.
    pub(super) fn with_cpu(mut self, bare: [Bare; 2], spent: Option<f64>) -> Self {
        let hashes = (self.flood.answered + self.honest.answered) as f64;
        let cost = bare.iter().map(|bare| bare.cpu).sum::<f64>() / 2.0;
        self.efficiency = spent.map(|spent| hashes * cost / spent.max(1.0));
        self
    }

    #[expect(clippy::print_stdout, reason = "the result of a command-line tool")]
    pub(super) fn print(&self, json: bool) -> Result<(), Failure> {
        if json {
            println!("{}", serde_json::to_string_pretty(self)?);
            return Ok(());
        }
        println!(
            "ceiling       {:.1} and {:.1} hashes a second on {} threads",
            self.ceiling[0], self.ceiling[1], self.workers
        );
        println!("offered       {:.1} password logins a second", self.offered);
        println!(
            "true answers  {:.1} a second = {:.1} % of the ceiling",
            self.answered,
            self.ratio * 100.0
        );
        println!("others        {:.1} % answered", self.honest_ratio * 100.0);
        if let Some(efficiency) = self.efficiency {
            println!(
                "CPU time      {:.1} % of what the service spent are hashes of true answers",
                efficiency * 100.0
            );
        }
        if let Some([before, after, most]) = self.memory {
            println!("memory        {before:.0} MiB before, {after:.0} after, {most:.0} at most");
        }
        println!(
            "{:<22}{:>7}{:>9}{:>11}{:>11}{:>6}   {:>17}   {:>17}",
            "",
            "logins",
            "answered",
            "overloaded",
            "unanswered",
            "wrong",
            "answer p50, p99",
            "refusal p50, p99"
        );
        for (name, kind) in [
            ("flood", &self.flood),
            ("honest", &self.honest),
            ("token, alone", &self.token_alone),
            ("token, flooded", &self.token_flooded),
            ("remembered, alone", &self.remembered_alone),
            ("remembered, flooded", &self.remembered_flooded),
        ] {
            println!("{}", kind.line(name));
        }
        println!("times in milliseconds");
        Ok(())
    }

    /// Fails if a guarantee did not hold. In an attack, one client in twenty may be refused.
    pub(super) fn judge(&self, at_least: f64, attack: bool) -> Result<(), Failure> {
        let honest_at_least = if attack { 0.95 } else { 1.0 };
        let kinds = [&self.flood, &self.honest, &self.token_flooded, &self.remembered_flooded];
        let broken = [
            (self.ratio < at_least, "true answers are too few for the ceiling"),
            (kinds.iter().any(|kind| kind.wrong > 0), "an answer was wrong"),
            (kinds.iter().any(|kind| kind.unanswered > 0), "a login was not answered"),
            (self.token_flooded.overloaded > 0, "a token was refused as overloaded"),
            (self.remembered_flooded.overloaded > 0, "a remembered password was refused"),
            (self.honest_ratio < honest_at_least, "clients that do not flood were refused"),
        ];
        let broken: Vec<&str> =
            broken.into_iter().filter_map(|(is_broken, what)| is_broken.then_some(what)).collect();
        match broken.is_empty() || at_least == 0.0 {
            true => Ok(()),
            false => Err(broken.join("; ").into()),
        }
    }
}
