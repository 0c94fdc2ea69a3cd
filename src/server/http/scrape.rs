//! Whose turn it is to have a page of metrics made.
//!
//! A page walks what there is, which may be much. So one is made at a time, in the order in which
//! they were asked for, and behind each there is a pause three times as long as it took: however
//! many ask, all of them take a quarter of one processor at most. Who waits has no thread, and
//! gives its place to a newcomer if there is none left.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Mutex, time::sleep};

use super::{
    Http,
    figures::{self, Sources},
    pieces::Pieces,
};
use crate::{
    budget::Name,
    env::Clock,
    metrics::{Format, Histogram, Metric, Page},
    server::{blocking::blocking, places::Place},
};

/// How much longer nothing is made than the page before it took.
const PAUSE: u32 = 3;

/// The turns.
pub(super) struct Scrapes {
    clock: Arc<dyn Clock>,
    pace: Mutex<Pace>,
    took: Histogram,
}

/// When the next page may be made.
#[derive(Debug, Default)]
pub(in crate::server) struct Pace {
    next: Duration,
}

impl Pace {
    /// How long it takes until then.
    pub(in crate::server) fn wait(&self, now: Duration) -> Duration {
        self.next.saturating_sub(now)
    }

    /// A page was made in this time.
    pub(in crate::server) fn made(&mut self, begun: Duration, ended: Duration) {
        self.next = ended + ended.saturating_sub(begun) * PAUSE;
    }
}

/// Why there is no page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoPage {
    /// The broker is not open yet.
    Starting,
    /// The memory for answers is used up.
    NoMemory,
    /// The topic that was asked for does not exist.
    NoTopic,
}

impl Scrapes {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            pace: Mutex::default(),
            took: Histogram::default(),
        }
    }

    /// Waits for a turn, works, and sees to the pause.
    pub(super) async fn turn<T>(&self, work: impl FnOnce() -> T) -> T {
        let mut pace = self.pace.lock().await;
        sleep(pace.wait(self.clock.elapsed())).await;
        let begun = self.clock.elapsed();
        let done = blocking(work);
        let ended = self.clock.elapsed();
        pace.made(begun, ended);
        self.took.observe(ended.saturating_sub(begun));
        done
    }
}

impl Http {
    /// The page, as soon as it is its turn; that of the partitions of a topic where one is named.
    pub(super) async fn page(
        &self,
        format: Format,
        topic: Option<&str>,
        place: &Place,
    ) -> Result<Pieces, NoPage> {
        let sources = self.readiness.sources().ok_or(NoPage::Starting)?;
        let memory = sources.budget().part(Name::Reads).holder();
        let most = match topic {
            Some(_) => figures::partitions_bytes(),
            None => figures::page_bytes(&sources),
        };
        let make = || {
            let held = memory.take(most).map_err(|_| NoPage::NoMemory)?;
            let page = match topic {
                Some(topic) => figures::partitions(&sources, topic).map_err(|_| NoPage::NoTopic)?,
                None => self.whole_page(&sources),
            };
            Ok((page.text(format), held))
        };
        let made = self.scrapes.turn(|| {
            place.busy();
            let made = make();
            place.idle();
            made
        });
        let (text, mut held) = made.await?;
        held.shrink_to(text.len());
        Ok(Pieces::counted(text, held))
    }

    fn whole_page(&self, sources: &Sources) -> Page {
        let mut page = figures::page(sources, &self.tally);
        page.set(Metric::PageMade, self.scrapes.took.distribution());
        page
    }
}
