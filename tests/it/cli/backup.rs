//! Backups and restores of directories that somebody has tampered with.

use std::{
    fs,
    os::unix::{fs::symlink, net::UnixListener},
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::{Serve, assert_fails, free_port, run, temporary, text};

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
