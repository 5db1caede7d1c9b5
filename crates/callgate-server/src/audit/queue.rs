//! The bounded queue of one sink, and the receipts of admissions that wait for it.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::watch;

use super::chain::MAX_KEPT;

/// Capacity of a sink in bytes.
const MAX_QUEUED: usize = 16 * 1024 * 1024;
/// What a record needs in addition to its own members: those of every record, and memory around it.
const OVERHEAD: usize = 384;

/// Records in the order of their arrival. Their bytes share one buffer, which is used again: a record needs
/// no memory of its own that one thread allocates and another one frees.
#[derive(Debug, Default)]
struct Records {
    entries: Vec<Entry>,
    /// The bodies, see [`super::chain::Chain::append`].
    bodies: Vec<u8>,
}

#[derive(Debug)]
struct Entry {
    time: Timestamp,
    /// Where its body ends.
    end: usize,
    receipt: Option<Arc<Receipt>>,
}

impl Records {
    fn push(&mut self, time: Timestamp, body: &[u8], receipt: Option<Arc<Receipt>>) {
        self.bodies.extend_from_slice(body);
        self.entries.push(Entry { time, end: self.bodies.len(), receipt });
    }

    /// What they count of the queue's capacity.
    fn size(&self) -> usize {
        self.bodies.len() + self.entries.len() * OVERHEAD
    }

    fn clear(&mut self) {
        if self.bodies.capacity() > MAX_KEPT {
            *self = Self::default();
        }
        self.entries.clear();
        self.bodies.clear();
    }
}

/// What a sink writes next.
#[derive(Debug, Default)]
pub(super) struct Batch {
    records: Records,
    /// Records that did not fit into the queue after these.
    pub(super) lost: u64,
    /// No more records follow.
    pub(super) is_last: bool,
}

impl Batch {
    pub(super) fn len(&self) -> usize {
        self.records.entries.len()
    }

    /// The time and the body of each record.
    pub(super) fn records(&self) -> impl Iterator<Item = (Timestamp, &[u8])> {
        let mut start = 0;
        self.records.entries.iter().map(move |entry| {
            let body = self.records.bodies.get(start..entry.end).unwrap_or_default();
            start = entry.end;
            (entry.time, body)
        })
    }

    /// The receipts of admissions that wait.
    pub(super) fn receipts(&self) -> impl Iterator<Item = &Receipt> {
        self.records.entries.iter().filter_map(|entry| entry.receipt.as_deref())
    }
}

/// Records that wait for a sink.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    closed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    records: Records,
    /// Empty buffers of an earlier batch.
    spare: Records,
    /// Of `records` and of the batch that is being written.
    bytes: usize,
    lost: u64,
    /// Since when a record has been waiting to be stored.
    oldest: Option<Instant>,
    is_sleeping: bool,
    is_closing: bool,
    is_finished: bool,
}

/// The queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

impl Queue {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), filled: Condvar::new(), closed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a record; never waits for the sink.
    pub(super) fn push(
        &self,
        time: Timestamp,
        body: &[u8],
        receipt: Option<Arc<Receipt>>,
        now: Instant,
    ) -> Result<(), Full> {
        let size = body.len() + OVERHEAD;
        let mut state = self.state();
        if state.bytes + size > MAX_QUEUED || state.is_closing {
            state.lost += 1;
            return Err(Full);
        }
        state.bytes += size;
        state.oldest.get_or_insert(now);
        state.records.push(time, body, receipt);
        if std::mem::take(&mut state.is_sleeping) {
            drop(state);
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Waits for records, at most for `timeout`, and then for further ones for as long as `collect`.
    pub(super) fn take(&self, timeout: Duration, collect: Duration) -> Batch {
        let mut state = self.state();
        let end = Instant::now() + timeout;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if !state.records.entries.is_empty() || state.is_closing || left.is_zero() {
                break;
            }
            state.is_sleeping = true;
            state = self.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.is_sleeping = false;
        if !state.records.entries.is_empty() && !state.is_closing && !collect.is_zero() {
            drop(state);
            std::thread::sleep(collect);
            state = self.state();
        }
        let spare = std::mem::take(&mut state.spare);
        let records = std::mem::replace(&mut state.records, spare);
        Batch { records, lost: std::mem::take(&mut state.lost), is_last: state.is_closing }
    }

    /// The batch that was taken is stored.
    pub(super) fn stored(&self, batch: Batch, now: Instant) {
        let mut records = batch.records;
        let size = records.size();
        records.clear();
        let mut state = self.state();
        state.bytes -= size.min(state.bytes);
        state.spare = records;
        // The records that arrived meanwhile are younger than this, which is close enough.
        state.oldest = (!state.records.entries.is_empty()).then_some(now);
    }

    /// For how long a record has been waiting to be stored.
    pub(super) fn waiting_for(&self, now: Instant) -> Duration {
        self.state().oldest.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    pub(super) fn bytes(&self) -> usize {
        self.state().bytes
    }

    /// Accepts no more records, and wakes the sink.
    pub(super) fn close(&self) {
        self.state().is_closing = true;
        self.filled.notify_one();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.state().is_closing
    }

    /// The sink has written its last record, or has given up.
    pub(super) fn finish(&self) {
        self.state().is_finished = true;
        self.closed.notify_all();
    }

    /// Waits until the sink has finished; false if that takes too long.
    pub(super) fn wait_until_finished(&self, end: Instant) -> bool {
        let mut state = self.state();
        while !state.is_finished {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.closed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// Tells an admission when its record is stored.
#[derive(Debug)]
pub(super) struct Receipt {
    stored: watch::Sender<Option<bool>>,
    /// Durable sinks that may still store it.
    pending: AtomicUsize,
}

impl Receipt {
    pub(super) fn new(sinks: usize) -> Self {
        let stored = watch::Sender::new((sinks == 0).then_some(false));
        Self { stored, pending: AtomicUsize::new(sinks) }
    }

    pub(super) fn store(&self) {
        self.stored.send_if_modified(|stored| stored.replace(true) != Some(true));
    }

    /// A sink will not store the record.
    pub(super) fn fail(&self) {
        if self.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.stored.send_if_modified(|stored| {
                stored.get_or_insert(false);
                true
            });
        }
    }

    /// Waits until one sink has stored it; false if none will.
    pub(super) async fn wait(&self) -> bool {
        let mut stored = self.stored.subscribe();
        let outcome = stored.wait_for(Option::is_some).await;
        outcome.is_ok_and(|stored| *stored == Some(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(queue: &Queue, length: usize, now: Instant) -> Result<(), Full> {
        queue.push(Timestamp::UNIX_EPOCH, &vec![b'x'; length], None, now)
    }

    fn take(queue: &Queue) -> Batch {
        queue.take(Duration::ZERO, Duration::ZERO)
    }

    #[test]
    fn batch_has_the_records_in_their_order() {
        let queue = Queue::new();
        let now = Instant::now();
        for round in 0..3 {
            for length in [3, 0, 5 + round] {
                push(&queue, length, now).unwrap();
            }
            let batch = take(&queue);
            let lengths: Vec<_> = batch.records().map(|(_, body)| body.len()).collect();
            assert_eq!(lengths, [3, 0, 5 + round]);
            queue.stored(batch, now);
            assert_eq!(queue.bytes(), 0);
        }
    }

    #[test]
    fn what_does_not_fit_is_counted_and_room_is_made_by_storing() {
        let queue = Queue::new();
        let now = Instant::now();
        let half = MAX_QUEUED / 2 - OVERHEAD;
        assert_eq!(push(&queue, half, now), Ok(()));
        assert_eq!(push(&queue, half, now), Ok(()));
        assert_eq!(push(&queue, 0, now), Err(Full));
        let batch = take(&queue);
        assert_eq!((batch.len(), batch.lost), (2, 1));
        assert_eq!(push(&queue, 0, now), Err(Full), "the batch is not stored yet");
        queue.stored(batch, now);
        assert_eq!(push(&queue, 0, now), Ok(()));
        assert_eq!(take(&queue).lost, 1);
    }

    #[test]
    fn oldest_record_waits_until_it_is_stored() {
        let queue = Queue::new();
        let start = Instant::now();
        let later = start + Duration::from_secs(4);
        assert_eq!(queue.waiting_for(later), Duration::ZERO);
        push(&queue, 1, start).unwrap();
        let batch = take(&queue);
        assert_eq!(queue.waiting_for(later), Duration::from_secs(4));
        queue.stored(batch, later);
        assert_eq!(queue.waiting_for(later), Duration::ZERO);
    }

    #[tokio::test]
    async fn receipt_waits_for_the_first_success_or_the_last_failure() {
        let receipt = Receipt::new(2);
        receipt.fail();
        receipt.store();
        assert!(receipt.wait().await);
        let receipt = Receipt::new(2);
        receipt.fail();
        receipt.fail();
        assert!(!receipt.wait().await);
        assert!(!Receipt::new(0).wait().await);
    }
}
