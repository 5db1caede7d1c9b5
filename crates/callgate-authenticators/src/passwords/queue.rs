//! A queue ordered by the standing of its sources.

use std::collections::{HashMap, VecDeque};

use callgate::authn::SourceKey;

use super::sources::{Class, Standing};

/// First in, first out within a source.
///
/// Known and new sources take turns, and failing ones come last. Within a class, the source with the
/// lower load comes first; sources with the same load take turns.
#[derive(Debug)]
pub(super) struct RankedQueue<T> {
    lanes: HashMap<SourceKey, Lane<T>>,
    length: usize,
    /// Numbers the turns of lanes.
    turns: u64,
    last_class: Class,
}

#[derive(Debug)]
struct Lane<T> {
    items: VecDeque<T>,
    standing: Standing,
    /// Among lanes with the same standing, the lowest is next.
    turn: u64,
}

impl<T> Default for RankedQueue<T> {
    fn default() -> Self {
        Self { lanes: HashMap::new(), length: 0, turns: 0, last_class: Class::Known }
    }
}

impl<T> RankedQueue<T> {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// How many items would be served before a new one of `source`, if no others arrived.
    pub(super) fn ahead_of(&self, source: &SourceKey, standing: Standing) -> usize {
        let mine = self.lanes.get(source).map_or(0, |lane| lane.items.len());
        let before = |(other, lane): (&SourceKey, &Lane<T>)| match lane.standing {
            _ if other == source => mine,
            other if other.class != standing.class => 0,
            other if other.load < standing.load => lane.items.len(),
            other if other.load == standing.load => lane.items.len().min(mine + 1),
            _ => 0,
        };
        let same_class: usize = self.lanes.iter().map(before).sum();
        match standing.class {
            Class::Known => same_class + self.waiting(Class::New).min(same_class + 1),
            Class::New => same_class + self.waiting(Class::Known).min(same_class + 1),
            Class::Failing => same_class + self.waiting(Class::Known) + self.waiting(Class::New),
        }
    }

    pub(super) fn push(&mut self, source: SourceKey, standing: Standing, item: T) {
        self.length += 1;
        self.turns += 1;
        let new = || Lane { items: VecDeque::new(), standing, turn: self.turns };
        let lane = self.lanes.entry(source).or_insert_with(new);
        lane.standing = standing;
        lane.items.push_back(item);
    }

    /// Moves the waiting items of `source`, if there are any, to where they now stand.
    pub(super) fn restate(&mut self, source: &SourceKey, standing: Standing) {
        if let Some(lane) = self.lanes.get_mut(source) {
            lane.standing = standing;
        }
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let order = match self.last_class {
            Class::Known => [Class::New, Class::Known, Class::Failing],
            Class::New | Class::Failing => [Class::Known, Class::New, Class::Failing],
        };
        let (class, source) =
            order.into_iter().find_map(|class| Some((class, self.first(class)?.clone())))?;
        self.last_class = class;
        self.turns += 1;
        let lane = self.lanes.get_mut(&source)?;
        lane.turn = self.turns;
        let item = lane.items.pop_front();
        self.forget_if_empty(&source);
        self.length -= 1;
        item
    }

    /// Removes the latest item of the lowest of the sources that `standing` outranks.
    pub(super) fn shed_for(&mut self, source: &SourceKey, standing: Standing) -> Option<T> {
        let outranked = |(other, lane): &(&SourceKey, &Lane<T>)| {
            *other != source && standing.outranks(lane.standing)
        };
        let lowest = self.lanes.iter().filter(outranked).max_by_key(|(_, lane)| {
            (lane.standing.class == Class::Failing, lane.standing.load, lane.turn)
        });
        let lowest = lowest.map(|(source, _)| source.clone())?;
        self.remove_last(&lowest)
    }

    /// Removes the latest item of the source with the most items, if those are more than `source`
    /// would have with a new one: a full queue makes room at the expense of the source that filled it.
    pub(super) fn shed_longest_for(&mut self, source: &SourceKey) -> Option<T> {
        let mine = self.lanes.get(source).map_or(0, |lane| lane.items.len());
        let (longest, lane) = self.lanes.iter().max_by_key(|(_, lane)| lane.items.len())?;
        if lane.items.len() <= mine + 1 || longest == source {
            return None;
        }
        let longest = longest.clone();
        self.remove_last(&longest)
    }

    /// Removes the latest item of `source` that is `wanted`.
    pub(super) fn remove(&mut self, source: &SourceKey, wanted: impl Fn(&T) -> bool) -> Option<T> {
        let lane = self.lanes.get_mut(source)?;
        let place = lane.items.iter().rposition(wanted)?;
        let item = lane.items.remove(place);
        self.forget_if_empty(source);
        self.length -= 1;
        item
    }

    /// Removes every item that is `unwanted`.
    pub(super) fn extract(&mut self, unwanted: impl Fn(&T) -> bool) -> Vec<T> {
        let mut extracted = Vec::new();
        for lane in self.lanes.values_mut() {
            if lane.items.iter().any(&unwanted) {
                let items = std::mem::take(&mut lane.items);
                let (removed, kept) = items.into_iter().partition::<Vec<_>, _>(&unwanted);
                lane.items = kept.into();
                extracted.extend(removed);
            }
        }
        self.lanes.retain(|_, lane| !lane.items.is_empty());
        self.length -= extracted.len();
        extracted
    }

    fn waiting(&self, class: Class) -> usize {
        let lanes = self.lanes.values().filter(|lane| lane.standing.class == class);
        lanes.map(|lane| lane.items.len()).sum()
    }

    fn first(&self, class: Class) -> Option<&SourceKey> {
        let lanes = self.lanes.iter().filter(|(_, lane)| lane.standing.class == class);
        lanes.min_by_key(|(_, lane)| (lane.standing.load, lane.turn)).map(|(source, _)| source)
    }

    fn remove_last(&mut self, source: &SourceKey) -> Option<T> {
        self.remove(source, |_| true)
    }

    fn forget_if_empty(&mut self, source: &SourceKey) {
        if self.lanes.get(source).is_some_and(|lane| lane.items.is_empty()) {
            self.lanes.remove(source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: u8) -> SourceKey {
        SourceKey::Address([10, 0, 0, number].into())
    }

    fn standing(class: Class, load: u32) -> Standing {
        Standing { class, load }
    }

    const NEW: Standing = Standing { class: Class::New, load: 1 };
    const FAILING: Standing = Standing { class: Class::Failing, load: 1 };

    fn all<T>(queue: &mut RankedQueue<T>) -> Vec<T> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn flood_does_not_delay_other_sources() {
        let mut queue = RankedQueue::default();
        for number in 0..100 {
            queue.push(source(1), NEW, (1, number));
        }
        assert_eq!(queue.ahead_of(&source(1), NEW), 100);
        assert_eq!(queue.ahead_of(&source(2), NEW), 1);
        queue.push(source(2), NEW, (2, 0));
        queue.push(source(2), NEW, (2, 1));
        queue.push(source(3), NEW, (3, 0));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).take(7).collect();
        assert_eq!(order, [(1, 0), (2, 0), (3, 0), (1, 1), (2, 1), (1, 2), (1, 3)]);
        assert_eq!(queue.len(), 96);
    }

    #[test]
    fn class_and_load_decide_the_order() {
        let mut queue = RankedQueue::default();
        for (number, class, load) in [
            (1, Class::Failing, 1),
            (2, Class::New, 7),
            (3, Class::New, 1),
            (4, Class::Known, 9),
            (5, Class::Known, 0),
            (6, Class::New, 1),
            (7, Class::Failing, 0),
        ] {
            queue.push(source(number), standing(class, load), number);
        }
        assert_eq!(queue.ahead_of(&source(8), standing(Class::New, 1)), 2 + 2);
        assert_eq!(queue.ahead_of(&source(8), standing(Class::Known, 0)), 1 + 2);
        assert_eq!(queue.ahead_of(&source(8), standing(Class::Failing, 0)), 1 + 5);
        assert_eq!(all(&mut queue), [3, 5, 6, 4, 2, 7, 1]);
    }

    #[test]
    fn waiting_items_move_when_their_source_fails() {
        let mut queue = RankedQueue::default();
        queue.push(source(1), NEW, 1);
        queue.push(source(2), NEW, 2);
        queue.restate(&source(1), FAILING);
        queue.restate(&source(3), FAILING);
        assert_eq!(all(&mut queue), [2, 1]);
    }

    #[test]
    fn empty_queue_forgets_its_sources() {
        let mut queue = RankedQueue::default();
        queue.push(source(1), NEW, ());
        assert_eq!(queue.pop(), Some(()));
        assert_eq!(queue.pop(), None);
        queue.push(source(1), NEW, ());
        assert_eq!(queue.extract(|()| true), [()]);
        assert_eq!((queue.len(), queue.lanes.len()), (0, 0));
    }

    #[test]
    fn lower_ranked_sources_make_room() {
        let mut queue = RankedQueue::default();
        queue.push(source(1), FAILING, 1);
        queue.push(source(1), FAILING, 2);
        queue.push(source(2), standing(Class::New, 5), 3);
        queue.push(source(3), standing(Class::Known, 9), 4);
        assert_eq!(queue.shed_for(&source(1), FAILING), None);
        assert_eq!(queue.shed_for(&source(4), NEW), Some(2));
        assert_eq!(queue.shed_for(&source(4), NEW), Some(1));
        assert_eq!(queue.shed_for(&source(4), NEW), Some(3));
        // New sources take nothing from known ones, which have turns of their own.
        assert_eq!(queue.shed_for(&source(4), NEW), None);
        assert_eq!(all(&mut queue), [4]);
    }

    #[test]
    fn full_queue_displaces_the_flood() {
        let mut queue = RankedQueue::default();
        for number in 0..5 {
            queue.push(source(1), NEW, (1, number));
        }
        queue.push(source(2), NEW, (2, 0));
        assert_eq!(queue.shed_longest_for(&source(1)), None);
        assert_eq!(queue.shed_longest_for(&source(2)), Some((1, 4)));
        assert_eq!(queue.shed_longest_for(&source(3)), Some((1, 3)));
        assert_eq!(queue.shed_longest_for(&source(3)), Some((1, 2)));
        // A source with two items gives up one for a source without, but not for one that would then have as many.
        assert_eq!(queue.shed_longest_for(&source(2)), None);
        assert_eq!(queue.shed_longest_for(&source(3)), Some((1, 1)));
        assert_eq!(queue.shed_longest_for(&source(3)), None);
        assert_eq!(all(&mut queue), [(1, 0), (2, 0)]);
    }

    #[test]
    fn removed_item_leaves_no_trace() {
        let mut queue = RankedQueue::default();
        for number in 0..3 {
            queue.push(source(1), NEW, number);
        }
        queue.push(source(2), NEW, 7);
        assert_eq!(queue.remove(&source(1), |number| *number == 1), Some(1));
        assert_eq!(queue.remove(&source(1), |number| *number == 1), None);
        assert_eq!(queue.remove(&source(2), |_| true), Some(7));
        assert_eq!(queue.remove(&source(3), |_| true), None);
        assert_eq!(all(&mut queue), [0, 2]);
        assert_eq!((queue.len(), queue.lanes.len()), (0, 0));
    }
}
