//! Plays what a scribe has written down.

use std::collections::{BTreeMap, VecDeque};
use std::iter::Peekable;

use wattle_wire::policy::{Plan, Snapshot};
use wattle_wire::row::{Cause, Row};
use wattle_wire::{DeviceId, Micros};

use super::scribe::parts;
use super::ticks::{Given, SavedAsked, Tick, Ticks, Turn};
use super::witness::Witness;
use super::{Asked, Keyframe, ReadError, SHADOWS};
use crate::site::{
    KeyframeError, Outcome, Part, Proposal, SiteInput, SiteMachine, SiteModel, equal_share, telling,
};

/// A machine that is told again what it was told.
#[derive(Debug, Clone)]
pub struct Player {
    machine: SiteMachine,
    parts: BTreeMap<DeviceId, Part>,
    serial: u64,
    witness: Witness,
    asked: Asked,
    /// Who is in shadow, by place, with the state that it begins with; none where that isn't known.
    beside: [Option<Asked>; SHADOWS],
    failure: Option<String>,
    /// Telling rows whose ticks have not come yet.
    rows: VecDeque<(Micros, Row)>,
}

/// One decision, between what is known and what is done.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// When.
    pub at: Micros,
    /// What made it due.
    pub cause: Cause,
    /// What a policy may know.
    pub snapshot: &'a Snapshot,
    /// The machine, whose decision has begun.
    pub machine: &'a SiteMachine,
    /// Who was asked.
    pub asked: &'a Asked,
    /// The state that it began with.
    pub state: &'a [u8],
}

/// What a replay needs and what it gives.
pub trait Stage {
    /// Why a plan can't be had.
    type Error;

    /// The plan of who was asked, and what it consumed. Not called where none was given, nor for the built-in share.
    ///
    /// # Errors
    /// When who was asked can't be asked again; the replay ends there.
    fn plan(&mut self, moment: Moment<'_>) -> Result<(Plan, u64), Self::Error>;

    /// It is being decided by this.
    fn deciding(&mut self, _moment: Moment<'_>, _proposal: &Proposal) {}

    /// A policy in shadow was asked beside it, `moment.asked` with `moment.state`; the state that it leaves, which is the
    /// same where it gives no plan, and none where it can't be asked again.
    fn beside(&mut self, _moment: Moment<'_>) -> Option<Vec<u8>> {
        None
    }

    /// It was decided.
    fn decided(&mut self, at: Micros, outcome: Outcome);
}

/// Why ticks can't be played.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlayError<E> {
    /// They can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Ticks before them are missing.
    #[error("ticks {expected} are missing, {found} follow")]
    Hole {
        /// The number that should have come.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// Rows that they speak of are missing.
    #[error("the ticks speak of more rows than there are")]
    Rows,
    /// They were played, and what the rows tell is not what the machine was told.
    #[error("the readings and events before these ticks are not what the site's machine was told")]
    Told,
    /// A plan can't be had.
    #[error("{0}")]
    Stage(E),
}

impl Player {
    /// A player at a keyframe; `model` is that of its configuration.
    ///
    /// # Errors
    /// When the state is not one of that model, or can't be read.
    pub fn new(model: SiteModel, keyframe: &Keyframe) -> Result<Self, KeyframeError> {
        let machine = SiteMachine::from_keyframe(model, &keyframe.machine)?;
        Ok(Self {
            parts: parts(&machine),
            machine,
            serial: keyframe.serial,
            witness: Witness::default(),
            asked: keyframe.asked.clone(),
            beside: Default::default(),
            failure: keyframe.failure.clone(),
            rows: VecDeque::new(),
        })
    }

    /// The machine as it is.
    pub fn machine(&self) -> &SiteMachine {
        &self.machine
    }

    /// Whether this keyframe is of the very moment at which this player is: with all rows and ticks before it.
    pub fn is_at(&self, keyframe: &Keyframe) -> bool {
        self.serial == keyframe.serial && self.rows.is_empty()
    }

    /// Whether it has the state that a keyframe of the same moment has.
    pub fn agrees_with(&self, keyframe: &Keyframe) -> bool {
        self.asked == keyframe.asked
            && self.failure == keyframe.failure
            && self.machine.has_state(&keyframe.machine)
    }

    /// Takes the next row of the site, journaled at `at`.
    pub fn row(&mut self, at: Micros, row: &Row) {
        if telling(row).is_some_and(|device| self.parts.contains_key(device)) {
            self.rows.push_back((at, row.clone()));
        }
    }

    /// Plays ticks over the rows that were taken before them.
    ///
    /// # Errors
    /// When they can't be played to their end. Nothing more can then be played: begin at the next keyframe.
    pub fn play<S: Stage>(&mut self, ticks: &[u8], stage: &mut S) -> Result<(), PlayError<S::Error>> {
        let Ticks { serial, witness, turns } = Ticks::decode(ticks)?;
        if serial != self.serial {
            return Err(PlayError::Hole { expected: self.serial, found: serial });
        }
        self.serial += 1;
        let mut turns = turns.into_iter().peekable();
        while let Some(turn) = turns.next() {
            match turn {
                Turn::Told(rows) => self.tell(rows).ok_or(PlayError::Rows)?,
                Turn::Untold(rows) => {
                    let rows = usize::try_from(rows).unwrap_or(usize::MAX);
                    if rows > self.rows.len() {
                        return Err(PlayError::Rows);
                    }
                    self.rows.drain(..rows);
                }
                Turn::Heard(after_us, input) => {
                    let at = Micros(self.machine.clock().0.wrapping_add(after_us));
                    self.hear(input.load(), at);
                }
                Turn::Asked(asked) => self.asked = asked.load(),
                Turn::Decided(tick) => {
                    let shadows = shadows(&mut turns);
                    self.decide(tick, None, shadows, stage)?;
                }
                Turn::Failed(tick, reason) => {
                    self.failure = reason.or(self.failure.take());
                    let reason = self.failure.clone().unwrap_or_default();
                    let shadows = shadows(&mut turns);
                    self.decide(tick, Some(reason), shadows, stage)?;
                }
                // Of one that stands behind no decision nothing is known.
                Turn::Beside(place, _) => self.forget_shadow(place),
            }
        }
        if self.witness.digest() == witness { Ok(()) } else { Err(PlayError::Told) }
    }

    fn forget_shadow(&mut self, place: u8) {
        if let Some(known) = self.beside.get_mut(usize::from(place)) {
            *known = None;
        }
    }

    fn hear(&mut self, input: SiteInput, at: Micros) {
        self.witness.told(at, &input);
        self.machine.handle(input, at);
    }

    /// Tells the machine what the next rows tell as a rule; none if there are not so many.
    fn tell(&mut self, rows: u32) -> Option<()> {
        for _ in 0..rows {
            let (at, row) = self.rows.pop_front()?;
            let part = *telling(&row).and_then(|device| self.parts.get(device))?;
            let input = self.machine.expected(&row, part, at)?;
            self.hear(input, at);
        }
        Some(())
    }

    fn decide<S: Stage>(
        &mut self,
        tick: Tick,
        failure: Option<String>,
        shadows: Vec<(u8, Option<SavedAsked>)>,
        stage: &mut S,
    ) -> Result<(), PlayError<S::Error>> {
        self.tell(tick.told).ok_or(PlayError::Rows)?;
        let at = Micros(self.machine.next_wakeup().0.wrapping_add(tick.late_us));
        self.witness.decided(at, tick.cause);
        let snapshot = self.machine.begin_decision(at, tick.cause);
        let state = self.asked.given.state.as_deref().unwrap_or(self.machine.policy_state());
        let (machine, asked) = (&self.machine, &self.asked);
        let moment = Moment { at, cause: tick.cause, snapshot: &snapshot, machine, asked, state };
        let given = match failure {
            Some(reason) => Err(reason),
            None if asked.policy_digest == 0 => Ok((equal_share(&snapshot), 0)),
            None => Ok(stage.plan(moment).map_err(PlayError::Stage)?),
        };
        let proposal = proposal(asked, given, machine.policy_state());
        stage.deciding(moment, &proposal);
        for (place, asked) in shadows {
            ask_beside(&mut self.beside, place, asked, moment, stage);
        }
        let outcome = self.machine.finish_decision(proposal, at);
        stage.decided(at, outcome);
        Ok(())
    }
}

/// The policies in shadow that were asked beside the decision that stands before.
fn shadows(turns: &mut Peekable<impl Iterator<Item = Turn>>) -> Vec<(u8, Option<SavedAsked>)> {
    let mut shadows = Vec::new();
    while let Some(Turn::Beside(place, asked)) = turns.next_if(|turn| matches!(turn, Turn::Beside(..))) {
        shadows.push((place, asked));
    }
    shadows
}

/// Asks a policy in shadow again.
fn ask_beside<S: Stage>(
    beside: &mut [Option<Asked>; SHADOWS],
    place: u8,
    asked: Option<SavedAsked>,
    moment: Moment<'_>,
    stage: &mut S,
) {
    let Some(known) = beside.get_mut(usize::from(place)) else { return };
    let Some(mut asked) = asked.map(SavedAsked::load).or(known.take()) else { return };
    let state = asked.given.state.take().unwrap_or_default();
    let left = stage.beside(Moment { asked: &asked, state: &state, ..moment });
    *known = left.map(|left| Asked { given: Given { state: Some(left), ..Given::default() }, ..asked });
}

fn proposal(asked: &Asked, given: Result<(Plan, u64), String>, kept: &[u8]) -> Proposal {
    let fuel = given.as_ref().map_or(0, |(_, fuel)| *fuel);
    let plan = given.map(|(mut plan, _)| {
        if asked.given.keeps_state {
            plan.state = kept.to_vec();
        }
        plan
    });
    Proposal {
        plan,
        policy: asked.policy.clone(),
        policy_digest: asked.policy_digest,
        settings_digest: asked.settings_digest,
        fuel,
    }
}
