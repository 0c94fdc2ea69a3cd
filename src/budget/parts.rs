//! The parts, and how the whole is divided among them by default.

use super::HOLDERS;

const MIB: usize = 1 << 20;

/// The smallest `memory.bytes`.
pub(crate) const MIN_BYTES: usize = 320 * MIB;

/// The largest default of `memory.bytes`.
const MAX_DEFAULT_BYTES: usize = 2_048 * MIB;

/// The default of `memory.bytes` is the machine's memory divided by this.
const SHARE_OF_MACHINE: u64 = 8;

/// The shares of all parts add up to this.
const SHARES: usize = 32;

/// A part of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Requests,
    Appends,
    KeyIndex,
    Reads,
    Windows,
    Calls,
    Catalog,
}

/// How many bytes each part has, and how many holders may share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    bytes: [usize; Name::ALL.len()],
    holders: usize,
}

/// The sizes that the configuration sets, in the order of [`Name`]; `None` for parts that it leaves
/// out.
pub(crate) type Given = [Option<usize>; Name::ALL.len()];

/// The configured sizes leave too little for the other parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLittle {
    /// What is left for all parts without a configured size.
    pub(crate) rest: usize,
    /// What they need at least.
    pub(crate) needed: usize,
}

impl Name {
    /// Every part, in the order of [`Name`].
    pub(crate) const ALL: [Self; 7] = [
        Self::Requests,
        Self::Appends,
        Self::KeyIndex,
        Self::Reads,
        Self::Windows,
        Self::Calls,
        Self::Catalog,
    ];

    /// Its name in the settings, `memory.<name>_bytes`, and wherever it is shown.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Appends => "appends",
            Self::KeyIndex => "key_index",
            Self::Reads => "reads",
            Self::Windows => "windows",
            Self::Calls => "calls",
            Self::Catalog => "catalog",
        }
    }

    /// How many holders share the part with this many connections. A connection is two holders of
    /// the reads: what each of its reads needs, and what is on its way to the client, so that the
    /// second takes nothing from the first.
    pub(super) fn holders(self, connections: usize) -> usize {
        match self {
            Self::Reads => 2 * connections,
            _ => connections,
        }
    }

    /// What the part is used for, and what happens when it is used up.
    pub(crate) fn purpose(self) -> &'static str {
        match self {
            Self::Requests => {
                "Requests while they come in, each with the length that it declares: appends until \
                 the broker has admitted them, others until they are answered, with what they take \
                 decoded; commits of members until their answers are sent. Beyond, calls are \
                 refused as OVERLOADED."
            }
            Self::Appends => {
                "Records from their admission until segments have them; reads of what is new are \
                 served from it. Beyond, appends wait."
            }
            Self::KeyIndex => {
                "The newest parts of the key indexes. They are written to files from half of it \
                 on. Beyond, appends wait, each until there is room for all that its keys may take; \
                 one that is larger than three eighths of it may take more. Erasures take none. \
                 Compaction takes a quarter of it at most, for the keys \
                 that it has to know."
            }
            Self::Reads => {
                "Reads: where they are, and what was read for clients and is not sent. Beyond, \
                 what waits for clients that do not read is let go and read again later; where \
                 a new read finds no room, the one that was stalled longest is ended as \
                 READ_STALLED."
            }
            Self::Windows => {
                "What clients may send before it is taken: the HTTP/2 windows of all connections. \
                 Three quarters are for the first windows of all that there may be; what those \
                 leave is for clients that send much."
            }
            Self::Calls => {
                "Calls that are open, with their headers. Beyond, calls are refused as OVERLOADED."
            }
            Self::Catalog => {
                "Topics and partitions, deleted ones until they are gone; producers, which have \
                 bounds of their own; consumer groups, which may take half of it. Beyond, no topics \
                 are made, and what groups need more is refused as GROUPS_FULL."
            }
        }
    }

    /// The part's share of the whole, in units of 1 / [`SHARES`].
    fn share(self) -> usize {
        match self {
            Self::Appends => 7,
            Self::Requests | Self::KeyIndex => 5,
            Self::Reads | Self::Windows | Self::Calls => 4,
            Self::Catalog => 3,
        }
    }

    /// The smallest size that works: requests and appends need room for one of the largest requests
    /// beside others, the rest for what a small broker uses.
    pub(crate) fn min_bytes(self) -> usize {
        match self {
            Self::Requests => 48 * MIB,
            Self::Appends => 64 * MIB,
            Self::Catalog => 20 * MIB,
            Self::KeyIndex | Self::Reads | Self::Windows | Self::Calls => 16 * MIB,
        }
    }
}

impl Sizes {
    fn new(bytes: [usize; Name::ALL.len()]) -> Self {
        Self {
            bytes,
            holders: HOLDERS,
        }
    }

    /// These sizes, for another number of holders.
    pub(crate) fn for_holders(self, holders: usize) -> Self {
        Self { holders, ..self }
    }

    pub(super) fn holders(&self) -> usize {
        self.holders
    }

    /// The default division of `bytes`.
    pub(crate) fn of_whole(bytes: usize) -> Self {
        Self::new(Name::ALL.map(|name| bytes / SHARES * name.share()))
    }

    /// Divides `bytes`: parts with a configured size get that, the others share the rest.
    pub(crate) fn divide(bytes: usize, given: &Given) -> Result<Self, TooLittle> {
        let mut sizes = *given;
        let rest = bytes.saturating_sub(given.iter().flatten().sum());
        let open = |sizes: &Given| {
            let open = Name::ALL
                .into_iter()
                .filter(|name| sizes[*name as usize].is_none());
            open.collect::<Vec<Name>>()
        };
        let needed = open(given).into_iter().map(Name::min_bytes).sum();
        if rest < needed || given.iter().flatten().sum::<usize>() > bytes {
            return Err(TooLittle { rest, needed });
        }
        // A part whose share is below its minimum gets the minimum; the others share what is left.
        loop {
            let parts = open(&sizes);
            let rest = bytes - sizes.iter().flatten().sum::<usize>();
            let shares = parts.iter().map(|name| name.share()).sum::<usize>().max(1);
            let share = |name: Name| rest / shares * name.share();
            match parts.iter().find(|name| share(**name) < name.min_bytes()) {
                Some(name) => sizes[*name as usize] = Some(name.min_bytes()),
                None => {
                    let all = |name: Name| sizes[name as usize].unwrap_or_else(|| share(name));
                    return Ok(Self::new(Name::ALL.map(all)));
                }
            }
        }
    }

    pub(crate) fn of(&self, name: Name) -> usize {
        self.bytes[name as usize]
    }

    /// These sizes, with another one for one part.
    #[cfg(feature = "testing")]
    pub(crate) fn with(mut self, name: Name, bytes: usize) -> Self {
        self.bytes[name as usize] = bytes;
        self
    }

    pub(crate) fn whole(&self) -> usize {
        self.bytes.iter().sum()
    }
}

impl Default for Sizes {
    fn default() -> Self {
        Self::of_whole(MIN_BYTES)
    }
}

/// The default of `memory.bytes` on a machine, or in a container, with this much memory: an eighth
/// of it, within bounds.
pub(crate) fn default_bytes(machine: u64) -> usize {
    usize::try_from(machine / SHARE_OF_MACHINE)
        .unwrap_or(usize::MAX)
        .clamp(MIN_BYTES, MAX_DEFAULT_BYTES)
}
