//! A proxy that delays bytes, drops answers and cuts connections, as drawn from a seed.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
};

/// Runs until it is dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    faults: Arc<Faults>,
    accepting: JoinHandle<()>,
}

/// Random numbers from a seed: <https://prng.di.unimi.it/splitmix64.c>.
pub(crate) struct Chance(AtomicU64);

struct Faults {
    chance: Chance,
    /// How many further connections get a fault; later ones have none, so that tests end.
    left: AtomicU64,
    cut: AtomicU64,
}

/// The faults of one connection.
#[derive(Clone, Copy, Debug)]
struct Fate {
    /// After this many bytes in this direction, the connection is cut.
    requests: u64,
    answers: u64,
    /// Responses behind this many bytes are dropped, while requests pass.
    heard: u64,
    /// The longest delay.
    delay: Duration,
}

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// A number below `end`.
    pub(crate) fn below(&self, end: u64) -> u64 {
        let mut z = self
            .0
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
            .wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

impl Proxy {
    /// Listens on a free port of `ip` and connects to `broker` from there, so that it takes no port
    /// of the broker's address while the broker is down. The first `faults` connections get faults.
    pub(crate) async fn start(ip: IpAddr, broker: SocketAddr, seed: u64, faults: u64) -> Self {
        let listener = TcpListener::bind((ip, 0))
            .await
            .expect("a loopback address has a free port");
        let address = listener.local_addr().expect("it is bound");
        let left = AtomicU64::new(faults);
        let faults = Arc::new(Faults {
            chance: Chance::new(seed),
            left,
            cut: AtomicU64::new(0),
        });
        let drawing = faults.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, ip, broker, drawing.clone()));
            }
        });
        Self {
            address,
            faults,
            accepting,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections were cut.
    pub(crate) fn cut(&self) -> u64 {
        self.faults.cut.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Faults {
    fn draw(&self) -> Option<Fate> {
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .ok()?;
        let any = || self.chance.below(8_000);
        let mut fate = Fate {
            requests: u64::MAX,
            answers: u64::MAX,
            heard: u64::MAX,
            delay: Duration::ZERO,
        };
        match self.chance.below(4) {
            0 => fate.requests = any(),
            1 => fate.answers = any() / 4,
            _ => (fate.heard, fate.requests) = (any() / 8, any()),
        }
        if self.chance.below(2) == 0 {
            fate.delay = Duration::from_micros(self.chance.below(3_000));
        }
        Some(fate)
    }
}

/// Passes the bytes of a connection on until it ends or is cut.
async fn pass(client: TcpStream, ip: IpAddr, broker: SocketAddr, faults: Arc<Faults>) {
    let Ok(broker) = connect(ip, broker).await else {
        return;
    };
    let fate = faults.draw();
    let honest = Fate {
        requests: u64::MAX,
        answers: u64::MAX,
        heard: u64::MAX,
        delay: Duration::ZERO,
    };
    let Fate {
        requests,
        answers,
        heard,
        delay,
    } = fate.unwrap_or(honest);
    drop((client.set_nodelay(true), broker.set_nodelay(true)));
    let (from_client, to_client) = client.into_split();
    let (from_broker, to_broker) = broker.into_split();
    // The end of one direction ends both, which cuts the connection.
    tokio::select! {
        () = pump(from_client, to_broker, (requests, u64::MAX), delay) => {}
        () = pump(from_broker, to_client, (answers, heard), delay) => {}
        // A client whose answers are dropped might wait for long.
        () = tokio::time::sleep(Duration::from_millis(300)), if heard != u64::MAX => {}
    }
    if fate.is_some() {
        faults.cut.fetch_add(1, Ordering::Relaxed);
    }
}

async fn connect(ip: IpAddr, broker: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((ip, 0).into())?;
    socket.connect(broker).await
}

/// Passes bytes on, drops those behind `heard`, and ends after `most` bytes.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    (most, heard): (u64, u64),
    delay: Duration,
) {
    let (mut buffer, mut passed) = ([0; 4_096], 0);
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let upto = |end: u64| {
            usize::try_from(end.saturating_sub(passed)).map_or(read, |left| left.min(read))
        };
        if to
            .write_all(&buffer[..upto(most.min(heard))])
            .await
            .is_err()
            || upto(most) < read
        {
            return;
        }
        passed += read as u64;
    }
}
