//! A device: the firmware's own machine, a storage that lasts, an MQTT client that forgets, and a vehicle that comes and
//! goes.

use wattle_device_core::{
    Charger, ChargerConfig, Input, LineConfig, Measurement, Meter, MeterConfig, Now, Output, PaceConfig,
    Publish, Start,
};
use wattle_wire::message::{self, Ack, Phases, Reading, Session};
use wattle_wire::topic::Channel;
use wattle_wire::{Micros, Milliamps, UserId};

use crate::agenda::{Agenda, Conn, MS, SECOND, Way};
use crate::edge::EPOCH_US;
use crate::event::{BrokerEvent, DeviceEvent, Event};
use crate::plan::Plan;
use crate::switch::Switch;
use crate::truth::{Key, Truth};

/// How long a device waits before it looks for its broker again.
const RECONNECT: u64 = SECOND;

enum Machine {
    Charger(Box<Charger>),
    Meter(Box<Meter>),
}

/// A device of a site.
pub struct Device {
    index: usize,
    /// Whose broker it connects to.
    pub edge: usize,
    is_meter: bool,
    config: LineConfig,
    sense: u64,
    /// What is in its storage.
    stored: Option<Vec<u8>>,
    skips_store: bool,
    /// Whether it takes the broker's word for what it has sent.
    forgets: bool,
    /// Which start of it this is, for the world.
    pub life: u64,
    machine: Option<Machine>,
    started_at: u64,
    conn: Option<Conn>,
    woken_at: Option<u64>,
    limit: Milliamps,
}

impl Device {
    /// The device of this index; the first of each site is the meter.
    pub fn new(index: usize, plan: &Plan, switch: Option<Switch>) -> Self {
        let of_site = plan.devices_of_a_site();
        Self {
            index,
            edge: index / of_site,
            is_meter: index.is_multiple_of(of_site),
            config: LineConfig { ring: plan.ring, in_flight: 8.min(plan.ring), ..LineConfig::default() },
            sense: plan.sense,
            stored: None,
            skips_store: switch == Some(Switch::DeviceStore),
            forgets: plan.forgets,
            life: 0,
            machine: None,
            started_at: 0,
            conn: None,
            woken_at: None,
            limit: Milliamps::ZERO,
        }
    }

    /// Switches it on.
    pub fn start(&mut self, agenda: &mut Agenda, truth: &mut Truth) {
        if self.machine.is_some() {
            return;
        }
        self.started_at = agenda.now();
        let now = self.now(agenda);
        // What is measured makes a reading, time alone doesn't: so a world that measures no more comes to rest.
        let pace = PaceConfig {
            interval_ms: u64::MAX,
            idle_interval_ms: None,
            change_ma: Milliamps(1),
            spacing_ms: 50,
        };
        let (line, saved) = (self.config.clone(), self.stored.as_deref());
        let machine = if self.is_meter {
            let config = MeterConfig { line, pace };
            Machine::Meter(Box::new(Meter::new(config, saved, now).expect("what was stored is sound")))
        } else {
            let config = ChargerConfig { line, pace, ..ChargerConfig::default() };
            Machine::Charger(Box::new(Charger::new(config, saved, now).expect("what was stored is sound")))
        };
        self.machine = Some(machine);
        self.carry_out(agenda, truth);
        agenda.soon(self.event(DeviceEvent::Connect));
        agenda.soon(self.event(DeviceEvent::Sense));
    }

    /// Its power goes: what it had in memory is gone.
    pub fn kill(&mut self, agenda: &mut Agenda) {
        if self.machine.take().is_some() {
            self.life += 1;
            self.woken_at = None;
            self.lose(agenda);
            let off = agenda.random.between(100 * MS, 5 * SECOND);
            agenda.after(off, Event::StartDevice(self.index));
        }
    }

    /// Its connection is cut: both ends notice.
    pub fn cut(&mut self, agenda: &mut Agenda) {
        if let Some(conn) = self.conn {
            agenda.soon(self.event(DeviceEvent::Lost(conn)));
            self.tell_broker(agenda, conn);
        }
    }

    /// Whether it has nothing that the edge has not acknowledged.
    pub fn is_at_rest(&self) -> bool {
        match &self.machine {
            Some(Machine::Charger(charger)) => charger.unacknowledged() == 0,
            Some(Machine::Meter(meter)) => meter.unacknowledged() == 0,
            None => false,
        }
    }

    /// Something happens to it; `senses` says whether its sensors still bring something new.
    pub fn handle(&mut self, event: DeviceEvent, senses: bool, agenda: &mut Agenda, truth: &mut Truth) {
        match event {
            DeviceEvent::Sense => {
                if senses {
                    self.sense(agenda, truth);
                    agenda.after(self.sense, self.event(DeviceEvent::Sense));
                }
            }
            DeviceEvent::Wake(at) if self.woken_at != Some(at) => {}
            DeviceEvent::Wake(_) => {
                self.woken_at = None;
                self.input(Input::Tick, agenda, truth);
            }
            DeviceEvent::Connect => self.connect(agenda),
            DeviceEvent::Connected(conn) if self.conn == Some(conn) => {
                self.input(Input::Connected, agenda, truth);
            }
            DeviceEvent::Lost(conn) if self.conn == Some(conn) => {
                self.conn = None;
                self.input(Input::Disconnected, agenda, truth);
                agenda.after(RECONNECT, self.event(DeviceEvent::Connect));
            }
            DeviceEvent::Message(conn, channel, payload) if self.conn == Some(conn) => {
                self.input(Input::Message { channel, payload: &payload }, agenda, truth);
            }
            DeviceEvent::Connected(_) | DeviceEvent::Lost(_) | DeviceEvent::Message(..) => {}
        }
    }

    fn event(&self, event: DeviceEvent) -> Event {
        Event::Device(self.index, self.life, event)
    }

    fn now(&self, agenda: &Agenda) -> Now {
        let utc_us = i64::try_from(agenda.now()).unwrap_or(i64::MAX).saturating_add(EPOCH_US);
        Now { mono_ms: (agenda.now() - self.started_at) / MS, utc_us: Some(Micros(utc_us)) }
    }

    fn connect(&mut self, agenda: &mut Agenda) {
        if self.conn.is_some() {
            return;
        }
        let will = match &self.machine {
            Some(Machine::Charger(charger)) => charger.will(),
            Some(Machine::Meter(meter)) => meter.will(),
            None => return,
        };
        let conn = agenda.connection();
        self.conn = Some(conn);
        let connects = BrokerEvent::DeviceConnects { device: self.index, life: self.life, conn, will };
        agenda.send(conn, Way::Up, Event::Broker(self.edge, connects));
    }

    fn lose(&mut self, agenda: &mut Agenda) {
        if let Some(conn) = self.conn.take() {
            self.tell_broker(agenda, conn);
        }
    }

    fn tell_broker(&self, agenda: &mut Agenda, conn: Conn) {
        agenda.soon(Event::Broker(self.edge, BrokerEvent::Lost(conn)));
    }

    fn sense(&mut self, agenda: &mut Agenda, truth: &mut Truth) {
        if !self.is_meter {
            let what = match agenda.random.below(40) {
                0 | 1 => Some(Input::Plugged),
                2..=5 => {
                    let user = UserId::new("alice").ok();
                    Some(Input::Started(Start { user, ..Start::default() }))
                }
                6 => Some(Input::Ended),
                7 => Some(Input::Unplugged),
                _ => None,
            };
            if let Some(what) = what {
                self.input(what, agenda, truth);
            }
        }
        let most = if self.is_meter { 20_000 } else { self.limit.0.max(0) as u64 + 2 };
        // Never the same twice in a row: so each look makes a reading.
        let current = Milliamps(1 + agenda.random.below(most) as i32);
        let measurement = Measurement {
            current_ma: Some(Phases::new(&[current])),
            power_mw: i64::from(current.0) * 230,
            ..Measurement::default()
        };
        self.input(Input::Measured(measurement), agenda, truth);
    }

    fn input(&mut self, input: Input<'_>, agenda: &mut Agenda, truth: &mut Truth) {
        self.tell(input, agenda);
        self.carry_out(agenda, truth);
    }

    fn tell(&mut self, input: Input<'_>, agenda: &Agenda) {
        let now = self.now(agenda);
        match &mut self.machine {
            Some(Machine::Charger(charger)) => charger.handle(now, input),
            Some(Machine::Meter(meter)) => meter.handle(now, input),
            None => {}
        }
    }

    /// Does what the machine wants done, in order.
    fn carry_out(&mut self, agenda: &mut Agenda, truth: &mut Truth) {
        while let Some(output) = self.machine.as_mut().and_then(|machine| match machine {
            Machine::Charger(charger) => charger.poll(),
            Machine::Meter(meter) => meter.poll(),
        }) {
            match output {
                Output::Store { bytes, .. } if !self.skips_store => self.stored = Some(bytes),
                Output::Store { .. } => {}
                Output::Limit(limit) => self.limit = limit,
                Output::Publish(publish) => self.publish(publish, agenda, truth),
            }
        }
        self.arm(agenda);
    }

    fn publish(&mut self, publish: Publish, agenda: &mut Agenda, truth: &mut Truth) {
        let Some(conn) = self.conn else { return };
        if let Some(key) = key_of(self.index, publish.channel, &publish.payload) {
            truth.published(key, &publish.payload);
            if self.forgets {
                let said = message::encode(&Ack { boot: key.boot, from: key.seq, to: key.seq });
                self.tell(Input::Message { channel: Channel::Ack, payload: &said }, agenda);
            }
        }
        agenda.send(conn, Way::Up, Event::Broker(self.edge, BrokerEvent::Published { conn, publish }));
    }

    fn arm(&mut self, agenda: &mut Agenda) {
        let due = self.machine.as_ref().and_then(|machine| match machine {
            Machine::Charger(charger) => charger.next_wakeup(),
            Machine::Meter(meter) => meter.next_wakeup(),
        });
        // What is never due is far away.
        let Some(due) = due.filter(|due| *due < u64::MAX / 2) else { return };
        let at = (self.started_at + due * MS).max(agenda.now() + MS);
        if self.woken_at.is_none_or(|woken| at < woken) {
            self.woken_at = Some(at);
            agenda.after(at - agenda.now(), self.event(DeviceEvent::Wake(at)));
        }
    }
}

/// The number of a message, if it has one.
pub fn key_of(device: usize, channel: Channel, payload: &[u8]) -> Option<Key> {
    let number = match channel {
        Channel::Reading => message::decode::<Reading>(payload).ok()?.number().ok()?,
        Channel::Session => message::decode::<Session>(payload).ok()?.number().ok()?,
        _ => None,
    };
    number.map(|number| Key { device, boot: number.boot, seq: number.seq })
}
