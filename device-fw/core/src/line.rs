//! A device's line to the edge, the same for chargers and meters: its number of this start, its announcement,
//! its register in storage, its numbered messages, and the outputs that the driver has yet to take.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use wattle_wire::message::{self, Ack, Announce, DeviceKind, Number, Reading, Session, Status, Values};
use wattle_wire::topic::Channel;
use wattle_wire::{WattHours, Watts};

use crate::config::LineConfig;
use crate::io::{Measurement, Now, Output, Publish, Qos};
use crate::outbox::{Kind, Outbox};
use crate::register::Register;
use crate::saved::{STATE_KEY, Saved, SavedError, Stay};

/// What a device counts about itself since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Numbered messages that were made since the start; the last one's `seq`.
    pub numbered: u64,
    /// Readings that were dropped unacknowledged because the ring was full.
    pub dropped_readings: u64,
    /// Session steps that were dropped likewise.
    pub dropped_steps: u64,
    /// Messages that were sent again.
    pub resent: u64,
    /// Messages that came down and could not be read.
    pub malformed: u64,
    /// Setpoints that were refused.
    pub refused: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Line {
    kind: DeviceKind,
    config: LineConfig,
    boot: u32,
    next_seq: u64,
    online: bool,
    outbox: Outbox,
    outputs: VecDeque<Output>,
    now: Now,
    pub stay: Stay,
    pub register: Register,
    pub malformed: u64,
    pub refused: u64,
    /// The last step of a stay that the edge has not acknowledged: until then the stay counts as open in storage.
    closing: Option<(u64, Stay)>,
}

impl Line {
    /// Starts from what was stored; the stay that was open then is returned beside it.
    pub fn new(
        kind: DeviceKind,
        config: LineConfig,
        saved: Option<&[u8]>,
        now: Now,
    ) -> Result<(Self, Stay), SavedError> {
        let saved = saved.map(Saved::decode).transpose()?.unwrap_or_default();
        let register = Register::new(saved.energy, WattHours(config.store_step_wh), now.mono_ms);
        let mut line = Self {
            kind,
            boot: saved.boot.saturating_add(1),
            next_seq: 1,
            online: false,
            outbox: Outbox::new(&config),
            outputs: VecDeque::new(),
            now,
            stay: saved.stay,
            register,
            malformed: 0,
            refused: 0,
            closing: None,
            config,
        };
        line.store();
        Ok((line, saved.stay))
    }

    /// Moves the time on, never back, and counts the energy up to it.
    pub fn advance(&mut self, now: Now) {
        self.now = Now { mono_ms: now.mono_ms.max(self.now.mono_ms), utc_us: now.utc_us };
        self.register.count(self.now.mono_ms);
        if self.register.store_due() {
            self.store();
        }
    }

    pub fn now_ms(&self) -> u64 {
        self.now.mono_ms
    }

    pub fn boot(&self) -> u32 {
        self.boot
    }

    pub fn numbered(&self) -> bool {
        self.config.numbered
    }

    pub fn store(&mut self) {
        let stay = match self.closing {
            Some((_, closing)) if self.stay == Stay::None => closing,
            _ => self.stay,
        };
        let saved = Saved { boot: self.boot, stay, energy: self.register.store() };
        self.output(Output::Store { key: STATE_KEY, bytes: saved.encode() });
    }

    pub fn connected(&mut self) {
        self.online = true;
        self.outbox.reconnected();
        let announce = Announce {
            kind: self.kind,
            boot: self.boot_if_numbered(),
            model: self.config.model.clone(),
            firmware: self.config.firmware.clone(),
        };
        self.publish(Channel::Announce, message::encode(&announce), true);
        self.status(true);
    }

    pub fn disconnected(&mut self) {
        self.online = false;
    }

    /// Stores the register to the last digit and says that the device goes.
    pub fn stop(&mut self) {
        self.store();
        self.status(false);
    }

    fn status(&mut self, online: bool) {
        let will = self.status_message(online);
        if self.online {
            self.output(Output::Publish(will));
        }
    }

    pub fn status_message(&self, online: bool) -> Publish {
        let status = Status { online, boot: self.boot_if_numbered() };
        Publish {
            channel: Channel::Status,
            payload: message::encode(&status),
            qos: Qos::AtLeastOnce,
            retained: true,
        }
    }

    /// Sends a message that is not numbered, if there is a connection.
    pub fn publish(&mut self, channel: Channel, payload: Vec<u8>, retained: bool) {
        if self.online {
            self.output(Output::Publish(Publish { channel, payload, qos: Qos::AtLeastOnce, retained }));
        }
    }

    pub fn reading(&mut self, mut reading: Reading, measured: &Measurement) {
        let number = self.next_number();
        reading.boot = number.map(|n| n.boot);
        reading.seq = number.map(|n| n.seq);
        reading.at_us = self.now.utc_us;
        let reading = reading.with_values(values(measured, self.register.shown()));
        self.enqueue(number, Kind::Reading, message::encode(&reading));
    }

    /// Sends a step that leaves the stay as `stay`, with the register to the last watt-hour. In storage the stay
    /// remains open until the step that closes it is acknowledged, so that a restart closes it again.
    pub fn step(&mut self, step: Session, stay: Stay) {
        let number = self.next_number();
        if let (Stay::None, Some(number)) = (stay, number) {
            self.closing = Some((number.seq, self.stay));
        }
        self.stay = stay;
        self.store();
        let step = Session {
            boot: number.map(|n| n.boot),
            seq: number.map(|n| n.seq),
            at_us: self.now.utc_us,
            register_wh: Some(self.register.shown()),
            ..step
        };
        self.enqueue(number, Kind::Step, message::encode(&step));
    }

    fn next_number(&mut self) -> Option<Number> {
        self.config.numbered.then(|| {
            let seq = self.next_seq;
            self.next_seq += 1;
            Number { boot: self.boot, seq }
        })
    }

    fn boot_if_numbered(&self) -> Option<u32> {
        self.config.numbered.then_some(self.boot)
    }

    fn enqueue(&mut self, number: Option<Number>, kind: Kind, payload: Vec<u8>) {
        match number {
            Some(number) => self.outbox.push(number.seq, kind, payload),
            None => self.publish(kind.channel(), payload, false),
        }
    }

    pub fn acknowledged(&mut self, payload: &[u8]) {
        match message::decode::<Ack>(payload) {
            Ok(ack) if ack.boot == self.boot => {
                self.outbox.heard();
                self.outbox.acknowledge(ack.from, ack.to);
                if self.closing.is_some_and(|(seq, _)| (ack.from..=ack.to).contains(&seq)) {
                    self.closing = None;
                    self.store();
                }
            }
            Ok(_) => {}
            Err(_) => self.malformed += 1,
        }
    }

    pub fn heard(&mut self) {
        self.outbox.heard();
    }

    /// Hands out every message that may go now, and tells the numbers of them, in order.
    pub fn pump(&mut self, mut sent: impl FnMut(u64)) {
        if !self.online {
            return;
        }
        self.outbox.expire(self.now.mono_ms);
        while let Some((seq, kind, payload)) = self.outbox.send_next(self.now.mono_ms) {
            let publish = Publish {
                channel: kind.channel(),
                payload: payload.to_vec(),
                qos: Qos::AtLeastOnce,
                retained: false,
            };
            sent(seq);
            self.outputs.push_back(Output::Publish(publish));
        }
    }

    pub fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn next_wakeup(&self) -> Option<u64> {
        if self.online { self.outbox.next_wakeup() } else { None }
    }

    pub fn unacknowledged(&self) -> usize {
        self.outbox.len()
    }

    pub fn counters(&self) -> Counters {
        let dropped = self.outbox.dropped();
        Counters {
            numbered: self.next_seq - 1,
            dropped_readings: dropped.readings,
            dropped_steps: dropped.steps,
            resent: self.outbox.resent(),
            malformed: self.malformed,
            refused: self.refused,
        }
    }
}

fn values(measured: &Measurement, register_wh: WattHours) -> Values {
    let whole_w = measured.power_mw.saturating_add(500).div_euclid(1000);
    let power_w = whole_w.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
    Values {
        current_ma: measured.current_ma,
        voltage_mv: measured.voltage_mv,
        power_w: Some(Watts(power_w)),
        register_wh: Some(register_wh),
        soc_percent: measured.soc_percent,
        temperature_mc: measured.temperature_mc,
        humidity_percent: measured.humidity_percent,
        signal_dbm: measured.signal_dbm,
    }
}
