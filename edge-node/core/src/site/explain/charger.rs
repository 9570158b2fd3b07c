//! What is known of a charger, and what was done to its proposal.

use wattle_wire::message::ChargerState;
use wattle_wire::{Micros, Milliamps};

use super::{View, amps, listed, seconds};
use crate::site::envelope::{self, Step};

impl View<'_> {
    /// What the machine knows of a charger.
    pub(super) fn known(&self, index: usize) -> String {
        let (seat, station) = (self.seat(index), &self.machine.stations[index]);
        let state = match station.state() {
            ChargerState::Available => "no vehicle",
            ChargerState::Plugged => "a vehicle that does not ask",
            ChargerState::Waiting | ChargerState::Charging => "a vehicle that asks",
            ChargerState::Finished => "a vehicle that has stopped by itself",
            ChargerState::Faulted => "out of order",
        };
        let draws = amps(station.highest_draw(self.now, self.machine.stale()));
        let mut text = format!("{state}; draws {draws}, was told {}", amps(seat.in_force));
        if let Some(most) = self.above_what_it_was_told(index) {
            text.push_str(&format!(", may still draw {}", amps(most)));
        }
        if let Some(silence) = self.silence(index) {
            text.push_str(&format!("; {silence}"));
        }
        text
    }

    /// What a charger may draw, where that is more than it was told last.
    fn above_what_it_was_told(&self, index: usize) -> Option<Milliamps> {
        let seat = self.seat(index);
        let most = seat.phases.iter().map(|phase| seat.may_draw[*phase]).max()?;
        (most > seat.in_force).then_some(most)
    }

    /// Why a charger doesn't answer, and what is kept for it until when.
    fn silence(&self, index: usize) -> Option<String> {
        let (seat, station) = (self.seat(index), &self.machine.stations[index]);
        if seat.answers {
            return None;
        }
        let since = |at: Micros| seconds(self.now - at);
        let why = match (station.online, station.heard_at, station.ledger.unconfirmed_since()) {
            (false, None, _) => "was never heard of".to_owned(),
            (false, ..) => "is not connected".to_owned(),
            (true, Some(at), None) => format!("was not heard of for {}", since(at)),
            (true, Some(at), Some(_)) if self.now - at >= self.machine.model.control.validity_ms.into() => {
                format!("was not heard of for {}", since(at))
            }
            (true, _, Some(at)) => format!("has not confirmed what it was told {} ago", since(at)),
            (true, None, None) => "has said nothing since it is connected".to_owned(),
        };
        let most = seat.phases.iter().map(|phase| seat.may_draw[*phase]).max().unwrap_or_default();
        if most == Milliamps::ZERO {
            return Some(why);
        }
        Some(match station.ledger.last_expiry().map(|at| at - self.machine.passing.sure()) {
            Some(left) => {
                format!(
                    "{why}: {} are set aside for it until its setpoints expire, in {}",
                    amps(most),
                    seconds(left)
                )
            }
            None => format!("{why}: {} are set aside for it", amps(most)),
        })
    }

    /// What was done to a charger's proposal, in order.
    pub(super) fn steps(&self, index: usize, steps: &[Step]) -> Vec<String> {
        let mut said: Vec<String> = self.bounds(index).into_iter().collect();
        for step in steps {
            match *step {
                Step::Clamped { target, reason } => said.extend(self.clamped(index, target, reason)),
                Step::Shed { circuit, phase, excess, target } => {
                    let place = self.place(circuit, phase);
                    let what = if target == Milliamps::ZERO {
                        "stands by".to_owned()
                    } else {
                        format!("is lowered to {}", amps(target))
                    };
                    let before = self.served_before(index, circuit, phase);
                    let aside = self.set_aside(index, circuit, phase);
                    said.push(format!("{what}: {} too much for {place}{before}{aside}", amps(excess)));
                }
                Step::Doubted { circuit, phase, excess, limit } => {
                    let place = self.place(circuit, phase);
                    let what = if limit == Milliamps::ZERO {
                        "stands by for now".to_owned()
                    } else {
                        format!("has {} for now", amps(limit))
                    };
                    let excess = amps(excess);
                    said.push(format!(
                        "{what}: {excess} too much for {place}, and it is not known which chargers load it"
                    ));
                }
                Step::DidNotHelp { circuit, phase, excess } => {
                    let (place, excess) = (self.place(circuit, phase), amps(excess));
                    said.push(format!(
                        "stands by for now: {excess} too much for {place}, less did not help, and it doesn't measure its draw there"
                    ));
                }
                Step::Waits { answers: false } => {
                    said.push(format!(
                        "is not raised from {} while it does not answer",
                        amps(self.seat(index).in_force)
                    ));
                }
                Step::Waits { answers: true } => said.push(self.waits(index)),
                Step::Raised { circuit, phase, free, possible } => {
                    said.extend(self.raised(index, (circuit, phase), free, possible));
                }
            }
        }
        said.extend(self.lowered(index));
        said
    }

    /// Why it can't have its maximum whatever is proposed.
    fn bounds(&self, index: usize) -> Option<String> {
        let (seat, charger) = (self.seat(index), &self.machine.model.chargers[index]);
        if !seat.asks || seat.max >= charger.max_ma {
            return None;
        }
        let most = amps(seat.max);
        let lending = &self.machine.stations[index].lending;
        if lending.ceiling() == Some(seat.max) {
            return Some(format!(
                "may have {most} at most: its vehicle has drawn less than it may, so the rest is lent to others until it draws all it may"
            ));
        }
        let user = self.machine.user(index).filter(|user| user.max_power == self.machine.most_power(index));
        let whose = user.map_or_else(|| charger.id.to_string(), |user| user.id.to_string());
        Some(format!("may have {most} at most: that is the highest power of {whose}"))
    }

    fn clamped(&self, index: usize, target: Milliamps, reason: &'static str) -> Option<String> {
        let (seat, proposed) = (self.seat(index), self.weighed.proposed[index]);
        if reason.is_empty() {
            return None;
        }
        if !seat.asks {
            return Some("gets nothing: no vehicle asks".to_owned());
        }
        if let Some(held) = seat.held {
            return Some(format!("stands by: {}", self.held(index, held)));
        }
        Some(match target {
            Milliamps::ZERO if proposed > Milliamps::ZERO && proposed < seat.min => {
                format!("stands by: {} are below its minimum of {}", amps(proposed), amps(seat.min))
            }
            Milliamps::ZERO => format!("stands by: {reason}"),
            target if target > proposed => format!("keeps {}: {reason}", amps(target)),
            target => format!(
                "is lowered to {}: whole steps of {}, {} at most",
                amps(target),
                amps(seat.step),
                amps(seat.max)
            ),
        })
    }

    /// Why it may not charge now, and for how long.
    fn held(&self, index: usize, reason: &'static str) -> String {
        let (station, control) = (&self.machine.stations[index], &self.machine.model.control);
        let rest = |since: Micros, length: Micros| length - (self.now - since);
        match (station.paused_at, reason) {
            (Some(since), "rests for its least time off") => {
                format!("{reason}, {} more", seconds(rest(since, control.least_off_ms.into())))
            }
            (_, "waits for more room than its minimum") => {
                let needed = self.seat(index).min + control.resume_room_ma;
                format!("{reason}: it charges again when {} are free, or after an hour", amps(needed))
            }
            _ => reason.to_owned(),
        }
    }

    /// Who goes before a charger on a phase of a circuit and keeps something there.
    fn served_before(&self, index: usize, circuit: usize, phase: wattle_wire::Phase) -> String {
        let before = self.order.iter().take_while(|other| **other != index);
        let keeps = |other: &&usize| {
            self.grants[**other].target > Milliamps::ZERO
                && envelope::places(self.seat(**other)).any(|place| place == (circuit, phase))
        };
        let priority = self.seat(index).priority;
        let named = |other: &usize| {
            let of = self.seat(*other).priority;
            let why = if of > priority { format!("priority {of}") } else { "registered before".to_owned() };
            format!("{} ({why})", self.name(*other))
        };
        let names: Vec<String> = before.filter(keeps).map(named).collect();
        match names.len() {
            0 => String::new(),
            1 => format!("; {} goes before it", listed(&names)),
            _ => format!("; {} go before it", listed(&names)),
        }
    }

    /// What other chargers keep on a phase of a circuit although it was meant for nobody.
    fn set_aside(&self, index: usize, circuit: usize, phase: wattle_wire::Phase) -> String {
        let keeps = |other: usize| {
            let seat = self.seat(other);
            let kept = envelope::unavoidable(seat)[phase];
            let is_kept = other != index && seat.path.contains(&circuit) && kept > self.grants[other].target;
            is_kept.then(|| format!("{} for {}", amps(kept), self.name(other)))
        };
        let kept: Vec<String> = (0..self.weighed.seats.len()).filter_map(keeps).collect();
        if kept.is_empty() { String::new() } else { format!("; set aside there: {}", listed(&kept)) }
    }

    fn waits(&self, index: usize) -> String {
        let delay: Micros = self.machine.model.control.raise_delay_ms.into();
        let waited = self.machine.stations[index].raise_since.map_or(Micros::ZERO, |since| self.now - since);
        let (from, to) = (amps(self.seat(index).in_force), amps(self.grants[index].target));
        format!(
            "stays at {from}: a raise to {to} waits for the raise delay, {} more",
            seconds(delay - waited)
        )
    }

    fn raised(
        &self,
        index: usize,
        (circuit, phase): (usize, wattle_wire::Phase),
        free: Milliamps,
        possible: Milliamps,
    ) -> Option<String> {
        let (seat, grant) = (self.seat(index), &self.grants[index]);
        if grant.limit >= grant.target {
            return None;
        }
        let gets = if grant.limit > seat.in_force { "rises only to" } else { "stays at" };
        let gets = format!("{gets} {} of {}", amps(grant.limit), amps(grant.target));
        if free >= grant.target {
            let ramp = self.machine.model.control.raise_ramp_ma_per_s;
            return Some(format!("{gets}: it rises by {} a second at most", amps(ramp)));
        }
        debug_assert!(possible <= free);
        let pays = self.pays(index, circuit, phase);
        let place = self.place(circuit, phase);
        let wanted = if pays.is_empty() {
            "; what the load may be there by readings that are not settled yet has to show".to_owned()
        } else {
            format!("; waits until it is confirmed and measured that {} less", listed(&pays))
        };
        Some(format!("{gets}: {} are free for it on {place} now{wanted}", amps(free)))
    }

    /// Whose reduction is not confirmed and measured on a phase of a circuit yet.
    fn pays(&self, index: usize, circuit: usize, phase: wattle_wire::Phase) -> Vec<String> {
        let mut pays = Vec::new();
        for (other, seat) in self.weighed.seats.iter().enumerate() {
            let loads = seat.path.contains(&circuit);
            let (may, gets) = (seat.may_draw[phase], self.grants[other].limit);
            if other != index && loads && may > gets {
                pays.push(format!("{} draws {}", self.name(other), amps(may - gets)));
            }
        }
        pays
    }

    /// What became of a setpoint that is less than before.
    fn lowered(&self, index: usize) -> Option<String> {
        let (seat, grant) = (self.seat(index), &self.grants[index]);
        let (from, to) = (amps(seat.in_force), amps(grant.limit));
        match (seat.asks && grant.limit < seat.in_force, seat.answers) {
            (false, _) => None,
            (true, true) => Some(format!("goes from {from} to {to} at once")),
            (true, false) => Some(format!("is to go from {from} to {to}, and does not answer")),
        }
    }
}
