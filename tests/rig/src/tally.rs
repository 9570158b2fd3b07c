//! What has happened at a site.

use wattle_wire::{Micros, Milliamps};

/// What has happened.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Decisions that were made.
    pub decisions: u64,
    /// Setpoints that were sent.
    pub setpoints: u64,
    /// Those of them that never arrived.
    pub setpoints_lost: u64,
    /// Answers that never arrived.
    pub answers_lost: u64,
    /// Readings that never arrived.
    pub readings_lost: u64,
    /// Restarts of the edge.
    pub edge_restarts: u64,
    /// Restarts of chargers.
    pub charger_restarts: u64,
    /// Steps at which the promise was broken.
    pub breaches: u64,
    /// What the first of them was.
    pub first_breach: Option<String>,
    /// The longest that what flowed through a circuit passed its limit, when less of it was possible, as the promise counts it.
    pub worst: Worst,
    /// The same with what is drawn beyond a setpoint within the noise, which counts for nothing.
    pub worst_with_noise: Worst,
    /// The longest that an excess of what may be drawn outlasted the moment that brought it.
    pub latest_end: Micros,
    /// The same where nothing delayed its end and no message was lost.
    pub latest_plain_end: Micros,
}

/// An excess that flowed without a break.
#[derive(Debug, Clone, Default)]
pub struct Worst {
    /// How long.
    pub lasted: Micros,
    /// How much at most.
    pub most: Milliamps,
    /// Which of many sites it was; 0 of one.
    pub site: u64,
    /// On which circuit and phase, from when to when.
    pub place: String,
    /// What has brought it, one after the other.
    pub causes: Vec<String>,
}

impl Tally {
    /// Adds what has happened elsewhere.
    pub fn add(&mut self, other: Self) {
        self.decisions += other.decisions;
        self.setpoints += other.setpoints;
        self.setpoints_lost += other.setpoints_lost;
        self.answers_lost += other.answers_lost;
        self.readings_lost += other.readings_lost;
        self.edge_restarts += other.edge_restarts;
        self.charger_restarts += other.charger_restarts;
        self.breaches += other.breaches;
        self.first_breach = self.first_breach.take().or(other.first_breach);
        self.worst.or_longer(other.worst);
        self.worst_with_noise.or_longer(other.worst_with_noise);
        self.latest_end = self.latest_end.max(other.latest_end);
        self.latest_plain_end = self.latest_plain_end.max(other.latest_plain_end);
    }
}

impl Worst {
    /// This, or another that lasted longer.
    pub(crate) fn or_longer(&mut self, other: Self) {
        if other.lasted > self.lasted {
            *self = other;
        }
    }
}
