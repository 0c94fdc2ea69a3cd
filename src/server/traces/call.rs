//! One call, or one append of a stream, that is traced.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tonic::Code;

use super::{Ids, Traces, shortened};
use crate::{
    broker::{Stages, Watch},
    server::tally,
};

/// The name of the span of an append in a stream.
const APPEND: &str = "append";

/// The span above another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(crate) span: u64,
    /// Whether it is the caller's.
    pub(crate) is_remote: bool,
}

/// From when on, and until when, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Period {
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
}

/// What is known of a call beside its times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The first topic that it is about, and the first group.
    pub(crate) topic: Option<String>,
    pub(crate) group: Option<String>,
    /// Who calls. Not by its name if it has shown a JWT: that is a person's.
    pub(crate) principal: Option<String>,
    /// Bytes and records of an append.
    pub(crate) appended: Option<(u64, u64)>,
}

/// A part of what a call took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) span: u64,
    pub(crate) name: &'static str,
    pub(crate) period: Period,
}

/// A call, or an append of a stream, that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) trace: u128,
    pub(crate) span: u64,
    pub(crate) parent: Option<Parent>,
    /// Service and method of a call, as in `taffrail.v1.Log/Append`.
    pub(crate) name: String,
    /// Whether it is a call, and no append of a stream.
    pub(crate) is_call: bool,
    pub(crate) period: Period,
    /// What it was answered with, in gRPC's words; of a stream what it began with. None if it was
    /// given up before.
    pub(crate) code: Option<&'static str>,
    pub(crate) facts: Facts,
    /// One behind the other, of an append.
    pub(crate) parts: Vec<Part>,
}

/// A call that is traced, while it is under way.
#[derive(Debug)]
pub(in crate::server) struct Followed {
    traces: Traces,
    ids: Ids,
    name: String,
    begun: Duration,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    facts: Facts,
    stages: Option<Stages>,
}

/// What a request has among its extensions where calls are traced.
#[derive(Clone, Debug)]
pub(in crate::server) struct Tracing {
    pub(super) traces: Traces,
    /// The call, if it is traced.
    pub(super) call: Option<Arc<Followed>>,
    /// Whether appends of its stream may be traced: its caller may have said that they are not.
    pub(super) may_sample: bool,
}

/// Ends the span of a call when it is dropped.
#[derive(Debug)]
pub(in crate::server) struct OpenCall {
    call: Arc<Followed>,
    code: Option<Code>,
}

impl OpenCall {
    /// The call is answered with this; a stream begins with it.
    pub(in crate::server) fn answered(&mut self, code: Code) {
        self.code = Some(code);
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.call.end(self.code);
    }
}

impl Followed {
    pub(super) fn begin(traces: &Traces, ids: Ids, name: &str) -> Arc<Self> {
        Arc::new(Self {
            ids,
            name: shortened(name),
            begun: traces.now(),
            known: Mutex::default(),
            traces: traces.clone(),
        })
    }

    fn end(&self, code: Option<Code>) {
        let Known { facts, stages } = std::mem::take(&mut *self.known());
        let traces = &self.traces;
        traces.end(Ended {
            trace: self.ids.trace,
            span: self.ids.span,
            parent: self.ids.parent,
            name: self.name.clone(),
            is_call: true,
            period: traces.period(self.begun, traces.now()),
            code: code.and_then(tally::name_of),
            facts,
            parts: stages.map_or_else(Vec::new, |stages| traces.parts(stages)),
        });
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tracing {
    /// The span of the call, if it is traced.
    pub(in crate::server) fn open(&self) -> Option<OpenCall> {
        let call = self.call.clone()?;
        Some(OpenCall { call, code: None })
    }

    /// Whether somebody wants to know what the call asks for.
    pub(in crate::server) fn is_traced(&self) -> bool {
        self.call.is_some()
    }

    /// Notes who calls.
    pub(in crate::server) fn called_by(&self, principal: &str) {
        if let Some(call) = &self.call {
            call.known().facts.principal = Some(shown(principal));
        }
    }

    /// Notes what the call is about.
    pub(in crate::server) fn is_about(&self, topic: Option<&str>, group: Option<&str>) {
        if let Some(call) = &self.call {
            let facts = &mut call.known().facts;
            facts.topic = topic.map(shortened);
            facts.group = group.map(shortened);
        }
    }

    /// Follows the append that the call is, if it is traced: of so many bytes and records.
    pub(in crate::server) fn append(&self, appended: (u64, u64)) -> Option<Watch> {
        let call = self.call.clone()?;
        call.known().facts.appended = Some(appended);
        Some(Box::new(move |stages| {
            call.known().stages = Some(stages);
        }))
    }

    /// Follows an append of the stream that the call is, if it is one of those that are traced.
    pub(in crate::server) fn append_of_stream(
        &self,
        topic: Option<&str>,
        appended: (u64, u64),
    ) -> Option<Watch> {
        if !self.may_sample || !self.traces.is_sampled() {
            return None;
        }
        let traces = self.traces.clone();
        let ids = match &self.call {
            Some(call) => traces.below(
                call.ids.trace,
                Parent {
                    span: call.ids.span,
                    is_remote: false,
                },
            ),
            None => traces.root(),
        };
        let facts = Facts {
            topic: topic.map(shortened),
            appended: Some(appended),
            ..Facts::default()
        };
        Some(Box::new(move |stages| {
            traces.end(Ended {
                trace: ids.trace,
                span: ids.span,
                parent: ids.parent,
                name: APPEND.to_owned(),
                is_call: false,
                period: traces.period(stages.asked, stages.visible),
                code: None,
                facts,
                parts: traces.parts(stages),
            });
        }))
    }
}

impl Traces {
    fn parts(&self, stages: Stages) -> Vec<Part> {
        let Stages {
            asked,
            admitted,
            taken,
            written,
            synced,
            applying,
            visible,
        } = stages;
        let mut parts = Vec::with_capacity(5);
        for (name, begun, ended) in [
            ("wait for room", asked, admitted),
            ("queue", admitted, taken),
            ("journal write", taken, written),
            ("journal sync", written, synced),
            ("apply", applying, visible),
        ] {
            parts.push(Part {
                span: self.id(),
                name,
                period: self.period(begun, ended),
            });
        }
        parts
    }
}

/// A principal, without the name that a JWT gives it.
fn shown(principal: &str) -> String {
    match principal.starts_with("jwt:") {
        true => "jwt".to_owned(),
        false => shortened(principal),
    }
}
