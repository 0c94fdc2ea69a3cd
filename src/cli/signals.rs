//! Ctrl-C, and the signal by which a command is told to stop.

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use super::Failure;

/// What told a command to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopSignal {
    /// SIGINT, which is Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl StopSignal {
    /// What a shell makes of a process that the signal has ended: 128 and the signal's number.
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

/// How often it was told, and by which signal first.
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
    /// From here on the signals do not end the process, but what this command makes of them.
    pub(super) fn on_signals() -> Result<Self, Failure> {
        let interrupt = listen(SignalKind::interrupt())?;
        let terminate = listen(SignalKind::terminate())?;
        let (sender, told) = watch::channel(Told::default());
        tokio::spawn(pass_on(interrupt, terminate, sender));
        Ok(Self::told_by(told))
    }

    /// Told by whoever has the sender.
    pub(super) fn told_by(told: watch::Receiver<Told>) -> Self {
        Self { told }
    }

    /// Resolves when it is told to stop, at once if it has been already.
    pub(super) async fn told(&mut self) -> StopSignal {
        self.told_times(1).await
    }

    /// Resolves when it is told to stop for the second time.
    pub(super) async fn told_again(&mut self) -> StopSignal {
        self.told_times(2).await
    }

    async fn told_times(&mut self, times: u32) -> StopSignal {
        if let Ok(told) = self.told.wait_for(|told| told.times >= times).await
            && let Some(first) = told.first
        {
            return first;
        }
        // Nobody is there any more who could tell.
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
