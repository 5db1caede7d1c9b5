//! The results of a load run, for people and for programs.

use std::time::Duration;

use serde::Serialize;

/// The result of one run. Times are in microseconds.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Outcome {
    pub(crate) kind: &'static str,
    pub(crate) requests: usize,
    pub(crate) admitted: usize,
    pub(crate) refused: usize,
    pub(crate) unanswered: usize,
    /// The number of invalid answers, and the first error.
    pub(crate) bad: usize,
    pub(crate) complaint: Option<String>,
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    /// CPU time of the responder for each request.
    pub(crate) responder_cpu: Option<f64>,
    /// CPU time of the server for each request.
    pub(crate) server_cpu: Option<f64>,
    /// The responder's peak resident memory, in MiB.
    pub(crate) responder_peak_mib: Option<f64>,
    /// The responder's resident memory at the end, in MiB.
    pub(crate) responder_mib: Option<f64>,
    #[serde(skip)]
    pub(crate) latencies: Vec<Duration>,
}

impl Outcome {
    /// Fills in the quantiles and the throughput.
    pub(crate) fn finish(mut self) -> Self {
        let mut latencies = std::mem::take(&mut self.latencies);
        latencies.sort_unstable();
        self.per_second = latencies.len() as f64 / self.seconds.max(1e-9);
        let quantile = |per_mille: usize| {
            let index = (latencies.len() * per_mille / 1000).min(latencies.len().saturating_sub(1));
            latencies.get(index).map_or(0.0, |latency| latency.as_secs_f64() * 1e6)
        };
        (self.p50, self.p90, self.p99, self.p999) =
            (quantile(500), quantile(900), quantile(990), quantile(999));
        self
    }

    /// Prints it: JSON on one line, or a small table.
    #[expect(clippy::print_stdout, reason = "the result of a command-line tool")]
    pub(crate) fn print(&self, json: bool) -> Result<(), crate::Failure> {
        if json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        let optional = |value: Option<f64>, unit: &str| {
            value.map_or("not measured (give its --…-pid)".to_owned(), |v| {
                format!("{v:.1} {unit}")
            })
        };
        println!("requests         {}", self.requests);
        println!("admitted         {}", self.admitted);
        println!("refused          {}", self.refused);
        println!("unanswered       {}", self.unanswered);
        println!("bad answers      {}", self.bad);
        if let Some(complaint) = &self.complaint {
            println!("  the first      {complaint}");
        }
        println!("throughput       {:.0} per second over {:.2} s", self.per_second, self.seconds);
        println!(
            "latency          p50 {:.0}  p90 {:.0}  p99 {:.0}  p99.9 {:.0} µs",
            self.p50, self.p90, self.p99, self.p999
        );
        println!("responder CPU    {}", optional(self.responder_cpu, "µs each"));
        println!("server CPU       {}", optional(self.server_cpu, "µs each"));
        println!("responder memory {}", optional(self.responder_peak_mib, "MiB at most"));
        println!("          at end {}", optional(self.responder_mib, "MiB"));
        Ok(())
    }
}
