//! Backups and restores of directories that somebody has tampered with.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    process::Output,
    thread::sleep,
    time::Duration,
};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::{
    Serve, assert_does_not_start, assert_fails, binary, free_port, objects, run, seen, serve,
    temporary, text,
};

/// Puts something of a kind there that no backup has, in the place of what was there.
type Put = fn(&Path);

fn put_pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).expect("it is free");
}

fn put_link(path: &Path) {
    symlink("/etc/hostname", path).expect("it is free");
}

fn put_socket(path: &Path) {
    drop(UnixListener::bind(path).expect("it is free"));
}

const KINDS: [(Put, &str); 3] = [
    (put_pipe, "is a named pipe (FIFO)"),
    (put_link, "is a symbolic link"),
    (put_socket, "is a socket"),
];

/// Some file with records below a directory.
fn segment(dir: &Path) -> Option<PathBuf> {
    for entry in fs::read_dir(dir).expect("it is there") {
        let path = entry.expect("it is there").path();
        if path.is_dir() {
            if let Some(found) = segment(&path) {
                return Some(found);
            }
        } else if path.extension().is_some_and(|name| name == "log") {
            return Some(path);
        }
    }
    None
}

#[test]
fn nothing_but_files_and_directories_is_taken_for_a_part_of_a_backup() {
    let dir = temporary();
    // The path of a socket is short.
    let (data, backup) = (dir.path().join("d"), dir.path().join("b"));
    let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let (to, from) = (path(&dir.path().join("to")), path(&backup));
    let broker = Serve::start(&data, &free_port());
    broker.succeed(&["topic", "create", "t"], b"");
    broker.succeed(&["produce", "t"], b"one\ntwo\n");
    broker.succeed(&["backup", &from], b"");
    let incoming = backup.join("incoming");
    let segment = segment(&backup).expect("there are records");
    let content = fs::read(&segment).expect("it is a file");
    let places = [
        incoming.join("topics"),
        incoming.join("backup"),
        backup.join("lock"),
        backup.join("notes"),
        segment.clone(),
    ];
    for place in places {
        for (put, says) in KINDS {
            fs::create_dir_all(&incoming).expect("there is room");
            fs::remove_file(&place).ok();
            put(&place);
            let named = format!("{} {says}", place.display());
            for command in [
                &["backup", &*from][..],
                &["restore", &from, "--to", &to],
                &["inspect", &from],
            ] {
                let output = match command[0] {
                    "backup" => broker.run(command),
                    _ => run(command, b""),
                };
                assert_fails(&output, 78, &[&named]);
            }
            fs::remove_file(&place).expect("it is there");
            if place == segment {
                fs::write(&place, &content).expect("there is room");
            }
        }
    }
    fs::remove_dir_all(&incoming).expect("it is there");
    broker.succeed(&["backup", &from], b"");

    // What was begun here is removed nowhere else.
    let elsewhere = dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).expect("there is room");
    fs::write(elsewhere.join(".restoring"), "").expect("there is room");
    fs::write(elsewhere.join("mine"), "").expect("there is room");
    symlink(&elsewhere, format!("{to}.restoring")).expect("it is free");
    let restore = ["restore", &*from, "--to", &to];
    let output = run(&restore, b"");
    assert_fails(&output, 78, &["to.restoring is a symbolic link"]);
    assert!(elsewhere.join("mine").exists());
    fs::remove_file(format!("{to}.restoring")).expect("it is there");
    let output = run(&restore, b"");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn a_pipe_in_a_data_directory_is_damage_and_holds_nobody_up() {
    let dir = temporary();
    let broker = Serve::start(dir.path(), &free_port());
    broker.succeed(&["topic", "create", "t"], b"");
    broker.succeed(&["produce", "t"], b"one\n");
    assert_eq!(broker.stop(), Some(0));
    let segment = segment(dir.path()).expect("there are records");
    fs::remove_file(&segment).expect("it is there");
    put_pipe(&segment);
    let data = dir.path().to_str().expect("UTF-8");
    let inspected = run(&["inspect", data, "--verify"], b"");
    assert_fails(&inspected, 6, &["records are damaged"]);
    let said = text(&inspected.stdout);
    assert!(said.contains(&segment.display().to_string()), "{said}");
    let broker = Serve::start(dir.path(), &free_port());
    assert_fails(&broker.run(&["consume", "t"]), 6, &["damaged"]);
    assert_eq!(broker.stop(), Some(0));
}

/// The values of all records of topic `t`.
fn values(broker: &Serve) -> Vec<String> {
    let args = ["consume", "t", "--from", "earliest", "--format", "value"];
    let output = text(&broker.succeed(&args, b""));
    output.lines().map(str::to_owned).collect()
}

/// When the last record of topic `t` was appended.
fn newest(broker: &Serve) -> i64 {
    let args = ["consume", "t", "--from", "earliest", "--format", "json"];
    let records = objects(&broker.succeed(&args, b""));
    let last = records.last().expect("there are records");
    last["append_time_ms"].as_i64().expect("a number")
}

fn rfc3339(ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(ms).expect("it is near");
    format!("{time:.3}")
}

#[test]
fn a_restore_ends_at_a_commit_or_a_time_between_two_backups() {
    let dir = temporary();
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let (from, config) = (path("b"), path("taffrail.toml"));
    fs::write(&config, "[backup]\njournal = \"16MiB\"\n").expect("there is room");
    let mut command = serve(&dir.path().join("d"), &free_port());
    let broker = Serve::spawn(command.args(["--config", &config]));
    broker.succeed(&["topic", "create", "t"], b"");
    broker.succeed(&["produce", "t"], b"before\n");
    let first = broker.json(&["backup", &from]);
    let mut times = Vec::new();
    for number in 0..4 {
        broker.succeed(&["produce", "t"], format!("{number}\n").as_bytes());
        times.push(newest(&broker));
        sleep(Duration::from_millis(3));
    }
    broker.succeed(&["topic", "delete", "t", "--yes"], b"");
    let last = broker.json(&["backup", &from]);
    assert_eq!(broker.stop(), Some(0));

    let restored_until = |until: &str, to: &str| {
        let output = run(
            &["restore", &from, "--to", to, "--until", until, "--json"],
            b"",
        );
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let restored = objects(&output.stdout).remove(0);
        let broker = Serve::start(Path::new(to), "127.0.0.1:0");
        (restored, broker)
    };
    for number in 0..4 {
        let time = times[number];
        let mut known = vec!["before".to_owned()];
        known.extend((0..=number).map(|number| number.to_string()));
        let to = path(&format!("until-{number}"));
        let (restored, broker) = restored_until(&rfc3339(time), &to);
        assert_eq!(restored["taken_ms"], time);
        assert_eq!(values(&broker), known);
        // It goes on from there.
        broker.succeed(&["produce", "t"], b"later\n");
        assert_eq!(values(&broker).last().map(String::as_str), Some("later"));
        assert_eq!(broker.stop(), Some(0));

        let commit = restored["commit"].as_u64().expect("a number");
        if number != 2 {
            continue;
        }
        for (until, known) in [
            (rfc3339(time + 1), &known[..]),
            (commit.to_string(), &known),
            ((commit - 1).to_string(), &known[..number + 1]),
        ] {
            let to = path(&format!("as-well-{number}-{until}"));
            let (_, broker) = restored_until(&until, &to);
            assert_eq!(values(&broker), known, "{until}");
        }
    }
    let begun = first["commit"].as_u64().expect("a number");
    // The last commit has deleted the topic.
    let end = last["commit"].as_u64().expect("a number");
    let (_, broker) = restored_until(&end.to_string(), &path("end"));
    assert_fails(&broker.run(&["consume", "t"]), 4, &["no topic"]);

    let [earlier, later] = [&first, &last].map(|taken| taken["taken_ms"].as_i64());
    let (earlier, later) = (earlier.expect("a number"), later.expect("a number"));
    let range = format!(
        "can be restored until any commit from {begun} to {end}, or any time from {} to {}",
        rfc3339(earlier),
        rfc3339(later)
    );
    let outside = [
        (begun - 1).to_string(),
        (end + 1).to_string(),
        rfc3339(earlier - 1),
        rfc3339(later + 1),
    ];
    let to = path("no");
    let restore = |until: &str| run(&["restore", &from, "--to", &to, "--until", until], b"");
    for until in outside {
        assert_fails(&restore(&until), 78, &[&range]);
    }
    for until in ["", "yesterday", "2026-13-01T00:00:00Z"] {
        assert_fails(
            &restore(until),
            2,
            &["--until", "neither the number of a commit"],
        );
    }
    assert!(!Path::new(&to).exists());
    // A backup with nothing before it.
    let alone = path("end-backup");
    broker.succeed(&["backup", &alone], b"");
    let output = run(&["restore", &alone, "--to", &to, "--until", "1"], b"");
    assert_fails(&output, 78, &["as of that alone", "backup.journal"]);
}

#[test]
fn a_number_alone_is_never_a_time_until_which_is_restored_and_a_time_without_a_zone_is_utc() {
    let dir = temporary();
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let (from, config) = (path("b"), path("taffrail.toml"));
    fs::write(&config, "[backup]\njournal = \"16MiB\"\n").expect("there is room");
    let mut command = serve(&dir.path().join("d"), &free_port());
    let broker = Serve::spawn(command.args(["--config", &config]));
    broker.succeed(&["topic", "create", "t"], b"");
    broker.succeed(&["backup", &from], b"");
    broker.succeed(&["produce", "t"], b"one\n");
    let taken = broker.json(&["backup", &from]);
    let taken_ms = taken["taken_ms"].as_i64().expect("a number");
    let to = path("to");
    let restore = |until: &str| {
        let args = ["restore", &from, "--to", &to, "--until", until, "--json"];
        run(&args, b"")
    };
    let time = rfc3339(taken_ms);
    let says = format!(
        "{taken_ms} is taken for the number of a commit, not for a time: in milliseconds it would \
         be {time}"
    );
    assert_fails(&restore(&taken_ms.to_string()), 78, &[&says]);
    let later = rfc3339(taken_ms + 1).replace('Z', "");
    assert_fails(&restore(&later), 78, &["can be restored until"]);
    let output = restore(&time.replace('Z', ""));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(objects(&output.stdout)[0]["commit"], taken["commit"]);
}

#[test]
fn a_backup_says_what_it_can_be_restored_until_and_why_it_cannot() {
    let dir = temporary();
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let (to, config) = (path("b"), path("taffrail.toml"));
    let start = |journal: &str| {
        let content = format!("[backup]\njournal = \"{journal}\"\n");
        fs::write(&config, content).expect("there is room");
        let mut command = serve(&dir.path().join("d"), &free_port());
        Serve::spawn(command.args(["--config", &config]))
    };
    let broker = start("0");
    broker.succeed(&["topic", "create", "t"], b"");
    let no_range = |taken: &serde_json::Value, says: &str| {
        assert!(taken["range"].is_null(), "{taken}");
        let why = taken["no_range"].as_str().expect("it is said");
        assert!(why.contains(says), "{why:?} does not say {says:?}");
    };
    no_range(&broker.json(&["backup", &to]), "keeps no journal entries");
    assert_eq!(broker.stop(), Some(0));

    let broker = start("64KiB");
    let first = broker.json(&["backup", &to]);
    no_range(&first, "no backup was in its directory");
    broker.succeed(&["produce", "t"], b"one\n");
    let second = broker.json(&["backup", &to]);
    let range = &second["range"];
    for (end, taken) in [("from", &first), ("to", &second)] {
        assert_eq!(range[end]["commit"], taken["commit"]);
        assert_eq!(range[end]["taken_ms"], taken["taken_ms"]);
    }
    assert!(second["no_range"].is_null(), "{second}");
    broker.succeed(&["produce", "t"], b"two\n");
    let taken = broker.run(&["backup", &to]);
    let said = "it can be restored until any commit from";
    assert!(
        text(&taken.stdout).contains(said),
        "{}",
        text(&taken.stdout)
    );
    assert_eq!(text(&taken.stderr), "");
    let inspected = run(&["inspect", &to], b"");
    assert!(
        text(&inspected.stdout).contains(said),
        "{}",
        text(&inspected.stdout)
    );

    // More than is kept.
    broker.succeed(&["produce", "t"], &b"0123456789abcdef\n".repeat(8_192));
    assert_eq!(broker.stop(), Some(0));
    let broker = start("64KiB");
    let taken = broker.run(&["backup", &to, "--json"]);
    no_range(&objects(&taken.stdout)[0], "than backup.journal holds");
    assert!(
        text(&taken.stderr).contains("as of its own moment alone"),
        "{}",
        text(&taken.stderr)
    );
    broker.succeed(&["produce", "t", "--key", "k"], b"three\n");
    let taken = broker.json(&["backup", &to]);
    assert!(taken["range"].is_object(), "{taken}");

    let other = path("other");
    broker.json(&["backup", &other]);
    broker.succeed(&["entity", "erase", "t", "k", "--yes", "--wait"], b"");
    no_range(&broker.json(&["backup", &to]), "behind an erasure");
    broker.succeed(&["produce", "t"], b"four\n");
    no_range(&broker.json(&["backup", &other]), "behind an erasure");
    let inspected = run(&["inspect", &to, "--json"], b"");
    assert!(objects(&inspected.stdout)[0]["backup"]["range"].is_null());
}

/// Runs a restore in this directory.
fn restore_in(dir: &Path, args: &[&str]) -> Output {
    let mut command = binary();
    let command = command.current_dir(dir).arg("restore").args(args);
    command.output().expect("the binary is there")
}

#[test]
fn a_restore_goes_to_any_empty_directory_or_is_refused_before_it_copies() {
    let dir = temporary();
    let root = dir.path();
    let broker = Serve::start(&root.join("d"), &free_port());
    broker.succeed(&["topic", "create", "t"], b"");
    broker.succeed(&["produce", "t"], b"one\n");
    let backup = root.join("b");
    let from = backup.to_str().expect("UTF-8");
    broker.succeed(&["backup", from], b"");
    assert_eq!(broker.stop(), Some(0));
    for name in ["empty", "volume/lost+found", "here", "led-to"] {
        fs::create_dir_all(root.join(name)).expect("there is room");
    }
    symlink(root.join("led-to"), root.join("link")).expect("it is free");
    let (here, inode) = (root.join("here"), |name: &str| {
        fs::metadata(root.join(name)).expect("it is there").ino()
    });
    let places = [
        (root, "missing/", "missing"),
        (root, "empty/", "empty"),
        (root, "volume", "volume"),
        (&*here, ".", "here"),
        (root, "link", "led-to"),
    ];
    let before = ["empty", "volume", "here", "led-to"].map(inode);
    for (dir, to, made) in places {
        let output = restore_in(dir, &[from, "--to", to]);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{to}: {}",
            text(&output.stderr)
        );
        let broker = Serve::start(&root.join(made), &free_port());
        assert_eq!(values(&broker), ["one"]);
        assert_eq!(broker.stop(), Some(0));
    }
    // A mount point cannot be another directory afterwards.
    assert_eq!(["empty", "volume", "here", "led-to"].map(inode), before);

    fs::write(root.join("file"), "").expect("there is room");
    symlink(root.join("nowhere"), root.join("dangling")).expect("it is free");
    let inside = backup.join("sub");
    let entries = || fs::read_dir(root).expect("it is there").count();
    let before = entries();
    for (to, says) in [
        ("file", "file is not a directory"),
        ("file/below", "file is not a directory"),
        ("no/parent", "directory no is missing"),
        ("dangling", "dangling is a symbolic link"),
        ("empty", "not empty"),
        (inside.to_str().expect("UTF-8"), "is in the backup"),
    ] {
        assert_fails(&restore_in(root, &[from, "--to", to]), 78, &[says]);
    }
    assert_eq!(entries(), before);
    assert!(!inside.exists());

    // What a restore has left that was cut off at its end.
    fs::create_dir(root.join("empty/.restore")).expect("there is room");
    let says = "a restore that was cut off";
    assert_fails(&restore_in(root, &[from, "--to", "empty"]), 78, &[says]);
    assert_does_not_start(&mut serve(&root.join("empty"), "127.0.0.1:0"), &[says]);
}

#[test]
fn a_restore_of_what_is_no_backup_or_too_early_a_one_says_so() {
    let dir = temporary();
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let (data, early, late, to) = (path("d"), path("early"), path("late"), path("to"));
    let broker = Serve::start(Path::new(&data), &free_port());
    broker.succeed(&["topic", "create", "t"], b"");
    broker.succeed(&["produce", "t"], b"one\n");
    broker.succeed(&["backup", &early], b"");
    broker.succeed(&["produce", "t"], b"two\n");
    broker.succeed(&["backup", &late], b"");
    fs::write(path("file"), "").expect("there is room");
    // It has a socket, and its broker runs.
    for (from, says) in [
        (&data, "lacks the mark"),
        (&"/etc".to_owned(), "lacks the mark"),
        (&path("file"), "is not a directory"),
    ] {
        assert_fails(&run(&["restore", from, "--to", &to], b""), 78, &[says]);
    }
    let restore = |from: &str, other: &str, to: &str| {
        run(&["restore", from, "--to", to, "--erasures-of", other], b"")
    };
    assert_fails(
        &restore(&late, &early, &to),
        78,
        &["is earlier than", "give a later one"],
    );
    let output = restore(&early, &late, &to);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).contains("0 erasures"),
        "{}",
        text(&output.stdout)
    );

    let missing = segment(Path::new(&late)).expect("there are records");
    fs::remove_file(&missing).expect("it is there");
    let output = run(&["restore", &late, "--to", &path("other")], b"");
    assert_fails(&output, 6, &["is damaged", "take another one"]);
}

#[test]
fn metrics_and_status_tell_what_a_directory_could_be_restored_until() {
    let dir = temporary();
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let (to, config) = (path("b"), path("taffrail.toml"));
    fs::write(&config, "[backup]\njournal = \"64KiB\"\n").expect("there is room");
    let mut command = serve(&dir.path().join("d"), &free_port());
    let broker = Serve::spawn(command.args(["--config", &config]));
    broker.succeed(&["topic", "create", "t"], b"");
    let shown = |name: &str| {
        let (_, page) = seen::get(&seen::address(&broker), "/metrics", "*/*");
        let name = format!("taffrail_backup_journal_{name} ");
        let line = page.lines().find_map(|line| line.strip_prefix(&name));
        line.map(|number| number.parse::<u64>().expect("a number"))
    };
    let told = || text(&broker.run(&["status"]).stdout);

    // None are kept before the first backup.
    assert_eq!(shown("limit_bytes"), Some(64 << 10));
    assert_eq!(shown("bytes"), Some(0));
    assert_eq!((shown("first_commit"), shown("last_commit")), (None, None));
    let nothing = "no journal entries are kept for restores: the next backup begins that";
    assert!(told().contains(nothing), "{}", told());

    let first = broker.json(&["backup", &to]);
    broker.succeed(&["produce", "t"], b"one\n");
    let kept = shown("bytes").expect("it is known");
    assert!(kept > 0 && kept <= 64 << 10, "{kept}");
    let (from, until) = (shown("first_commit"), shown("last_commit"));
    assert_eq!(from, first["commit"].as_u64());
    let status = &broker.json(&["status"])["backup_journal"];
    let told = [from, until].map(|commit| commit.expect("it is known").to_string());
    let says = format!("is as of commit {} or later", told[0]);
    let status_text = text(&broker.run(&["status"]).stdout);
    assert!(status_text.contains(&says), "no {says:?} in {status_text}");
    let says = format!("until any commit up to {}", told[1]);
    assert!(status_text.contains(&says), "no {says:?} in {status_text}");
    assert_eq!(status["bytes"].as_u64(), Some(kept));
    assert_eq!(status["limit_bytes"].as_u64(), Some(64 << 10));
    assert_eq!(status["first_commit"].as_u64(), from);
    assert_eq!(status["last_commit"].as_u64(), until);

    // It is what the next backup in the directory has.
    let second = broker.json(&["backup", &to]);
    assert_eq!(second["range"]["from"]["commit"].as_u64(), from);
    assert_eq!(second["range"]["to"]["commit"].as_u64(), until);
}
