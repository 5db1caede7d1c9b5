//! A queue that serves sources in turn, so that a flood delays only its own source.

use std::collections::{HashMap, VecDeque};

use callgate::authn::SourceKey;

/// First in, first out within a source; one item of each source in turn.
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

    /// How many items would be served before a new one of `source`, if no others arrived.
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

    /// Removes the latest item of the source with the most items, if those are more than `source`
    /// would have with a new one: a full queue makes room at the expense of the source that filled it.
    pub(super) fn make_room_for(&mut self, source: &SourceKey) -> Option<T> {
        let mine = self.lanes.get(source).map_or(0, VecDeque::len);
        let (longest, lane) = self.lanes.iter_mut().max_by_key(|(_, lane)| lane.len())?;
        // A lane with more than one item does not become empty.
        if lane.len() <= mine + 1 || longest == source {
            return None;
        }
        let item = lane.pop_back();
        self.length = self.length.saturating_sub(1);
        item
    }

    /// Removes the latest item of `source` that is `wanted`.
    pub(super) fn remove(&mut self, source: &SourceKey, wanted: impl Fn(&T) -> bool) -> Option<T> {
        let lane = self.lanes.get_mut(source)?;
        let place = lane.iter().rposition(wanted)?;
        let item = lane.remove(place);
        if lane.is_empty() {
            self.lanes.remove(source);
            self.turns.retain(|turn| turn != source);
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
    fn a_flood_does_not_delay_other_sources() {
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

    #[test]
    fn a_full_queue_makes_room_at_the_floods_expense() {
        let mut queue = FairQueue::default();
        for number in 0..5 {
            queue.push(source(1), (1, number));
        }
        queue.push(source(2), (2, 0));
        assert_eq!(queue.make_room_for(&source(1)), None);
        assert_eq!(queue.make_room_for(&source(2)), Some((1, 4)));
        assert_eq!(queue.make_room_for(&source(3)), Some((1, 3)));
        assert_eq!(queue.make_room_for(&source(3)), Some((1, 2)));
        // A source with two items gives up one for a source without, but not for one that would then have as many.
        assert_eq!(queue.make_room_for(&source(2)), None);
        assert_eq!(queue.make_room_for(&source(3)), Some((1, 1)));
        assert_eq!(queue.make_room_for(&source(3)), None);
        assert_eq!((queue.len(), queue.pop(), queue.pop()), (2, Some((1, 0)), Some((2, 0))));
    }

    #[test]
    fn a_removed_item_leaves_no_trace() {
        let mut queue = FairQueue::default();
        for number in 0..3 {
            queue.push(source(1), number);
        }
        queue.push(source(2), 7);
        assert_eq!(queue.remove(&source(1), |number| *number == 1), Some(1));
        assert_eq!(queue.remove(&source(1), |number| *number == 1), None);
        assert_eq!(queue.remove(&source(2), |_| true), Some(7));
        assert_eq!(queue.remove(&source(3), |_| true), None);
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [0, 2]);
        assert_eq!((queue.len(), queue.lanes.len(), queue.turns.len()), (0, 0, 0));
    }
}
