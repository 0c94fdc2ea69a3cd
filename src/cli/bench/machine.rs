//! Measures what the machine can do, with the operations that the broker uses.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use super::{
    measure::{Latencies, Stopwatch, median},
    scratch::Scratch,
};
use crate::{
    cli::Failure,
    env::{AlignedBuffer, Env, File, Open},
};

/// How many bytes are written sequentially, and how many for each sync.
const SEQUENTIAL_BYTES: u64 = 512 << 20;
const STEP_BYTES: usize = 1 << 20;

/// How many small synced writes are made, and how large they are.
const SMALL_WRITES: u64 = 1000;
const SMALL_BYTES: usize = 4096;

/// How many bytes are sent over loopback.
const LOOPBACK_BYTES: u64 = 1 << 30;

/// The machine's limits: rates in MB/s, and the time of one write with its sync.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Machine {
    /// Sequential writes of 1 MiB into a preallocated file, each synced: the figure for the disk.
    pub(super) disk: f64,
    /// Sequential writes of 1 MiB with direct I/O into a file that was written before, each synced.
    pub(super) disk_direct: f64,
    /// The median of one write of 4 KiB and its sync, in a preallocated file.
    pub(super) small_sync: Duration,
    /// The rate of one TCP stream.
    pub(super) loopback: f64,
}

impl Machine {
    /// Measures all limits. Takes some seconds, and some disk space for that time.
    pub(super) fn measure(env: &Env, scratch: &Scratch) -> Result<Self, Failure> {
        let disk = |error: io::Error| {
            Failure::General(format!(
                "cannot measure the disk: {error}; choose another one with --dir"
            ))
        };
        let (disk, disk_direct, small_sync) = measure_disk(env, scratch).map_err(disk)?;
        let loopback = measure_loopback(env, scratch).map_err(|error| {
            Failure::General(format!(
                "cannot measure a connection over loopback: {error}"
            ))
        })?;
        Ok(Self {
            disk,
            disk_direct,
            small_sync,
            loopback,
        })
    }

    /// The median of each limit. They are measured before every run, because other users of the
    /// machine change them from minute to minute.
    pub(super) fn medians(machines: &[Self]) -> Self {
        Self {
            disk: median(machines, |machine| machine.disk),
            disk_direct: median(machines, |machine| machine.disk_direct),
            small_sync: median(machines, |machine| machine.small_sync),
            loopback: median(machines, |machine| machine.loopback),
        }
    }
}

fn measure_disk(env: &Env, scratch: &Scratch) -> io::Result<(f64, f64, Duration)> {
    let path = scratch.path().join("sequential");
    let file = preallocated(env, &path, SEQUENTIAL_BYTES)?;
    let buffered = write_in_steps(env, scratch, &*file)?;
    drop(file);
    let direct = write_in_steps(env, scratch, &*env.files.open(&path, Open::Direct)?)?;
    env.files.remove_file(&path)?;

    let path = scratch.path().join("small");
    let file = preallocated(env, &path, SMALL_WRITES * SMALL_BYTES as u64)?;
    let mut latencies = Latencies::new();
    for number in 0..SMALL_WRITES {
        scratch.check_wanted()?;
        let watch = Stopwatch::start(&env.clock);
        file.write_all_at(&[&[7; SMALL_BYTES]], number * SMALL_BYTES as u64)?;
        file.sync_data()?;
        latencies.record(watch.elapsed());
    }
    env.files.remove_file(&path)?;
    Ok((buffered, direct, latencies.quantile(0.5)))
}

/// Creates a file with all its space reserved, so that nothing is allocated while it is measured.
fn preallocated(env: &Env, path: &std::path::Path, bytes: u64) -> io::Result<Arc<dyn File>> {
    let file = env.files.open(path, Open::Create)?;
    file.allocate(bytes)?;
    file.sync_data()?;
    Ok(file)
}

/// Writes a file from start to end, with a sync after each step; returns MB/s.
fn write_in_steps(env: &Env, scratch: &Scratch, file: &dyn File) -> io::Result<f64> {
    let mut step = AlignedBuffer::with_capacity(STEP_BYTES);
    step.extend(&vec![7; STEP_BYTES]);
    let watch = Stopwatch::start(&env.clock);
    for position in (0..SEQUENTIAL_BYTES).step_by(STEP_BYTES) {
        scratch.check_wanted()?;
        file.write_all_at(&[step.as_slice()], position)?;
        file.sync_data()?;
    }
    Ok(megabytes_per_second(SEQUENTIAL_BYTES, watch.elapsed()))
}

fn measure_loopback(env: &Env, scratch: &Scratch) -> io::Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let sender =
        thread::Builder::new()
            .name("loopback".to_owned())
            .spawn(move || -> io::Result<()> {
                let mut stream = TcpStream::connect(address)?;
                let step = vec![7; STEP_BYTES];
                for _ in (0..LOOPBACK_BYTES).step_by(STEP_BYTES) {
                    stream.write_all(&step)?;
                }
                Ok(())
            })?;

    let (mut stream, _) = listener.accept()?;
    let (mut buffer, mut received) = (vec![0; STEP_BYTES], 0);
    let watch = Stopwatch::start(&env.clock);
    while received < LOOPBACK_BYTES {
        scratch.check_wanted()?;
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => received += read as u64,
        }
    }
    let speed = megabytes_per_second(received, watch.elapsed());
    sender.join().expect("sending does not panic")?;
    Ok(speed)
}

#[expect(clippy::cast_precision_loss, reason = "three digits are printed")]
fn megabytes_per_second(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / 1e6 / took.as_secs_f64()
}
