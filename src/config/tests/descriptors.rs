//! Descriptors are divided so that files and connections cannot take each other's.

use crate::config::Descriptors;

fn divide(limit: u64, segments: usize, connections: usize) -> (usize, usize) {
    let wanted = Descriptors {
        segments,
        connections,
    };
    let divided = Descriptors::divide(limit, wanted);
    (divided.segments, divided.connections)
}

#[test]
fn what_is_wanted_is_given_where_there_is_enough() {
    assert_eq!(divide(1 << 20, 1_024, 1_000), (1_024, 1_000));
    assert_eq!(divide(u64::MAX, 32_768, 100_000), (32_768, 100_000));
    assert_eq!(divide(98 + 1_024 + 1_000, 1_024, 1_000), (1_024, 1_000));
}

#[test]
fn segments_get_half_of_what_is_left_and_what_connections_do_not_take() {
    assert_eq!(divide(1_024, 1_024, 1_000), (463, 463));
    assert_eq!(divide(256, 1_024, 1_000), (79, 79));
    assert_eq!(divide(256, 16, 1_000), (16, 142));
    assert_eq!(divide(256, 1_024, 10), (148, 10));
    assert_eq!(divide(100, 1_024, 1_000), (25, 25));
}

#[test]
fn together_they_never_take_more_than_there_is_and_never_nothing() {
    for limit in 4..3_000 {
        for (wanted_segments, wanted_connections) in
            [(16, 1), (16, 1_000), (1_024, 1_000), (1_024, 4)]
        {
            let (segments, connections) = divide(limit, wanted_segments, wanted_connections);
            assert!(
                segments + connections <= limit as usize,
                "of {limit}: {segments}, {connections}"
            );
            assert!(
                (1..=wanted_segments).contains(&segments),
                "of {limit}: {segments}"
            );
            assert!(
                (1..=wanted_connections).contains(&connections),
                "of {limit}: {connections}"
            );
        }
    }
}
