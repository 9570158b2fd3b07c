//! What is noticed at a decision and becomes an event: silent meters, chargers that draw more than they may, anomalies.

use wattle_wire::row::EventKind;
use wattle_wire::{Micros, Milliamps, Phase};

use super::explain::phases;
use super::{Part, SiteMachine};

/// A charger that draws this much above what it may, for the patience of its site, is reported.
const OVER_DRAW: Milliamps = Milliamps::from_amps(1);

impl SiteMachine {
    /// Looks at all meters and chargers.
    pub(super) fn notice(&mut self, now: Micros) {
        self.note_stale_meters(now);
        self.note_over_draws(now);
        self.note_anomalies(now);
    }

    fn note_stale_meters(&mut self, now: Micros) {
        let stale = self.stale();
        for index in 0..self.gauges.len() {
            let silent = self.silent_phases(index, now);
            let circuit = &self.model.circuits[self.model.meters[index].circuit];
            let gauge = &mut self.gauges[index];
            // What it was told to be silent on it is not heard of until it speaks again.
            let is_news = |phase: &Phase| !gauge.is_stale || gauge.load.heard[*phase].is_some();
            if silent.iter().any(is_news) && now - self.started_at >= stale {
                let text = format!(
                    "no plausible reading of circuit {} on {} for {}; its chargers share at most {} there",
                    circuit.id,
                    phases(&silent),
                    self.model.control.meter_stale_ms,
                    circuit.fallback_ma
                );
                gauge.is_stale = true;
                gauge.load.fall_silent(&silent);
                self.note(EventKind::MeterStale, Some(Part::Meter(index)), text);
            } else if silent.is_empty() && gauge.is_stale {
                let text = format!("the chargers of circuit {} share what its meter leaves", circuit.id);
                self.gauges[index].is_stale = false;
                self.note(EventKind::MeterBack, Some(Part::Meter(index)), text);
            }
        }
    }

    /// The phases of a meter's circuit that it doesn't tell of.
    pub(super) fn silent_phases(&self, meter: usize, now: Micros) -> Vec<Phase> {
        let circuit = &self.model.circuits[self.model.meters[meter].circuit];
        let measured = self.gauges[meter].load.measured(now, self.stale());
        Phase::ALL.into_iter().filter(|phase| circuit.has(*phase) && measured[*phase].is_none()).collect()
    }

    fn note_over_draws(&mut self, now: Micros) {
        for index in 0..self.stations.len() {
            let station = &self.stations[index];
            let told = station.ledger.most().max(self.model.chargers[index].safe_ma);
            let draw = station.highest_draw(now, self.stale());
            let is_over = draw > told + OVER_DRAW;
            let station = &mut self.stations[index];
            station.over_since = if is_over { station.over_since.or(Some(now)) } else { None };
            let lasts = station.over_since.is_some_and(|since| now - since >= self.times.patience);
            if lasts && !station.over_reported {
                let text = format!("draws {draw}, may draw {told}");
                self.note(EventKind::OverDraw, Some(Part::Charger(index)), text);
            }
            self.stations[index].over_reported = lasts;
        }
    }

    fn note_anomalies(&mut self, now: Micros) {
        for index in 0..self.stations.len() {
            let draw = self.stations[index].highest_draw(now, self.stale());
            let mut anomalies = std::mem::take(&mut self.stations[index].anomalies);
            let texts =
                anomalies.look(&self.stations[index], &self.model.chargers[index], draw, now, self.times);
            self.stations[index].anomalies = anomalies;
            for text in texts {
                self.note(EventKind::Anomaly, Some(Part::Charger(index)), text);
            }
        }
    }
}
