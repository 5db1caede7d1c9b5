//! A queue in which sources take turns, so that one that floods waits behind itself.

use std::collections::{HashMap, VecDeque};

use callgate::authn::SourceKey;

/// First in, first out within a source; one at a time from each source in turn.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    lanes: HashMap<SourceKey, VecDeque<T>>,
    turns: VecDeque<SourceKey>,
    length: usize,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { lanes: HashMap::new(), turns: VecDeque::new(), length: 0 }
    }
}

impl<T> FairQueue<T> {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// How many would be served before a new one of `source`, if nobody else came.
    pub(super) fn ahead_of(&self, source: &SourceKey) -> usize {
        let mine = self.lanes.get(source).map_or(0, VecDeque::len);
        self.lanes.values().map(|lane| lane.len().min(mine + 1)).sum()
    }

    pub(super) fn push(&mut self, source: SourceKey, item: T) {
        self.length += 1;
        if let Some(lane) = self.lanes.get_mut(&source) {
            lane.push_back(item);
            return;
        }
        self.turns.push_back(source.clone());
        self.lanes.insert(source, VecDeque::from([item]));
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let source = self.turns.pop_front()?;
        let lane = self.lanes.get_mut(&source)?;
        let item = lane.pop_front();
        if lane.is_empty() {
            self.lanes.remove(&source);
        } else {
            self.turns.push_back(source);
        }
        self.length = self.length.saturating_sub(1);
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: u8) -> SourceKey {
        SourceKey::Address([10, 0, 0, number].into())
    }

    #[test]
    fn a_source_that_floods_does_not_delay_the_others() {
        let mut queue = FairQueue::default();
        for number in 0..100 {
            queue.push(source(1), (1, number));
        }
        assert_eq!(queue.ahead_of(&source(1)), 100);
        assert_eq!(queue.ahead_of(&source(2)), 1);
        queue.push(source(2), (2, 0));
        queue.push(source(2), (2, 1));
        queue.push(source(3), (3, 0));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).take(7).collect();
        assert_eq!(order, [(1, 0), (2, 0), (3, 0), (1, 1), (2, 1), (1, 2), (1, 3)]);
        assert_eq!(queue.len(), 96);
    }

    #[test]
    fn an_empty_queue_forgets_its_sources() {
        let mut queue = FairQueue::default();
        queue.push(source(1), ());
        assert_eq!(queue.pop(), Some(()));
        assert_eq!(queue.pop(), None);
        assert_eq!((queue.len(), queue.lanes.len(), queue.turns.len()), (0, 0, 0));
    }
}
