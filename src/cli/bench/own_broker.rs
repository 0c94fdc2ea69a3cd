//! A broker for the measurement: `taffrail serve` as a second process.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use super::scratch::Scratch;
use crate::cli::Failure;

/// Ended when it is dropped; its data is not needed any more.
pub(super) struct OwnBroker {
    process: Child,
    url: String,
}

impl OwnBroker {
    /// Starts one on a free port and waits until it takes connections.
    pub(super) async fn start(scratch: &Scratch) -> Result<Self, Failure> {
        let data_dir = scratch.path().join("data");
        let start = tokio::task::spawn_blocking(move || {
            let mut process = Command::new(std::env::current_exe()?)
                .args(["serve", "--listen", "127.0.0.1:0", "--log-level", "warn", "--data-dir"])
                .arg(data_dir)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()?;
            let mut announcement = String::new();
            let stdout = process.stdout.take().expect("it was asked for");
            BufReader::new(stdout).read_line(&mut announcement)?;
            Ok::<_, std::io::Error>((process, announcement))
        });
        let started = start.await.expect("starting a process does not panic");
        let (process, announcement) =
            started.map_err(|error| Failure::General(format!("cannot start a broker: {error}")))?;

        let url = announcement.split_whitespace().find(|word| word.starts_with("http://"));
        let broker = Self { process, url: url.unwrap_or_default().to_owned() };
        if broker.url.is_empty() {
            return Err(Failure::General("the broker that was started has ended; it has said why above".to_owned()));
        }
        Ok(broker)
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for OwnBroker {
    fn drop(&mut self) {
        // It may have ended by itself, which its clients have noticed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
