//! The edge node's machines, wired as its actors wire them: device machines, one site machine, the policy, and the
//! journal.
//!
//! All messages of one moment are taken before a decision is made, so that the answers of many chargers to one
//! decision lead to one decision. While a device is busy its acknowledgements are gathered, [`ACK_EVERY`] messages each.

use wattle_device_core::Publish;
use wattle_edge::policy::SitePolicy;
use wattle_edge::replay;
use wattle_edge_core::replay::Scribe;
use wattle_edge_core::{DeviceMachine, DeviceOutput, Heard, Part, SendSetpoint, SiteInput, SiteMachine};
use wattle_wire::message::Ack;
use wattle_wire::row::{Cause, Event, EventKind, Row};
use wattle_wire::{DeviceId, Micros, SiteId};

use super::cost::Outside;
use super::journal::Journal;
use super::series::Values;
use super::site::Equipped;
use super::trace::Refused;

/// Messages of a device that one acknowledgement waits for; fewer than a device sends without one.
const ACK_EVERY: usize = 16;

/// The edge of a simulated site. Devices are numbered: chargers as in the model, then meters.
pub struct Edge {
    site: SiteMachine,
    scribe: Scribe,
    devices: Vec<DeviceMachine>,
    policy: SitePolicy,
    outside: Outside,
    /// Of which steps of prices and surplus the site was told last.
    told_of: Option<[Option<u64>; 2]>,
    journal: Journal,
    output: DeviceOutput,
    acks: Vec<Vec<Ack>>,
    taken: Vec<usize>,
    due: Option<Cause>,
    /// Decisions that were made.
    pub decisions: u64,
    /// Decisions for which the policy gave no plan.
    pub failures: u64,
}

impl Edge {
    /// The edge of a site at a moment; journals the site's configuration.
    ///
    /// # Errors
    /// When the site makes no sound model, or the lake takes nothing.
    pub fn new(
        site: &Equipped,
        policy: SitePolicy,
        outside: Outside,
        mut journal: Journal,
        at: Micros,
    ) -> anyhow::Result<Self> {
        let model = &site.model;
        let first_number = (at.0 / 1000).unsigned_abs();
        let machine = SiteMachine::new(model.clone(), first_number, at)?;
        let chargers = model.chargers.iter().enumerate().map(|(i, charger)| (&charger.id, Part::Charger(i)));
        let meters = model.meters.iter().enumerate().map(|(i, meter)| (&meter.id, Part::Meter(i)));
        let devices: Vec<_> = chargers
            .chain(meters)
            .map(|(id, part)| DeviceMachine::new(model.id.clone(), id.clone(), part))
            .collect();
        let configured = Event { detail: site.text.clone(), ..event(&model.id, EventKind::Configured, "") };
        journal.push(at, Row::Event(configured))?;
        let mut scribe = Scribe::new(&machine, replay::PROGRAM, site.text.as_str());
        let keyframe = scribe.keyframe(&machine, at).encode();
        journal.push(at, replay::row(&model.id, EventKind::Keyframe, &keyframe))?;
        Ok(Self {
            site: machine,
            scribe,
            acks: vec![Vec::new(); devices.len()],
            taken: vec![0; devices.len()],
            devices,
            policy,
            outside,
            told_of: None,
            journal,
            output: DeviceOutput::default(),
            due: None,
            decisions: 0,
            failures: 0,
        })
    }

    /// Journals the rows of the trace that are no sessions.
    ///
    /// # Errors
    /// When the lake takes no more.
    pub fn refuse(&mut self, refused: &[Refused], at: Micros) -> anyhow::Result<()> {
        for Refused { row, code, text } in refused {
            let detail = format!("{code}: row {row}: {text}");
            let event = event(&self.site.model().id, EventKind::Malformed, &detail);
            self.journal.push(at, Row::Event(event))?;
        }
        Ok(())
    }

    /// Takes a message of a device.
    ///
    /// # Errors
    /// When the lake takes no more.
    pub fn take(&mut self, device: usize, message: &Publish, at: Micros) -> anyhow::Result<()> {
        self.output.clear();
        self.devices[device].handle(message.channel, &message.payload, at, &mut self.output);
        let inputs = std::mem::take(&mut self.output.inputs);
        let due = self.scribe.take(&mut self.site, at, &self.output.rows, inputs);
        self.due = due.or(self.due);
        for row in self.output.rows.drain(..) {
            self.journal.push(at, row)?;
        }
        for ack in self.output.acks.drain(..) {
            self.taken[device] += 1;
            match self.acks[device].last_mut() {
                Some(last) if last.boot == ack.boot && last.to + 1 == ack.from => last.to = ack.to,
                _ => self.acks[device].push(ack),
            }
        }
        Ok(())
    }

    /// Tells the site something from outside.
    pub fn tell(&mut self, input: SiteInput, at: Micros) {
        let due = self.scribe.take(&mut self.site, at, &[], vec![input]);
        self.due = due.or(self.due);
    }

    /// What a device is to be told of what it has sent; while it is busy only once that is enough.
    pub fn acknowledge(&mut self, device: usize, is_busy: bool) -> Vec<Ack> {
        if is_busy && self.taken[device] < ACK_EVERY {
            return Vec::new();
        }
        self.taken[device] = 0;
        std::mem::take(&mut self.acks[device])
    }

    /// The number of a charger.
    pub fn charger(&self, id: &DeviceId) -> Option<usize> {
        self.site.model().chargers.iter().position(|charger| charger.id == *id)
    }

    /// Whether a decision is due at once.
    pub fn is_due(&self) -> bool {
        self.due.is_some()
    }

    /// When the next decision is due by the interval, ms.
    pub fn next_interval_ms(&self) -> u64 {
        (self.site.next_wakeup().0 / 1000).max(0).unsigned_abs()
    }

    /// Makes a decision; the setpoints go out at once.
    ///
    /// # Errors
    /// When the lake takes no more.
    pub fn decide(&mut self, at: Micros) -> anyhow::Result<Vec<SendSetpoint>> {
        self.tell_signals(at);
        let cause = self.due.take().unwrap_or(Cause::Interval);
        let snapshot = self.scribe.begin_decision(&mut self.site, at, cause);
        let proposal = self.policy.propose(&snapshot, self.site.policy_state());
        self.decisions += 1;
        self.failures += u64::from(proposal.plan.is_err());
        let given = self.policy.given();
        let outcome = self.scribe.finish_decision(&mut self.site, proposal, given, at);
        let is_recorded = outcome.rows.iter().any(|row| matches!(row, Row::Decision(_)));
        let is_keyframe = self.scribe.keyframe_is_due(at);
        let id = self.site.model().id.clone();
        if self.scribe.is_due(is_recorded || is_keyframe)
            && let Some(ticks) = self.scribe.ticks()
        {
            self.journal.push(at, replay::row(&id, EventKind::Ticks, &ticks))?;
        }
        for row in outcome.rows {
            self.journal.push(at, row)?;
        }
        if is_keyframe {
            let keyframe = self.scribe.keyframe(&self.site, at).encode();
            self.journal.push(at, replay::row(&id, EventKind::Keyframe, &keyframe))?;
        }
        Ok(outcome.setpoints)
    }

    /// Tells the site of prices and surplus, once for each step of theirs.
    fn tell_signals(&mut self, at: Micros) {
        let at_ms = (at.0 / 1000).max(0).unsigned_abs();
        let Outside { prices, surplus } = &self.outside;
        let step = |values: &Option<Values>| values.as_ref().map(|values| values.step_begin_ms(at_ms));
        let steps = [step(prices), step(surplus)];
        if steps == [None, None] || self.told_of == Some(steps) {
            return;
        }
        self.told_of = Some(steps);
        let series = |values: &Option<Values>| values.as_ref().and_then(|values| values.series(at_ms));
        let told = [Heard::Price(series(prices)), Heard::Surplus(series(surplus))];
        let inputs = told.map(|heard| SiteInput { part: Part::Site, seen: None, heard });
        // What that makes due is what is decided now.
        self.scribe.take(&mut self.site, at, &[], inputs.into());
    }

    /// Ends the journal; how many entries it has.
    ///
    /// # Errors
    /// When the lake takes no more.
    pub fn close(self) -> anyhow::Result<u64> {
        self.journal.close()
    }
}

fn event(site: &SiteId, kind: EventKind, detail: &str) -> Event {
    Event::new(site.clone(), None, kind, detail)
}
