//! What a caller says of the trace that its call belongs to.

use http::HeaderMap;

/// The header of [W3C's Trace Context](https://www.w3.org/TR/trace-context/).
const TRACEPARENT: &str = "traceparent";

/// The version, the id of a trace, the id of a span, and flags, with hyphens between them.
const LENGTHS: [usize; 4] = [2, 32, 16, 2];

/// A version that there never will be.
const NO_VERSION: &str = "ff";

/// The flag of spans that are recorded.
const SAMPLED: u8 = 1;

/// The span of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) trace: u128,
    pub(super) span: u64,
    /// Whether the caller records it.
    pub(super) is_sampled: bool,
}

impl Context {
    /// What the headers of a call say; none if they say nothing, or what cannot be understood.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let text = values.next()?.to_str().ok()?;
        match values.next() {
            None => Self::parse(text),
            Some(_) => None,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let mut next = || parts.next();
        let [version, trace, span, flags] = [next()?, next()?, next()?, next()?];
        let lengths = [version, trace, span, flags].map(str::len);
        // Later versions may have more behind it.
        let is_over = version != "00" || next().is_none();
        if lengths != LENGTHS || version == NO_VERSION || !is_over {
            return None;
        }
        let is_small = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-');
        if !text[..55].bytes().all(is_small) {
            return None;
        }
        let context = Self {
            trace: u128::from_str_radix(trace, 16).ok()?,
            span: u64::from_str_radix(span, 16).ok()?,
            is_sampled: u8::from_str_radix(flags, 16).ok()? & SAMPLED != 0,
        };
        (context.trace != 0 && context.span != 0).then_some(context)
    }
}
