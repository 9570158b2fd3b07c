//! One device of a site: what it sends becomes rows to journal, numbers to acknowledge, and what the site has
//! to know.
//!
//! Rules:
//! - A numbered message is taken once ([`numbers`]). A repetition gives no row and is acknowledged again: its
//!   first copy stands before it in the journal, so everything given up to now being durable is enough.
//! - The same number with other values is a conflict: journaled as an event, never as values ([`digest`]).
//! - What can't be read is journaled as an event with a code. If at least its number can be read, the event
//!   uses the number up and it is acknowledged, so that the device doesn't resend it forever.
//! - What is not journaled is not acknowledged: beyond the bound of [`refusals`] a message that was refused
//!   stays with the device, keeps its number free, and comes again.
//! - A start with a lower number than those before is a unit that was replaced, or one that lost its count:
//!   what it sends is taken like anything else, and its steps don't count as late.
//! - A reading is journaled as it was sent, plausible or not: the verdict is the fog node's. The site hears
//!   of it only if it tells of the present (`lateness`).
//! - Steps of a vehicle's stay open and close it (`stays`).
//! - What a device is and whether it is connected is journaled when it changes.
//!
//! The state that has to survive a restart is [`DeviceMachine::state`]; [`DeviceMachine::replay`] brings it
//! forward by the rows that were journaled since.

pub mod digest;
mod lateness;
pub mod numbers;
mod peer;
pub mod refusals;
mod state;
mod stays;
mod system;
#[cfg(test)]
mod tests;
mod told;

use serde::Deserialize;
use wattle_wire::message::{
    self, Ack, Announce, Confirm, DeviceKind, MessageError, Number, Reading, Session, SessionStep, Status,
};
use wattle_wire::row::{self, Event, EventKind, Row};
use wattle_wire::signal::Answer;
use wattle_wire::topic::Channel;
use wattle_wire::{DeviceId, Micros, SiteId};

use crate::site::{Heard, Part, SiteInput, Stay};
use digest::Digests;
use lateness::Lateness;
use numbers::{Numbers, Taken};
pub use peer::PeerMachine;
use refusals::Refusals;
pub use state::RestoreError;
use stays::Stays;
pub use system::{PER_MINUTE as SIGNALS_PER_MINUTE, SystemMachine};
pub use told::told;

/// The most bytes of an unreadable payload that an event shows.
const MAX_EXCERPT_BYTES: usize = 256;

/// What messages have led to. Filled by one message or by a batch of them; the caller takes and clears it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceOutput {
    /// To journal, in this order.
    pub rows: Vec<Row>,
    /// For the site machine, in this order.
    pub inputs: Vec<SiteInput>,
    /// To send once everything in `rows`, up to now, is durable. Neighbouring numbers are joined.
    pub acks: Vec<Ack>,
    /// To send to a system once everything in `rows`, up to now, is durable.
    pub answers: Vec<Answer>,
}

impl DeviceOutput {
    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.inputs.clear();
        self.acks.clear();
        self.answers.clear();
    }

    fn acknowledge(&mut self, number: Number) {
        if let Some(last) = self.acks.last_mut()
            && last.boot == number.boot
            && last.to.checked_add(1) == Some(number.seq)
        {
            last.to = number.seq;
            return;
        }
        self.acks.push(Ack { boot: number.boot, from: number.seq, to: number.seq });
    }
}

/// The machine of one device. See the module for its rules.
#[derive(Debug, Clone)]
pub struct DeviceMachine {
    site: SiteId,
    device: DeviceId,
    part: Part,
    numbers: Numbers,
    digests: Digests,
    stays: Stays,
    /// The start that the device has announced.
    live_boot: Option<u32>,
    /// The last numbered message of that start.
    seen: Option<Number>,
    announced: Option<Announce>,
    online: Option<bool>,
    lateness: Lateness,
    refusals: Refusals,
}

impl DeviceMachine {
    /// A device of which nothing was heard; `part` is what the site model says of it.
    pub fn new(site: SiteId, device: DeviceId, part: Part) -> Self {
        Self {
            site,
            device,
            part,
            numbers: Numbers::default(),
            digests: Digests::default(),
            stays: Stays::default(),
            live_boot: None,
            seen: None,
            announced: None,
            online: None,
            lateness: Lateness::default(),
            refusals: Refusals::default(),
        }
    }

    /// The stay that is open.
    pub fn stay(&self) -> Option<&Stay> {
        self.stays.open.as_ref().map(|span| &span.stay)
    }

    /// Whether the device has said that it is connected; none before it has said anything.
    pub fn online(&self) -> Option<bool> {
        self.online
    }

    /// Refusals that no journaled event has counted yet.
    pub fn suppressed(&self) -> u64 {
        self.refusals.suppressed()
    }

    /// Takes a payload from the device. The two channels that come down are passed over.
    pub fn handle(&mut self, channel: Channel, payload: &[u8], now: Micros, out: &mut DeviceOutput) {
        let read = match channel {
            Channel::Reading => message::decode(payload).map(|m| self.handle_reading(&m, now, out)),
            Channel::Session => message::decode(payload).map(|m| self.handle_session(&m, now, out)),
            Channel::Confirm => message::decode(payload).map(|m| self.handle_confirm(&m, out)),
            Channel::Status => message::decode(payload).map(|m| self.handle_status(&m, out)),
            Channel::Announce => message::decode(payload).map(|m| self.handle_announce(&m, now, out)),
            Channel::Setpoint | Channel::Ack | Channel::Answer => Ok(()),
            Channel::Signal => {
                let text = "a device signals nothing; give who does a login of its own under [[systems]]";
                self.refuse("not_allowed", text, None, now, out);
                Ok(())
            }
        };
        if let Err(error) = read {
            self.unreadable(channel, payload, &error, now, out);
        }
    }

    /// Refuses a payload of so many bytes of which this is the beginning. Whatever number it may have stays free.
    pub(super) fn refuse_beginning(
        &mut self,
        channel: Channel,
        begins: &[u8],
        bytes: usize,
        now: Micros,
        out: &mut DeviceOutput,
    ) {
        let error = MessageError::TooLarge(bytes);
        self.refuse("too_large", &unreadable(channel, begins, &error), None, now, out);
    }

    /// Takes a reading that was read already.
    pub fn handle_reading(&mut self, reading: &Reading, now: Micros, out: &mut DeviceOutput) {
        let number = match reading.number() {
            Ok(number) => number,
            Err(error) => return self.refuse("half_numbered", &error.to_string(), None, now, out),
        };
        let row = row::Reading {
            site: self.site.clone(),
            device: self.device.clone(),
            number,
            measured_us: reading.at_us,
            state: reading.state,
            setpoint: reading.setpoint,
            session: self.stays.at(number).map(|stay| stay.id.clone()),
            values: reading.values(),
        };
        if !self.take(number, || digest::of_reading(&row), now, out) {
            return;
        }
        if self.lateness.is_present(reading.at_us, now) {
            let heard = Heard::Reading {
                state: reading.state,
                setpoint: reading.setpoint,
                current_ma: row.values.current_ma,
                register_wh: row.values.register_wh,
                soc_percent: row.values.soc_percent,
                temperature_mc: row.values.temperature_mc,
                voltage_mv: row.values.voltage_mv,
            };
            self.tell(heard, out);
        }
        out.rows.push(Row::Reading(row));
    }

    /// Takes a step in a vehicle's stay that was read already.
    pub fn handle_session(&mut self, step: &Session, now: Micros, out: &mut DeviceOutput) {
        let number = match step.number() {
            Ok(number) => number,
            Err(error) => return self.refuse("half_numbered", &error.to_string(), None, now, out),
        };
        if let Part::Meter(_) = self.part {
            return self.refuse(
                "wrong_kind",
                "a meter has no vehicles; send no session steps",
                number,
                now,
                out,
            );
        }
        let kind = match step.step {
            SessionStep::Plug => EventKind::Plugged,
            SessionStep::Start => EventKind::Started,
            SessionStep::End => EventKind::Ended,
            SessionStep::Unplug => EventKind::Unplugged,
        };
        let mut event = Event {
            number,
            measured_us: step.at_us,
            session: step.session.clone(),
            user: step.user.clone(),
            register_wh: step.register_wh.filter(|register| register.0 >= 0),
            requested_wh: step.requested_wh,
            departure_us: step.departure_us,
            ..self.event(kind, "")
        };
        if !self.take(number, || digest::of_step(&event), now, out) {
            return;
        }
        let refused_register = step.register_wh.filter(|register| register.0 < 0);
        let step = Session { register_wh: event.register_wh, ..step.clone() };
        let stepped = self.stays.step(&self.device, &step, number, now);
        if let Some(stay) = stepped.implied {
            let implied = self.event(EventKind::Unplugged, "implied: the vehicle's unplug was never sent");
            out.rows.push(Row::Event(Event { session: Some(stay.id), user: stay.user, ..implied }));
        }
        if let Some(stay) = stepped.stay {
            event.session = Some(stay.id);
            event.user = event.user.or(stay.user);
        }
        event.detail = stepped.remark.into();
        out.rows.push(Row::Event(event));
        if let Some(register) = refused_register {
            let text = format!("register {register} in step {kind:?}; the step counts without it");
            self.journal_refusal(EventKind::Malformed, "negative_register", &text, number, now, out);
        }
        self.tell(Heard::Stay(self.stay().cloned()), out);
    }

    /// Takes the answer to a setpoint that was read already.
    pub fn handle_confirm(&mut self, confirm: &Confirm, out: &mut DeviceOutput) {
        let (kind, detail) = match confirm.refused {
            None => (EventKind::Confirmed, ""),
            Some(refusal) => (EventKind::Refused, refusal_text(refusal)),
        };
        let event = Event { setpoint: Some(confirm.setpoint), ..self.event(kind, detail) };
        out.rows.push(Row::Event(event));
        let heard = match confirm.refused {
            None => Heard::Confirmed(confirm.setpoint),
            Some(reason) => Heard::Refused { number: confirm.setpoint, reason },
        };
        self.tell(heard, out);
    }

    /// Takes a connection status that was read already.
    pub fn handle_status(&mut self, status: &Status, out: &mut DeviceOutput) {
        // The last will of an earlier start must not switch off the present one.
        if !status.online && status.boot.is_some() && self.live_boot.is_some() && status.boot < self.live_boot
        {
            return;
        }
        if self.online != Some(status.online) {
            let kind = if status.online { EventKind::Online } else { EventKind::Offline };
            out.rows.push(Row::Event(self.event(kind, "")));
        }
        self.online = Some(status.online);
        self.tell(Heard::Online(status.online), out);
    }

    /// Takes an announcement that was read already.
    pub fn handle_announce(&mut self, announce: &Announce, now: Micros, out: &mut DeviceOutput) {
        let expected = match self.part {
            Part::Charger(_) => DeviceKind::Charger,
            Part::Meter(_) | Part::System(_) | Part::Circuit(_) | Part::Site => DeviceKind::Meter,
        };
        if announce.kind != expected {
            let text =
                format!("it says {:?}, the site's configuration {expected:?}; correct one", announce.kind);
            return self.refuse("wrong_kind", &text, None, now, out);
        }
        let highest = self.numbers.highest_boot().max(self.live_boot);
        match announce.boot {
            Some(boot) => self.begin(boot),
            None => self.lateness.begin(),
        }
        if self.announced.as_ref() != Some(announce) {
            let boot = announce.boot.map_or_else(|| "none".into(), |boot| boot.to_string());
            let Announce { model, firmware, .. } = announce;
            let mut detail = format!("boot {boot}, model {model:?}, firmware {firmware:?}");
            if let Some(highest) = highest.filter(|highest| announce.boot.is_some_and(|boot| boot < *highest))
            {
                detail.push_str(&format!(
                    "; below boot {highest} before it: the unit was replaced or has lost its count"
                ));
            }
            out.rows.push(Row::Event(self.event(EventKind::Announced, &detail)));
            self.announced = Some(announce.clone());
        }
    }

    /// The device has begun this start. After a lower one than before nothing counts as late.
    fn begin(&mut self, boot: u32) {
        if self.live_boot == Some(boot) {
            return;
        }
        self.live_boot = Some(boot);
        self.lateness.begin();
        self.seen = self.seen.filter(|seen| seen.boot == boot);
        self.stays.last_step = self.stays.last_step.filter(|step| step.boot <= boot);
    }

    /// Takes the number of a message; whether the message is new. A repetition is acknowledged; a conflict is
    /// journaled and acknowledged, or neither.
    fn take(
        &mut self,
        number: Option<Number>,
        digest: impl FnOnce() -> u64,
        now: Micros,
        out: &mut DeviceOutput,
    ) -> bool {
        let Some(number) = number else { return true };
        if self.numbers.take(number) == Taken::New {
            self.digests.push(number, digest());
            if self.live_boot.is_none_or(|boot| boot == number.boot) {
                self.seen = self.seen.max(Some(number));
            }
            out.acknowledge(number);
            return true;
        }
        let conflicts = self.digests.contradict(number, digest);
        let text = || format!("boot {} seq {} came before with other values", number.boot, number.seq);
        if !conflicts
            || self.journal_refusal(EventKind::Conflict, "other_values", &text(), Some(number), now, out)
        {
            out.acknowledge(number);
        }
        false
    }

    fn unreadable(
        &mut self,
        channel: Channel,
        payload: &[u8],
        error: &MessageError,
        now: Micros,
        out: &mut DeviceOutput,
    ) {
        let code = match error {
            MessageError::TooLarge(_) => "too_large",
            MessageError::Malformed(_) => "malformed",
            MessageError::HalfNumbered => "half_numbered",
        };
        let numbered = matches!(channel, Channel::Reading | Channel::Session);
        let number = if numbered { number_of(payload) } else { None };
        self.refuse(code, &unreadable(channel, payload, error), number, now, out);
    }

    /// Refuses a message. Its number, if it can be read, is used up and acknowledged if that is journaled.
    fn refuse(
        &mut self,
        code: &str,
        text: &str,
        number: Option<Number>,
        now: Micros,
        out: &mut DeviceOutput,
    ) {
        let known = number.is_some_and(|number| self.numbers.contains(number));
        if !known && !self.journal_refusal(EventKind::Malformed, code, text, number, now, out) {
            return;
        }
        if let Some(number) = number {
            self.numbers.take(number);
            out.acknowledge(number);
        }
    }

    /// Whether the refusal is journaled.
    fn journal_refusal(
        &mut self,
        kind: EventKind,
        code: &str,
        text: &str,
        number: Option<Number>,
        now: Micros,
        out: &mut DeviceOutput,
    ) -> bool {
        let Some(suppressed) = self.refusals.admit(now) else { return false };
        let before = match suppressed {
            0 => String::new(),
            n => format!("{n} more refused before and not shown; "),
        };
        let event = self.event(kind, &format!("{code}: {before}{text}"));
        out.rows.push(Row::Event(Event { number, ..event }));
        true
    }

    fn tell(&self, heard: Heard, out: &mut DeviceOutput) {
        out.inputs.push(SiteInput { part: self.part, seen: self.seen, heard });
    }

    fn event(&self, kind: EventKind, detail: &str) -> Event {
        Event::new(self.site.clone(), Some(self.device.clone()), kind, detail)
    }
}

pub(crate) fn refusal_text(refusal: message::Refusal) -> &'static str {
    match refusal {
        message::Refusal::Expired => "expired",
        message::Refusal::UnknownSeen => "unknown_seen",
        message::Refusal::Superseded => "superseded",
        message::Refusal::OutOfRange => "out_of_range",
    }
}

fn unreadable(channel: Channel, payload: &[u8], error: &MessageError) -> String {
    let excerpt = String::from_utf8_lossy(&payload[..payload.len().min(MAX_EXCERPT_BYTES)]);
    format!("{}: {error}; it begins {excerpt:?}", channel.as_str())
}

/// The start that an `announced` event tells of.
fn announced_boot(detail: &str) -> Option<u32> {
    detail.strip_prefix("boot ")?.split(',').next()?.parse().ok()
}

/// The number of a payload that is JSON but not of the agreed shape.
fn number_of(payload: &[u8]) -> Option<Number> {
    #[derive(Deserialize)]
    struct OnlyNumber {
        boot: u32,
        seq: u64,
    }
    message::decode::<OnlyNumber>(payload).ok().map(|n| Number { boot: n.boot, seq: n.seq })
}
