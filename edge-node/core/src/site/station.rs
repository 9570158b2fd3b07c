//! What is known of one charger.

use std::collections::VecDeque;

use wattle_wire::message::{ChargerState, Number, Phases};
use wattle_wire::{Micros, Milliamps, PerPhase, Phase, WattHours};

use super::anomaly::Anomalies;
use super::ledger::Ledger;
use super::lend::Lending;
use super::load::Times;
use super::track::{Drawn, Range, Track, is_measured};
use super::{Charger, Stay};

/// A draw counts above the setpoint only beyond this: meters and readings have noise, and what is really
/// drawn the circuit's meter shows too.
pub const DRAW_TOLERANCE: Milliamps = Milliamps(250);

/// Currents outside of these are no reading. A charger can't export; a little below zero is noise.
const LEAST_DRAW: Milliamps = Milliamps(-500);
const MOST_DRAW: Milliamps = Milliamps::from_amps(1_000);

/// Commands whose moments are kept; the oldest goes first.
const MAX_COMMANDS: usize = 16;

#[derive(Debug, Clone, Default)]
pub(super) struct Station {
    pub(super) state: Option<ChargerState>,
    pub(super) online: bool,
    pub(super) heard_at: Option<Micros>,
    pub(super) seen: Option<Number>,
    pub(super) stay: Option<Stay>,
    pub(super) register: Option<WattHours>,
    pub(super) soc_percent: Option<i32>,
    pub(super) temperature_mc: Option<i32>,
    /// What people give it whatever a policy says.
    pub(super) manual: Option<Milliamps>,
    /// Until when that is not what the model says.
    pub(super) manual_until: Option<Micros>,
    pub(super) ledger: Ledger,
    pub(super) track: Track,
    /// When it was last told to change its draw, and what it was told before; oldest first, at most [`MAX_COMMANDS`].
    pub(super) commands: VecDeque<(Micros, Milliamps)>,
    /// What it might have drawn until a moment ago, each with until when that still counts for the meter; the latest last, each
    /// higher than those after it, at most [`MAX_COMMANDS`].
    pub(super) held: Vec<(Milliamps, Micros)>,
    /// Since when a raise is wanted.
    pub(super) raise_since: Option<Micros>,
    /// Since when it draws more than it may.
    pub(super) over_since: Option<Micros>,
    pub(super) over_reported: bool,
    pub(super) anomalies: Anomalies,
    pub(super) lending: Lending,
    /// Why it may not charge now although its vehicle asks.
    pub(super) held_off: Option<&'static str>,
    /// Since when its vehicle charges, or is on standby after it has charged.
    pub(super) resumed_at: Option<Micros>,
    pub(super) paused_at: Option<Micros>,
    /// How far the ramp lets it rise now.
    pub(super) rise: Milliamps,
}

impl Station {
    pub(super) fn state(&self) -> ChargerState {
        let guessed = if self.stay.is_some() { ChargerState::Charging } else { ChargerState::Available };
        self.state.unwrap_or(guessed)
    }

    /// Whether a setpoint is worth sending: connected, and heard of within `silence`.
    pub(super) fn is_reachable(&self, now: Micros, silence: Micros) -> bool {
        self.online && self.heard_at.is_some_and(|at| now - at < silence)
    }

    /// Takes what a reading says of the current; whether that is anything. Where it says nothing plausible the charger
    /// may draw nothing or all that it was told, `told`.
    pub(super) fn measure(
        &mut self,
        charger: &Charger,
        current: Option<Phases<Milliamps>>,
        told: Milliamps,
        now: Micros,
        times: Times,
    ) -> bool {
        let plausible = |i: &Milliamps| (LEAST_DRAW..=MOST_DRAW).contains(i);
        let current = current.filter(|current| current.iter().flatten().all(|i| plausible(&i)));
        let is_measured = current.is_some_and(|current| current.iter().any(|i| i.is_some()));
        // Who measures in other readings says nothing of its draw in this one.
        if !is_measured && self.track.measures(charger.wired(), now - times.silence) {
            return false;
        }
        let measured = on_site_phases(charger, current);
        let mut at_most = PerPhase::all(Milliamps::ZERO);
        for phase in charger.wired() {
            at_most[*phase] = told.max(charger.safe_ma);
        }
        self.track.take(Drawn { measured, at_most }, now, times.bucket);
        is_measured
    }

    /// What it draws by its last reading, if that is younger than `stale`.
    pub(super) fn draw(&self, now: Micros, stale: Micros) -> PerPhase<Milliamps> {
        let last = self.track.last().filter(|(_, at)| now - *at < stale);
        last.map_or(PerPhase::all(Milliamps::ZERO), |(draw, _)| draw)
    }

    /// The same; on a phase that it doesn't measure, what it may have drawn at most.
    pub(super) fn likely_draw(&self, now: Micros, stale: Micros) -> PerPhase<Milliamps> {
        let last = self.track.buckets().next_back().filter(|bucket| now - bucket.to < stale);
        let unmeasured = last.map(|bucket| {
            bucket
                .least
                .zip(bucket.most, |least, most| if is_measured(least) { Milliamps::ZERO } else { most })
        });
        self.draw(now, stale).zip(unmeasured.unwrap_or_default(), Milliamps::max)
    }

    /// What it draws on the phase on which it draws most.
    pub(super) fn highest_draw(&self, now: Micros, stale: Micros) -> Milliamps {
        self.draw(now, stale).0.into_iter().fold(Milliamps::ZERO, Milliamps::max)
    }

    /// The most that it may draw: by what it was told, by its safe current, and by what it was measured to.
    pub(super) fn may_draw(&self, charger: &Charger, now: Micros, stale: Micros) -> PerPhase<Milliamps> {
        self.may_draw_of(charger, self.ledger.most(), now, stale)
    }

    /// The most that was reserved for it at a moment that a meter reading may still tell of.
    fn reserved_at(
        &self,
        charger: &Charger,
        moment: Micros,
        now: Micros,
        times: Times,
    ) -> PerPhase<Milliamps> {
        let told = self.ledger.most_at(moment).max(self.held_at(moment - times.lag));
        self.may_draw_of(charger, told, now, times.stale)
    }

    fn may_draw_of(
        &self,
        charger: &Charger,
        told: Milliamps,
        now: Micros,
        stale: Micros,
    ) -> PerPhase<Milliamps> {
        let told = told.max(charger.safe_ma);
        let mut may =
            self.draw(now, stale).map(|d| if d > told + DRAW_TOLERANCE { d } else { Milliamps::ZERO });
        for phase in charger.wired() {
            may[*phase] = may[*phase].max(told);
        }
        may
    }

    /// By how much a draw about a moment is above what was reserved for it then, where that is within the noise.
    pub(super) fn noise(
        &self,
        charger: &Charger,
        drawn: PerPhase<Milliamps>,
        moment: Micros,
        now: Micros,
        times: Times,
    ) -> PerPhase<Milliamps> {
        let reserved = self.reserved_at(charger, moment, now, times);
        let above = drawn.zip(reserved, |drawn, reserved| drawn - reserved);
        above.map(|above| if above <= DRAW_TOLERANCE { above.max(Milliamps::ZERO) } else { Milliamps::ZERO })
    }

    /// What it draws although nothing that it was told within `patience` is as much.
    pub(super) fn beyond(
        &self,
        charger: &Charger,
        now: Micros,
        stale: Micros,
        patience: Micros,
    ) -> PerPhase<Milliamps> {
        let told = self.ledger.most().max(charger.safe_ma);
        let lately = self.commands.iter().filter(|(at, _)| now - *at < patience);
        let most = lately.map(|(_, before)| *before).fold(told, Milliamps::max) + DRAW_TOLERANCE;
        self.draw(now, stale).map(|draw| if draw > most { draw } else { Milliamps::ZERO })
    }

    /// Notes what it might have drawn before a change to its ledger, for meter readings on their way.
    pub(super) fn hold(&mut self, before: Milliamps, now: Micros, times: Times) {
        let most = self.ledger.most();
        if before > most {
            self.held.retain(|(held, until)| *held > before && *until >= now - times.lag);
            let (until, full) = (now + times.guard, self.held.len() == MAX_COMMANDS);
            match self.held.last_mut().filter(|_| full) {
                Some(last) => last.1 = until,
                None => self.held.push((before, until)),
            }
        }
    }

    fn held_at(&self, moment: Micros) -> Milliamps {
        let held = self.held.iter().filter(|(_, until)| moment <= *until);
        held.fold(Milliamps::ZERO, |most, (held, _)| most.max(*held))
    }

    /// Whether its draw was not measured for so long that no reading is waited for.
    fn is_silent(&self, now: Micros, times: Times) -> bool {
        self.track.last().is_none_or(|(_, at)| now - at >= times.silence)
    }

    /// What it was told last. While it may still obey an earlier machine that is what it draws, in whole steps: to tell it that
    /// is to lower what it may draw.
    pub(super) fn in_force(&self, charger: &Charger, now: Micros, times: Times) -> Milliamps {
        if let Some(newest) = self.ledger.newest() {
            return newest.limit;
        }
        let Some((most, _)) = self.ledger.inherited.filter(|_| self.state().asks()) else {
            return Milliamps::ZERO;
        };
        let drawn = self.highest_draw(now, times.silence) + DRAW_TOLERANCE;
        let whole = drawn.min(most).floor_to(charger.step_ma);
        if whole < charger.min_ma { Milliamps::ZERO } else { whole }
    }

    /// The least and the most that it draws by its latest readings; the least at most what it was told last. Of one that
    /// is silent nobody knows whether it still draws, nor is what it drew more than what is reserved for it.
    pub(super) fn drawn_lately(
        &self,
        charger: &Charger,
        now: Micros,
        times: Times,
    ) -> (PerPhase<Milliamps>, PerPhase<Milliamps>) {
        let (least, most) = self.track.bounds_since(times.told_from(now));
        if self.is_silent(now, times) {
            let reserved = self.reserved_at(charger, now, now, times);
            return (PerPhase::all(Milliamps::ZERO), most.zip(reserved, Milliamps::min));
        }
        let told = self.ledger.newest().map_or(Milliamps::ZERO, |sent| sent.limit);
        (least.map(|least| least.min(told).max(Milliamps::ZERO)), most)
    }

    /// The most that a meter reading of this moment may contain of it: what is reserved for it, or what its readings show,
    /// unless it is silent.
    pub(super) fn may_have_drawn(&self, charger: &Charger, now: Micros, times: Times) -> PerPhase<Milliamps> {
        let reserved = self.reserved_at(charger, now, now, times);
        if self.is_silent(now, times) {
            return reserved;
        }
        reserved.zip(self.track.range(times.told_from(now), now).most, Milliamps::max)
    }

    /// No vehicle asks: what was learned of the last one is of no use for the next.
    pub(super) fn forget_vehicle(&mut self) {
        self.lending = Lending::default();
        (self.resumed_at, self.paused_at) = (None, None);
    }

    /// Notes that it is told now to change its draw from one setpoint to another.
    pub(super) fn command(&mut self, from: Milliamps, to: Milliamps, now: Micros) {
        self.rise = (self.rise - (to - from).max(Milliamps::ZERO)).max(Milliamps::ZERO);
        match (from == Milliamps::ZERO, to == Milliamps::ZERO) {
            _ if !self.state().asks() => {}
            (true, false) => (self.resumed_at, self.paused_at) = (Some(now), None),
            (false, true) => (self.resumed_at, self.paused_at) = (None, Some(now)),
            _ => {}
        }
        if self.commands.len() == MAX_COMMANDS {
            self.commands.pop_front();
        }
        self.commands.push_back((now, from));
    }

    /// The bounds of its draw about a moment if nothing but our commands has changed it: what came after a
    /// command that was sent at or after the moment doesn't count. `range` is [`Self::drawn_about`] it.
    pub(super) fn drawn_but_for_commands(
        &self,
        moment: Micros,
        range: &Range,
        now: Micros,
        times: Times,
    ) -> (PerPhase<Milliamps>, PerPhase<Milliamps>) {
        let command = self.commands.iter().find(|(at, _)| *at >= moment);
        let bounds = command.and_then(|(at, _)| self.track.bounds_until(times.told_from(moment), *at));
        let at_most = |drawn: PerPhase<Milliamps>| match self.is_silent(now, times) {
            true => drawn.zip(range.most, Milliamps::min),
            false => drawn,
        };
        let (least, most) = bounds.unwrap_or((range.least, range.most));
        // Where nothing is measured it is taken to draw what it may: else every rise of the load would count it as load.
        let least = least.zip(most, |least, most| if is_measured(least) { least } else { most });
        (at_most(least), at_most(most))
    }

    /// The bounds of its draw about a moment, as far as they are known at `now`. Of one that is silent nobody knows
    /// whether it still draws; it drew no more than what was reserved for it.
    pub(super) fn drawn_about(&self, charger: &Charger, moment: Micros, now: Micros, times: Times) -> Range {
        let range = self.track.range(times.told_from(moment), moment + times.guard);
        if range.is_complete || !self.is_silent(now, times) {
            return range;
        }
        let most = range.most.zip(self.reserved_at(charger, moment, now, times), Milliamps::min);
        Range { least: PerPhase::all(Milliamps::ZERO), most, is_complete: true }
    }
}

/// Puts a charger's currents on the site's phases; none where it is wired and said nothing of the current. Where it is not said how
/// it is wired its highest counts on all that reach it.
fn on_site_phases(charger: &Charger, current: Option<Phases<Milliamps>>) -> PerPhase<Option<Milliamps>> {
    let nothing = Milliamps::ZERO;
    let highest = || current.and_then(|current| current.iter().flatten().max());
    let is_said = charger.said_phases().is_some();
    let mut draw = PerPhase::all(Some(nothing));
    for (index, phase) in charger.wired().iter().enumerate() {
        let said = if is_said { current.and_then(|current| current.get(index)) } else { highest() };
        draw[*phase] = said.map(|i| i.max(nothing));
    }
    draw
}

/// A meter's currents, phase by phase; none where it is implausible or missing.
pub(super) fn plausible_meter(current: Phases<Milliamps>, generation: bool) -> PerPhase<Option<Milliamps>> {
    let least = if generation { Milliamps(-METER_MOST.0) } else { LEAST_DRAW };
    let mut measured = PerPhase::all(None);
    for phase in Phase::ALL {
        measured[phase] = current.get(phase.index()).filter(|i| (least..=METER_MOST).contains(i));
    }
    measured
}

const METER_MOST: Milliamps = Milliamps::from_amps(10_000);
