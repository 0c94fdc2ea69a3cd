//! Opening a log after a start: with a checkpoint, and without.

use super::*;

#[test]
fn a_log_is_cut_back_to_its_checkpoint_and_what_came_later_is_applied_again() {
    let mut bench = Bench::new(64 + 4 * frame(0).bytes().len() as u64);
    for first in [0, 3, 4, 9] {
        bench.apply_all(first);
        let at = bench.checkpoint();
        let end = bench.end();
        bench.apply_all(11);
        bench.write_out();
        bench.reopen(at);
        assert_eq!(bench.end(), end);
        let known = usize::try_from(end.0 / 2).expect("small");
        assert_eq!(
            bench.read_through(0, 500),
            (bench.frames[..known].to_vec(), vec![])
        );
        for frame in bench.frames.clone() {
            bench.log.lock().apply(frame, None);
        }
        bench.write_out();
        assert_eq!(bench.read_through(0, 500), (bench.frames.clone(), vec![]));
    }
}

#[test]
fn opening_twice_gives_the_same() {
    let mut bench = Bench::filled();
    let at = bench.checkpoint();
    bench.reopen(at);
    assert_eq!(bench.log.lock().checkpoint(), at);
    bench.reopen(at);
    assert_eq!(bench.log.lock().checkpoint(), at);
    assert_eq!(bench.read_through(0, 500), (bench.frames.clone(), vec![]));
}

#[test]
fn without_a_checkpoint_every_sound_frame_counts_and_the_torn_end_is_cut() {
    let mut bench = Bench::filled();
    let whole = bench.bytes(&bench.segment(32));
    let torn = bench.position(2) + 100;
    for len in [torn, torn - 90, bench.position(2), bench.position(2) + 40] {
        bench.overwrite(&bench.segment(32), 0, &whole);
        bench.set_len(&bench.segment(32), len);
        bench.scan(Offset(0));
        assert_eq!(
            (bench.start(), bench.end()),
            (Offset(0), Offset(36)),
            "cut to {len}"
        );
        assert_eq!(
            bench.bytes(&bench.segment(32)).len() as u64,
            bench.position(2)
        );
        assert_eq!(
            bench.read_through(0, 500),
            (bench.frames[..18].to_vec(), vec![])
        );
        assert_eq!(bench.log.lock().last_append_time_ms(), 1_000_034);
    }
    bench.frames.truncate(18);
    bench.apply_all(7);
    bench.write_out();
    assert_eq!(bench.read_through(0, 500), (bench.frames.clone(), vec![]));
}

#[test]
fn without_a_checkpoint_the_start_that_is_known_counts() {
    let mut bench = Bench::filled();
    bench.scan(Offset(21));
    assert_eq!((bench.start(), bench.end()), (Offset(21), Offset(40)));
    bench.scan(Offset(70));
    assert_eq!((bench.start(), bench.end()), (Offset(70), Offset(70)));
    bench.apply_all(2);
    bench.write_out();
    assert_eq!(
        bench.read_through(70, 500),
        (bench.frames[20..].to_vec(), vec![])
    );
}

#[test]
fn a_scan_of_nothing_is_an_empty_log() {
    let mut bench = Bench::new(1_000);
    bench.scan(Offset(0));
    assert_eq!((bench.start(), bench.end()), (Offset(0), Offset(0)));
    bench.apply_all(1);
    bench.write_out();
    assert_eq!(bench.read_through(0, 1), (bench.frames.clone(), vec![]));
}

#[test]
fn foreign_files_are_left_alone() {
    let mut bench = Bench::filled();
    let foreign = [
        "notes.txt",
        "8.log",
        "0000000000000000000x.log",
        "00000000000000000100.log.bak",
    ];
    for name in foreign {
        bench
            .env
            .files
            .open(&bench.dir.join(name), Open::Create)
            .expect("a new file");
    }
    let at = bench.checkpoint();
    bench.reopen(at);
    assert_eq!(bench.read_through(0, 500), (bench.frames.clone(), vec![]));
    bench.scan(Offset(0));
    assert_eq!(bench.read_through(0, 500), (bench.frames.clone(), vec![]));
    for name in foreign {
        assert!(bench.exists(&bench.dir.join(name)), "{name}");
    }
}

#[test]
fn damage_in_the_middle_of_the_last_segment_does_not_end_a_scan() {
    let mut bench = Bench::filled();
    bench.flip(&bench.segment(32), bench.position(1) + 80);
    bench.scan(Offset(0));
    assert_eq!(bench.end(), Offset(40));
    assert_eq!(bench.read_through(0, 500).1, [(34, 36)]);
}

#[test]
fn a_scan_does_not_believe_an_index_about_where_the_log_ends() {
    use crate::storage::format::segment_file::IndexRow;
    let mut bench = Bench::filled();
    let len = bench.bytes(&bench.segment(32)).len();
    let wrong = [
        IndexRow {
            relative: 5_000,
            position: 100,
            latest_before_ms: 0,
        },
        IndexRow {
            relative: 5_000,
            position: u32::try_from(len).expect("small"),
            latest_before_ms: 0,
        },
        IndexRow {
            relative: 4,
            position: u32::try_from(bench.position(1)).expect("small"),
            latest_before_ms: 0,
        },
    ];
    for row in wrong {
        bench
            .env
            .files
            .open(&bench.index(32), Open::Create)
            .expect("a new file");
        bench.overwrite(&bench.index(32), 0, &row.encode());
        bench.scan(Offset(0));
        assert_eq!(bench.end(), Offset(40), "{row:?}");
        assert_eq!(
            bench.read_through(0, 500),
            (bench.frames.clone(), vec![]),
            "{row:?}"
        );
        bench.remove(&bench.index(32));
    }
}
