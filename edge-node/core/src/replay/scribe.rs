//! Stands between a site's machine and whoever drives it, and writes down what the machine is told.

use std::collections::BTreeMap;
use std::mem::{discriminant, take};

use wattle_wire::policy::Snapshot;
use wattle_wire::row::{Cause, Row};
use wattle_wire::{DeviceId, Micros};

use super::input::SavedInput;
use super::ticks::{SavedAsked, Tick, Ticks, Turn};
use super::witness::Witness;
use super::{Asked, Given, KEYFRAME_EVERY, Keyframe, MOST_TURNS, SHADOWS};
use crate::site::{Due, Heard, Outcome, Part, Proposal, SiteInput, SiteMachine, telling};

/// Turns that are kept at most while nothing is decided; beyond it they are dropped, and a keyframe is due.
const MOST_KEPT: usize = 100 * MOST_TURNS;

/// Bytes of states, inputs and reasons after which ticks are written although no decision is recorded.
const MOST_BYTES: usize = 128 << 10;

/// Writes down what a machine is told. See the [module](super) for what of it.
#[derive(Debug, Clone)]
pub struct Scribe {
    parts: BTreeMap<DeviceId, Part>,
    program: String,
    configuration: String,
    serial: u64,
    witness: Witness,
    turns: Vec<Turn>,
    /// Telling rows since the last turn that told what they tell as a rule.
    told: u32,
    /// Of what in `turns` has no bound of its own.
    bytes: usize,
    begun: Option<(Cause, i64)>,
    asked: Asked,
    /// Who was asked in shadow last, by place, as far as it is written behind the last keyframe.
    beside: [Option<Asked>; SHADOWS],
    failure: Option<String>,
    keyframe_at: Option<Micros>,
}

impl Scribe {
    /// A scribe for this machine, which runs in `program` on the site file with this text.
    pub fn new(machine: &SiteMachine, program: impl Into<String>, configuration: impl Into<String>) -> Self {
        Self {
            parts: parts(machine),
            program: program.into(),
            configuration: configuration.into(),
            serial: 0,
            witness: Witness::default(),
            turns: Vec::new(),
            told: 0,
            bytes: 0,
            begun: None,
            asked: Asked::default(),
            beside: Default::default(),
            failure: None,
            keyframe_at: None,
        }
    }

    /// From now on keyframes hold this text of the configuration. The model it gives has to be the same.
    pub fn configure(&mut self, configuration: impl Into<String>) {
        self.configuration = configuration.into();
    }

    /// Tells the machine what has come at `at`. `rows` are those that go to the journal with it, in this order; what
    /// makes a decision due.
    pub fn take(
        &mut self,
        machine: &mut SiteMachine,
        at: Micros,
        rows: &[Row],
        inputs: Vec<SiteInput>,
    ) -> Option<Cause> {
        let mut cause = None;
        let mut inputs = inputs.into_iter().peekable();
        for row in rows {
            let Some(part) = telling(row).and_then(|device| self.parts.get(device)).copied() else {
                continue;
            };
            let expected = machine.expected(row, part, at);
            match (inputs.peek(), expected) {
                (Some(input), Some(expected)) if is_same(input, &expected) => self.told += 1,
                (Some(input), Some(expected)) if is_told_otherwise(input, &expected) => {
                    self.untold();
                    self.heard(machine, at, input);
                }
                _ => {
                    self.untold();
                    continue;
                }
            }
            cause = inputs.next().and_then(|input| self.tell(machine, input, at)).or(cause);
        }
        for input in inputs {
            self.heard(machine, at, &input);
            cause = self.tell(machine, input, at).or(cause);
        }
        if self.turns.len() > MOST_KEPT {
            self.lost();
        }
        cause
    }

    /// [`SiteMachine::begin_decision`].
    pub fn begin_decision(&mut self, machine: &mut SiteMachine, now: Micros, cause: Cause) -> Snapshot {
        self.begun = Some((cause, now.0.wrapping_sub(machine.next_wakeup().0)));
        self.witness.decided(now, cause);
        machine.begin_decision(now, cause)
    }

    /// [`SiteMachine::finish_decision`], for the decision that was begun last. `given` is the state that who has proposed
    /// began with.
    pub fn finish_decision(
        &mut self,
        machine: &mut SiteMachine,
        proposal: Proposal,
        given: Given,
        now: Micros,
    ) -> Outcome {
        self.note_asked(&proposal, given);
        let (cause, late_us) = self.begun.take().unwrap_or((Cause::Interval, 0));
        let tick = Tick { told: take(&mut self.told), cause, late_us };
        self.turns.push(match &proposal.plan {
            Ok(_) => Turn::Decided(tick),
            Err(reason) => {
                let is_new = self.failure.as_ref() != Some(reason);
                if is_new {
                    self.failure = Some(reason.clone());
                    self.bytes += reason.len();
                }
                Turn::Failed(tick, is_new.then(|| reason.clone()))
            }
        });
        machine.finish_decision(proposal, now)
    }

    /// A policy in shadow was asked beside the decision that was finished last, in one of [`SHADOWS`] places. What it was asked with
    /// stands in `asked`; whether that is the state that it has left the last time in this place, in `follows`.
    pub fn asked_beside(&mut self, place: usize, mut asked: Asked, follows: bool) {
        let Some(last) = self.beside.get_mut(place) else { return };
        let state = asked.given.state.take();
        let is_new = !follows || last.as_ref() != Some(&asked);
        let written = is_new.then(|| {
            *last = Some(asked.clone());
            asked.given.state = Some(state.unwrap_or_default());
            self.bytes += asked.policy.len() + asked.given.state.as_ref().map_or(0, Vec::len);
            SavedAsked::of(&asked)
        });
        self.turns.push(Turn::Beside(place as u8, written));
    }

    /// Whether ticks are to be written now, before a decision that `is_recorded`, or because many have gathered.
    pub fn is_due(&self, is_recorded: bool) -> bool {
        is_recorded || self.turns.len() >= MOST_TURNS || self.bytes >= MOST_BYTES
    }

    /// What has gathered, to be journaled before any further row of the site; none if that is nothing.
    pub fn ticks(&mut self) -> Option<Vec<u8>> {
        self.settle();
        if self.turns.is_empty() {
            return None;
        }
        let (serial, witness) = (self.serial, self.witness.digest());
        let ticks = Ticks { serial, witness, turns: take(&mut self.turns) };
        (self.serial, self.bytes) = (self.serial + 1, 0);
        Some(ticks.encode())
    }

    /// Whether a keyframe is to be written. The clock may have been set back.
    pub fn keyframe_is_due(&self, now: Micros) -> bool {
        self.keyframe_at.is_none_or(|at| now < at || now - at >= KEYFRAME_EVERY)
    }

    /// A keyframe of the machine as it is, to be journaled right behind [`Self::ticks`].
    pub fn keyframe(&mut self, machine: &SiteMachine, now: Micros) -> Keyframe {
        self.keyframe_at = Some(now);
        self.beside = Default::default();
        Keyframe {
            program: self.program.clone(),
            configuration: self.configuration.clone(),
            machine: machine.keyframe(),
            serial: self.serial,
            asked: self.asked.clone(),
            failure: self.failure.clone(),
        }
    }

    /// Ticks, or a keyframe, or rows could not be journaled: nothing can be played from here on, until a keyframe.
    pub fn lost(&mut self) {
        self.turns.clear();
        self.witness.digest();
        (self.told, self.bytes) = (0, 0);
        self.serial += 1;
        self.keyframe_at = None;
        self.beside = Default::default();
    }

    fn tell(&mut self, machine: &mut SiteMachine, input: SiteInput, at: Micros) -> Option<Cause> {
        self.witness.told(at, &input);
        match machine.handle(input, at) {
            Due::Now(cause) => Some(cause),
            Due::No => None,
        }
    }

    fn note_asked(&mut self, proposal: &Proposal, given: Given) {
        let Proposal { plan, policy, policy_digest, settings_digest, .. } = proposal;
        // Of who gave nothing it doesn't matter what it began with.
        let given = if plan.is_ok() { given } else { self.asked.given.clone() };
        let asked = Asked {
            policy: policy.clone(),
            policy_digest: *policy_digest,
            settings_digest: *settings_digest,
            given,
        };
        if asked != self.asked {
            self.settle();
            self.bytes += asked.policy.len() + asked.given.state.as_ref().map_or(0, Vec::len);
            self.turns.push(Turn::Asked(SavedAsked::of(&asked)));
            self.asked = asked;
        }
    }

    /// Writes down the rows that told what they tell as a rule.
    fn settle(&mut self) {
        if self.told > 0 {
            self.turns.push(Turn::Told(take(&mut self.told)));
        }
    }

    fn untold(&mut self) {
        self.settle();
        match self.turns.last_mut() {
            Some(Turn::Untold(rows)) => *rows += 1,
            _ => self.turns.push(Turn::Untold(1)),
        }
    }

    fn heard(&mut self, machine: &SiteMachine, at: Micros, input: &SiteInput) {
        self.settle();
        self.bytes += match &input.heard {
            Heard::GridLimit { limit: Some(series), .. }
            | Heard::Price(Some(series))
            | Heard::Surplus(Some(series)) => 10 * series.values.len(),
            _ => 64,
        };
        let after_us = at.0.wrapping_sub(machine.clock().0);
        self.turns.push(Turn::Heard(after_us, SavedInput::of(input)));
    }
}

/// The devices of a machine's site.
pub(super) fn parts(machine: &SiteMachine) -> BTreeMap<DeviceId, Part> {
    let model = machine.model();
    let meters = model.meters.iter().enumerate().map(|(index, meter)| (&meter.id, Part::Meter(index)));
    let chargers = model.chargers.iter().enumerate();
    let chargers = chargers.map(|(index, charger)| (&charger.id, Part::Charger(index)));
    let systems = model.systems.iter().enumerate();
    let systems = systems.map(|(index, system)| (&system.id, Part::System(index)));
    meters.chain(chargers).chain(systems).map(|(id, part)| (id.clone(), part)).collect()
}

/// Whether a machine makes the same of both. What a meter has said last is of no use to it.
fn is_same(input: &SiteInput, expected: &SiteInput) -> bool {
    let is_meter = matches!(input.part, Part::Meter(_));
    input.part == expected.part && input.heard == expected.heard && (is_meter || input.seen == expected.seen)
}

/// Whether an input is what a row tells, but for something.
fn is_told_otherwise(input: &SiteInput, expected: &SiteInput) -> bool {
    let is_reading = matches!(input.heard, Heard::Reading { .. });
    input.part == expected.part
        && discriminant(&input.heard) == discriminant(&expected.heard)
        && (!is_reading || input.heard == expected.heard)
}
