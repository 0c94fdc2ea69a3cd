//! Parts, shares, and the division of the whole.

use std::sync::Arc;

use proptest::prelude::*;

use super::{Budget, Held, Holder, Name, Part, Short, Sizes, parts};

const SHORT: Short = Short { part: Name::Reads };

fn part(bound: usize) -> Arc<Part> {
    Arc::new(Part::new(Name::Reads, bound))
}

#[test]
fn a_holder_alone_gets_half_of_what_is_open_and_one_who_comes_new_finds_room() {
    let part = part(800);
    let (greedy, polite) = (part.holder(), part.holder());
    let half = greedy.take(300).unwrap();
    assert_eq!(greedy.take(1).unwrap_err(), SHORT);
    let quarter = polite.take(150).unwrap();
    assert_eq!(polite.take(1).unwrap_err(), SHORT);
    assert_eq!((part.used(), part.free()), (450, 350));
    drop((half, quarter));
    assert_eq!((part.used(), part.most()), (0, 450));
    assert_eq!((greedy.has(), polite.has()), (0, 0));
}

#[test]
fn what_is_held_grows_and_shrinks_within_the_share() {
    let part = part(800);
    let holder = part.holder();
    let mut held = holder.take(200).unwrap();
    held.grow(100).unwrap();
    assert_eq!(held.grow(1).unwrap_err(), SHORT);
    held.shrink_to(10);
    assert_eq!((held.bytes(), holder.has(), part.used()), (10, 10, 10));
    let beyond = holder.take_beyond_share(590).unwrap();
    assert_eq!(holder.take_beyond_share(1).unwrap_err(), SHORT);
    let all = holder.take_within_bound(200).unwrap();
    assert_eq!(holder.take_within_bound(1).unwrap_err(), SHORT);
    drop((held, beyond, all));
    assert_eq!(part.used(), 0);
}

#[test]
fn of_a_basic_share_there_is_what_the_holder_does_not_have() {
    let part = part(4_096 * 10);
    let greedy = part.holder().take_beyond_share(3_072 * 10).unwrap();
    let holder = part.holder();
    let some = holder.take(4).unwrap();
    assert_eq!(holder.take(7).unwrap_err(), SHORT);
    assert_eq!(holder.take_beyond_share(7).unwrap_err(), SHORT);
    let rest = holder.take_basic(7).unwrap();
    assert_eq!((rest.bytes(), holder.has()), (6, 10));
    assert_eq!(holder.take_basic(7).unwrap_err(), SHORT);
    drop((greedy, some, rest));
}

#[test]
fn what_is_used_of_a_part_within_another_counts_in_both() {
    let whole = part(800);
    let within = Arc::new(whole.within(80));
    let holder = within.holder();
    let held = holder.take(30).unwrap();
    assert_eq!(holder.take(1).unwrap_err(), SHORT);
    within.add(7);
    assert_eq!((within.used(), whole.used(), whole.most()), (37, 37, 37));
    within.subtract(7);
    drop(held);
    assert_eq!((within.used(), whole.used()), (0, 0));
}

#[test]
fn what_had_to_be_taken_leaves_nothing_to_others() {
    let part = part(100);
    part.add(150);
    assert_eq!((part.used(), part.free()), (150, 0));
    assert_eq!(part.holder().take(1).unwrap_err(), SHORT);
    part.subtract(150);
    assert!(part.holder().take(1).is_ok());
}

#[test]
fn the_whole_is_divided_without_a_rest_and_no_part_is_below_its_least() {
    for bytes in [parts::MIN_BYTES, 1 << 30, 2 << 30] {
        let sizes = Sizes::of_whole(bytes);
        assert_eq!(sizes.whole(), bytes);
        for name in Name::ALL {
            assert!(sizes.of(name) >= name.min_bytes(), "{name:?} of {bytes}");
        }
        let budget = Budget::new(&sizes.with(Name::Calls, 7));
        assert_eq!(budget.part(Name::Calls).bound(), 7);
        assert!(budget.parts().map(Part::name).eq(Name::ALL));
    }
}

#[test]
fn an_eighth_of_the_machine_is_used_within_bounds() {
    let gib = |bytes: f64| (bytes * f64::from(1 << 30)) as u64;
    assert_eq!(parts::default_bytes(gib(0.5)), 320 << 20);
    assert_eq!(parts::default_bytes(gib(8.0)), 1 << 30);
    assert_eq!(parts::default_bytes(gib(24.0)), 2 << 30);
}

proptest! {
    /// Whatever the holders do, the books add up, and each holder finds room for its basic share.
    #[test]
    fn there_is_always_room_for_a_basic_share(
        steps in proptest::collection::vec((0usize..40, 1usize..20_000, 0..4), 1..400)
    ) {
        let part = part(4_096 * 10);
        prop_assert_eq!(part.basic(), 10);
        let mut holders: Vec<(Holder, Vec<Held>)> =
            (0..40).map(|_| (part.holder(), Vec::new())).collect();
        let all = |held: &Vec<Held>| held.iter().map(Held::bytes).sum::<usize>();
        for (who, bytes, what) in steps {
            let (holder, held) = &mut holders[who];
            match what {
                0 => drop(held.pop()),
                1 => held.extend(holder.take_beyond_share(bytes)),
                2 => held.extend(holder.take_basic(bytes)),
                _ => held.extend(holder.take(bytes)),
            }
            prop_assert_eq!(holder.has(), all(held));
        }
        prop_assert_eq!(part.used(), holders.iter().map(|(_, held)| all(held)).sum::<usize>());
        let others: Vec<Holder> = (0..984).map(|_| part.holder()).collect();
        let basic: Result<Vec<Held>, Short> = others.iter().map(|holder| holder.take(10)).collect();
        prop_assert!(basic.is_ok());
        for (holder, held) in &mut holders {
            prop_assert!(all(held) > 0 || holder.take(10).is_ok());
        }
    }
}

#[test]
fn fewer_holders_have_larger_basic_shares() {
    let sizes = Sizes::default().with(Name::Calls, 4_000);
    let basic = |sizes: &Sizes| Budget::new(sizes).part(Name::Calls).basic();
    assert_eq!(basic(&sizes.for_holders(10)), 100);
    assert_eq!(basic(&sizes.for_holders(1_000)), 1);
    assert_eq!(basic(&sizes), 0);
}

#[test]
fn what_parts_are_given_leaves_the_others_their_least_or_is_refused() {
    let mib = |bytes: usize| bytes << 20;
    let mut given = super::Given::default();
    given[Name::KeyIndex as usize] = Some(mib(128));
    let sizes = Sizes::divide(mib(335), &given).unwrap();
    assert!(sizes.whole() <= mib(335));
    assert_eq!(sizes.of(Name::KeyIndex), mib(128));
    for name in Name::ALL {
        assert!(sizes.of(name) >= name.min_bytes(), "{name:?}: {sizes:?}");
    }
    given[Name::Windows as usize] = Some(mib(80));
    assert_eq!(
        Sizes::divide(mib(320), &given),
        Err(super::TooLittle {
            rest: mib(320 - 128 - 80),
            needed: mib(48 + 64 + 2 * 16 + 20),
        })
    );
    assert_eq!(
        Sizes::divide(mib(512), &super::Given::default()),
        Ok(Sizes::of_whole(mib(512)))
    );
}
