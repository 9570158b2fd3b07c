//! What has happened at a site.

use wattle_wire::Micros;

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
    /// Restarts of the edge.
    pub edge_restarts: u64,
    /// Restarts of chargers.
    pub charger_restarts: u64,
    /// Steps at which the promise was broken.
    pub breaches: u64,
    /// What the first of them was.
    pub first_breach: Option<String>,
    /// The longest that what flowed through a circuit passed its limit, when less of it was possible.
    pub worst_excess: Micros,
}

impl Tally {
    /// Adds what has happened elsewhere.
    pub fn add(&mut self, other: Self) {
        self.decisions += other.decisions;
        self.setpoints += other.setpoints;
        self.setpoints_lost += other.setpoints_lost;
        self.answers_lost += other.answers_lost;
        self.edge_restarts += other.edge_restarts;
        self.charger_restarts += other.charger_restarts;
        self.breaches += other.breaches;
        self.first_breach = self.first_breach.take().or(other.first_breach);
        self.worst_excess = self.worst_excess.max(other.worst_excess);
    }
}
