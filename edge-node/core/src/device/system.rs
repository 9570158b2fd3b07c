//! One system of a site: who may tell it limits, prices, surplus and currents by hand.
//!
//! Rules:
//! - A signal is checked against the site (`told`), journaled whole, told to the site in that order, and answered once it
//!   is durable. One that is refused is answered with the reason, and journaled as far as [`Refusals`] allows.
//! - One with the `id` of the last that was taken is that one again: it is answered, and nothing else.
//! - At most [`PER_MINUTE`] in each minute are taken, so that no system fills the disk.
//! - What still holds is known after a restart: from a checkpoint ([`SystemMachine::state`]) and the rows since
//!   ([`SystemMachine::replay`]). The site's machine, which starts anew, is told of it again by [`SystemMachine::again`],
//!   with rows that say so.
//! - Series take over from each other when they begin, as the site's machine has it (`succession`).
//!
//! Bounds: one signal for each circuit and charger of the site, and a few series of each of three kinds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wattle_wire::row::{Event, EventKind, Row};
use wattle_wire::signal::{Answer, MAX_SIGNAL_BYTES, Signal};
use wattle_wire::topic::Channel;
use wattle_wire::{DeviceId, Micros, SiteId};

use super::DeviceOutput;
use super::refusals::Refusals;
use super::state::RestoreError;
use super::told::{self, About, Refused, Sound};
use crate::site::{SiteModel, drop_past, take_over};

/// The signals of one system that are taken in a minute.
pub const PER_MINUTE: u32 = 120;

/// The version of the bytes of the state, their first.
const STATE_VERSION: u8 = 2;

/// The one before, which is still read: it doesn't say when something was told.
const FIRST_VERSION: u8 = 1;

/// The most bytes of an unreadable payload that an event shows.
const MAX_EXCERPT_BYTES: usize = 256;

/// The machine of one system. See the module for its rules.
#[derive(Debug, Clone)]
pub struct SystemMachine {
    site: SiteId,
    system: DeviceId,
    /// Its place among the site's systems.
    index: usize,
    model: std::sync::Arc<SiteModel>,
    /// What was told last of each thing; of series as many as have still time, in the order in which they begin.
    holds: BTreeMap<About, Vec<Hold>>,
    last_id: Option<String>,
    refusals: Refusals,
    minute: i64,
    taken: u32,
}

/// Something that was told.
#[derive(Debug, Clone)]
struct Hold {
    /// As it was journaled.
    detail: String,
    told_us: Micros,
    begins_us: Micros,
    ends_us: Option<Micros>,
    /// Whether it takes back what was told before, by whomever.
    is_end: bool,
}

/// What was told, with its moment.
#[derive(Serialize, Deserialize)]
struct State {
    holds: Vec<(i64, String)>,
    last_id: Option<String>,
}

#[derive(Deserialize)]
struct FirstState {
    holds: Vec<String>,
    last_id: Option<String>,
}

impl SystemMachine {
    /// The system with this index of a site, of which nothing was heard.
    pub fn new(model: std::sync::Arc<SiteModel>, index: usize) -> Self {
        Self {
            site: model.id.clone(),
            system: model.systems[index].id.clone(),
            index,
            model,
            holds: BTreeMap::new(),
            last_id: None,
            refusals: Refusals::default(),
            minute: i64::MIN,
            taken: 0,
        }
    }

    /// Takes a payload from the system.
    pub fn handle(&mut self, channel: Channel, payload: &[u8], now: Micros, out: &mut DeviceOutput) {
        if channel.is_down() {
            return;
        }
        let read = match channel {
            Channel::Signal => read(payload),
            _ => {
                let text = format!("a system has no channel {}; publish on signal", channel.as_str());
                Err((None, Refused { code: "wrong_channel", text }))
            }
        };
        match read {
            Ok(signal) => match self.take(&signal, now, out) {
                Ok(()) => out.answers.push(Answer { id: signal.id, refused: None }),
                Err(refused) => self.refuse(channel, signal.id, &refused, payload, now, out),
            },
            Err((id, refused)) => self.refuse(channel, id, &refused, payload, now, out),
        }
    }

    /// Refuses a payload of so many bytes of which this is the beginning.
    pub(super) fn refuse_beginning(
        &mut self,
        channel: Channel,
        begins: &[u8],
        bytes: usize,
        now: Micros,
        out: &mut DeviceOutput,
    ) {
        self.refuse(channel, None, &too_large(bytes), begins, now, out);
    }

    fn refuse(
        &mut self,
        channel: Channel,
        id: Option<String>,
        refused: &Refused,
        payload: &[u8],
        now: Micros,
        out: &mut DeviceOutput,
    ) {
        self.journal_refusal(refused, payload, now, out);
        if channel == Channel::Signal {
            out.answers.push(Answer { id, refused: Some(refused.to_string()) });
        }
    }

    fn take(&mut self, signal: &Signal, now: Micros, out: &mut DeviceOutput) -> Result<(), Refused> {
        if signal.id.is_some() && signal.id == self.last_id {
            return Ok(());
        }
        let sound = told::sound(signal, self.index, &self.model, Some(now))?;
        self.admit(now)?;
        let detail =
            serde_json::to_string(&sound.signal).expect("a signal holds nothing that JSON can't say");
        out.rows.push(Row::Event(self.event(detail.clone())));
        out.inputs.push(sound.input.clone());
        self.keep(sound, detail, now);
        Ok(())
    }

    fn admit(&mut self, now: Micros) -> Result<(), Refused> {
        let minute = now.0.div_euclid(60_000_000);
        if minute != self.minute {
            (self.minute, self.taken) = (minute, 0);
        }
        if self.taken == PER_MINUTE {
            let text = format!("{PER_MINUTE} signals were taken in this minute; send fewer, or a series");
            return Err(Refused { code: "too_many", text });
        }
        self.taken += 1;
        Ok(())
    }

    fn keep(&mut self, sound: Sound, detail: String, told_us: Micros) {
        let Sound { about, signal, begins_us, ends_us, is_end, .. } = sound;
        self.last_id = signal.id;
        if is_end && !about.is_of_all() {
            self.holds.remove(&about);
        } else {
            let hold = Hold { detail, told_us, begins_us, ends_us, is_end };
            take_over(self.holds.entry(about).or_default(), hold, |hold| hold.begins_us, told_us);
        }
    }

    /// Has each system forget what another has told later of the same thing, where the last word counts, whoever says it.
    fn forget_older(systems: &mut [&mut Self]) {
        let mut told: BTreeMap<About, Vec<(Micros, Micros, usize)>> = BTreeMap::new();
        for system in &*systems {
            for (about, holds) in system.holds.iter().filter(|(about, _)| about.is_of_all()) {
                let own = holds.iter().map(|hold| (hold.told_us, hold.begins_us, system.index));
                told.entry(*about).or_default().extend(own);
            }
        }
        for told in told.values_mut() {
            told.sort_unstable();
            for one in std::mem::take(told) {
                take_over(told, one, |(_, begins_us, _)| *begins_us, one.0);
            }
        }
        for system in systems {
            let index = system.index;
            for (about, holds) in &mut system.holds {
                let Some(left) = told.get(about) else { continue };
                holds.retain(|hold| left.contains(&(hold.told_us, hold.begins_us, index)));
            }
        }
    }

    /// The event whole, whatever its length: it is bounded by what is parsed.
    fn event(&self, detail: String) -> Event {
        Event { detail, ..Event::new(self.site.clone(), Some(self.system.clone()), EventKind::Signalled, "") }
    }

    fn journal_refusal(&mut self, refused: &Refused, payload: &[u8], now: Micros, out: &mut DeviceOutput) {
        let Some(suppressed) = self.refusals.admit(now) else { return };
        let before = match suppressed {
            0 => String::new(),
            n => format!("{n} more refused before and not shown; "),
        };
        let excerpt = String::from_utf8_lossy(&payload[..payload.len().min(MAX_EXCERPT_BYTES)]);
        let text = format!("{}: {before}{}; it begins {excerpt:?}", refused.code, refused.text);
        let event = Event::new(self.site.clone(), Some(self.system.clone()), EventKind::Malformed, text);
        out.rows.push(Row::Event(event));
    }

    /// What still holds at `now` of all that the systems of a site have told, in that order, as rows to journal and inputs for a
    /// site's machine that knows of nothing.
    pub fn again<'a>(systems: impl Iterator<Item = &'a mut Self>, now: Micros, out: &mut DeviceOutput) {
        let mut systems: Vec<&mut Self> = systems.collect();
        Self::forget_older(&mut systems);
        let mut told = Vec::new();
        for system in systems {
            for holds in system.holds.values_mut() {
                drop_past(holds, |hold| hold.begins_us, now);
                holds.retain(|hold| hold.ends_us.is_none_or(|ends| ends > now));
            }
            let holds =
                system.holds.iter().flat_map(|(about, holds)| holds.iter().map(move |hold| (about, hold)));
            for (about, hold) in holds.filter(|(_, hold)| !hold.is_end) {
                let event = system.event(hold.detail.clone());
                // What doesn't fit a changed configuration any more is over.
                if let Some(input) = told::told(&event, &system.model) {
                    told.push(((hold.told_us, *about, hold.begins_us), Row::Event(event), input));
                }
            }
        }
        told.sort_by_key(|(order, ..)| *order);
        for (_, row, input) in told {
            out.rows.push(row);
            out.inputs.push(input);
        }
    }

    /// The state for a checkpoint.
    pub fn state(&self) -> Vec<u8> {
        let holds = self.holds.values().flatten().map(|hold| (hold.told_us.0, hold.detail.clone())).collect();
        let state = State { holds, last_id: self.last_id.clone() };
        postcard::to_extend(&state, vec![STATE_VERSION]).expect("the state is plain data")
    }

    /// Takes the state of a checkpoint in place of its own.
    ///
    /// # Errors
    /// When the bytes are of another version or damaged; nothing has changed then.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let (version, rest) = bytes.split_first().ok_or(RestoreError::Damaged)?;
        let state: State = match *version {
            STATE_VERSION => postcard::from_bytes(rest).map_err(|_| RestoreError::Damaged)?,
            FIRST_VERSION => {
                let FirstState { holds, last_id } =
                    postcard::from_bytes(rest).map_err(|_| RestoreError::Damaged)?;
                State { holds: holds.into_iter().map(|detail| (0, detail)).collect(), last_id }
            }
            other => return Err(RestoreError::Version(other)),
        };
        self.holds.clear();
        for (told_us, detail) in state.holds {
            self.remember(&detail, Micros(told_us));
        }
        self.last_id = state.last_id;
        Ok(())
    }

    /// Brings the state forward by a row that was journaled after it.
    pub fn replay(&mut self, row: &Row, at: Micros) {
        if let Row::Event(event) = row
            && event.kind == EventKind::Signalled
            && event.device.as_ref() == Some(&self.system)
        {
            self.remember(&event.detail, at);
        }
    }

    fn remember(&mut self, detail: &str, told_us: Micros) {
        let Ok(signal) = serde_json::from_str::<Signal>(detail) else { return };
        if let Ok(sound) = told::sound(&signal, self.index, &self.model, None) {
            self.keep(sound, detail.to_owned(), told_us);
        }
    }
}

fn too_large(bytes: usize) -> Refused {
    Refused {
        code: "too_large",
        text: format!("payload has {bytes} bytes; at most {MAX_SIGNAL_BYTES} are read"),
    }
}

/// A signal, or why there is none, with its id if at least that can be read.
fn read(payload: &[u8]) -> Result<Signal, (Option<String>, Refused)> {
    #[derive(Deserialize)]
    struct OnlyId {
        id: String,
    }
    if payload.len() > MAX_SIGNAL_BYTES {
        return Err((None, too_large(payload.len())));
    }
    serde_json::from_slice(payload).map_err(|error| {
        let id = serde_json::from_slice::<OnlyId>(payload).ok().map(|only| only.id);
        let id = id.filter(|id| id.len() <= wattle_wire::signal::MAX_SIGNAL_ID_BYTES);
        (id, Refused { code: "malformed", text: error.to_string() })
    })
}
