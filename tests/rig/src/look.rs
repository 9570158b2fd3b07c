//! The rig looks whether promise 1 holds, and what excuses it where it doesn't.

use wattle_wire::{Micros, Milliamps, PerPhase, Phase};

use crate::excuse::{Cause, Delays, Excuse, Lengths};
use crate::rig::{Pace, Rig};
use crate::tally::Worst;
use crate::watch::{Breaker, Flow, Outlet};
use wattle_edge_core::Part;

impl Rig {
    /// Whatever happens to a circuit and to those above it now may be as much too much as it likes, for the usual time.
    pub fn excuse(&mut self, circuit: usize) {
        self.bring(circuit, Cause::Test, PerPhase::all(Milliamps::from_amps(1_000)));
    }

    /// Something that the machine could not foresee brings so much more on a circuit and on those above it. Where it is less, as much
    /// of what it has brought is gone.
    pub(crate) fn bring(&mut self, circuit: usize, cause: Cause, brought: PerPhase<Milliamps>) {
        for circuit in self.paths[circuit].iter().copied() {
            self.watch.excuses.add(circuit, cause, brought, self.now);
            self.watch.excuses.take_back(circuit, cause, PerPhase::default() - brought);
        }
    }

    /// How long the machine has to end an excess: a round of readings, an interval and the way of the messages; and longer
    /// - while a meter that tells of the load is silent, until it counts as stale: nobody knows of the load;
    /// - while a charger can't be reached, until its setpoint has expired: nobody can lower it;
    /// - the same where a setpoint or its answer was lost or came late, and what came before it may still be obeyed;
    /// - while a vehicle draws more than it was told, so long as a vehicle has to obey a lower setpoint;
    /// - the same while one draws less than it may and nobody measures it: to lower it doesn't help at once.
    fn lengths(&self) -> Lengths {
        let control = self.machine.model().control;
        let Pace { step_ms, reading_ms, patience_ms } = self.pace;
        let usual = reading_ms
            + control.interval_ms.0
            + 3 * step_ms
            + self.extra_grace_ms
            + self.longest_reading_ms();
        Lengths {
            usual: Micros::from_millis(usual),
            deaf: control.meter_stale_ms.into(),
            offline: self.may_obey_for(),
            disobeyed: Micros::from_millis(patience_ms),
        }
    }

    /// How long a charger may obey what it was told, by this site file or one before.
    pub(crate) fn may_obey_for(&self) -> Micros {
        self.longest_validity.max(self.machine.model().control.validity_ms).into()
    }

    fn delays(&self, circuit: usize) -> Delays {
        let unmeasured = self.hidden()[circuit] != PerPhase::default();
        let first = Delays { deaf: self.is_deaf(circuit), unmeasured, ..Delays::default() };
        self.below(circuit).map(|index| &self.vehicles[index]).fold(first, |delays, vehicle| Delays {
            offline: delays.offline || vehicle.offline,
            lost: delays.lost || self.now < vehicle.missed_until,
            disobeyed: delays.disobeyed || vehicle.disobeys.is_some(),
            ..delays
        })
    }

    /// The chargers that a circuit feeds.
    pub(crate) fn below(&self, circuit: usize) -> impl Iterator<Item = usize> {
        (0..self.vehicles.len()).filter(move |index| self.paths[self.circuit_of(*index)].contains(&circuit))
    }

    /// Whether a charger measures itself what it draws, or a meter above it does that speaks.
    pub(crate) fn is_watched(&self, index: usize) -> bool {
        let vehicle = &self.vehicles[index];
        let meters = self.machine.model().meters.iter().zip(&self.silent_meters);
        let is_metered =
            |circuit: &usize| meters.clone().any(|(meter, silent)| meter.circuit == *circuit && !silent);
        vehicle.measures >= vehicle.wired.len() || self.paths[self.circuit_of(index)].iter().any(is_metered)
    }

    pub(crate) fn circuit_of(&self, index: usize) -> usize {
        self.machine.model().chargers[index].circuit
    }

    /// What a charger counts with on each phase.
    pub(crate) fn counted(&self, index: usize) -> PerPhase<Milliamps> {
        self.counted_with(index, self.draw(index))
    }

    fn counted_with(&self, index: usize, draw: Milliamps) -> PerPhase<Milliamps> {
        let counts = self.watch.counted(index, self.machine.model().chargers[index].safe_ma, draw);
        let mut counted = PerPhase::all(Milliamps::ZERO);
        self.loaded(index).iter().for_each(|phase| counted[*phase] = counts);
        counted
    }

    /// What was measured is known no more, so what vehicles draw beyond what they were told counts for nothing until they are
    /// heard.
    pub(crate) fn forget_the_disobedient(&mut self) {
        for index in 0..self.vehicles.len() {
            let beyond = self.counted(index) - self.counted_with(index, Milliamps::ZERO);
            self.bring(self.circuit_of(index), Cause::Forgotten, beyond);
        }
    }

    /// A machine that starts anew doesn't know for how long a meter has been silent: what its circuit's chargers may draw goes on
    /// until that has lasted.
    pub(crate) fn forget_silences(&mut self) {
        for circuit in 0..self.loads.len() {
            if self.is_deaf(circuit) {
                let may =
                    self.below(circuit).fold(PerPhase::default(), |sum, index| sum + self.counted(index));
                self.watch.excuses.add(circuit, Cause::Silence, may, self.now);
            }
        }
    }

    /// Whether a meter by which the load or the limit of a circuit is known is silent.
    fn is_deaf(&self, circuit: usize) -> bool {
        (0..self.silent_meters.len()).any(|meter| self.silent_meters[meter] && self.tells_of(meter, circuit))
    }

    /// Whether the load of a circuit is known by this meter, or the voltage by which its limit becomes a current.
    fn tells_of(&self, meter: usize, circuit: usize) -> bool {
        let place = self.machine.model().meters[meter].circuit;
        self.any_meter(circuit, &|other| other == meter)
            || (self.is_limited_in_watts(circuit) && self.paths[circuit].contains(&place))
    }

    /// A reading is lost: what it would have told is seen a round later.
    pub(crate) fn lose_reading(&mut self, part: Part) {
        self.tally.readings_lost += 1;
        let round = Micros::from_millis(self.pace.reading_ms);
        for circuit in 0..self.loads.len() {
            let is_told_of = match part {
                Part::Meter(meter) => self.tells_of(meter, circuit),
                Part::Charger(index) => self.paths[self.circuit_of(index)].contains(&circuit),
                _ => false,
            };
            if is_told_of {
                self.watch.excuses.lose(circuit, round);
            }
        }
    }

    /// Vehicles draw otherwise than a step before: as much of a load that has risen can't be told from that until the readings of
    /// both are of later moments.
    fn note_draws(&mut self) {
        let draws: Vec<Milliamps> = (0..self.vehicles.len()).map(|index| self.draw(index)).collect();
        let before = std::mem::replace(&mut self.drawn, draws);
        for (index, before) in before.into_iter().enumerate() {
            let by = self.drawn[index] - before;
            if by == Milliamps::ZERO {
                continue;
            }
            let mut hides = PerPhase::default();
            self.loaded(index).iter().for_each(|phase| hides[*phase] = by.max(-by));
            for circuit in &self.paths[self.circuit_of(index)] {
                self.watch.excuses.hide(*circuit, hides, self.now);
            }
        }
    }

    /// By how much what the meters of a circuit show may be wrong.
    fn noise_of(&self, circuit: usize) -> Milliamps {
        let meters = 0..self.silent_meters.len();
        meters
            .filter(|meter| self.any_meter(circuit, &|other| other == *meter))
            .map(|_| self.noise_most)
            .sum()
    }

    /// What a vehicle may draw and doesn't, where its charger doesn't measure that.
    pub(crate) fn hidden_by(&self, index: usize) -> PerPhase<Milliamps> {
        let (vehicle, charger) = (&self.vehicles[index], &self.machine.model().chargers[index]);
        // Where the wiring is not known one measurement counts on all phases.
        let measured = match (charger.wiring_is_known(), vehicle.measures) {
            (false, 1..) => Phase::ALL.len(),
            (_, measures) => measures,
        };
        let counts = self.watch.counted(index, charger.safe_ma, self.draw(index));
        let mut hidden = PerPhase::all(Milliamps::ZERO);
        self.loaded(index).iter().skip(measured).for_each(|phase| hidden[*phase] = counts - self.draw(index));
        hidden.map(|hidden| hidden.max(Milliamps::ZERO))
    }

    fn hidden(&self) -> Vec<PerPhase<Milliamps>> {
        let mut hidden = vec![PerPhase::all(Milliamps::ZERO); self.loads.len()];
        for index in 0..self.vehicles.len() {
            let by = self.hidden_by(index);
            for circuit in &self.paths[self.circuit_of(index)] {
                hidden[*circuit] = hidden[*circuit] + by;
            }
        }
        hidden
    }

    /// Whether the machine can't know the load of a circuit.
    pub(crate) fn is_blind(&self, circuit: usize) -> bool {
        self.any_meter(circuit, &|meter| self.is_silent(meter))
    }

    /// Whether this holds of any meter by which the load of a circuit is known.
    fn any_meter(&self, circuit: usize, holds: &dyn Fn(usize) -> bool) -> bool {
        match self.meter_on(circuit) {
            Some(meter) => holds(meter),
            None => self.children(circuit).any(|below| self.any_meter(below, holds)),
        }
    }

    /// A meter is heard, which tells of this load: it counts from now on as far as nobody could know it before.
    pub(crate) fn hear_meter(&mut self, meter: usize, told: PerPhase<Milliamps>) {
        let path = self.paths[self.machine.model().meters[meter].circuit].clone();
        let counted: Vec<_> = path.iter().map(|circuit| self.counted_load(*circuit)).collect();
        (self.heard[meter], self.told[meter]) = (Some(self.now), Some(told));
        for (circuit, before) in path.into_iter().zip(counted) {
            let known = self.counted_load(circuit) - before;
            self.watch.excuses.add(circuit, Cause::MeterBack, known, self.now);
        }
    }

    /// What others draw from a circuit and from all below it, as far as anybody could know: of what a silent meter measures no more than it told
    /// last, or, if it was not heard since the edge has started, than what the fallback budget is meant for.
    pub(crate) fn counted_load(&self, circuit: usize) -> PerPhase<Milliamps> {
        let load = self.load(circuit);
        let Some(meter) = self.meter_on(circuit) else {
            let (own, told) = (self.loads[circuit], self.told_load(circuit));
            let counted = self.children(circuit).fold(own, |sum, below| sum + self.counted_load(below));
            let is_known = !self.is_blind(circuit);
            return if is_known { counted } else { counted.zip(self.meant(circuit, told), Milliamps::min) };
        };
        match (self.is_silent(meter), self.told[meter]) {
            (false, _) => load,
            (true, Some(_)) => load.zip(self.told_load(circuit), Milliamps::min),
            (true, None) => load.zip(self.meant(circuit, self.told_load(circuit)), Milliamps::min),
        }
    }

    /// The load of a circuit beside which its fallback budget is meant to fit, and at least so much.
    fn meant(&self, circuit: usize, least: PerPhase<Milliamps>) -> PerPhase<Milliamps> {
        let fallback = self.machine.model().circuits[circuit].fallback_ma;
        self.limit(circuit).zip(least, |limit, least| (limit - fallback).max(least))
    }

    /// The load of a circuit by what meters have said last.
    fn told_load(&self, circuit: usize) -> PerPhase<Milliamps> {
        let below = |fresh: bool| {
            let of = move |below| if fresh { self.shown_load(below) } else { self.told_load(below) };
            self.children(circuit).map(of).fold(PerPhase::default(), |sum, load| sum + load)
        };
        match self.meter_on(circuit) {
            None => below(false),
            Some(meter) if !self.is_silent(meter) => self.load(circuit),
            Some(meter) => match self.told[meter] {
                Some(told) => told.zip(below(true), Milliamps::max),
                None => below(false),
            },
        }
    }

    /// The same by meters that are not silent.
    fn shown_load(&self, circuit: usize) -> PerPhase<Milliamps> {
        match self.meter_on(circuit) {
            Some(meter) if !self.is_silent(meter) => self.load(circuit),
            _ => self.children(circuit).fold(PerPhase::default(), |sum, below| sum + self.shown_load(below)),
        }
    }

    fn meter_on(&self, circuit: usize) -> Option<usize> {
        self.machine.model().meters.iter().position(|meter| meter.circuit == circuit)
    }

    fn children(&self, circuit: usize) -> impl Iterator<Item = usize> + '_ {
        let circuits = &self.machine.model().circuits;
        (0..circuits.len()).filter(move |below| circuits[*below].parent == Some(circuit))
    }

    /// Whether a meter was not heard for so long that it is stale.
    fn is_silent(&self, meter: usize) -> bool {
        let stale: Micros = self.machine.model().control.meter_stale_ms.into();
        self.heard[meter].is_none_or(|at| self.now - at >= stale)
    }

    pub(crate) fn load(&self, circuit: usize) -> PerPhase<Milliamps> {
        let below = (0..self.loads.len()).filter(|below| self.paths[*below].contains(&circuit));
        below.fold(PerPhase::all(Milliamps::ZERO), |sum, below| sum + self.loads[below])
    }

    pub(crate) fn check_limits(&mut self) {
        self.watch.expire(self.now);
        self.note_limits();
        self.note_draws();
        let lengths = self.lengths();
        let mut excuses = std::mem::replace(&mut self.watch.excuses, crate::excuse::Excuses::new(0));
        excuses.pass(self.now, &lengths, |circuit| self.delays(circuit));
        self.watch.excuses = excuses;
        let model = self.machine.model();
        let outlets = model.chargers.iter().enumerate().map(|(index, charger)| Outlet {
            path: &self.paths[charger.circuit],
            phases: self.loaded(index),
            safe: charger.safe_ma,
            draw: self.draw(index),
            disobeys: self.vehicles[index].disobeys.map_or(Milliamps::ZERO, |_| self.draw(index)),
        });
        let hidden = self.hidden();
        let breakers = (0..model.circuits.len()).map(|index| Breaker {
            limit: self.limit(index).map(|limit| limit + self.noise_of(index)),
            load: self.counted_load(index),
            hidden: hidden[index],
        });
        let (outlets, breakers): (Vec<_>, Vec<_>) = (outlets.collect(), breakers.collect());
        let flows = self.watch.flows(&outlets, &breakers);
        let looked = self.watch.look(&flows, &breakers);
        self.measure_excess(&flows, &breakers);
        if let Err(text) = looked {
            let text = format!("at {} ms: {text}; setpoints {:?}", self.now.0 / 1000, self.setpoints());
            assert!(self.goes_on, "{text}");
            self.tally.breaches += 1;
            self.tally.first_breach.get_or_insert(text);
        }
    }

    /// How long more flows than may, when less of it is possible, and how long after what has brought it.
    fn measure_excess(&mut self, flows: &[Flow], breakers: &[Breaker]) {
        let places = (0..flows.len()).flat_map(|circuit| Phase::ALL.map(|phase| (circuit, phase)));
        for (circuit, phase) in places {
            let (flow, breaker) = (&flows[circuit], &breakers[circuit]);
            let needed = flow.excess(breaker, phase, flow.may[phase]);
            if let Some(Excuse { at, delays, .. }) = self.watch.excuses.needed(circuit, phase, needed) {
                let (lasts, is_plain) = (self.now - *at, *delays == Delays::default());
                self.tally.latest_end = self.tally.latest_end.max(lasts);
                let plain = if is_plain { lasts } else { Micros::ZERO };
                self.tally.latest_plain_end = self.tally.latest_plain_end.max(plain);
            }
            let counted = flow.drawn[phase].min(flow.may[phase]);
            let counted = flow.excess(breaker, phase, counted);
            self.note_excess(circuit, phase, counted, flow.excess(breaker, phase, flow.drawn[phase]));
        }
    }

    /// Nothing is played any more.
    pub(crate) fn end_excesses(&mut self) {
        for (circuit, phase) in
            (0..self.over.len()).flat_map(|circuit| Phase::ALL.map(|phase| (circuit, phase)))
        {
            self.note_excess(circuit, phase, Milliamps::ZERO, Milliamps::ZERO);
        }
    }

    /// So much is too much, without the noise and with it.
    fn note_excess(&mut self, circuit: usize, phase: Phase, counted: Milliamps, flowing: Milliamps) {
        if let Some(over) = Over::pass(&mut self.over[circuit][phase], counted, self.now) {
            let worst = self.worst(circuit, phase, over);
            self.tally.worst.or_longer(worst);
        }
        if let Some(over) = Over::pass(&mut self.over_with_noise[circuit][phase], flowing, self.now) {
            let worst = self.worst(circuit, phase, over);
            self.tally.worst_with_noise.or_longer(worst);
        }
    }

    /// An excess that ends now, with all that has brought it.
    fn worst(&self, circuit: usize, phase: Phase, Over { since, most }: Over) -> Worst {
        let seconds = |moment: Micros| moment.0 as f64 / 1e6;
        let said = |excuse: &Excuse| {
            let (at, brought) = (seconds(excuse.at), excuse.brought[phase]);
            let delays = excuse.delays.to_string();
            let delays = if delays.is_empty() { delays } else { format!(" ({delays})") };
            format!("at {at:.1} s {}, by {brought}{delays}", excuse.cause)
        };
        let causes = self.watch.excuses.since(circuit, phase, since, &self.lengths());
        Worst {
            lasted: self.now - since,
            most,
            site: 0,
            place: format!(
                "circuit {circuit} {phase:?}, {:.1} to {:.1} s",
                seconds(since),
                seconds(self.now)
            ),
            causes: causes.into_iter().map(said).collect(),
        }
    }
}

/// An excess that lasts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Over {
    since: Micros,
    most: Milliamps,
}

impl Over {
    /// Takes what there is now; the excess that is no more, if there was one.
    fn pass(over: &mut Option<Self>, excess: Milliamps, now: Micros) -> Option<Self> {
        if excess <= Milliamps::ZERO {
            return over.take();
        }
        let lasting = over.get_or_insert(Self { since: now, most: excess });
        lasting.most = lasting.most.max(excess);
        None
    }
}
