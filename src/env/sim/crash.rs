//! Power cuts: which of the changes that were not synced are on disk afterwards.

use super::{node::Change, random::Dice};

/// What survives a power cut of what was not synced. What was synced survives every one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CrashMode {
    /// Nothing.
    LoseUnsynced,
    /// Everything, as after `kill -9`: the process is gone and the operating system lives. What was
    /// not synced still is not, and a later cut may take it.
    KeepAll,
    /// Everything, and it is durable: the disk was done just in time.
    KeepAllDurable,
    /// Each sector, each change of a name, each file's length by chance; of a sector written more
    /// than once, any version.
    RandomSubset,
    /// All but one write, length or change of a name (and the changes of names that need that one).
    LoseOne,
    /// All but one end of the last write, cut at a random sector. Mostly the front survives,
    /// sometimes the back.
    TornLast,
    /// Names and lengths, but no data: what a file has grown by reads as zeros, what was
    /// overwritten is the old data.
    ZerosForData,
    /// Data and lengths, but no created, renamed or removed names.
    LoseDirEntries,
}

impl CrashMode {
    /// Every mode, in the order of the declaration.
    pub(crate) const ALL: [Self; 8] = [
        Self::LoseUnsynced,
        Self::KeepAll,
        Self::KeepAllDurable,
        Self::RandomSubset,
        Self::LoseOne,
        Self::TornLast,
        Self::ZerosForData,
        Self::LoseDirEntries,
    ];
}

/// The unsynced changes that the modes which single one out can choose from, by their operations'
/// numbers.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// Changes that can be lost alone.
    pub(super) single: Vec<u64>,
    /// The last write and the sectors it wrote.
    pub(super) last_write: Option<(u64, std::ops::Range<u64>)>,
}

/// Decides, change by change, what survives.
#[derive(Debug)]
pub(super) struct Fate {
    names: Survival,
    sectors: Survival,
    lengths: Survival,
    lost: Option<u64>,
    torn: Option<Torn>,
    dice: Dice,
}

#[derive(Clone, Copy, Debug)]
enum Survival {
    All,
    Nothing,
    /// Each by chance, in so many eighths of the cases.
    Some(u64),
}

#[derive(Debug)]
struct Torn {
    number: u64,
    at_sector: u64,
    front_survives: bool,
}

impl Fate {
    pub(super) fn everything_survives() -> Self {
        Self::new(Survival::All, Survival::All, Survival::All, Dice::new(0))
    }

    /// Any subset. Few and many survivors are made as likely as half of them: single losses are
    /// what tests miss.
    pub(super) fn by_chance(mut dice: Dice) -> Self {
        let mut survival = || Survival::Some([1, 4, 7][dice.below(3) as usize]);
        let (names, sectors, lengths) = (survival(), survival(), survival());
        Self::new(names, sectors, lengths, dice)
    }

    pub(super) fn of(mode: CrashMode, candidates: Candidates, mut dice: Dice) -> Self {
        use Survival::{All, Nothing};
        match mode {
            CrashMode::LoseUnsynced => Self::new(Nothing, Nothing, Nothing, dice),
            CrashMode::KeepAll | CrashMode::KeepAllDurable => Self::new(All, All, All, dice),
            CrashMode::RandomSubset => Self::by_chance(dice),
            CrashMode::LoseOne => {
                let count = candidates.single.len() as u64;
                let lost = (count > 0).then(|| candidates.single[dice.below(count) as usize]);
                Self {
                    lost,
                    ..Self::new(All, All, All, dice)
                }
            }
            CrashMode::TornLast => {
                let torn = candidates.last_write.map(|(number, sectors)| {
                    let front_survives = dice.chance(6);
                    // At least one sector is lost: the last, or the first.
                    let from = sectors.start + u64::from(!front_survives);
                    Torn {
                        number,
                        at_sector: from + dice.below(sectors.end - sectors.start),
                        front_survives,
                    }
                });
                Self {
                    torn,
                    ..Self::new(All, All, All, dice)
                }
            }
            CrashMode::ZerosForData => Self::new(All, Nothing, All, dice),
            CrashMode::LoseDirEntries => Self::new(Nothing, All, All, dice),
        }
    }

    fn new(names: Survival, sectors: Survival, lengths: Survival, dice: Dice) -> Self {
        Self {
            names,
            sectors,
            lengths,
            lost: None,
            torn: None,
            dice,
        }
    }

    /// Whether a change of a name survives, if those that it needs do.
    pub(super) fn name_survives(&mut self, number: u64) -> bool {
        self.lost != Some(number) && self.names.decide(&mut self.dice)
    }

    /// Whether a sector that this operation wrote survives.
    pub(super) fn sector_survives(&mut self, number: u64, sector: u64) -> bool {
        match &self.torn {
            Some(torn) if torn.number == number => (sector < torn.at_sector) == torn.front_survives,
            _ => self.lost != Some(number) && self.sectors.decide(&mut self.dice),
        }
    }

    /// How many of a file's changes, from the first on, had their effect on its length.
    pub(super) fn surviving_lengths(&mut self, changes: &[Change]) -> usize {
        let all = changes.len();
        match self.lengths {
            Survival::Nothing => 0,
            Survival::Some(eighths) if !self.dice.chance(eighths) => {
                self.dice.below(all as u64 + 1) as usize
            }
            Survival::All | Survival::Some(_) => match changes.last() {
                Some(last)
                    if self.lost == Some(last.number)
                        && (!last.is_write() || self.dice.chance(4)) =>
                {
                    all - 1
                }
                _ => all,
            },
        }
    }
}

impl Survival {
    fn decide(self, dice: &mut Dice) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::Some(eighths) => dice.chance(eighths),
        }
    }
}
