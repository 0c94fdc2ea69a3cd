//! Commits of group members that wait for one another.

use crate::broker::commit::Gathering;

#[test]
fn commits_wait_for_others_where_appends_come_and_others_came_the_last_time() {
    let mut gathering = Gathering::default();
    assert!(!gathering.is_worth_it());
    gathering.written(3, 3, false);
    assert!(!gathering.is_worth_it(), "nobody appends");
    gathering.written(2, 1, true);
    assert!(gathering.is_worth_it());
    gathering.written(1, 1, false);
    assert!(!gathering.is_worth_it(), "it was alone");
    gathering.written(1, 0, true);
    assert!(
        !gathering.is_worth_it(),
        "an append says nothing of commits"
    );
    gathering.written(2, 2, false);
    assert!(gathering.is_worth_it());
    for _ in 0..10 {
        gathering.written(2, 2, false);
    }
    assert!(!gathering.is_worth_it(), "nobody appends any more");
}
