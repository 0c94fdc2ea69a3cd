//! Grants are taken over from the configuration file while the broker runs.

use std::{path::PathBuf, sync::Arc};

use clap::Parser;
use tempfile::TempDir;

use crate::{
    cli::{
        flags::ServeFlags,
        reload::Watched,
        serve::{load, read},
    },
    env::Env,
    server::Auth,
};

const GRANTS: &str = "[[grant]]\nprincipals = [\"token:a\"]\noperations = [\"admin\"]\n";

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: ServeFlags,
}

/// A broker's configuration file and the grants from it.
struct World {
    path: PathBuf,
    auth: Arc<Auth>,
    watched: Watched,
    _dir: TempDir,
}

impl World {
    fn new(text: &str) -> Self {
        let dir = TempDir::new().expect("a directory");
        let path = dir.path().join("taffrail.toml");
        put(&path, text);
        let config = path.to_str().expect("it is text");
        let Line { flags } = Line::parse_from(["taffrail", "--config", config]);
        let file = read(&flags).expect("the file is there");
        let loaded = load(&flags, file.as_ref()).expect("the file is right");
        let auth = Auth::new(loaded.config.grants().clone(), loaded.config.exposure());
        let auth = Arc::new(auth);
        Self {
            watched: Watched::new(flags, Arc::clone(&auth), Env::system().clock, file),
            path,
            auth,
            _dir: dir,
        }
    }

    /// Writes the file, and has it read this many times. Returns how many grants count then.
    fn grants_after(&mut self, text: &str, looks: usize) -> usize {
        put(&self.path, text);
        for _ in 0..looks {
            self.watched.look();
        }
        self.auth.count()
    }
}

#[expect(clippy::disallowed_methods, reason = "a file of the operator's")]
fn put(path: &std::path::Path, text: &str) {
    std::fs::write(path, text).expect("there is room");
}

#[test]
fn a_file_that_is_being_written_is_not_taken_over() {
    let mut world = World::new(&GRANTS.repeat(2));
    assert_eq!(world.grants_after("", 1), 2);
    assert_eq!(world.grants_after(GRANTS, 1), 2);
    assert_eq!(world.grants_after(&GRANTS.repeat(3), 1), 2);
    assert_eq!(world.grants_after(&GRANTS.repeat(3), 1), 3);
}

#[test]
fn a_file_that_would_let_everybody_do_everything_waits_for_a_start() {
    let mut world = World::new(GRANTS);
    assert_eq!(world.grants_after("", 3), 1);
    assert_eq!(world.grants_after(&GRANTS.repeat(2), 2), 2);
    let mut open = World::new("");
    assert_eq!(open.grants_after(GRANTS, 2), 1);
}

#[test]
fn what_has_changed_since_the_start_has_read_it_is_taken_over() {
    let mut world = World::new(GRANTS);
    // The file has changed before it was read again for the first time.
    assert_eq!(world.grants_after(&GRANTS.repeat(2), 2), 2);
}
