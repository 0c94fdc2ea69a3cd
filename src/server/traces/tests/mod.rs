//! Which calls are traced, and what is told of them.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue};
use tokio::sync::mpsc;
use tonic::Code;

use super::{Ended, MOST_WAITING, Parent, Share, Traces, Tracing, context::Context};
use crate::{
    broker::Stages,
    env::sim::{SimClock, SimRandom},
};

const NOW_MS: i64 = 1_795_824_000_000;

const TRACE: u128 = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
const SPAN: u64 = 0xb7ad_6b71_6920_3331;

const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const NOT_SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

const APPEND: &str = "/taffrail.v1.Log/Append";

fn traces(share: u32) -> (Traces, mpsc::Receiver<Ended>) {
    let clock = Arc::new(SimClock::new(NOW_MS));
    Traces::new(clock, Arc::new(SimRandom::new(1)), Share(share))
}

fn headers(traceparent: &[&'static str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in traceparent {
        headers.append("traceparent", HeaderValue::from_static(value));
    }
    headers
}

/// A call comes to its end.
fn end(tracing: &Tracing) {
    if let Some(mut call) = tracing.open() {
        call.answered(Code::Ok);
    }
}

fn stages() -> Stages {
    let at = Duration::from_micros;
    Stages {
        asked: at(10),
        admitted: at(20),
        taken: at(40),
        written: at(70),
        synced: at(100),
        applying: at(101),
        visible: at(110),
    }
}

#[test]
fn what_a_caller_says_of_its_trace_is_understood_or_counts_as_nothing() {
    let context = |is_sampled| Context {
        trace: TRACE,
        span: SPAN,
        is_sampled,
    };
    let understood = |text: &'static str| Context::of(&headers(&[text]));
    assert_eq!(understood(SAMPLED), Some(context(true)));
    assert_eq!(understood(NOT_SAMPLED), Some(context(false)));
    // Further flags, and a later version with more behind it.
    for (text, is_sampled) in [
        (
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03",
            true,
        ),
        (
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02",
            false,
        ),
        (
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            true,
        ),
    ] {
        assert_eq!(understood(text), Some(context(is_sampled)), "{text}");
    }
    for text in [
        "",
        "00",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-+7ad6b7169203331-01",
    ] {
        assert_eq!(understood(text), None, "{text}");
    }
    assert_eq!(Context::of(&headers(&[SAMPLED, SAMPLED])), None);
    assert_eq!(Context::of(&headers(&[])), None);
}

#[test]
fn a_call_is_traced_where_its_caller_does_so_and_else_by_share() {
    let (all, mut of_all) = traces(1_000_000);
    let (none, mut of_none) = traces(0);
    for traces in [&all, &none] {
        end(&traces.begin(&headers(&[SAMPLED]), APPEND));
        end(&traces.begin(&headers(&[NOT_SAMPLED]), APPEND));
    }
    for ended in [&mut of_all, &mut of_none] {
        let call = ended.try_recv().expect("it is traced");
        let parent = Some(Parent {
            span: SPAN,
            is_remote: true,
        });
        assert_eq!((call.trace, call.parent), (TRACE, parent));
        assert_eq!(
            (&*call.name, call.code),
            ("taffrail.v1.Log/Append", Some("OK"))
        );
        assert_eq!(call.period.start_ns, 1_795_824_000_000_000_000);
        ended.try_recv().expect_err("its caller does not trace it");
    }
    for _ in 0..100 {
        end(&all.begin(&headers(&[]), APPEND));
        end(&none.begin(&headers(&[]), APPEND));
    }
    let first = of_all.try_recv().expect("it is traced");
    assert_eq!(first.parent, None);
    assert!(first.trace != 0 && first.trace != TRACE && first.span != 0);
    assert_eq!(of_all.len(), 99);
    assert_eq!(of_none.len(), 0);

    let (some, of_some) = traces(10_000);
    for _ in 0..100_000 {
        end(&some.begin(&headers(&[]), APPEND));
    }
    assert!((800..1_200).contains(&of_some.len()), "{}", of_some.len());
}

#[test]
fn an_append_consists_of_its_stages() {
    let (traces, mut ended) = traces(0);
    let tracing = traces.begin(&headers(&[SAMPLED]), APPEND);
    tracing.called_by("jwt:a.person@example.com");
    tracing.is_about(Some("orders"), None);
    let watch = tracing.append((1_000, 3)).expect("it is traced");
    watch(stages());
    end(&tracing);
    let call = ended.try_recv().expect("it is traced");
    assert_eq!(
        call.facts.principal.as_deref(),
        Some("jwt"),
        "who that is stays here"
    );
    assert_eq!(call.facts.topic.as_deref(), Some("orders"));
    assert_eq!(call.facts.appended, Some((1_000, 3)));
    let start_ns = call.period.start_ns;
    let mut parts = Vec::new();
    for part in call.parts {
        let [from, to] = [part.period.start_ns, part.period.end_ns];
        parts.push((part.name, from - start_ns, to - start_ns));
    }
    assert_eq!(
        parts,
        [
            ("wait for room", 10_000, 20_000),
            ("queue", 20_000, 40_000),
            ("journal write", 40_000, 70_000),
            ("journal sync", 70_000, 100_000),
            ("apply", 101_000, 110_000),
        ]
    );
}

#[test]
fn appends_of_a_stream_are_traced_by_share_below_it_and_never_where_its_caller_does_not() {
    let stream = "/taffrail.v1.Log/AppendStream";
    let (all, mut ended) = traces(1_000_000);
    let (none, _) = traces(0);
    let append = |traces: &Traces, said: &[&'static str]| {
        let tracing = traces.begin(&headers(said), stream);
        let watch = tracing.append_of_stream(Some("t"), (1, 1));
        let is_traced = watch.is_some();
        if let Some(watch) = watch {
            watch(stages());
        }
        is_traced
    };
    assert!(append(&all, &[SAMPLED]));
    let of_caller = ended.try_recv().expect("it is traced");
    assert_eq!((of_caller.trace, &*of_caller.name), (TRACE, "append"));
    assert!(of_caller.parent.is_some_and(|parent| !parent.is_remote));
    assert!(append(&all, &[]));
    assert!(!append(&all, &[NOT_SAMPLED]));
    assert!(
        !append(&none, &[SAMPLED]),
        "a stream that is traced may have any number"
    );
}

#[test]
fn what_nobody_takes_is_lost_and_counted_and_waits_for_nothing() {
    let (traces, mut ended) = traces(1_000_000);
    for _ in 0..MOST_WAITING + 7 {
        end(&traces.begin(&headers(&[]), APPEND));
    }
    assert_eq!(traces.counts(), [0, 7]);
    ended.close();
    end(&traces.begin(&headers(&[]), APPEND));
    assert_eq!(traces.counts(), [0, 8]);
    assert_eq!(ended.len(), MOST_WAITING);
}

#[test]
fn a_name_that_a_client_chooses_is_cut() {
    let (traces, mut ended) = traces(0);
    let tracing = traces.begin(&headers(&[SAMPLED]), APPEND);
    tracing.is_about(Some(&"\u{20ac}".repeat(1_000)), Some("g"));
    end(&tracing);
    let call = ended.try_recv().expect("it is traced");
    assert_eq!(call.facts.topic, Some("\u{20ac}".repeat(85)));
    assert_eq!(call.facts.group.as_deref(), Some("g"));
}
