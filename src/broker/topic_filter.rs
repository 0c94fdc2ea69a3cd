//! Some of the topics, by their names.

use std::{fmt, sync::Arc};

/// Which topics an operation is about; by default all.
#[derive(Clone, Default)]
pub(crate) struct TopicFilter(Option<Arc<Has>>);

type Has = dyn Fn(&str) -> bool + Send + Sync;

impl TopicFilter {
    pub(crate) fn new(has: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(has)))
    }

    /// Whether it has all topics, whatever their names.
    pub(crate) fn is_all(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn has(&self, topic: &str) -> bool {
        match &self.0 {
            Some(has) => has(topic),
            None => true,
        }
    }
}

impl fmt::Debug for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_all = self.is_all();
        f.debug_struct("TopicFilter")
            .field("is_all", &is_all)
            .finish()
    }
}
