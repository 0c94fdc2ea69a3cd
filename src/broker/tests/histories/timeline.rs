//! The calls of a history by time, in a list from which calls can be removed and put back.

/// The place before the first point and behind the last.
const ENDS: usize = 0;

/// A point in time of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    /// Neither: the two ends of the list.
    Edge,
    /// A call was made.
    Begin(usize),
    /// A call was answered, or could not take effect any more.
    End(usize),
}

/// Where each call begins and ends. A call is given by its place in the history.
///
/// Removing a call and putting it back takes a few stores, as long as calls are put back in reverse
/// order: a removed point remembers its neighbours (Knuth, "Dancing links", 2000).
#[derive(Debug)]
pub(super) struct Timeline {
    points: Vec<Point>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// The points of each call: its begin and its end.
    of: Vec<(usize, usize)>,
}

impl Timeline {
    /// A timeline of calls with these begins and ends; `None` is an end later than all others. Of
    /// points at the same time, begins come first, which makes such calls concurrent.
    pub(super) fn new(calls: &[(u64, Option<u64>)]) -> Self {
        let mut at: Vec<(u64, Point)> = Vec::new();
        for (call, (begin, end)) in calls.iter().enumerate() {
            at.push((*begin, Point::Begin(call)));
            at.push((end.unwrap_or(u64::MAX), Point::End(call)));
        }
        at.sort_by_key(|(tick, point)| (*tick, matches!(point, Point::End(_))));
        let points: Vec<Point> = std::iter::once(Point::Edge)
            .chain(at.into_iter().map(|(_, point)| point))
            .collect();
        let mut of = vec![(0, 0); calls.len()];
        for (place, point) in points.iter().enumerate() {
            match *point {
                Point::Edge => {}
                Point::Begin(call) => of[call].0 = place,
                Point::End(call) => of[call].1 = place,
            }
        }
        let len = points.len();
        let next = (1..=len).map(|place| place % len).collect();
        let previous = (0..len).map(|place| (place + len - 1) % len).collect();
        Self {
            points,
            next,
            previous,
            of,
        }
    }

    /// The place of a call's end, by which ends can be compared.
    pub(super) fn end_of(&self, call: usize) -> usize {
        self.of[call].1
    }

    /// The first point of the list, and its place; the edge if the list is empty.
    pub(super) fn first(&self) -> (usize, Point) {
        self.at(self.next[ENDS])
    }

    /// The point behind a place, or behind its former place if it was just removed.
    pub(super) fn behind(&self, place: usize) -> (usize, Point) {
        let is_out = self.next[self.previous[place]] != place;
        self.at(if is_out {
            self.next[self.previous[place]]
        } else {
            self.next[place]
        })
    }

    fn at(&self, place: usize) -> (usize, Point) {
        (place, self.points[place])
    }

    /// The calls that begin before the first end, earliest first, and that end. No call in the list
    /// is over before one of these begins.
    pub(super) fn open(&self) -> (Vec<usize>, Point) {
        let mut calls = Vec::new();
        let (mut place, mut point) = self.first();
        while let Point::Begin(call) = point {
            calls.push(call);
            (place, point) = self.behind(place);
        }
        (calls, point)
    }

    pub(super) fn take_out(&mut self, call: usize) {
        let (begin, end) = self.of[call];
        for place in [begin, end] {
            self.next[self.previous[place]] = self.next[place];
            self.previous[self.next[place]] = self.previous[place];
        }
    }

    /// Puts back the call that was removed last.
    pub(super) fn put_back(&mut self, call: usize) {
        let (begin, end) = self.of[call];
        for place in [end, begin] {
            self.next[self.previous[place]] = place;
            self.previous[self.next[place]] = place;
        }
    }
}

#[test]
fn calls_are_taken_out_and_put_back_in_place() {
    // Call 0: from 1 to 4; call 1: from 2 to 3; call 2: from 5, without end.
    let mut timeline = Timeline::new(&[(1, Some(4)), (2, Some(3)), (5, None)]);
    assert_eq!(timeline.open(), (vec![0, 1], Point::End(1)));
    timeline.take_out(1);
    assert_eq!(timeline.open(), (vec![0], Point::End(0)));
    timeline.take_out(0);
    assert_eq!(timeline.open(), (vec![2], Point::End(2)));
    timeline.take_out(2);
    assert_eq!(timeline.open(), (vec![], Point::Edge));
    for call in [2, 0, 1] {
        timeline.put_back(call);
    }
    assert_eq!(timeline.open(), (vec![0, 1], Point::End(1)));
    assert!(timeline.end_of(1) < timeline.end_of(0) && timeline.end_of(0) < timeline.end_of(2));
}
