//! Commands that are stopped, by SIGINT or SIGTERM.

use std::{fs, io::Write, path::Path, process::Child, thread, time::Duration};

use rustix::process::{Pid, Signal, kill_process};

use super::{assert_fails, binary, high_watermark, run, started, temporary, text};

fn tell(process: &Child, signal: Signal) {
    kill_process(Pid::from_child(process), signal).expect("it runs");
}

const SIGNALS: [(Signal, i32); 2] = [(Signal::INT, 130), (Signal::TERM, 143)];

#[test]
fn produce_says_how_far_it_came_and_goes_on_there() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    let mut stored = 0;
    for (signal, code) in SIGNALS {
        let mut producing = binary()
            .args(["produce", "t", "--server", &broker.url])
            .spawn()
            .expect("the binary is there");
        let mut stdin = producing.stdin.take().expect("it is piped");
        stdin
            .write_all(b"1\n2\n3\nno whole line")
            .expect("it reads");
        stored += 3;
        while high_watermark(&broker) < stored {
            thread::yield_now();
        }
        tell(&producing, signal);
        let output = producing.wait_with_output().expect("it was started here");
        assert_fails(&output, code, &["lines 1 to 3 are stored", "--skip 3"]);
        assert!(
            text(&output.stdout).contains("3 records"),
            "{}",
            text(&output.stdout)
        );
    }
    broker.succeed(&["produce", "t", "--skip", "3"], b"1\n2\n3\n4\n");
    let values = text(&broker.succeed(&["consume", "t", "--from", "3"], b""));
    assert_eq!(values, "1\n2\n3\n4\n");
}

#[test]
fn produce_that_waits_for_a_lost_broker_ends_when_it_is_told_to_twice() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    let mut producing = binary()
        .args(["produce", "t", "--server", &broker.url, "--retry-for", "1h"])
        .spawn()
        .expect("the binary is there");
    let mut stdin = producing.stdin.take().expect("it is piped");
    stdin.write_all(b"1\n2\n").expect("it reads");
    while high_watermark(&broker) < 2 {
        thread::yield_now();
    }
    broker.kill();
    stdin.write_all(b"3\n").expect("it reads");
    // Signals that arrive while one is pending are merged, so each is repeated until it has had an
    // effect.
    while producing.try_wait().expect("it was started here").is_none() {
        tell(&producing, Signal::INT);
        thread::yield_now();
    }
    let output = producing.wait_with_output().expect("it was started here");
    assert_fails(&output, 130, &["interrupted", "stored"]);
}

#[test]
fn an_append_of_all_lines_that_is_stopped_before_its_last_line_stores_none() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    let mut producing = binary()
        .args([
            "produce",
            "t",
            "--key",
            "k",
            "--expect-version",
            "0",
            "--server",
            &broker.url,
        ])
        .spawn()
        .expect("the binary is there");
    let mut stdin = producing.stdin.take().expect("it is piped");
    // More than a pipe holds, so some of it has been read when this returns.
    stdin
        .write_all(&b"a line\n".repeat(60_000))
        .expect("it reads");
    tell(&producing, Signal::TERM);
    let output = producing.wait_with_output().expect("it was started here");
    assert_fails(&output, 143, &["nothing was stored"]);
    assert_eq!(high_watermark(&broker), 0);
}

fn entries(dir: &Path) -> usize {
    fs::read_dir(dir).expect("it is there").count()
}

#[test]
fn bench_leaves_nothing_behind() {
    for (signal, code) in SIGNALS {
        let dir = temporary();
        let name = dir.path().to_str().expect("UTF-8");
        let mut measuring = binary()
            .args(["bench", "produce", "--dir", name])
            .spawn()
            .expect("the binary is there");
        let measures_the_disk = || {
            let scratch = fs::read_dir(dir.path()).expect("it is there").next();
            scratch.is_some_and(|scratch| {
                scratch
                    .expect("it can be read")
                    .path()
                    .join("sequential")
                    .exists()
            })
        };
        while !measures_the_disk() {
            assert!(measuring.try_wait().expect("it was started here").is_none());
            thread::yield_now();
        }
        tell(&measuring, signal);
        let output = measuring.wait_with_output().expect("it was started here");
        assert_fails(&output, code, &["interrupted"]);
        assert_eq!(entries(dir.path()), 0, "after {signal:?}");
    }
}

/// A pipe has more bytes than this only if it is nearly full.
const NEARLY_FULL: u64 = 60_000;

#[test]
fn a_member_whose_output_nobody_reads_leaves_when_it_is_told_to_stop() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    broker.succeed(
        &["produce", "t"],
        &b"a line of some length\n".repeat(20_000),
    );
    for (signal, code) in SIGNALS {
        let mut consuming = binary()
            .args(["consume", "t", "--group", "g", "--follow"])
            .args(["--server", &broker.url])
            .spawn()
            .expect("the binary is there");
        let pipe = consuming.stdout.as_ref().expect("it is piped");
        while rustix::io::ioctl_fionread(pipe).expect("it is a pipe") < NEARLY_FULL {
            thread::yield_now();
        }
        tell(&consuming, signal);
        let mut ended = None;
        for _ in 0..3_000 {
            ended = consuming.try_wait().expect("it was started here");
            if ended.is_some() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let Some(ended) = ended else {
            consuming.kill().expect("it runs");
            panic!("it waits for a reader after {signal:?}");
        };
        assert_eq!(ended.code(), Some(code));
        let group = broker.json(&["group", "list"]);
        assert_eq!(group["groups"][0]["members"], 0, "{group}");
    }
}

#[test]
fn a_restore_says_where_it_was_stopped_and_the_next_one_begins_anew() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    let record = [&[b'x'; 1_000][..], b"\n"].concat();
    broker.succeed(&["produce", "t"], &record.repeat(20_000));
    let elsewhere = temporary();
    let path = |name: &str| {
        let path = elsewhere.path().join(name);
        path.to_str().expect("UTF-8").to_owned()
    };
    let backup = path("backup");
    broker.succeed(&["backup", &backup], b"");
    for (signal, code) in SIGNALS {
        let to = path(&format!("restored-{code}"));
        let (to, left) = (Path::new(&to), format!("{to}.restoring"));
        let args = ["restore", &*backup, "--to", to.to_str().expect("UTF-8")];
        let restoring = binary().args(args).spawn().expect("the binary is there");
        while !to.exists() && !Path::new(&left).exists() {
            thread::yield_now();
        }
        tell(&restoring, signal);
        let output = restoring.wait_with_output().expect("it was started here");
        // It may have come to its end before.
        if output.status.code() == Some(0) {
            assert!(to.exists(), "{}", text(&output.stderr));
            continue;
        }
        assert_fails(&output, code, &["was stopped before its end", &left]);
        assert!(!to.exists());
        let again = run(&args, b"");
        assert_eq!(again.status.code(), Some(0), "{}", text(&again.stderr));
        assert!(to.exists() && !Path::new(&left).exists());
    }
}
