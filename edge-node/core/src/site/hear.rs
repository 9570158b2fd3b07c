//! What the machine makes of what it hears.

use wattle_wire::row::{Cause, EventKind};
use wattle_wire::{Micros, Milliamps, PerPhase, Phase};

use super::load::{Times, beyond_noise};
use super::station::{self, Station};
use super::{Charger, Due, Heard, Part, SiteInput, SiteMachine};

impl SiteMachine {
    pub(super) fn hear(&mut self, input: SiteInput, now: Micros) -> Due {
        match (input.part, input.heard) {
            (Part::Meter(index), heard) if index < self.gauges.len() => self.hear_meter(index, heard, now),
            (Part::Charger(index), heard) if index < self.stations.len() => {
                if !matches!(heard, Heard::Manual(_)) {
                    self.stations[index].seen = input.seen;
                }
                self.hear_charger(index, heard, now)
            }
            (part, heard) => self.hear_from_outside(part, heard, now),
        }
    }

    fn hear_meter(&mut self, index: usize, heard: Heard, now: Micros) -> Due {
        let Heard::Reading { current_ma, voltage_mv, .. } = heard else { return Due::No };
        self.gauges[index].voltage.hear(voltage_mv, now);
        let Some(current) = current_ma else { return Due::No };
        let circuit = self.model.meters[index].circuit;
        let measured = station::plausible_meter(current, self.model.circuits[circuit].generation);
        if measured.0.iter().all(Option::is_none) {
            return Due::No;
        }
        let times = self.times.lagging(self.model.meters[index].lag_ms);
        let nothing = PerPhase::all(Milliamps::ZERO);
        let over = measured.zip(self.limit(circuit), |measured, limit| measured.is_some_and(|m| m > limit));
        let (mut drawn, mut least_lately, mut noise, mut subtracted) =
            (nothing, nothing, nothing, Vec::new());
        for index in &self.below[circuit] {
            let (charger, station) = (&self.model.chargers[*index], &self.stations[*index]);
            let (low, high) = station.drawn_lately(charger, now, times);
            let most = station.may_have_drawn(charger, now, times);
            let counts = over.zip(high, |over, high| over.then_some(high)).zip(most, Option::unwrap_or);
            (drawn, least_lately) = (drawn + counts, least_lately + low);
            noise = noise + station.noise(charger, counts, now, now, times);
            subtracted.push(counts);
        }
        let drawn = drawn - beyond_noise(noise);
        let load = &mut self.gauges[index].load;
        load.push(measured, drawn, least_lately, now, self.times.guard);
        let wiring_is_known = |index: &usize| self.model.chargers[*index].wiring_is_known();
        if over.0.contains(&true) && !self.below[circuit].iter().all(wiring_is_known) {
            load.lately = subtracted;
        }
        self.note_over_limit(index, measured);
        self.breach(now)
    }

    fn hear_charger(&mut self, index: usize, heard: Heard, now: Micros) -> Due {
        let validity = self.model.control.validity_ms.into();
        let (asked, reachable, told) = {
            let station = &self.stations[index];
            (station.state().asks(), station.is_reachable(now, validity), station.ledger.most())
        };
        let may_before = self.may_draw(index, now);
        let stay_before = self.stations[index].stay.as_ref().map(|stay| stay.id.clone());
        let manual_before = self.stations[index].manual;
        let lend_after = self.model.control.lend_after_ms.into();
        let binds_until = self.passing.binds_until(validity);
        let station = &mut self.stations[index];
        if matches!(heard, Heard::Reading { .. } | Heard::Confirmed(_) | Heard::Refused { .. }) {
            station.online = true;
            station.heard_at = Some(now);
        }
        let is_measured = station.hear(&self.model.chargers[index], heard, (now, binds_until), self.times);
        station.hold(told, now, self.times);
        if !station.state().asks() {
            station.forget_vehicle();
        } else if is_measured {
            station.watch_appetite(&self.model.chargers[index], now, lend_after);
        }

        let station = &self.stations[index];
        let stay = station.stay.as_ref().map(|stay| &stay.id);
        let changed = station.state().asks() != asked
            || station.is_reachable(now, validity) != reachable
            || stay != stay_before.as_ref()
            || station.manual != manual_before;
        let may = self.may_draw(index, now);
        let (freed, grown) = Phase::ALL.iter().fold((false, false), |(freed, grown), phase| {
            (freed || may[*phase] < may_before[*phase], grown || may[*phase] > may_before[*phase])
        });
        if changed || (freed && self.raise_waits) {
            return Due::Now(Cause::Request);
        }
        if grown { self.breach(now) } else { Due::No }
    }

    /// Whether load and reservations pass a limit by more than the last decision had to leave.
    pub(super) fn breach(&self, now: Micros) -> Due {
        if self.excess(now) > self.left_excess { Due::Now(Cause::Breach) } else { Due::No }
    }

    fn note_over_limit(&mut self, meter: usize, measured: PerPhase<Option<Milliamps>>) {
        let index = self.model.meters[meter].circuit;
        let circuit = &self.model.circuits[index];
        let limit = self.limit(index).map(|limit| limit + circuit.margin_ma);
        let over = |phase: &Phase| measured[*phase].is_some_and(|m| m > limit[*phase]);
        let well_below =
            |phase: &Phase| measured[*phase].is_none_or(|m| m <= limit[*phase] - station::DRAW_TOLERANCE);
        if let Some(phase) =
            Phase::ALL.iter().find(|phase| over(phase)).filter(|_| !self.gauges[meter].is_over)
        {
            let shown = measured[*phase].unwrap_or_default();
            let text =
                format!("circuit {} draws {shown} on {phase:?}, its limit is {}", circuit.id, limit[*phase]);
            self.gauges[meter].is_over = true;
            self.note(EventKind::OverLimit, Some(Part::Meter(meter)), text);
        } else if Phase::ALL.iter().all(well_below) {
            self.gauges[meter].is_over = false;
        }
    }
}

impl Station {
    /// Whether its draw was measured. A setpoint that begins now binds it until `binds_until`.
    fn hear(
        &mut self,
        charger: &Charger,
        heard: Heard,
        (now, binds_until): (Micros, Micros),
        times: Times,
    ) -> bool {
        // Without a number of its own it can't tell how old a setpoint was that came.
        let until = self.seen.is_none().then_some(binds_until);
        match heard {
            Heard::Reading {
                state,
                setpoint,
                current_ma,
                register_wh,
                soc_percent,
                temperature_mc,
                voltage_mv: _,
            } => {
                self.state = state.or(self.state);
                self.register = register_wh.filter(|register| register.0 >= 0).or(self.register);
                self.soc_percent = soc_percent.filter(|soc| (0..=100).contains(soc)).or(self.soc_percent);
                self.temperature_mc = temperature_mc.or(self.temperature_mc);
                let told = self.ledger.most();
                if let Some(number) = setpoint {
                    self.ledger.confirm(number, until);
                }
                return self.measure(charger, current_ma, told, now, times);
            }
            Heard::Confirmed(number) => {
                self.ledger.confirm(number, until);
            }
            Heard::Refused { number, reason } => self.ledger.refuse(number, reason),
            Heard::Online(online) => self.online = online,
            Heard::Stay(stay) => {
                if stay.is_none() {
                    self.soc_percent = None;
                }
                self.stay = stay;
            }
            Heard::Manual(manual) => {
                self.manual = manual.map(|manual| manual.current_ma).or(charger.manual_ma);
                self.manual_until = manual.and_then(|manual| manual.until_us);
            }
            Heard::Limit { .. } | Heard::GridLimit { .. } | Heard::Price(_) | Heard::Surplus(_) => {}
        }
        false
    }

    /// Takes the last reading for a sign of what is of use to the vehicle.
    fn watch_appetite(&mut self, charger: &Charger, now: Micros, lend_after: Micros) {
        let told = self.ledger.newest().filter(|_| self.ledger.is_settled()).map(|told| told.limit);
        if let (Some(limit), Some((draw, _))) = (told, self.track.last()) {
            let draw = draw.0.into_iter().fold(Milliamps::ZERO, Milliamps::max);
            self.lending.hear(charger, draw, limit, now, lend_after);
        }
    }
}
