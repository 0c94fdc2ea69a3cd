//! Directories that cannot be inspected.

use super::*;

fn refusal(dir: &Path) -> String {
    inspect(&Env::system(), dir, true)
        .expect_err("it is refused")
        .to_string()
}

#[test]
fn a_missing_directory_an_empty_one_and_a_file_are_refused_by_name() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let missing = temp.path().join("nowhere");
    assert!(refusal(&missing).contains(&missing.display().to_string()));
    assert!(refusal(temp.path()).contains("is not there, or empty"));
    let file = temp.path().join("file");
    Env::system()
        .files
        .open(&file, Open::Create)
        .expect("a new file");
    assert!(refusal(&file).contains(&file.display().to_string()));
}

#[test]
fn a_foreign_directory_is_refused() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    Env::system()
        .files
        .open(&temp.path().join("notes.txt"), Open::Create)
        .expect("a new file");
    assert!(refusal(temp.path()).contains("is not a taffrail data directory"));
    let ours = Directory::filled();
    replace_file(
        &*ours.env.files,
        &ours.root().join("taffrail"),
        b"a program",
    )
    .expect("room");
    assert!(refusal(ours.root()).contains("is not a taffrail data directory"));
}

#[test]
fn a_directory_of_a_newer_version_is_refused() {
    let dir = Directory::filled();
    let newer = [
        &b"TFRLDATA"[..],
        &(VERSION_WITH_BLOCKS + 1).to_le_bytes(),
        b"whatever",
    ]
    .concat();
    replace_file(&*dir.env.files, &dir.root().join("taffrail"), &newer).expect("room");
    assert!(
        refusal(dir.root()).contains(&format!("has format version {}", VERSION_WITH_BLOCKS + 1))
    );
}
