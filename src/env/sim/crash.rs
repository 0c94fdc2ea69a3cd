//! Power cuts: which of the changes that were not synced are on disk afterwards.

use super::{node::Change, random::Dice};

/// What survives a power cut of changes that were not synced. Synced changes always survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CrashMode {
    /// Nothing.
    LoseUnsynced,
    /// Everything, as after `kill -9`: the process is gone but the operating system lives. Unsynced
    /// changes stay unsynced, so a later power cut may take them.
    KeepAll,
    /// Everything, and it is durable: the disk finished just in time.
    KeepAllDurable,
    /// Each sector, each name change and each file's length by chance; of a sector that was written
    /// several times, any version.
    RandomSubset,
    /// Everything except one write, length or name change (and the name changes that need it).
    LoseOne,
    /// Everything except one end of the last write, which is cut at a random sector. Mostly the
    /// front survives, sometimes the back.
    TornLast,
    /// Names and lengths, but no data: the part by which a file has grown reads as zeros, and
    /// overwritten bytes are the old ones.
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

/// The unsynced changes, by the numbers of their operations, from which a mode chooses that loses a
/// single one.
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
    /// Each by chance, with this many eighths as the probability.
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

    /// Any subset. Few and many survivors are as likely as about half of them, because tests easily
    /// miss single losses.
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

    /// Whether a name change survives, provided that the changes it needs do.
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

    /// How many of a file's changes, from the first on, have affected its length.
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
