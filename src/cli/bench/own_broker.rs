//! A broker for the measurement, started as `taffrail serve` in a second process.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use tokio::time::{sleep, timeout};

use super::{measure::BrokerCpu, scratch::Scratch};
use crate::{
    cli::Failure,
    env::{self, FileSystem},
};

/// The name of the broker's journal thread.
const JOURNAL_THREAD: &str = "journal";

/// The name of the threads on which its calls run.
const CALLS_THREADS: &str = "tokio-rt-worker";

/// The threads of a broker by their numbers.
pub(super) type Threads = BTreeMap<u32, env::Thread>;

/// The CPU time that threads have taken between two looks. It is exact to what a thread has taken
/// that has ended in between; the time of the process has a resolution of 10 ms.
pub(super) fn cpu_time_between(before: &Threads, after: &Threads) -> BrokerCpu {
    let mut cpu = BrokerCpu::default();
    for (number, thread) in after {
        let earlier = before.get(number).map(|thread| thread.cpu_time);
        let took = thread.cpu_time.saturating_sub(earlier.unwrap_or_default());
        cpu.all += took;
        match &*thread.name {
            JOURNAL_THREAD => cpu.journal += took,
            CALLS_THREADS => cpu.calls += took,
            _ => {}
        }
    }
    cpu
}

/// How long the removal of deleted topics is waited for, and how often it is looked for.
const REMOVAL: Duration = Duration::from_secs(30);
const REMOVAL_PAUSE: Duration = Duration::from_millis(50);

/// The broker's process, killed when this is dropped, because its data is not needed any more.
pub(super) struct OwnBroker {
    process: Child,
    url: String,
    data_dir: PathBuf,
}

impl OwnBroker {
    /// Starts a broker on a free port. It takes connections once [`listens`](Self::listens) has
    /// returned.
    pub(super) fn start(scratch: &Scratch) -> Result<Self, Failure> {
        let data_dir = scratch.path().join("data");
        Ok(Self {
            process: start_process(&data_dir, "127.0.0.1:0")?,
            url: String::new(),
            data_dir,
        })
    }

    /// Waits until it takes connections.
    pub(super) async fn listens(&mut self) -> Result<(), Failure> {
        let stdout = self.process.stdout.take().expect("it was asked for");
        let read = tokio::task::spawn_blocking(move || {
            let mut announcement = String::new();
            BufReader::new(stdout).read_line(&mut announcement)?;
            Ok::<_, io::Error>(announcement)
        });
        let read = read.await.expect("reading a line does not panic");
        let announcement = read.map_err(|error| cannot_start(&error))?;
        let url = announcement
            .split_whitespace()
            .find(|word| word.starts_with("http://"));
        let Some(url) = url else {
            return Err(Failure::General(
                "the broker that was started has ended; it has said why above".to_owned(),
            ));
        };
        url.clone_into(&mut self.url);
        Ok(())
    }

    /// Restarts it at the same address, with none of its files in the page cache.
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
        self.process = start_process(&self.data_dir, &listen)?;
        self.listens().await
    }

    /// Waits until the files of all topics are removed, which were deleted: the broker removes them
    /// with its next checkpoint. That takes processors and the disk, for which the next measurement
    /// would have to pay.
    pub(super) async fn removes_topics(&self, files: &Arc<dyn FileSystem>) {
        let topics = self.data_dir.join("topics");
        let removed = async {
            // An error ends the wait, too.
            while files.read_dir(&topics).is_ok_and(|left| !left.is_empty()) {
                sleep(REMOVAL_PAUSE).await;
            }
        };
        // Then it is measured as it is.
        drop(timeout(REMOVAL, removed).await);
    }

    /// Its CPU time so far.
    pub(super) fn cpu_time(&self) -> Option<BrokerCpu> {
        let id = self.process.id();
        let threads = self.threads()?;
        let all = env::cpu_time_of(id)?;
        // Threads of calls come and go, and what those that are gone have taken is not told by
        // thread. All others stay.
        let (mut journal, mut others) = (Duration::ZERO, Duration::ZERO);
        for thread in threads.values() {
            if thread.name == JOURNAL_THREAD {
                journal += thread.cpu_time;
            }
            if thread.name != CALLS_THREADS {
                others += thread.cpu_time;
            }
        }
        Some(BrokerCpu {
            all,
            journal,
            calls: all.saturating_sub(others),
        })
    }

    /// Its threads, and their CPU time so far.
    pub(super) fn threads(&self) -> Option<Threads> {
        env::threads_of(self.process.id())
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

fn start_process(data_dir: &Path, listen: &str) -> Result<Child, Failure> {
    let start = || {
        Command::new(std::env::current_exe()?)
            .args(["serve", "--listen", listen, "--log-level", "warn"])
            .arg("--data-dir")
            .arg(data_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
    };
    start().map_err(|error| cannot_start(&error))
}

fn cannot_start(error: &io::Error) -> Failure {
    Failure::General(format!("cannot start a broker: {error}"))
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
        // It may have ended already, which its clients have noticed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
