//! Who may not charge now although its vehicle asks.
//!
//! A vehicle that is held shows itself to a policy as plugged in and not asking, so its share goes to others; the
//! envelope gives it nothing. It is held
//! - outside of its charger's timer,
//! - while its highest power, or that of its user, is below its minimum at the voltage of the moment; ten minutes after a standby
//!   also while it is hardly more,
//! - for its least time off after a standby,
//! - for an hour after a standby, until there is room for its minimum and [`Control::resume_room_ma`](super::Control), or for as
//!   much as its circuits carry, beside the minimums of all of its priority who charge now, and of all who go before it: so a load
//!   that trembles at the edge of a limit switches nobody on and off, in whatever order a policy serves them.
//!
//! A vehicle that was never put on standby, one that has just come, doesn't wait for more than its minimum.

use std::cmp::Reverse;

use wattle_wire::{Micros, Milliamps, PerPhase, Phase, Watts};

use super::SiteMachine;
use super::envelope::{self, Seat};

/// So long somebody on standby waits for more room than its minimum: where there is never more it charges all the same.
const LONGEST_WAIT_FOR_ROOM: Micros = Micros::from_secs(3_600);

/// So long somebody stands by whose highest power is his minimum, within a fiftieth.
const VOLTAGE_SETTLES: Micros = Micros::from_secs(600);

impl SiteMachine {
    /// Finds anew who is held. `available` is what the chargers of each circuit may draw together.
    pub(super) fn hold(&mut self, mut available: Vec<PerPhase<Milliamps>>, now: Micros) {
        for index in 0..self.stations.len() {
            self.stations[index].held_off = self.held_by_itself(index, now);
        }
        let room = self.model.control.resume_room_ma;
        if room == Milliamps::ZERO {
            return;
        }
        let seats = self.seats(now);
        for seat in seats.iter().filter(|seat| !seat.may_charge()) {
            envelope::take(&mut available, seat, envelope::unavoidable(seat));
        }
        let mut order = envelope::in_order(&seats);
        order.sort_by_key(|index| {
            (Reverse(seats[*index].priority), seats[*index].in_force < seats[*index].min)
        });
        let limits: Vec<_> = (0..available.len()).map(|circuit| self.limit(circuit)).collect();
        for index in order.into_iter().filter(|index| seats[*index].may_charge()) {
            let (seat, paused_at) = (&seats[index], self.stations[index].paused_at);
            let is_paused = paused_at.is_some_and(|since| now - since < LONGEST_WAIT_FOR_ROOM);
            let room = if is_paused { room } else { Milliamps::ZERO };
            let is_there = |(circuit, phase): (usize, Phase)| {
                available[circuit][phase] >= (seat.min + room).min(limits[circuit][phase]).max(seat.min)
            };
            if envelope::places(seat).all(is_there) {
                envelope::take(&mut available, seat, envelope::on_phases(seat, seat.min));
            } else if is_paused {
                self.stations[index].held_off = Some("waits for more room than its minimum");
            }
        }
    }

    fn held_by_itself(&self, index: usize, now: Micros) -> Option<&'static str> {
        let (charger, station) = (&self.model.chargers[index], &self.stations[index]);
        let clock = self.passing.clock();
        let is_on = |window: &super::Window| window.holds(&self.model.local_time, clock);
        if !charger.timer.is_empty() && !charger.timer.iter().any(is_on) {
            return Some("outside of its timer");
        }
        if self.most(index) < charger.min_ma || self.trembles(index, now) {
            return Some("its highest power is below its minimum");
        }
        let least_off: Micros = self.model.control.least_off_ms.into();
        station
            .paused_at
            .is_some_and(|since| now - since < least_off)
            .then_some("rests for its least time off")
    }

    /// Whether it stands by, and its highest power comes to so little more than its minimum that a voltage which trembles would
    /// soon put it on standby again.
    fn trembles(&self, index: usize, now: Micros) -> bool {
        let least = self.model.chargers[index].min_ma;
        let rests = self.stations[index].paused_at.is_some_and(|since| now - since < VOLTAGE_SETTLES);
        rests && self.allowed(index).is_some_and(|most| most < least + Milliamps(least.0 / 50))
    }

    /// The most that a charger may be given: by itself, by its user, and by its vehicle's appetite.
    pub(super) fn most(&self, index: usize) -> Milliamps {
        let (charger, station) = (&self.model.chargers[index], &self.stations[index]);
        let of_use = station.lending.ceiling();
        [self.allowed(index), of_use].into_iter().flatten().fold(charger.max_ma, Milliamps::min)
    }

    /// What its highest power comes to on each phase.
    fn allowed(&self, index: usize) -> Option<Milliamps> {
        let charger = &self.model.chargers[index];
        self.most_power(index)
            .map(|power| self.on_each(charger.circuit, charger.wired().iter().copied(), power))
    }

    /// The highest power of a charger and of who charges there.
    pub(super) fn most_power(&self, index: usize) -> Option<Watts> {
        let of_user = self.user(index).and_then(|user| user.max_power);
        [self.model.chargers[index].max_power, of_user].into_iter().flatten().min()
    }

    /// What is agreed with who charges there.
    pub(super) fn user(&self, index: usize) -> Option<&super::User> {
        let user = self.stations[index].stay.as_ref()?.user.as_ref()?;
        self.model.users.iter().find(|agreed| agreed.id == *user)
    }
}

impl Seat {
    /// Whether something new may be given to it.
    pub(super) fn may_charge(&self) -> bool {
        self.asks && self.answers && self.held.is_none()
    }
}
