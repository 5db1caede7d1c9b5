//! The thread of one sink: takes records from its queue, makes them lines of its chain, and writes them.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tracing::{error, info};

use super::{
    chain::{Chain, Lines, body},
    event::{Event, Gap, GapCause},
    queue::{Batch, Queue, Receipt},
};
use crate::telemetry::Metrics;

/// The longest time between a record and its seal.
const SEAL_INTERVAL: Duration = Duration::from_secs(60);
/// Between attempts to write the same lines.
const RETRY_DELAY: Duration = Duration::from_millis(200);
/// How long records are collected before they are written, if no admission waits for them. Waking a
/// thread for each record would cost the decision more than the record itself.
const COLLECT: Duration = Duration::from_millis(5);
/// For how long writing is tried again after the process was asked to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Where lines are written.
pub(super) trait Output: Send {
    /// Checks, before lines are made, that what was written so far is still there. Returns the gap if it
    /// is not.
    fn check(&mut self) -> io::Result<Option<Gap>> {
        Ok(None)
    }

    /// Writes all lines or, on an error, none. When it returns, they are stored as durably as the sink
    /// promises.
    fn write(&mut self, lines: &Lines) -> io::Result<()>;

    /// What is due after a successful write, or after a while without one.
    fn maintain(&mut self) {}

    /// How soon [`Output::maintain`] must be called.
    fn maintenance_due(&self) -> Option<Duration> {
        None
    }

    /// The last line is written.
    fn finish(&mut self) {}
}

/// See the top of the file.
pub(super) struct Worker<O> {
    pub(super) name: String,
    pub(super) queue: Arc<Queue>,
    pub(super) chain: Chain,
    pub(super) output: O,
    pub(super) metrics: Arc<Metrics>,
    /// Whether admissions wait for this sink.
    pub(super) is_awaited: bool,
    /// To record before anything else.
    pub(super) gaps: Vec<Gap>,
}

impl<O: Output> Worker<O> {
    /// Runs until the queue is closed, and its last record is written.
    pub(super) fn run(mut self) {
        let mut sealed = Instant::now();
        let mut lines = Lines::default();
        let collect = if self.is_awaited { Duration::ZERO } else { COLLECT };
        loop {
            let until_seal = match self.chain.needs_seal() {
                true => SEAL_INTERVAL.saturating_sub(sealed.elapsed()),
                false => SEAL_INTERVAL,
            };
            let batch = self.queue.take(self.timeout(until_seal), collect);
            if !self.chain.needs_seal() {
                sealed = Instant::now();
            }
            let seal = batch.is_last || sealed.elapsed() >= SEAL_INTERVAL;
            let is_last = batch.is_last;
            let stored = self.store(batch, seal, &mut lines);
            if seal {
                sealed = Instant::now();
            }
            if is_last || !stored {
                break;
            }
        }
        self.output.finish();
        self.queue.finish();
    }

    fn timeout(&self, until_seal: Duration) -> Duration {
        let maintenance = self.output.maintenance_due().unwrap_or(until_seal);
        match self.gaps.is_empty() {
            true => until_seal.min(maintenance),
            false => Duration::ZERO,
        }
    }

    /// Writes a batch; false if the process stops before that succeeds.
    fn store(&mut self, batch: Batch, seal: bool, lines: &mut Lines) -> bool {
        // On an error, writing fails, too, and reports it.
        if let Ok(gap) = self.output.check() {
            self.gaps.extend(gap);
        }
        let now = Timestamp::now();
        lines.clear();
        for gap in self.gaps.drain(..) {
            self.chain.append(now, &body(&Event::Gap(gap)), lines);
        }
        for (time, body) in batch.records() {
            self.chain.append(time, body, lines);
        }
        if batch.lost > 0 {
            let gap = Gap { records: batch.lost, why: GapCause::QueueFull };
            self.chain.append(now, &body(&Event::Gap(gap)), lines);
        }
        if seal {
            self.chain.seal(now, lines);
        }
        let records = batch.len();
        if !lines.is_empty() && !self.write(lines) {
            batch.receipts().for_each(Receipt::fail);
            self.metrics.count_audit_records(&self.name, false, records);
            return false;
        }
        batch.receipts().for_each(Receipt::store);
        self.queue.stored(batch, Instant::now());
        self.metrics.count_audit_records(&self.name, true, records);
        self.output.maintain();
        true
    }

    /// Writes lines, as often as it takes; false if the process stops before that succeeds.
    fn write(&mut self, lines: &Lines) -> bool {
        let mut failed: Option<String> = None;
        let mut stop_at: Option<Instant> = None;
        loop {
            let Err(error) = self.output.write(lines) else {
                if failed.is_some() {
                    info!(sink = self.name, "the audit is written again");
                }
                return true;
            };
            let error = error.to_string();
            if failed.as_ref() != Some(&error) {
                error!(sink = self.name, error, "cannot write the audit; trying again");
                failed = Some(error);
            }
            if self.queue.is_closing() {
                let stop_at = *stop_at.get_or_insert_with(|| Instant::now() + STOP_TIMEOUT);
                if Instant::now() >= stop_at {
                    error!(
                        sink = self.name,
                        lines = lines.len(),
                        "audit records are lost at the stop"
                    );
                    return false;
                }
            }
            std::thread::sleep(RETRY_DELAY);
            // A file that was replaced meanwhile is opened again.
            if let Ok(Some(gap)) = self.output.check() {
                self.gaps.push(gap);
            }
        }
    }
}

/// Standard output. Its reader may hang, which blocks only this sink's thread.
#[derive(Debug)]
pub(super) struct Stdout;

impl Output for Stdout {
    fn write(&mut self, lines: &Lines) -> io::Result<()> {
        let mut out = io::stdout().lock();
        io::Write::write_all(&mut out, lines.text())?;
        io::Write::flush(&mut out)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use serde_json::Value;

    use super::{
        super::{
            chain::Process,
            event::{ConfigLoad, LoadResult},
        },
        *,
    };

    /// Hangs until it is opened, as a slow disk does.
    #[derive(Default)]
    struct Slow {
        is_open: Mutex<bool>,
        opened: Condvar,
        written: Mutex<Vec<u8>>,
    }

    impl Output for Arc<Slow> {
        fn write(&mut self, lines: &Lines) -> io::Result<()> {
            let mut is_open = self.is_open.lock().unwrap();
            while !*is_open {
                is_open = self.opened.wait(is_open).unwrap();
            }
            self.written.lock().unwrap().extend(lines.text());
            Ok(())
        }
    }

    fn record() -> Vec<u8> {
        let detail = Some("x".repeat(1024 * 1024));
        body(&Event::Config(ConfigLoad { result: LoadResult::Loaded, hash: None, detail }))
    }

    #[test]
    fn records_that_did_not_fit_become_a_gap_with_their_number() {
        let output = Arc::<Slow>::default();
        let queue = Arc::new(Queue::new());
        let worker = Worker {
            name: "slow".to_owned(),
            queue: Arc::clone(&queue),
            chain: Chain::new(Process::new("host", "00"), None),
            output: Arc::clone(&output),
            metrics: Arc::default(),
            is_awaited: false,
            gaps: Vec::new(),
        };
        let mut stored = 0;
        let mut lost = 0;
        for _ in 0..20 {
            match queue.push(Timestamp::UNIX_EPOCH, &record(), None, Instant::now()) {
                Ok(()) => stored += 1,
                Err(_full) => lost += 1,
            }
        }
        assert_eq!((stored, lost), (15, 5), "16 MiB hold 15 records of more than 1 MiB");
        let thread = std::thread::spawn(|| worker.run());
        *output.is_open.lock().unwrap() = true;
        output.opened.notify_all();
        queue.close();
        thread.join().unwrap();
        let written = String::from_utf8(output.written.lock().unwrap().clone()).unwrap();
        let records: Vec<Value> =
            written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(records.len(), 16);
        let gap = records.last().unwrap();
        assert_eq!((&gap["type"], &gap["why"]), (&"gap".into(), &"queue_full".into()));
        assert_eq!(gap["records"], 5);
        assert!(records[0]["type"] == "config" && gap["seq"] == 15);
    }
}
