//! A broker for the measurement: `taffrail serve` as a second process.

use std::{
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use super::scratch::Scratch;
use crate::{
    cli::Failure,
    env::{self, FileSystem},
};

/// Ended when it is dropped; its data is not needed any more.
pub(super) struct OwnBroker {
    process: Child,
    url: String,
    data_dir: PathBuf,
}

impl OwnBroker {
    /// Starts one on a free port and waits until it takes connections.
    pub(super) async fn start(scratch: &Scratch) -> Result<Self, Failure> {
        Self::start_on(scratch.path().join("data"), "127.0.0.1:0".to_owned()).await
    }

    async fn start_on(data_dir: PathBuf, listen: String) -> Result<Self, Failure> {
        let dir = data_dir.clone();
        let start = tokio::task::spawn_blocking(move || {
            let mut process = Command::new(std::env::current_exe()?)
                .args([
                    "serve",
                    "--listen",
                    &listen,
                    "--log-level",
                    "warn",
                    "--data-dir",
                ])
                .arg(dir)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()?;
            let mut announcement = String::new();
            let stdout = process.stdout.take().expect("it was asked for");
            BufReader::new(stdout).read_line(&mut announcement)?;
            Ok::<_, io::Error>((process, announcement))
        });
        let started = start.await.expect("starting a process does not panic");
        let (process, announcement) =
            started.map_err(|error| Failure::General(format!("cannot start a broker: {error}")))?;

        let url = announcement
            .split_whitespace()
            .find(|word| word.starts_with("http://"));
        let broker = Self {
            process,
            url: url.unwrap_or_default().to_owned(),
            data_dir,
        };
        if broker.url.is_empty() {
            return Err(Failure::General(
                "the broker that was started has ended; it has said why above".to_owned(),
            ));
        }
        Ok(broker)
    }

    /// Starts it anew, at the same address, with nothing of its files in memory.
    pub(super) async fn restart_cold(
        &mut self,
        files: &Arc<dyn FileSystem>,
    ) -> Result<(), Failure> {
        let problem =
            |error: io::Error| Failure::General(format!("cannot start the broker anew: {error}"));
        env::ask_to_stop(&self.process).map_err(problem)?;
        tokio::task::block_in_place(|| self.process.wait()).map_err(problem)?;
        let (dir, files) = (self.data_dir.clone(), Arc::clone(files));
        let dropped = tokio::task::spawn_blocking(move || drop_from_cache(&*files, &dir)).await;
        dropped
            .expect("dropping files from memory does not panic")
            .map_err(problem)?;
        let listen = self.url.trim_start_matches("http://").to_owned();
        *self = Self::start_on(self.data_dir.clone(), listen).await?;
        Ok(())
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

fn drop_from_cache(files: &dyn FileSystem, dir: &Path) -> io::Result<()> {
    for entry in files.read_dir(dir)? {
        let path = dir.join(entry.name);
        if entry.is_dir {
            drop_from_cache(files, &path)?;
        } else {
            env::drop_from_cache(&path)?;
        }
    }
    Ok(())
}

impl Drop for OwnBroker {
    fn drop(&mut self) {
        // It may have ended by itself, which its clients have noticed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
