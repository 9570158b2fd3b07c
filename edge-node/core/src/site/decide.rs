//! One decision: snapshot out, plan in, setpoints and rows out.

use std::collections::BTreeMap;

use wattle_wire::message::Setpoint;
use wattle_wire::policy::{Plan, Snapshot};
use wattle_wire::row::{Cause, EventKind};
use wattle_wire::{DeviceId, Micros, Milliamps, PerPhase};

use super::budget::Budget;
use super::doubt::Doubt;
use super::envelope::{self, Grant, Seat};
use super::record::Made;
use super::{Outcome, Proposal, SendSetpoint, SiteMachine, equal_share};

/// The most bytes of a policy's state that are kept; a plan with more is not taken.
const MAX_POLICY_STATE_BYTES: usize = 64 * 1024;

/// Decisions in a row for which the last plan stands in for one that the policy fails to give: a moment of a busy
/// machine changes nothing, and a policy that goes on failing doesn't rule by what was.
const MOST_HELD: u32 = 3;

/// The shortest time between two events about failures that end the same way.
const BETWEEN_FAILURES: Micros = Micros::from_secs(60);

/// Who stands in for a policy that gives no plan, as events say it.
pub(super) const LAST_PLAN_STANDS: &str = "its last plan stands";
pub(super) const BUILT_IN_DECIDES: &str = "the built-in equal share decides";

/// The last plan that was taken.
#[derive(Debug, Clone)]
pub(super) struct LastPlan {
    pub(super) plan: Plan,
    pub(super) policy: String,
    pub(super) policy_digest: u64,
    pub(super) asked: Vec<bool>,
    /// For how many decisions it has stood in.
    pub(super) held: u32,
}

/// What the envelope decides on: a plan, sorted by chargers, and what there is to share.
pub(super) struct Weighed {
    pub(super) made: Made,
    pub(super) proposed: Vec<Milliamps>,
    pub(super) reasons: Vec<String>,
    pub(super) seats: Vec<Seat>,
    pub(super) budgets: Vec<PerPhase<Milliamps>>,
    pub(super) raise_budgets: Vec<PerPhase<Milliamps>>,
    pub(super) doubts: Vec<Doubt>,
    pub(super) now: Micros,
}

impl SiteMachine {
    /// Begins a decision: settles what is known of the load at `now` and gives what a policy may know.
    pub fn begin_decision(&mut self, now: Micros, cause: Cause) -> Snapshot {
        let now = self.pass(now);
        self.cause = cause;
        self.advance(now);
        let budgets = self.budgets(now);
        let mut available: Vec<_> = budgets.iter().map(|budget| budget.budget).collect();
        self.hold(available.clone(), now);
        let seats = self.seats(now);
        self.give_by_hand(&seats, &mut available);
        Snapshot {
            site: self.model.id.clone(),
            now_us: self.passing.clock(),
            interval_ms: self.model.control.interval_ms,
            circuits: self.snapshot_circuits(&budgets, &available),
            chargers: (0..seats.len()).map(|i| self.snapshot_charger(i, &seats[i], now)).collect(),
            signals: self.snapshot_signals(),
        }
    }

    /// Ends a decision with what the policy has given for the snapshot of the last
    /// [`Self::begin_decision`]. Without a plan the last good one stands for three decisions while the same vehicles
    /// ask, else the built-in equal share decides.
    pub fn finish_decision(&mut self, proposal: Proposal, now: Micros) -> Outcome {
        let Weighed { made, proposed, reasons, seats, budgets, raise_budgets, doubts, now } =
            self.weigh(proposal, now);
        let grants = envelope::dispose(&budgets, &raise_budgets, &doubts, &seats, &proposed);
        self.note_raises(&seats, &grants, now);
        let setpoints = self.send(&seats, &grants, now);
        self.left_excess = self.excess(now);
        self.decided_at = Some(now);
        let mut rows = std::mem::take(&mut self.events);
        let numbers: BTreeMap<_, _> =
            setpoints.iter().map(|s| (s.device.clone(), s.setpoint.number)).collect();
        rows.extend(self.record(made, &proposed, &reasons, &grants, &numbers, now));
        Outcome { setpoints, rows }
    }

    /// Everything that the envelope decides on; `clock` is the moment as it was given.
    pub(super) fn weigh(&mut self, proposal: Proposal, clock: Micros) -> Weighed {
        let now = self.pass(clock);
        self.expire();
        let made = self.choose(proposal, clock);
        let (mut proposed, mut reasons) = self.sort_out(&made.plan);
        self.rise(now);
        let seats = self.seats(now);
        let (budgets, raise_budgets): (Vec<_>, Vec<_>) =
            self.budgets(now).iter().map(|budget| (budget.budget, budget.for_raises)).unzip();
        for (index, given) in self.give_by_hand(&seats, &mut budgets.clone()) {
            let is_all = self.stations[index].manual == Some(given);
            let reason = if is_all { "given by hand" } else { "given by hand, as far as it fits" };
            (proposed[index], reasons[index]) = (given, reason.into());
        }
        let doubts = self.doubts(now);
        Weighed { made, proposed, reasons, seats, budgets, raise_budgets, doubts, now }
    }

    fn advance(&mut self, now: Micros) {
        self.expire();
        let is_young = self.is_young(now);
        for (gauge, meter) in self.gauges.iter_mut().zip(&self.model.meters) {
            let (below, times) = (&self.below[meter.circuit], self.times.lagging(meter.lag_ms));
            if is_young
                && !gauge.load.begins(below.iter().map(|index| self.stations[*index].track.first()), times)
            {
                continue;
            }
            let (chargers, stations) = (&self.model.chargers, &self.stations);
            let below = below.iter().map(|index| (&chargers[*index], &stations[*index]));
            gauge.load.settle(now, times, below);
        }
        self.notice(now);
    }

    /// Whether it has begun so lately that not everything need have been heard.
    pub(super) fn is_young(&self, now: Micros) -> bool {
        now - self.started_at < self.times.beginning()
    }

    fn expire(&mut self) {
        let clock = self.passing.clock();
        for (station, charger) in self.stations.iter_mut().zip(&self.model.chargers) {
            let told = station.ledger.most();
            station.ledger.expire(self.passing.sure());
            station.hold(told, self.passing.now, self.times);
            if station.manual_until.is_some_and(|until| until <= clock) {
                (station.manual, station.manual_until) = (charger.manual_ma, None);
            }
        }
    }

    /// Lets setpoints rise by what the time since the last decision allows; what isn't used doesn't gather beyond a step
    /// or an interval.
    fn rise(&mut self, now: Micros) {
        let ramp = i64::from(self.model.control.raise_ramp_ma_per_s.0);
        let in_a_while = |length: Micros| {
            let rise = ramp.saturating_mul(length.0) / 1_000_000;
            Milliamps(i32::try_from(rise).unwrap_or(i32::MAX))
        };
        let passed = in_a_while(self.decided_at.map_or(Micros::ZERO, |at| now - at));
        let most = in_a_while(self.model.control.interval_ms.into());
        for (station, charger) in self.stations.iter_mut().zip(&self.model.chargers) {
            station.rise = (station.rise + passed).min(most.max(charger.step_ma));
        }
    }

    /// The plan that counts, with what is recorded of where it came from.
    fn choose(&mut self, proposal: Proposal, now: Micros) -> Made {
        let Proposal { plan, policy, policy_digest, settings_digest, fuel } = proposal;
        let asked: Vec<bool> = self.stations.iter().map(|station| station.state().asks()).collect();
        let plan = plan.and_then(|plan| match plan.state.len() {
            0..=MAX_POLICY_STATE_BYTES => Ok(plan),
            bytes => Err(format!("its state has {bytes} bytes, {MAX_POLICY_STATE_BYTES} are kept")),
        });
        match plan {
            Ok(plan) => {
                self.failure = None;
                let last =
                    LastPlan { plan: plan.clone(), policy: policy.clone(), policy_digest, asked, held: 0 };
                self.last_plan = Some(last);
                Made { plan, policy, policy_digest, settings_digest, fuel }
            }
            Err(error) => {
                let usable =
                    self.last_plan.as_mut().filter(|last| last.asked == asked && last.held < MOST_HELD);
                let usable = usable.map(|last| {
                    last.held += 1;
                    last.clone()
                });
                let stand_in = if usable.is_some() { LAST_PLAN_STANDS } else { BUILT_IN_DECIDES };
                self.note_failure(&policy, error, stand_in);
                let (plan, policy, policy_digest) = match usable {
                    Some(last) => (last.plan, format!("{} (last plan)", last.policy), last.policy_digest),
                    None => {
                        (equal_share(&self.begin_decision(now, self.cause)), "built-in equal-share".into(), 0)
                    }
                };
                Made { plan, policy, policy_digest, settings_digest, fuel }
            }
        }
    }

    /// Journals a failure of the policy once, until it succeeds or fails otherwise, or another stands in; of each that
    /// stands in once a minute at most, however often the failures change.
    fn note_failure(&mut self, policy: &str, error: String, stand_in: &'static str) {
        let now = self.passing.clock();
        let said_at = self.failure_said_at.get(stand_in);
        if said_at.is_some_and(|at| *at <= now && now - *at < BETWEEN_FAILURES) {
            return;
        }
        let text = format!("{policy}: {error}; {stand_in}");
        if self.failure.as_ref() != Some(&text) {
            self.note(EventKind::PolicyFailed, None, text.clone());
            self.failure_said_at.insert(stand_in, now);
            self.failure = Some(text);
        }
    }

    /// What is proposed for each charger and why. The first proposal for a charger counts; one for a charger
    /// that isn't there counts for nothing.
    fn sort_out(&self, plan: &Plan) -> (Vec<Milliamps>, Vec<String>) {
        let mut found: Vec<Option<(Milliamps, String)>> = vec![None; self.stations.len()];
        for allocation in &plan.allocations {
            if let Some(slot @ None) = found.get_mut(allocation.charger as usize) {
                *slot = Some((allocation.limit_ma, super::record::cut(&allocation.reason)));
            }
        }
        found.into_iter().map(Option::unwrap_or_default).unzip()
    }

    fn note_raises(&mut self, seats: &[Seat], grants: &[Grant], now: Micros) {
        self.raise_waits = false;
        for ((seat, grant), station) in seats.iter().zip(grants).zip(&mut self.stations) {
            let waits = seat.answers && grant.limit < grant.target;
            station.raise_since = if waits { station.raise_since.or(Some(now)) } else { None };
            self.raise_waits |= waits && seat.raise_delay_is_over;
        }
    }

    pub(super) fn send(&mut self, seats: &[Seat], grants: &[Grant], now: Micros) -> Vec<SendSetpoint> {
        let validity_ms = self.model.control.validity_ms;
        let expires_at = self.passing.binds_until(validity_ms.into());
        let mut setpoints = Vec::new();
        for (index, (seat, grant)) in seats.iter().zip(grants).enumerate() {
            if !self.has_to_send(index, seat, grant.limit, now) {
                continue;
            }
            let number = self.next_number;
            self.next_number += 1;
            let station = &mut self.stations[index];
            if grant.limit != seat.in_force {
                station.command(seat.in_force, grant.limit, now);
            }
            station.ledger.push(number, grant.limit, now, expires_at);
            let setpoint = Setpoint { number, limit_ma: grant.limit, validity_ms, seen: station.seen };
            setpoints.push(SendSetpoint { device: self.model.chargers[index].id.clone(), setpoint });
        }
        setpoints
    }

    fn has_to_send(&self, index: usize, seat: &Seat, limit: Milliamps, now: Micros) -> bool {
        let station = &self.stations[index];
        let validity: Micros = self.model.control.validity_ms.into();
        if !station.is_reachable(now, validity) {
            return false;
        }
        let Some(newest) = station.ledger.newest() else {
            let holds = station.ledger.most() > Milliamps::ZERO;
            return seat.asks || holds;
        };
        // Who is silent may be gone, and what it is told now could not be taken back: it is told nothing that lasts longer than
        // what it was told while it spoke.
        let is_silent = !station.is_reachable(now, self.times.patience);
        if is_silent && limit > Milliamps::ZERO && limit >= station.ledger.most() {
            return false;
        }
        let interval: Micros = self.model.control.interval_ms.into();
        let age = now - newest.sent_at;
        let is_lost = !station.ledger.is_settled() && age >= interval;
        let may_lapse = seat.asks && age >= Micros(validity.0 / 2);
        let holds_more = seat.asks || station.ledger.most() > Milliamps::ZERO;
        limit != newest.limit || may_lapse || (is_lost && holds_more)
    }

    /// What the chargers of each circuit may draw together from now on, for the record.
    pub(super) fn reserved(&self, now: Micros) -> Vec<PerPhase<Milliamps>> {
        envelope::reserved(self.model.circuits.len(), &self.seats(now))
    }

    /// Each circuit's uncontrolled load, for the record.
    pub(super) fn uncontrolled(&self, now: Micros) -> Vec<PerPhase<Milliamps>> {
        let known = |budget: Budget| budget.uncontrolled.map(Option::unwrap_or_default);
        self.budgets(now).into_iter().map(known).collect()
    }

    /// Each charger with the setpoint that it was told last and that still holds.
    pub fn setpoints(&self) -> impl Iterator<Item = (&DeviceId, Milliamps)> {
        self.model.chargers.iter().enumerate().map(|(index, charger)| (&charger.id, self.in_force(index)))
    }

    /// The setpoint that a charger was told last and that still holds.
    pub(super) fn in_force(&self, index: usize) -> Milliamps {
        self.stations[index].ledger.newest().map_or(Milliamps::ZERO, |sent| sent.limit)
    }
}
