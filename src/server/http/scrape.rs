//! Takes turns at making pages of metrics.
//!
//! A page walks all topics and groups, which may be many. So pages are made one at a time, in the
//! order of the requests, and each is followed by a pause three times as long as it took: however
//! many clients ask, all pages together take at most a quarter of one processor. A request that
//! waits holds no thread, and gives up its connection's place to a new one if no place is free.

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

/// The pause behind a page, as a multiple of the time that the page took.
const PAUSE: u32 = 3;

/// The queue of requests for pages.
pub(super) struct Scrapes {
    clock: Arc<dyn Clock>,
    pace: Mutex<Pace>,
    took: Histogram,
}

/// The earliest time of the next page.
#[derive(Debug, Default)]
pub(in crate::server) struct Pace {
    next: Duration,
}

impl Pace {
    /// How long until the next page may be made.
    pub(in crate::server) fn wait(&self, now: Duration) -> Duration {
        self.next.saturating_sub(now)
    }

    /// Notes that a page was made between these two times.
    pub(in crate::server) fn made(&mut self, begun: Duration, ended: Duration) {
        self.next = ended + ended.saturating_sub(begun) * PAUSE;
    }
}

/// Why no page is made.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoPage {
    /// The broker is not open yet.
    Starting,
    /// No memory for responses is left.
    NoMemory,
    /// The requested topic does not exist.
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

    /// Waits for the turn, runs `work`, and notes when the next turn may begin.
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
    /// A page of metrics, when it is its turn; about the partitions of one topic if a topic is
    /// given.
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
