//! The calls of a history by time, as a list from which calls can be taken out and put back.

/// The point before the first and behind the last.
const ENDS: usize = 0;

/// A point in time of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    /// Neither: the ends of the list meet here.
    Edge,
    /// A call was made.
    Begin(usize),
    /// A call was answered, or could take effect no longer.
    End(usize),
}

/// Where each call begins and ends. Calls are known by their place in the history.
///
/// Taking a call out and putting it back costs a few stores, as long as calls are put back in the
/// reverse order: what was taken out remembers its neighbours (Knuth, "Dancing links", 2000).
#[derive(Debug)]
pub(super) struct Timeline {
    points: Vec<Point>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// The points of each call: its begin and its end.
    of: Vec<(usize, usize)>,
}

impl Timeline {
    /// Of calls that begin and end then; no end is later than all others. Of points at the same
    /// time begins come first, which calls such calls concurrent.
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

    /// Where the end of a call lies among all ends.
    pub(super) fn end_of(&self, call: usize) -> usize {
        self.of[call].1
    }

    /// The first point of the list and its place; the edge if there is none.
    pub(super) fn first(&self) -> (usize, Point) {
        self.at(self.next[ENDS])
    }

    /// The point behind a place; or behind where it was, if it has just been taken out.
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

    /// The calls that begin before the first end, earliest first: none of the list is over before
    /// they begin. And that end.
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

    /// Puts back the call that was taken out last.
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
    // 0: 1 to 4, 1: 2 to 3, 2: 5 to no end.
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
