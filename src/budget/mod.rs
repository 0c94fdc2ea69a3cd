//! The memory that the process may use, divided into named parts.
//!
//! `memory.bytes` is the whole. Every [`Part`] has a bound. Its user asks the part before it uses
//! memory, and gives back what it uses no more. So no part can use up what another needs.
//!
//! Within a part one rule divides the memory among its [`Holder`]s, which are connections or
//! readers. Three quarters of the part are open: a holder may have at most as much of them as is
//! left for all others, so a single holder gets half. The last quarter is reserved: each of as many
//! holders as the part allows always finds room for its [`Part::basic`] share.

mod parts;

#[cfg(test)]
mod tests;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

pub(crate) use parts::{Given, MIN_BYTES, Name, Sizes, TooLittle, default_bytes};

/// How many holders a part has by default.
pub(crate) const HOLDERS: usize = 1_024;

/// The whole memory, one part for each name. Clones share the same parts.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    parts: [Arc<Part>; Name::ALL.len()],
}

/// Memory for one purpose.
#[derive(Debug)]
pub(crate) struct Part {
    name: Name,
    bound: usize,
    /// How many holders the part is divided among.
    holders: usize,
    used: AtomicUsize,
    most: AtomicUsize,
    /// A part of which this one is a portion: what is used here counts there too.
    whole: Option<Arc<Part>>,
}

/// One of the users that share a part. Clones are the same holder.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    part: Arc<Part>,
    has: Arc<AtomicUsize>,
}

/// Memory that a holder has, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    holder: Holder,
    bytes: usize,
}

/// Too little of a part is left, in all or for this holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short {
    pub(crate) part: Name,
}

/// How much of a part is open: all but the quarter that is reserved for basic shares.
pub(crate) const fn open(bound: usize) -> usize {
    bound / 4 * 3
}

/// The basic share: what each holder may have, whatever others have.
const fn basic(bound: usize, holders: usize) -> usize {
    (bound - open(bound)) / holders
}

/// The rule for shares: by how many bytes a holder that has `has` bytes is over its share; 0 if it
/// is within. `used` is what all holders of the part have, this one's included.
pub(crate) const fn over_share(bound: usize, holders: usize, has: usize, used: usize) -> usize {
    if has <= basic(bound, holders) {
        return 0;
    }
    has.saturating_add(used).saturating_sub(open(bound))
}

impl Budget {
    pub(crate) fn new(sizes: &Sizes) -> Self {
        Self {
            parts: Name::ALL.map(|name| {
                let part = Part::new(name, sizes.of(name));
                Arc::new(part.for_holders(name.holders(sizes.holders())))
            }),
        }
    }

    pub(crate) fn part(&self, name: Name) -> &Arc<Part> {
        &self.parts[name as usize]
    }

    pub(crate) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().map(Arc::as_ref)
    }
}

impl Part {
    pub(crate) fn new(name: Name, bound: usize) -> Self {
        Self {
            name,
            bound,
            holders: HOLDERS,
            used: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            whole: None,
        }
    }

    /// A separate part of `bound` bytes with the same name and number of holders.
    pub(crate) fn of_it(&self, bound: usize) -> Self {
        Self::new(self.name, bound).for_holders(self.holders)
    }

    /// A portion of this part, of at most `bound` bytes: what is used of it counts in this part
    /// too.
    pub(crate) fn within(self: &Arc<Self>, bound: usize) -> Self {
        let whole = Some(Arc::clone(self));
        Self {
            whole,
            ..self.of_it(bound)
        }
    }

    /// This part, shared by another number of holders, at least one.
    pub(crate) fn for_holders(self, holders: usize) -> Self {
        let holders = holders.max(1);
        Self { holders, ..self }
    }

    pub(crate) fn name(&self) -> Name {
        self.name
    }

    /// The most that may be used, in bytes.
    pub(crate) fn bound(&self) -> usize {
        self.bound
    }

    /// What is used, in bytes. It exceeds the bound only by memory that was counted without asking.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    /// The most that was used at any time, in bytes.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::Acquire)
    }

    /// What is left, in bytes.
    #[allow(dead_code, reason = "tests ask for it")]
    pub(crate) fn free(&self) -> usize {
        self.bound.saturating_sub(self.used())
    }

    /// What is left of the open three quarters, in bytes.
    pub(crate) fn free_of_open(&self) -> usize {
        open(self.bound).saturating_sub(self.used())
    }

    /// How many holders there may be.
    pub(crate) fn holders(&self) -> usize {
        self.holders
    }

    /// What each holder may have whatever others have, in bytes.
    pub(crate) fn basic(&self) -> usize {
        basic(self.bound, self.holders)
    }

    /// Whether a holder may have `has` bytes when `used` bytes are used in all, these included.
    fn is_within_share(&self, has: usize, used: usize) -> bool {
        over_share(self.bound, self.holders, has, used) == 0
    }

    /// A new holder of this part.
    pub(crate) fn holder(self: &Arc<Self>) -> Holder {
        Holder {
            part: Arc::clone(self),
            has: Arc::default(),
        }
    }

    /// Counts memory that is in use already, beyond the bound if need be.
    pub(crate) fn add(&self, bytes: usize) {
        let used = self.used.fetch_add(bytes, Ordering::AcqRel) + bytes;
        self.most.fetch_max(used, Ordering::AcqRel);
        if let Some(whole) = &self.whole {
            whole.add(bytes);
        }
    }

    /// Counts memory that was given back.
    pub(crate) fn subtract(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
        if let Some(whole) = &self.whole {
            whole.subtract(bytes);
        }
    }

    /// Counts `bytes` more if `allowed` agrees to the sum that is used then.
    fn add_if(&self, bytes: usize, allowed: impl Fn(usize) -> bool) -> bool {
        let sum = |used: usize| {
            used.checked_add(bytes)
                .filter(|used| *used <= self.bound && allowed(*used))
        };
        let added = self
            .used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, sum);
        let Ok(before) = added else {
            return false;
        };
        self.most.fetch_max(before + bytes, Ordering::AcqRel);
        if let Some(whole) = &self.whole {
            whole.add(bytes);
        }
        true
    }
}

impl Holder {
    /// What this holder has, in bytes.
    pub(crate) fn has(&self) -> usize {
        self.has.load(Ordering::Acquire)
    }

    /// Whether this is the same holder.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.has, &other.has)
    }

    /// The part that it uses.
    pub(crate) fn part(&self) -> &Arc<Part> {
        &self.part
    }

    /// Whether the holder may take this much at the moment.
    pub(crate) fn may_take(&self, bytes: usize) -> bool {
        let used = self.part.used().saturating_add(bytes);
        used <= self.part.bound && self.part.is_within_share(self.has() + bytes, used)
    }

    /// Takes memory within the holder's share.
    pub(crate) fn take(&self, bytes: usize) -> Result<Held, Short> {
        self.grow(bytes).map(|()| self.held(bytes))
    }

    /// Takes memory beyond the holder's share too, but none that is reserved for the basic shares
    /// of others: for memory without which a call cannot go on.
    pub(crate) fn take_beyond_share(&self, bytes: usize) -> Result<Held, Short> {
        let part = &self.part;
        let allowed = |has, used| has <= part.basic() || used <= open(part.bound);
        self.add_if(bytes, allowed).map(|()| self.held(bytes))
    }

    /// Takes what is left of the holder's basic share, at most `most` bytes.
    pub(crate) fn take_basic(&self, most: usize) -> Result<Held, Short> {
        match self.part.basic().saturating_sub(self.has()).min(most) {
            0 => Err(self.short()),
            bytes => self.take(bytes),
        }
    }

    /// Takes memory within the part's bound, even what is reserved for others. For users whose
    /// number is bounded so that there is enough for all.
    pub(crate) fn take_within_bound(&self, bytes: usize) -> Result<Held, Short> {
        self.add_if(bytes, |_, _| true).map(|()| self.held(bytes))
    }

    /// Counts memory that is in use already, beyond the bound if need be.
    pub(crate) fn count(&self, bytes: usize) -> Held {
        self.has.fetch_add(bytes, Ordering::AcqRel);
        self.part.add(bytes);
        self.held(bytes)
    }

    fn grow(&self, bytes: usize) -> Result<(), Short> {
        let part = &self.part;
        self.add_if(bytes, |has, used| part.is_within_share(has, used))
    }

    /// Counts `bytes` more if `allowed` agrees to what the holder then has and what is then used in
    /// all.
    fn add_if(&self, bytes: usize, allowed: impl Fn(usize, usize) -> bool) -> Result<(), Short> {
        let has = self.has.fetch_add(bytes, Ordering::AcqRel) + bytes;
        if self.part.add_if(bytes, |used| allowed(has, used)) {
            return Ok(());
        }
        self.has.fetch_sub(bytes, Ordering::AcqRel);
        Err(self.short())
    }

    fn held(&self, bytes: usize) -> Held {
        Held {
            holder: self.clone(),
            bytes,
        }
    }

    fn short(&self) -> Short {
        Short {
            part: self.part.name,
        }
    }
}

impl Held {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes more, within the holder's share.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Short> {
        self.holder.grow(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Splits off up to `bytes` of the memory.
    pub(crate) fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.holder.held(bytes)
    }

    /// Gives back all but `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        self.holder.has.fetch_sub(less, Ordering::AcqRel);
        self.holder.part.subtract(less);
        self.bytes -= less;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}
