//! An erasure on a real disk.

use std::path::{Path, PathBuf};

use super::{Secret, assert_only_the_secret_is_gone, complete, create, everything, small_tables};
use crate::{
    broker::{Broker, Options},
    env::{Env, FileSystem, Open, sim::SimRandom},
    types::Version,
};

/// All files below a directory.
fn files(disk: &dyn FileSystem, dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in disk.read_dir(&dir).expect("it is there") {
            if entry.is_dir { &mut dirs } else { &mut files }.push(dir.join(entry.name));
        }
    }
    files
}

fn files_with(secret: &Secret, disk: &dyn FileSystem, dir: &Path) -> Vec<PathBuf> {
    let has = |path: &PathBuf| {
        let file = disk.open(path, Open::Read).expect("it was just listed");
        let mut content =
            vec![0; usize::try_from(file.len().expect("it has a length")).expect("it is small")];
        file.read_exact_at(&mut content, 0)
            .expect("it is that long");
        secret.is_in(&content)
    };
    files(disk, dir).into_iter().filter(has).collect()
}

#[test]
fn erased_bytes_are_gone_from_every_file_of_a_real_directory() {
    let temporary = tempfile::tempdir().expect("there is room");
    let dir = temporary.path().join("data");
    let options = Options {
        data_dir: dir.clone(),
        ..small_tables()
    };
    let broker = Broker::open_stepped(Env::system(), options.clone()).expect("it can be opened");
    create(&broker, "t", 1);
    let secret = Secret::new(&SimRandom::new(77));
    for nth in 0..16 {
        secret.append(&broker, nth, 15_000);
        if nth % 6 == 3 {
            broker.keep_house(true);
        }
    }
    let disk = Env::system().files;
    let before = everything(&broker);
    let endings: Vec<String> = files_with(&secret, &*disk, &dir)
        .iter()
        .filter_map(|path| Some(path.extension()?.to_string_lossy().into_owned()))
        .collect();
    assert!(
        endings.contains(&"log".to_owned()) && endings.contains(&"journal".to_owned()),
        "{endings:?}"
    );

    let erasure = secret.erase(&broker);
    secret.assert_hidden(&broker, 16);
    complete(&broker, || {
        broker.keep_house(false);
        broker.commit_all();
    });
    assert!(
        broker
            .describe_erasure(erasure.id)
            .expect("it is remembered")
            .complete
    );
    assert_eq!(files_with(&secret, &*disk, &dir), Vec::<PathBuf>::new());
    assert_only_the_secret_is_gone(&secret, &before, &everything(&broker));
    broker.close().expect("nothing fails");
    drop(broker);

    assert_eq!(files_with(&secret, &*disk, &dir), Vec::<PathBuf>::new());
    let broker = Broker::open_stepped(Env::system(), options).expect("it can be opened");
    assert_only_the_secret_is_gone(&secret, &before, &everything(&broker));
    assert_eq!(secret.append_at(&broker, 16, b"new"), Ok(Version(17)));
    broker.close().expect("nothing fails");
}
