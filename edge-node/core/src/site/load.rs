//! The uncontrolled load of a metered circuit: its meter less what its chargers drew at the same moment.
//!
//! Meter and chargers send when they like, so the readings of one moment don't exist. What does is this: a
//! charger's draw at the moment of a meter reading lay between the bounds of its readings from the last one
//! before to the first one after, with [`Times::guard`] of slack on both sides for messages on their way
//! ([`super::track`]). So the load lay between *meter less the most drawn* and *meter less the least*.
//!
//! - **Settled** estimate: from each meter reading, once a later reading of every charger confirms it. If the
//!   bounds hold the estimate there was, it stays: that is how the ramp of a charger is not mistaken for
//!   load. Otherwise it becomes the upper bound. A change that we have commanded after the meter reading
//!   had come can't be in it: where the estimate rises, the draw counts as it was before that command. With
//!   chargers that are steady over two readings both bounds are one value, and the estimate is exact.
//! - **At once**: a meter reading that no later reading confirms yet can only raise the load, to the meter
//!   less everything that the chargers may draw or were measured to draw. That is exact when the chargers
//!   draw what they may. A total above the limit, though, is not explained by what chargers might draw, only
//!   by what their latest readings show: so the first reading that shows an excess already lowers enough.
//! - A **raise** has to fit beside the most that the load can be by the readings that are not settled yet,
//!   each less the least that the chargers' latest readings showed or that they were told since, and by the
//!   upper bound of the one that was settled last: while draws change, raises wait.
//! - A charger that has been silent for [`Times::silence`] is not waited for: it drew something between nothing and
//!   its last reading, and never more than what was reserved for it at the moment of the meter reading.
//! - Below zero only where there is generation.
//! - When the machine has just begun nothing is settled, and who was not heard yet may draw something: the load is then the newest
//!   meter reading less the latest readings of those who were heard.
//! - Of a phase that is silent the last estimate stands, for what it is worth (see `budget`), until it is told that it is silent and then
//!   speaks again: there the estimate begins anew.
//! - A meter that lags ([`Meter::lag_ms`](super::Meter)) may tell of any moment since: the slack before its readings is as much longer.
//! - A charger, or a phase of it, that is not measured drew between nothing and what it was told at that moment. Where the
//!   estimate rises it is taken to have drawn that; raises fit beside its having drawn nothing.
//!
//! The error is on the safe side: load may be seen too high for a moment, availability never. Every
//! subtracted draw is at most what the ledger reserves for that charger, so load and reservations together
//! are never below what the meter shows. That also makes a charger of unknown wiring safe to subtract on
//! every phase, as it is reserved on every phase. On phases that it doesn't load its reservation stands for load, so
//! a raise has to fit beside what was subtracted for it at the last settled reading until a reading after its reduction
//! has settled. And lowering one of them may not help the phase that needs it: what follows from that the `doubt` module says.

use std::collections::VecDeque;

use wattle_wire::{Micros, Milliamps, Millis, PerPhase, Phase};

use super::station::{DRAW_TOLERANCE, Station};
use super::track::MAX_BUCKETS;
use super::{Charger, Control, Meter};

/// Meter readings that wait for a confirmation; the oldest goes first. They are kept half a guard time
/// apart, so that fast meters don't push out what slow chargers will confirm.
const MAX_WAITING: usize = 32;

/// The lengths of time of the method.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// Slack for messages on their way: half an interval, 50 ms to 1 s.
    pub(super) guard: Micros,
    /// How long an answer of a charger is waited for: three intervals, at least 1 s.
    pub(super) patience: Micros,
    /// The same of a reading; at least twice as long as a charger may take for one.
    pub(super) silence: Micros,
    /// After this long a charger's draw is forgotten.
    pub(super) stale: Micros,
    /// How old a reading of the meter may be besides.
    pub(super) lag: Micros,
    /// What the readings of so long a time have in common is kept of a charger.
    pub(super) bucket: Micros,
}

impl Times {
    pub(super) fn of(control: &Control, meters: &[Meter]) -> Self {
        let interval = Micros::from(control.interval_ms);
        let guard = Micros((interval.0 / 2).clamp(50_000, 1_000_000));
        let patience = Micros(interval.0.saturating_mul(3).max(1_000_000));
        // What chargers drew has to be known back to where the oldest reading that waits for a confirmation may tell of.
        let lag = meters.iter().map(|meter| Micros::from(meter.lag_ms)).max().unwrap_or_default();
        let silence = patience.max(Micros::from_secs(2));
        let reach = lag + silence + guard + guard;
        let bucket = Micros((reach.0 / (MAX_BUCKETS as i64 - 2)).max(guard.0 / 2));
        Self { stale: control.meter_stale_ms.into(), lag: Micros::ZERO, guard, patience, silence, bucket }
    }
}

impl Times {
    /// Of a meter whose readings may be so old.
    pub(super) fn lagging(self, lag: Millis) -> Self {
        Self { lag: lag.into(), ..self }
    }

    /// So long after its start a machine may wait for a first estimate: a reading of each charger, one of the meter, one more of each
    /// charger.
    pub(super) fn beginning(self) -> Micros {
        self.patience + self.guard + self.guard
    }

    /// The earliest moment of which a reading may tell that came at `moment`.
    pub(super) fn told_from(self, moment: Micros) -> Micros {
        moment - self.guard - self.lag
    }
}

pub(super) type Current = PerPhase<Option<Milliamps>>;

/// What chargers draw together above what is reserved for them is taken for noise as far as one of them may: the rest counts as load.
pub(super) fn beyond_noise(noise: PerPhase<Milliamps>) -> PerPhase<Milliamps> {
    noise.map(|noise| (noise - DRAW_TOLERANCE).max(Milliamps::ZERO))
}

#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) at: Micros,
    pub(super) measured: Current,
    pub(super) at_least: Current,
    pub(super) at_most: Current,
}

/// The load of one circuit, phase by phase; none on a phase of which the meter doesn't speak.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) generation: bool,
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) settled: Current,
    /// The upper bound of the reading that was settled last.
    pub(super) doubt: Current,
    /// What was measured last, and when; none of a phase that was told to be silent.
    pub(super) heard: PerPhase<Option<(Milliamps, Micros)>>,
    /// What was subtracted at most for each charger of the reading that was settled last.
    pub(super) subtracted: Vec<PerPhase<Milliamps>>,
    /// The same of the newest reading, if it shows an excess and chargers of unknown wiring are below.
    pub(super) lately: Vec<PerPhase<Milliamps>>,
}

impl Load {
    pub(super) fn new(generation: bool) -> Self {
        let nothing = PerPhase::all(None);
        Self {
            generation,
            waiting: VecDeque::new(),
            settled: nothing,
            doubt: nothing,
            heard: PerPhase::all(None),
            subtracted: Vec::new(),
            lately: Vec::new(),
        }
    }

    /// Takes a meter reading; `drawn` is the most that the chargers may have drawn at that moment, `lately`
    /// the least that their latest readings show.
    pub(super) fn push(
        &mut self,
        measured: Current,
        drawn: PerPhase<Milliamps>,
        lately: PerPhase<Milliamps>,
        now: Micros,
        guard: Micros,
    ) {
        for phase in Phase::ALL {
            if measured[phase].is_some() && self.heard[phase].is_none() {
                self.forget(phase);
            }
        }
        self.heard = self.heard.zip(measured, |heard, m| m.map(|m| (m, now)).or(heard));
        let floor = self.floor();
        let less =
            |drawn| measured.zip(drawn, |m: Option<Milliamps>, drawn| m.map(|m| (m - drawn).max(floor)));
        let (at_least, at_most) = (less(drawn), less(lately));
        let crowded =
            self.waiting.len() >= 2 && (now - self.waiting[self.waiting.len() - 2].at).0 < guard.0 / 2;
        if crowded || self.waiting.len() == MAX_WAITING {
            let gone = if crowded { self.waiting.pop_back() } else { self.waiting.pop_front() };
            debug_assert!(gone.is_some());
        }
        self.waiting.push_back(Waiting { at: now, measured, at_least, at_most });
        self.lately.clear();
    }

    /// Whether the first estimate can be made: what a charger drew before its first reading is not known, nor whether one
    /// is silent that was never heard. `firsts` has the moments of the first readings. Of readings that came too early the last is kept.
    pub(super) fn begins(&mut self, firsts: impl Iterator<Item = Option<Micros>>, times: Times) -> bool {
        let mut latest = Micros(i64::MIN);
        for first in firsts {
            let Some(first) = first else { return false };
            latest = latest.max(first);
        }
        let is_early = |waiting: &Waiting| times.told_from(waiting.at) < latest;
        while self.waiting.len() > 1 && self.waiting.front().is_some_and(is_early) {
            self.waiting.pop_front();
        }
        !self.waiting.front().is_some_and(is_early)
    }

    /// Settles on the newest reading that is confirmed by all that may have drawn from the circuit.
    pub(super) fn settle<'a>(
        &mut self,
        now: Micros,
        times: Times,
        below: impl Iterator<Item = (&'a Charger, &'a Station)> + Clone,
    ) {
        while let Some(waiting) = self.waiting.front() {
            let nothing = PerPhase::all(Milliamps::ZERO);
            let about = |(charger, station): (&Charger, &Station)| {
                station.drawn_about(charger, waiting.at, now, times)
            };
            let mut noise = nothing;
            let drawn = below.clone().try_fold([nothing; 4], |[least, likely, most, sure], below| {
                let range = about(below);
                let (charger, station) = below;
                noise = noise + station.noise(charger, range.most, waiting.at, now, times);
                let (low, high) = below.1.drawn_but_for_commands(waiting.at, &range, now, times);
                let steady = range.least.zip(range.most, |l, m| if m - l <= DRAW_TOLERANCE { m } else { l });
                let steady = steady.map(|draw| draw.max(Milliamps::ZERO));
                let at_least = range.least.map(|least| least.max(Milliamps::ZERO));
                range.is_complete.then(|| [least + at_least, likely + low, most + high, sure + steady])
            });
            let Some(drawn) = drawn else { return };
            let drawn = drawn.map(|drawn| drawn - beyond_noise(noise));
            self.subtracted = below.clone().map(|below| about(below).most).collect();
            let measured = waiting.measured;
            self.waiting.pop_front();
            if self.waiting.is_empty() {
                self.lately.clear();
            }
            self.settle_on(measured, drawn);
        }
    }

    fn settle_on(&mut self, measured: Current, [least, likely, most, sure]: [PerPhase<Milliamps>; 4]) {
        let floor = self.floor();
        for phase in Phase::ALL {
            let Some(measured) = measured[phase] else { continue };
            let load = |drawn: PerPhase<Milliamps>| (measured - drawn[phase]).max(floor);
            self.doubt[phase] = Some(load(sure));
            self.settled[phase] = Some(match self.settled[phase] {
                Some(before) if before < load(most) => load(likely),
                Some(before) => before.min(load(least)),
                None => load(least),
            });
        }
    }

    /// The load on each phase; none where the meter was not heard for `stale`.
    pub(super) fn now(&self, now: Micros, stale: Micros) -> Current {
        self.last()
            .zip(self.heard, |load, heard| load.filter(|_| heard.is_some_and(|(_, at)| now - at < stale)))
    }

    /// The load on each phase by what the meter has said last, however long ago.
    pub(super) fn last(&self) -> Current {
        let mut load = self.settled;
        for waiting in &self.waiting {
            // Before the first settled estimate the whole of what the meter shows is taken for load.
            let risen = waiting.at_least.zip(waiting.measured, |at_least, m| (at_least, m));
            load = load.zip(risen, |load, (at_least, m)| if load.is_some() { load.max(at_least) } else { m });
        }
        load
    }

    /// The load before the first estimate is settled: what the newest reading shows beside so much of the chargers.
    pub(super) fn begun(&self, mut known: Current, drawn: PerPhase<Milliamps>) -> Current {
        let Some(newest) = self.waiting.back() else { return known };
        for phase in Phase::ALL {
            if let (None, Some(_), Some(measured)) =
                (self.settled[phase], known[phase], newest.measured[phase])
            {
                known[phase] = Some((measured - drawn[phase]).max(self.floor()));
            }
        }
        known
    }

    /// The most that a load that is known can be by what is not settled yet: a raise has to fit beside this.
    pub(super) fn at_most(&self, known: Current) -> Current {
        let known =
            known.zip(self.doubt, |known, doubt| known.map(|known| doubt.map_or(known, |d| d.max(known))));
        self.waiting.iter().fold(known, |known, waiting| {
            known.zip(waiting.at_most, |known, most| known.map(|known| most.map_or(known, |m| m.max(known))))
        })
    }

    /// What the meter showed last, where that is not stale.
    pub(super) fn measured(&self, now: Micros, stale: Micros) -> Current {
        self.heard.map(|heard| heard.filter(|(_, at)| now - *at < stale).map(|(m, _)| m))
    }

    /// It is told of these phases that they are silent.
    pub(super) fn fall_silent(&mut self, phases: &[Phase]) {
        phases.iter().for_each(|phase| self.heard[*phase] = None);
    }

    /// Forgets the estimate of a phase: after a silence it begins anew.
    fn forget(&mut self, phase: Phase) {
        for waiting in &mut self.waiting {
            (waiting.measured[phase], waiting.at_least[phase], waiting.at_most[phase]) = (None, None, None);
        }
        (self.settled[phase], self.doubt[phase]) = (None, None);
        self.subtracted.iter_mut().for_each(|subtracted| subtracted[phase] = Milliamps::ZERO);
    }

    fn floor(&self) -> Milliamps {
        if self.generation { Milliamps(i32::MIN) } else { Milliamps::ZERO }
    }
}
