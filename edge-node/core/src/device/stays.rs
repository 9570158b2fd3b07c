//! The stays of vehicles at one charger: which is open, and to which one a numbered message belongs.
//!
//! A stay begins with `plug` (or with a `start` whose plug never came) and ends with `unplug`, with the next
//! `plug`, or with another user's `start` after its `end`; the last two imply an unplug without a register,
//! which is journaled as such. A step whose number is below the last one's came late: it is journaled under
//! the stay that it belongs to and changes nothing.

use wattle_wire::message::{Number, Session, SessionStep};
use wattle_wire::row::EventKind;
use wattle_wire::{DeviceId, Micros, SessionId, WattHours};

use crate::site::Stay;

/// A stay with the numbers that it spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) stay: Stay,
    pub(super) first: Option<Number>,
    pub(super) last: Option<Number>,
    pub(super) ended: bool,
}

/// The open stay and the one before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stays {
    pub(super) open: Option<Span>,
    pub(super) closed: Option<Span>,
    pub(super) last_step: Option<Number>,
}

/// What a step has led to, in this order.
pub(super) struct Stepped {
    /// A stay that it ends although no unplug was sent.
    pub(super) implied: Option<Stay>,
    /// The stay that the step belongs to.
    pub(super) stay: Option<Stay>,
    /// For people: what was odd.
    pub(super) remark: &'static str,
}

impl Stays {
    /// The stay that a message with this number belongs to; one without a number belongs to the open one.
    pub(super) fn at(&self, number: Option<Number>) -> Option<&Stay> {
        let spans = |span: &&Span| match number {
            None => span.last.is_none(),
            Some(n) => span.first.is_none_or(|first| first <= n) && span.last.is_none_or(|last| n <= last),
        };
        self.open.as_ref().filter(spans).or_else(|| self.closed.as_ref().filter(spans)).map(|span| &span.stay)
    }

    /// Applies a step.
    pub(super) fn step(
        &mut self,
        device: &DeviceId,
        step: &Session,
        number: Option<Number>,
        at: Micros,
    ) -> Stepped {
        if number.is_some() && number < self.last_step {
            return self.late(step, number);
        }
        if number.is_some() {
            self.last_step = number;
        }
        match step.step {
            SessionStep::Plug => self.plug(device, step, number, at),
            SessionStep::Start => self.start(device, step, number, at),
            SessionStep::End => self.end(step),
            SessionStep::Unplug => self.unplug(step, number),
        }
    }

    fn late(&self, step: &Session, number: Option<Number>) -> Stepped {
        let stay = self.at(number).cloned().or_else(|| step.session.clone().map(Stay::named));
        Stepped { implied: None, stay, remark: "came late: a later step was taken before it" }
    }

    fn plug(&mut self, device: &DeviceId, step: &Session, number: Option<Number>, at: Micros) -> Stepped {
        let same = |open: &Span| step.session.is_some() && step.session.as_ref() == Some(&open.stay.id);
        if self.open.as_ref().is_some_and(same) {
            return Stepped { implied: None, stay: self.stay(), remark: "this stay was open already" };
        }
        let implied = self.close(number);
        self.open(device, step, number, at);
        Stepped { implied, stay: self.stay(), remark: "" }
    }

    fn start(&mut self, device: &DeviceId, step: &Session, number: Option<Number>, at: Micros) -> Stepped {
        let other_user = |open: &Span| open.ended && open.stay.user != step.user;
        let implied = if self.open.as_ref().is_some_and(other_user) { self.close(number) } else { None };
        let remark = if self.open.is_none() { "started without a plug" } else { "" };
        if self.open.is_none() {
            self.open(device, step, number, at);
        }
        if let Some(open) = &mut self.open {
            open.ended = false;
            // Who has started first pays until the charge has ended.
            open.stay.user = open.stay.user.take().or_else(|| step.user.clone());
            open.stay.requested_wh = step.requested_wh.or(open.stay.requested_wh);
            open.stay.departure_us = step.departure_us.or(open.stay.departure_us);
            open.stay.register_wh = open.stay.register_wh.or(step.register_wh);
        }
        Stepped { implied, stay: self.stay(), remark }
    }

    fn end(&mut self, step: &Session) -> Stepped {
        if let Some(open) = &mut self.open {
            open.ended = true;
            return Stepped { implied: None, stay: self.stay(), remark: "" };
        }
        Stepped { implied: None, stay: step.session.clone().map(Stay::named), remark: "no stay was open" }
    }

    fn unplug(&mut self, step: &Session, number: Option<Number>) -> Stepped {
        match self.close(number) {
            Some(stay) => Stepped { implied: None, stay: Some(stay), remark: "" },
            None => {
                let stay = step.session.clone().map(Stay::named);
                Stepped { implied: None, stay, remark: "no stay was open" }
            }
        }
    }

    fn stay(&self) -> Option<Stay> {
        self.open.as_ref().map(|open| open.stay.clone())
    }

    fn open(&mut self, device: &DeviceId, step: &Session, number: Option<Number>, at: Micros) {
        let id = step.session.clone().unwrap_or_else(|| name(device, number, at));
        let stay =
            Stay { arrived_us: step.at_us.unwrap_or(at), register_wh: step.register_wh, ..Stay::named(id) };
        self.open = Some(Span { stay, first: number, last: None, ended: false });
    }

    fn close(&mut self, number: Option<Number>) -> Option<Stay> {
        let mut span = self.open.take()?;
        span.last = number.or(Some(Number { boot: 0, seq: 0 }));
        let stay = span.stay.clone();
        self.closed = Some(span);
        Some(stay)
    }

    /// Brings the stays forward by a journaled step.
    pub(super) fn replay(&mut self, event: &wattle_wire::row::Event, at: Micros) {
        if event.number.is_some() && event.number < self.last_step {
            return;
        }
        self.last_step = event.number.or(self.last_step);
        let Some(id) = event.session.clone() else { return };
        if matches!(event.kind, EventKind::Plugged | EventKind::Started)
            && self.open.as_ref().is_none_or(|open| open.stay.id != id)
        {
            self.close(event.number);
            let stay = Stay { arrived_us: event.measured_us.unwrap_or(at), ..Stay::named(id) };
            self.open = Some(Span { stay, first: event.number, last: None, ended: false });
        }
        let Some(open) = &mut self.open else { return };
        match event.kind {
            EventKind::Ended => open.ended = true,
            EventKind::Unplugged => {
                self.close(event.number);
            }
            _ => {
                open.ended = false;
                open.stay.register_wh = open.stay.register_wh.or(event.register_wh);
                open.stay.user = open.stay.user.take().or_else(|| event.user.clone());
                open.stay.requested_wh = event.requested_wh.or(open.stay.requested_wh);
                open.stay.departure_us = event.departure_us.or(open.stay.departure_us);
            }
        }
    }
}

/// `<device>-<boot>-<seq>`; a device that doesn't number gets `<device>-<microseconds>`. A name that would be
/// too long loses the end of the device's.
fn name(device: &DeviceId, number: Option<Number>, at: Micros) -> SessionId {
    let tail = match number {
        Some(Number { boot, seq }) => format!("-{boot}-{seq}"),
        None => format!("-{}", at.0),
    };
    let room = wattle_wire::id::MAX_ID_BYTES.saturating_sub(tail.len());
    let head: String = device.as_str().chars().take(room).collect();
    SessionId::new(head + &tail).expect("a device's name and numbers make a name")
}

impl Stay {
    /// A stay of which only the name is known.
    pub(crate) fn named(id: SessionId) -> Self {
        Self {
            id,
            user: None,
            arrived_us: Micros::ZERO,
            departure_us: None,
            requested_wh: None,
            register_wh: None::<WattHours>,
        }
    }
}
