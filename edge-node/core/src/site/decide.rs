//! One decision: snapshot out, plan in, setpoints and rows out.

use std::collections::BTreeMap;

use wattle_wire::message::Setpoint;
use wattle_wire::policy::{self, Plan, Snapshot};
use wattle_wire::row::{Cause, EventKind};
use wattle_wire::{Micros, Milliamps, PerPhase, WattHours};

use super::envelope::{self, Grant, Seat};
use super::record::Made;
use super::{Outcome, Part, Proposal, SendSetpoint, SiteMachine, equal_share};

/// A charger that draws this much above what it may, for the patience of its site, is reported.
const OVER_DRAW: Milliamps = Milliamps::from_amps(1);

/// The most bytes of a policy's state that are kept; a plan with more is not taken.
const MAX_POLICY_STATE_BYTES: usize = 64 * 1024;

/// The last plan that was taken.
#[derive(Debug, Clone)]
pub(super) struct LastPlan {
    pub(super) plan: Plan,
    policy: String,
    policy_digest: u64,
    asked: Vec<bool>,
}

/// What a circuit's chargers may draw together, and why.
struct Budget {
    uncontrolled: PerPhase<Option<Milliamps>>,
    budget: PerPhase<Milliamps>,
    for_raises: PerPhase<Milliamps>,
}

impl SiteMachine {
    /// Begins a decision: settles what is known of the load at `now` and gives what a policy may know.
    pub fn begin_decision(&mut self, now: Micros, cause: Cause) -> Snapshot {
        self.cause = cause;
        self.advance(now);
        let (budgets, seats) = (self.budgets(now), self.seats(now));
        let mut available: Vec<_> = budgets.iter().map(|budget| budget.budget).collect();
        for seat in seats.iter().filter(|seat| !seat.asks || !seat.answers) {
            for circuit in &seat.path {
                available[*circuit] = available[*circuit] - envelope::unavoidable(seat);
            }
        }
        Snapshot {
            site: self.model.id.clone(),
            now_us: now,
            interval_ms: self.model.control.interval_ms,
            circuits: self.snapshot_circuits(&budgets, &available),
            chargers: (0..seats.len()).map(|i| self.snapshot_charger(i, &seats[i], now)).collect(),
            signals: policy::Signals::default(),
        }
    }

    /// Ends a decision with what the policy has given for the snapshot of the last
    /// [`Self::begin_decision`]. Without a plan the last good one stands while the same vehicles ask, else the
    /// built-in equal share decides.
    pub fn finish_decision(&mut self, proposal: Proposal, now: Micros) -> Outcome {
        self.expire(now);
        let made = self.choose(proposal, now);
        let (proposed, reasons) = self.sort_out(&made.plan);
        let seats = self.seats(now);
        let (budgets, raise_budgets): (Vec<_>, Vec<_>) =
            self.budgets(now).iter().map(|budget| (budget.budget, budget.for_raises)).unzip();
        let grants = envelope::dispose(&budgets, &raise_budgets, &seats, &proposed);
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

    /// By how much the worst phase of the worst circuit is overcommitted; zero if none is.
    pub(super) fn excess(&self, now: Micros) -> Milliamps {
        let mut reserved = vec![PerPhase::all(Milliamps::ZERO); self.model.circuits.len()];
        for (index, path) in self.paths.iter().enumerate() {
            let may = self.may_draw(index, now);
            for circuit in path {
                reserved[*circuit] = reserved[*circuit] + may;
            }
        }
        let budgets = self.budgets(now);
        let over = reserved.iter().zip(&budgets).flat_map(|(reserved, budget)| {
            // A phase that no charger loads can't be helped by any setpoint.
            reserved.zip(budget.budget, |r, b| if r > Milliamps::ZERO { r - b } else { Milliamps::ZERO }).0
        });
        over.fold(Milliamps::ZERO, Milliamps::max)
    }

    fn advance(&mut self, now: Micros) {
        self.expire(now);
        for (gauge, meter) in self.gauges.iter_mut().zip(&self.model.meters) {
            let below = &self.below[meter.circuit];
            let stations = &self.stations;
            gauge.load.settle(now, self.times, below.iter().map(|index| &stations[*index]));
        }
        self.note_stale_meters(now);
        self.note_over_draws(now);
    }

    fn expire(&mut self, now: Micros) {
        for station in &mut self.stations {
            station.ledger.expire(now);
        }
    }

    fn note_stale_meters(&mut self, now: Micros) {
        let stale = self.stale();
        for index in 0..self.gauges.len() {
            let is_heard = self.gauges[index].load.measured(now, stale).0.iter().any(Option::is_some);
            let circuit = &self.model.circuits[self.model.meters[index].circuit];
            if !is_heard && !self.gauges[index].is_stale && now - self.started_at >= stale {
                let text = format!(
                    "no plausible reading for {}; the chargers of circuit {} share {} per phase",
                    self.model.control.meter_stale_ms, circuit.id, circuit.fallback_ma
                );
                self.gauges[index].is_stale = true;
                self.gauges[index].load.forget();
                self.note(EventKind::MeterStale, Some(Part::Meter(index)), text);
            } else if is_heard && self.gauges[index].is_stale {
                let text = format!("the chargers of circuit {} share what its meter leaves", circuit.id);
                self.gauges[index].is_stale = false;
                self.note(EventKind::MeterBack, Some(Part::Meter(index)), text);
            }
        }
    }

    fn note_over_draws(&mut self, now: Micros) {
        for index in 0..self.stations.len() {
            let station = &self.stations[index];
            let told = station.ledger.most().max(self.model.chargers[index].safe_ma);
            let draw = station.draw(now, self.stale()).0.into_iter().fold(Milliamps::ZERO, Milliamps::max);
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

    fn budgets(&self, now: Micros) -> Vec<Budget> {
        let stale = self.stale();
        let known = self.up_the_tree(|meter| self.gauges[meter].load.now(now, stale));
        let at_most = self.up_the_tree(|meter| {
            let at_most = self.gauges[meter].load.at_most(now, stale);
            at_most.zip(self.misplaced(meter, now), |most, misplaced| most.map(|most| most + misplaced))
        });
        let budget = |index: usize| {
            let circuit = &self.model.circuits[index];
            let less = |load: PerPhase<Option<Milliamps>>| {
                circuit.limit_ma.zip(load, |limit, load| match load {
                    Some(load) => limit - circuit.margin_ma - load,
                    None => circuit.fallback_ma.min(limit - circuit.margin_ma),
                })
            };
            Budget {
                uncontrolled: known[index],
                budget: less(known[index]),
                for_raises: less(at_most[index]),
            }
        };
        (0..self.model.circuits.len()).map(budget).collect()
    }

    /// What was subtracted from a meter's reading for chargers of unknown wiring and is no more reserved for them.
    fn misplaced(&self, meter: usize, now: Micros) -> PerPhase<Milliamps> {
        let below = &self.below[self.model.meters[meter].circuit];
        let subtracted = below.iter().zip(&self.gauges[meter].load.subtracted);
        let unknown = subtracted.filter(|(index, _)| !self.model.chargers[**index].wiring_is_known());
        let misplaced = unknown.map(|(index, subtracted)| {
            subtracted.zip(self.may_draw(*index, now), |was, may| (was - may).max(Milliamps::ZERO))
        });
        misplaced.fold(PerPhase::all(Milliamps::ZERO), |sum, misplaced| sum + misplaced)
    }

    /// The load of each circuit: its meter's, or that of the circuits below it.
    fn up_the_tree(
        &self,
        load: impl Fn(usize) -> PerPhase<Option<Milliamps>>,
    ) -> Vec<PerPhase<Option<Milliamps>>> {
        let mut known = vec![PerPhase::all(Some(Milliamps::ZERO)); self.model.circuits.len()];
        // Children stand behind their parents, so from the back each is complete before its parent is.
        for index in (0..self.model.circuits.len()).rev() {
            if let Some(meter) = self.meter_of[index] {
                known[index] = load(meter);
            }
            if let Some(parent) = self.model.circuits[index].parent {
                known[parent] = known[parent].zip(known[index], |sum, load| Some(sum? + load?));
            }
        }
        known
    }

    fn seats(&self, now: Micros) -> Vec<Seat> {
        let validity: Micros = self.model.control.validity_ms.into();
        let delay: Micros = self.model.control.raise_delay_ms.into();
        let seat = |index: usize| {
            let (charger, station) = (&self.model.chargers[index], &self.stations[index]);
            let waits = station.ledger.unconfirmed_since();
            let overdue = waits.is_some_and(|since| now - since >= self.times.patience);
            Seat {
                path: self.paths[index].clone(),
                phases: charger.wired().to_vec(),
                min: charger.min_ma,
                max: charger.max_ma,
                step: charger.step_ma,
                safe: charger.safe_ma,
                priority: charger.priority,
                asks: station.state().asks(),
                answers: station.is_reachable(now, validity) && !overdue,
                in_force: station.ledger.newest().map_or(Milliamps::ZERO, |sent| sent.limit),
                may_draw: self.may_draw(index, now),
                beyond: station.beyond(charger, now, self.stale(), self.times.patience),
                raise_delay_is_over: delay == Micros::ZERO
                    || station.raise_since.is_some_and(|since| now - since >= delay),
            }
        };
        (0..self.stations.len()).map(seat).collect()
    }

    fn snapshot_circuits(
        &self,
        budgets: &[Budget],
        available: &[PerPhase<Milliamps>],
    ) -> Vec<policy::Circuit> {
        let circuit = |index: usize| {
            let (circuit, budget) = (&self.model.circuits[index], &budgets[index]);
            policy::Circuit {
                id: circuit.id.clone(),
                parent: circuit.parent.map(|parent| parent as u32),
                limit_ma: circuit.limit_ma.map(|limit| limit - circuit.margin_ma),
                available_ma: available[index].map(|i| i.max(Milliamps::ZERO)),
                uncontrolled_ma: budget.uncontrolled.map(Option::unwrap_or_default),
                stale: budget.uncontrolled.0.iter().any(Option::is_none),
            }
        };
        (0..budgets.len()).map(circuit).collect()
    }

    fn snapshot_charger(&self, index: usize, seat: &Seat, now: Micros) -> policy::Charger {
        let (charger, station) = (&self.model.chargers[index], &self.stations[index]);
        policy::Charger {
            id: charger.id.clone(),
            circuit: charger.circuit as u32,
            phases: seat.phases.clone(),
            state: station.state(),
            online: seat.answers,
            min_ma: seat.min,
            max_ma: seat.max,
            step_ma: seat.step,
            safe_ma: seat.safe,
            setpoint_ma: seat.in_force,
            draw_ma: station.draw(now, self.stale()),
            priority: seat.priority,
            session: self.snapshot_session(index),
        }
    }

    fn snapshot_session(&self, index: usize) -> Option<policy::Session> {
        let station = &self.stations[index];
        let stay = station.stay.as_ref()?;
        let delivered = match (stay.register_wh, station.register) {
            (Some(from), Some(to)) => (to - from).max(WattHours::ZERO),
            _ => WattHours::ZERO,
        };
        Some(policy::Session {
            id: stay.id.clone(),
            user: stay.user.clone(),
            arrived_us: stay.arrived_us,
            departure_us: stay.departure_us,
            requested_wh: stay.requested_wh,
            needed_wh: stay.requested_wh.map(|requested| (requested - delivered).max(WattHours::ZERO)),
            delivered_wh: delivered,
            soc_percent: station.soc_percent,
        })
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
                let last = LastPlan { plan: plan.clone(), policy: policy.clone(), policy_digest, asked };
                self.last_plan = Some(last);
                Made { plan, policy, policy_digest, settings_digest, fuel }
            }
            Err(error) => {
                let usable = self.last_plan.as_ref().filter(|last| last.asked == asked).cloned();
                let stand_in = if usable.is_some() {
                    "its last plan stands"
                } else {
                    "the built-in equal share decides"
                };
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

    /// Journals a failure of the policy once, until it succeeds or fails otherwise.
    fn note_failure(&mut self, policy: &str, error: String, stand_in: &str) {
        if self.failure.as_ref() != Some(&error) {
            self.note(EventKind::PolicyFailed, None, format!("{policy}: {error}; {stand_in}"));
            self.failure = Some(error);
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

    fn send(&mut self, seats: &[Seat], grants: &[Grant], now: Micros) -> Vec<SendSetpoint> {
        let validity_ms = self.model.control.validity_ms;
        let mut setpoints = Vec::new();
        for (index, (seat, grant)) in seats.iter().zip(grants).enumerate() {
            if !self.has_to_send(index, seat, grant.limit, now) {
                continue;
            }
            let number = self.next_number;
            self.next_number += 1;
            let station = &mut self.stations[index];
            if grant.limit != seat.in_force {
                station.command(seat.in_force, now);
            }
            station.ledger.push(number, grant.limit, now, validity_ms.into());
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
            return seat.asks || station.ledger.most() > Milliamps::ZERO;
        };
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

    /// The setpoint that a charger was told last and that still holds.
    pub(super) fn in_force(&self, index: usize) -> Milliamps {
        self.stations[index].ledger.newest().map_or(Milliamps::ZERO, |sent| sent.limit)
    }
}
