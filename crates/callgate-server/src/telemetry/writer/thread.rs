//! The thread that writes the buffer.

use std::{
    io::{self, Write},
    mem,
    sync::atomic::Ordering,
    time::Duration,
};

use tracing::warn;

use super::{
    IS_WRITER, LOST, LOST_ADMISSIONS,
    buffer::{Batch, Buffer},
    count_lost,
};

/// Delay before retrying a full pipe that is in non-blocking mode.
const RETRY_DELAY: Duration = Duration::from_millis(20);

/// State of the writing thread.
#[derive(Debug)]
pub(super) struct Writer {
    buffer: Buffer,
    /// The last record was written only in part.
    torn: bool,
    /// Lost records that a written report covers.
    reported: u64,
    /// The same including the report that is being written.
    reporting: Option<u64>,
    reported_admissions: u64,
}

impl Writer {
    pub(super) fn new(buffer: Buffer) -> Self {
        let reported_admissions = LOST_ADMISSIONS.load(Ordering::Relaxed);
        Self { buffer, torn: false, reported: LOST.get(), reporting: None, reported_admissions }
    }

    pub(super) fn run(&mut self, out: &mut impl Write) {
        IS_WRITER.set(true);
        let mut batch = Batch::default();
        loop {
            self.buffer.take(&mut batch, self.torn || self.reported != LOST.get());
            self.write(out, &batch);
        }
    }

    fn write(&mut self, out: &mut impl Write, batch: &Batch) {
        let reporting = self.reporting.take();
        if self.torn && write_all(out, b"\n").is_ok() {
            self.torn = false;
        }
        match write_all(out, &batch.text) {
            Ok(()) => {
                self.reported = reporting.unwrap_or(self.reported);
                self.report_lost();
            }
            Err(written) => {
                let lost = batch.ends.iter().filter(|end| end.at > written);
                lost.for_each(|end| count_lost(end.is_admission));
                self.torn = match written {
                    0 => self.torn || batch.continues,
                    written => !batch.ends.iter().any(|end| end.at == written),
                };
            }
        }
    }

    /// Reports lost records, after all records that came before them.
    fn report_lost(&mut self) {
        let lost = LOST.get();
        if lost > self.reported {
            let admissions = LOST_ADMISSIONS.load(Ordering::Relaxed);
            let admitted = admissions - mem::replace(&mut self.reported_admissions, admissions);
            warn!(
                records = lost - self.reported,
                admitted, "log records were lost because they could not be written"
            );
            self.reporting = Some(lost);
        }
    }
}

/// Writes all of `text`, or returns how much was written before an error.
fn write_all(out: &mut impl Write, text: &[u8]) -> Result<(), usize> {
    let mut written = 0;
    while let Some(rest) = text.get(written..).filter(|rest| !rest.is_empty()) {
        match out.write(rest) {
            Ok(0) => return Err(written),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(RETRY_DELAY)
            }
            Err(_) => return Err(written),
        }
    }
    Ok(())
}
