//! What excuses an excess, and how much of it.
//!
//! What a machine can't foresee *brings* so much on each phase of a circuit: a load that rises brings its rise, a limit that is
//! lowered the difference. So much of an excess is excused, for so long as the machine may take to end it: counted from the moment
//! that brought it, never from a later one; a reading that is lost makes it a round longer, and all that are lost no longer than until a
//! meter is stale. What makes it take longer ([`Delays`]) counts once for each that was brought, however
//! often it comes. So of excesses that follow one on the other each has to end by itself: what is brought later excuses only what
//! it has brought. Of a load that has risen as much is excused longer as vehicles have changed their draw meanwhile, and no more.

use std::fmt;

use wattle_wire::{Micros, Milliamps, PerPhase, Phase};

/// What brings an excess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// What others draw from this circuit has risen.
    Load(usize),
    /// The limit was lowered.
    Limit,
    /// The vehicle of this charger draws more than it was told.
    Disobedience(usize),
    /// One that does was forgotten, with all else that was measured, and is to be heard of anew.
    Forgotten,
    /// The machine forgot that a meter is silent, and waits for it anew.
    Silence,
    /// A load is known again, of which nobody could know before.
    MeterBack,
    /// The vehicle of this charger draws more of what it may, and nobody measures it: a load beside it couldn't be told from it.
    Unmeasured(usize),
    /// A test says so.
    Test,
}

/// What keeps a machine from ending an excess as soon as it usually would.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delays {
    /// A meter that tells of the circuit's load is silent.
    pub deaf: bool,
    /// A charger of the circuit can't be reached.
    pub offline: bool,
    /// A setpoint of a charger of the circuit, or its answer, was lost or came late, so it may still obey an earlier one.
    pub lost: bool,
    /// A vehicle of the circuit draws what it wants.
    pub disobeyed: bool,
    /// A vehicle of the circuit draws less than it may, and nobody measures it.
    pub unmeasured: bool,
}

/// How long it takes to end an excess: usually, and how much longer with each of the [`Delays`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    /// Without any of them.
    pub usual: Micros,
    /// Until a silent meter is stale.
    pub deaf: Micros,
    /// Until a setpoint expires.
    pub offline: Micros,
    /// So long a vehicle has to obey.
    pub disobeyed: Micros,
}

/// One excess that was brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excuse {
    /// By what.
    pub cause: Cause,
    /// When.
    pub at: Micros,
    /// How much, on each phase.
    pub brought: PerPhase<Milliamps>,
    /// All that has delayed its end so far.
    pub delays: Delays,
    /// The rounds of readings that were lost meanwhile.
    pub lost: Micros,
    /// By how much vehicles changed what they draw meanwhile, and when they did last.
    pub hidden: (PerPhase<Milliamps>, Micros),
}

/// The excuses of each circuit: those that hold and, for whoever asks why, those that have held.
#[derive(Debug, Clone)]
pub struct Excuses {
    holding: Vec<Vec<Excuse>>,
    over: Vec<Vec<Excuse>>,
}

/// Excuses that are remembered of each circuit after they have held.
const MOST_REMEMBERED: usize = 1_000;

impl Delays {
    fn and(self, other: Self) -> Self {
        Self {
            deaf: self.deaf || other.deaf,
            offline: self.offline || other.offline,
            lost: self.lost || other.lost,
            disobeyed: self.disobeyed || other.disobeyed,
            unmeasured: self.unmeasured || other.unmeasured,
        }
    }
}

impl Lengths {
    /// How long it takes with these delays.
    pub fn with(&self, delays: Delays) -> Micros {
        let extra = |is_so: bool, length: Micros| if is_so { length } else { Micros::ZERO };
        self.usual
            + extra(delays.deaf, self.deaf)
            + extra(delays.offline, self.offline)
            + extra(delays.lost, self.offline)
            + extra(delays.disobeyed || delays.unmeasured, self.disobeyed)
    }
}

impl Excuse {
    fn new(cause: Cause, at: Micros, brought: PerPhase<Milliamps>) -> Self {
        let (delays, hidden) = (Delays::default(), (PerPhase::default(), at));
        Self { cause, at, brought, delays, lost: Micros::ZERO, hidden }
    }

    /// What is left of it when it ends: as much as vehicles may have hidden, from when they did on.
    fn hidden(&self) -> Option<Self> {
        let (by, at) = self.hidden;
        let brought = by.zip(self.brought, Milliamps::min);
        (brought != PerPhase::default()).then(|| Self::new(self.cause, at, brought))
    }

    /// The last moment at which it holds.
    fn ends(&self, lengths: &Lengths) -> Micros {
        self.at + lengths.with(self.delays) + self.lost.min(lengths.deaf)
    }
}

impl Excuses {
    /// None, of so many circuits.
    pub fn new(circuits: usize) -> Self {
        Self { holding: vec![Vec::new(); circuits], over: vec![Vec::new(); circuits] }
    }

    /// Something brings so much on a circuit.
    pub fn add(&mut self, circuit: usize, cause: Cause, brought: PerPhase<Milliamps>, at: Micros) {
        let brought = brought.map(|brought| brought.max(Milliamps::ZERO));
        if brought != PerPhase::default() {
            self.holding[circuit].push(Excuse::new(cause, at, brought));
        }
    }

    /// Vehicles of a circuit change by how much they draw: so much of a load that has risen is told from that only later.
    pub fn hide(&mut self, circuit: usize, by: PerPhase<Milliamps>, at: Micros) {
        for excuse in self.holding[circuit].iter_mut().filter(|excuse| matches!(excuse.cause, Cause::Load(_)))
        {
            excuse.hidden = (excuse.hidden.0 + by, at);
        }
    }

    /// So much of what a cause has brought on a circuit is gone again: of the latest first.
    pub fn take_back(&mut self, circuit: usize, cause: Cause, mut gone: PerPhase<Milliamps>) {
        let those = self.holding[circuit].iter_mut().rev().filter(|excuse| excuse.cause == cause);
        for excuse in those {
            let taken = gone.zip(excuse.brought, Milliamps::min).map(|taken| taken.max(Milliamps::ZERO));
            (excuse.brought, gone) = (excuse.brought - taken, gone - taken);
        }
    }

    /// Time passes: what delays a circuit now delays all that it has to end, and what has had its time holds no more.
    pub fn pass(&mut self, now: Micros, lengths: &Lengths, delays: impl Fn(usize) -> Delays) {
        for (circuit, (holding, over)) in self.holding.iter_mut().zip(&mut self.over).enumerate() {
            if holding.is_empty() {
                continue;
            }
            let delays = delays(circuit);
            holding.iter_mut().for_each(|excuse| excuse.delays = excuse.delays.and(delays));
            let ended: Vec<Excuse> = holding.extract_if(.., |excuse| excuse.ends(lengths) < now).collect();
            let hidden = ended.iter().filter_map(Excuse::hidden);
            holding.extend(hidden.filter(|hidden| hidden.ends(lengths) >= now));
            over.extend(ended);
            let spare = over.len().saturating_sub(MOST_REMEMBERED);
            over.drain(..spare);
        }
    }

    /// A reading is lost that tells of a circuit: what was brought there shows a round later.
    pub fn lose(&mut self, circuit: usize, round: Micros) {
        self.holding[circuit].iter_mut().for_each(|excuse| excuse.lost += round);
    }

    /// So much of an excess is excused.
    pub fn amount(&self, circuit: usize, phase: Phase) -> Milliamps {
        self.holding[circuit].iter().map(|excuse| excuse.brought[phase]).sum()
    }

    /// The oldest of those that an excess needs if the newest count first; none if it needs none, or if all together are
    /// too few.
    pub fn needed(&self, circuit: usize, phase: Phase, excess: Milliamps) -> Option<&Excuse> {
        let mut left = excess;
        self.holding[circuit].iter().rev().filter(|_| excess > Milliamps::ZERO).find(|excuse| {
            left -= excuse.brought[phase];
            left <= Milliamps::ZERO
        })
    }

    /// What has brought something on a phase and held at some moment since `since`, the first first.
    pub fn since(&self, circuit: usize, phase: Phase, since: Micros, lengths: &Lengths) -> Vec<&Excuse> {
        let all = self.over[circuit].iter().chain(&self.holding[circuit]);
        let counts =
            |excuse: &&Excuse| excuse.brought[phase] > Milliamps::ZERO && excuse.ends(lengths) >= since;
        all.filter(counts).collect()
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Load(_) => "a load rose",
            Self::Limit => "the limit fell",
            Self::Disobedience(_) => "a vehicle drew more than it was told",
            Self::Forgotten => "the machine forgot what a vehicle drew beyond what it was told",
            Self::Silence => "the machine forgot that a meter is silent",
            Self::MeterBack => "a meter spoke again",
            Self::Unmeasured(_) => "a vehicle that nobody measures drew more of what it may",
            Self::Test => "the test says so",
        })
    }
}

impl fmt::Display for Delays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            (self.deaf, "a meter is silent"),
            (self.offline, "a charger can't be reached"),
            (self.lost, "a setpoint or its answer was lost"),
            (self.disobeyed, "a vehicle disobeys"),
            (self.unmeasured, "nobody measures a vehicle that draws less than it may"),
        ];
        let named: Vec<&str> = all.iter().filter(|(is_so, _)| *is_so).map(|(_, name)| *name).collect();
        f.write_str(&named.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::amps;

    const LENGTHS: Lengths = Lengths {
        usual: Micros::from_secs(2),
        deaf: Micros::from_secs(10),
        offline: Micros::from_secs(20),
        disobeyed: Micros::from_secs(3),
    };

    fn at(secs: i64) -> Micros {
        Micros::from_secs(secs)
    }

    fn on_l1(amount: f64) -> PerPhase<Milliamps> {
        PerPhase([amps(amount), Milliamps::ZERO, Milliamps::ZERO])
    }

    fn excused(excuses: &mut Excuses, now: i64, delays: Delays) -> Milliamps {
        excuses.pass(at(now), &LENGTHS, |_| delays);
        excuses.amount(0, Phase::L1)
    }

    #[test]
    fn what_is_brought_later_excuses_only_itself_and_gives_no_more_time_to_what_came_before() {
        let (mut excuses, none) = (Excuses::new(1), Delays::default());
        excuses.add(0, Cause::Load(0), on_l1(5.0), at(0));
        excuses.add(0, Cause::Limit, on_l1(3.0), at(2));
        assert_eq!(excused(&mut excuses, 2, none), amps(8.0));
        assert_eq!(excuses.amount(0, Phase::L2), Milliamps::ZERO);
        assert_eq!(excused(&mut excuses, 3, none), amps(3.0));
        assert_eq!(excused(&mut excuses, 5, none), Milliamps::ZERO);
    }

    #[test]
    fn a_delay_counts_once_for_each_however_often_it_comes_and_goes() {
        let mut excuses = Excuses::new(1);
        let offline = Delays { offline: true, ..Delays::default() };
        excuses.add(0, Cause::Load(0), on_l1(5.0), at(0));
        for second in 0..=22 {
            let delays = if second % 2 == 0 { offline } else { Delays::default() };
            assert_eq!(excused(&mut excuses, second, delays), amps(5.0), "{second}");
        }
        assert_eq!(excused(&mut excuses, 23, offline), Milliamps::ZERO);
    }

    #[test]
    fn each_reading_that_is_lost_makes_it_a_round_longer_until_a_meter_is_stale() {
        let mut excuses = Excuses::new(2);
        excuses.add(0, Cause::Load(0), on_l1(5.0), at(0));
        excuses.lose(1, at(100));
        excuses.lose(0, at(1));
        excuses.lose(0, at(1));
        assert_eq!(excused(&mut excuses, 4, Delays::default()), amps(5.0));
        (0..100).for_each(|_| excuses.lose(0, at(1)));
        assert_eq!(excused(&mut excuses, 12, Delays::default()), amps(5.0));
        assert_eq!(excused(&mut excuses, 13, Delays::default()), Milliamps::ZERO);
    }

    #[test]
    fn an_excess_is_as_old_as_the_oldest_that_it_needs() {
        let mut excuses = Excuses::new(1);
        excuses.add(0, Cause::Load(0), on_l1(5.0), at(0));
        excuses.add(0, Cause::Limit, on_l1(3.0), at(2));
        let needed = |excess: f64| excuses.needed(0, Phase::L1, amps(excess)).map(|excuse| excuse.at);
        assert_eq!([0.0, 3.0, 3.5, 8.5].map(needed), [None, Some(at(2)), Some(at(0)), None]);
    }
}
