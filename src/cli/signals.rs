//! The signals that tell a command to stop: SIGINT (Ctrl-C) and SIGTERM.

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use super::Failure;

/// A signal that tells a command to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopSignal {
    /// SIGINT, which is Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl StopSignal {
    /// The exit code that shells use for a process ended by the signal: 128 and its number.
    pub(super) fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// Tells when the command is told to stop, and when it is told again.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    told: watch::Receiver<Told>,
}

/// How many signals have come, and which was the first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    times: u32,
    first: Option<StopSignal>,
}

impl Told {
    pub(super) fn again(self, by: StopSignal) -> Self {
        Self {
            times: self.times + 1,
            first: self.first.or(Some(by)),
        }
    }
}

impl Stop {
    /// From now on the signals no longer end the process; the command must react to them.
    pub(super) fn on_signals() -> Result<Self, Failure> {
        let interrupt = listen(SignalKind::interrupt())?;
        let terminate = listen(SignalKind::terminate())?;
        let (sender, told) = watch::channel(Told::default());
        tokio::spawn(pass_on(interrupt, terminate, sender));
        Ok(Self::told_by(told))
    }

    /// A stop that the sender triggers, for tests.
    pub(super) fn told_by(told: watch::Receiver<Told>) -> Self {
        Self { told }
    }

    /// Resolves when the command is told to stop, or has been told already.
    pub(super) async fn told(&mut self) -> StopSignal {
        self.told_times(1).await
    }

    /// Resolves when the command is told to stop a second time.
    pub(super) async fn told_again(&mut self) -> StopSignal {
        self.told_times(2).await
    }

    async fn told_times(&mut self, times: u32) -> StopSignal {
        if let Ok(told) = self.told.wait_for(|told| told.times >= times).await
            && let Some(first) = told.first
        {
            return first;
        }
        // The sender is gone, so no more signals can come.
        std::future::pending().await
    }
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::General(format!("cannot wait for signals: {error}")))
}

async fn pass_on(mut interrupt: Signal, mut terminate: Signal, told: watch::Sender<Told>) {
    loop {
        let by = tokio::select! {
            _ = interrupt.recv() => StopSignal::Interrupt,
            _ = terminate.recv() => StopSignal::Terminate,
        };
        told.send_modify(|told| *told = told.again(by));
    }
}
