//! A site on virtual time, with device machines, the policies that `make policies` builds, vehicles that come and go, and
//! everything that goes wrong; what it journals and what it really did.

use std::path::PathBuf;

use wattle_edge_core::replay::Scribe;
use wattle_edge_core::{DeviceMachine, DeviceOutput, Due, Heard, Outcome, Part, SiteInput, SiteMachine};
use wattle_policy_host::{Host, Limits};
use wattle_site::SiteFile;
use wattle_wire::message::Setpoint;
use wattle_wire::row::{Event, EventKind, Record, Row};
use wattle_wire::topic::Channel;
use wattle_wire::{DeviceId, Micros};

use crate::policy::aside::Errand;
use crate::policy::{Role, SitePolicy, Source};
use crate::{replay, site_model};

pub const START: Micros = Micros::from_secs(1_795_219_200);

/// Numbers that look random and are the same for the same seed.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    pub fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }
}

/// What stands at a charger.
#[derive(Default)]
struct Stall {
    seq: u64,
    boot: u64,
    asks: bool,
    takes_ma: i32,
    obeyed: Option<(Setpoint, Micros)>,
    silent_until: Micros,
}

pub struct Live {
    pub site: SiteFile,
    text: String,
    machine: SiteMachine,
    scribe: Scribe,
    policy: SitePolicy,
    host: Host,
    devices: Vec<DeviceMachine>,
    stalls: Vec<Stall>,
    meter_seq: u64,
    pub dice: Dice,
    /// What the edge takes for the time.
    pub now: Micros,
    pub records: Vec<Record>,
    /// Every decision, recorded or not.
    pub made: Vec<(Micros, Outcome)>,
    /// Whether messages are lost and vehicles, devices and clocks behave as they do.
    pub is_rough: bool,
    /// Confirmations that are under way.
    answers: Vec<(usize, u64)>,
    /// What the policies in shadow are at.
    errand: Option<Errand>,
}

/// The folder of components that `make policies` has built.
pub fn policies() -> PathBuf {
    let folder = std::env::var_os("WATTLE_POLICIES").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../target/policies").into());
    assert!(folder.join("fair-share.wasm").exists(), "{}: run `make policies`", folder.display());
    folder
}

impl Live {
    pub fn new(text: &str, seed: u64) -> Self {
        let site = SiteFile::parse("site.toml", text).expect("right");
        let limits = Limits { deadline: std::time::Duration::from_secs(30), ..Limits::default() };
        let host = Host::new(limits).expect("a host");
        let machine = SiteMachine::new(site_model(&site), 1_000, START).expect("sound");
        let mut live = Self {
            scribe: Scribe::new(&machine, replay::PROGRAM, text),
            policy: SitePolicy::load(&host, &policies(), &site.control),
            host,
            devices: devices(&machine),
            stalls: machine.model().chargers.iter().map(|_| Stall { boot: 1, ..Stall::default() }).collect(),
            machine,
            meter_seq: 0,
            dice: Dice(seed * 7_919 + 13),
            now: START,
            records: Vec::new(),
            made: Vec::new(),
            text: text.to_owned(),
            site,
            is_rough: true,
            answers: Vec::new(),
            errand: None,
        };
        live.begin();
        live
    }

    fn push(&mut self, row: Row) {
        self.push_at(self.now, row);
    }

    fn push_at(&mut self, at_us: Micros, row: Row) {
        let sequence = self.records.len() as u64 + 1;
        self.records.push(Record { sequence, at_us, row });
    }

    fn begin(&mut self) {
        let id = self.site.id.clone();
        self.push(Row::Event(Event::new(id.clone(), None, EventKind::NodeStarted, "started")));
        let configured =
            Event { detail: self.text.clone(), ..Event::new(id, None, EventKind::Configured, "") };
        self.push(Row::Event(configured));
        self.note();
        self.keyframe();
    }

    fn note(&mut self) {
        for (kind, text) in self.policy.take_notes() {
            self.push(Row::Event(Event::new(self.site.id.clone(), None, kind, text)));
        }
    }

    fn keyframe(&mut self) {
        let keyframe = self.scribe.keyframe(&self.machine, self.now).encode();
        self.push(replay::row(&self.site.id, EventKind::Keyframe, &keyframe));
    }

    /// The edge is killed and starts anew: what was not written down is gone, open stays are known again.
    pub fn restart(&mut self) {
        let first_number = (self.now.0 / 1_000).unsigned_abs();
        self.machine = SiteMachine::new(site_model(&self.site), first_number, self.now).expect("sound");
        self.scribe = Scribe::new(&self.machine, replay::PROGRAM, self.text.as_str());
        self.policy = SitePolicy::load(&self.host, &policies(), &self.site.control);
        self.errand = None;
        self.begin();
        for index in 0..self.stalls.len() {
            let part = Part::Charger(index);
            let heard = [Heard::Stay(self.devices[index].stay().cloned()), Heard::Online(false)];
            let inputs = heard.map(|heard| SiteInput { part, seen: None, heard }).into();
            self.scribe.take(&mut self.machine, self.now, &[], inputs);
        }
    }

    /// Another component takes the place of the one that decides.
    pub fn swap(&mut self, policy: &str) {
        let control = wattle_site::Control { policy: policy.into(), ..self.site.control.clone() };
        let source = Source::active(&policies(), &control).expect("it is on");
        let found = source.load(&self.host);
        self.policy.offer(Role::Active, found, self.machine.policy_state());
        self.note();
    }

    pub fn run(&mut self, seconds: i64) {
        let end = self.now + Micros::from_secs(seconds);
        while self.now < end {
            let due = self.machine.next_wakeup();
            let next = if due > self.now { due } else { self.now + Micros::from_secs(1) };
            self.now = next + Micros(self.dice.roll(2_000) as i64);
            self.live();
            for (index, number) in std::mem::take(&mut self.answers) {
                if !self.is_rough || !self.dice.one_in(60) {
                    self.message(index, Channel::Confirm, &format!(r#"{{"setpoint":{number}}}"#));
                }
            }
            for index in 0..self.stalls.len() {
                self.charger(index);
            }
            self.meter();
            if let Due::Now(cause) = self.machine.wake(self.now) {
                self.decide(cause);
            }
        }
    }

    /// Vehicles come and go, devices fall silent and start anew.
    fn live(&mut self) {
        for index in 0..self.stalls.len() {
            if self.dice.one_in(900) {
                let asks = !self.stalls[index].asks;
                self.stalls[index].asks = asks;
                self.stalls[index].takes_ma = 6_500 + self.dice.roll(26_000) as i32;
                for step in if asks { ["plug", "start"] } else { ["end", "unplug"] } {
                    self.step(index, step);
                }
            }
            if self.is_rough && self.dice.one_in(3_000) {
                self.stalls[index].silent_until = self.now + Micros::from_secs(self.dice.roll(90) as i64);
            }
            if self.is_rough && self.dice.one_in(5_000) {
                let stall = &mut self.stalls[index];
                (stall.boot, stall.seq, stall.obeyed) = (stall.boot + 1, 0, None);
                let boot = stall.boot;
                self.message(index, Channel::Announce, &format!(r#"{{"kind":"charger","boot":{boot}}}"#));
                self.message(index, Channel::Status, &format!(r#"{{"online":true,"boot":{boot}}}"#));
            }
        }
    }

    fn step(&mut self, index: usize, step: &str) {
        let stall = &mut self.stalls[index];
        stall.seq += 1;
        let (boot, seq) = (stall.boot, stall.seq);
        let user = if step == "start" { r#","user":"alice","requested_wh":9000"# } else { "" };
        let text = format!(r#"{{"boot":{boot},"seq":{seq},"step":"{step}","register_wh":{seq}{user}}}"#);
        self.message(index, Channel::Session, &text);
    }

    fn draw(&self, index: usize) -> i32 {
        let stall = &self.stalls[index];
        let obeyed = stall.obeyed.as_ref().filter(|(_, until)| self.now < *until);
        let may = obeyed.map_or(0, |(setpoint, _)| setpoint.limit_ma.0);
        if stall.asks && may >= 6_000 { may.min(stall.takes_ma) } else { 0 }
    }

    fn charger(&mut self, index: usize) {
        let noise = self.dice.roll(60) as i32;
        let draw = self.draw(index);
        let stall = &mut self.stalls[index];
        if self.now < stall.silent_until {
            return;
        }
        stall.seq += 1;
        let (boot, seq) = (stall.boot, stall.seq);
        let setpoint = stall.obeyed.as_ref().map_or(0, |(setpoint, _)| setpoint.number);
        let state = match (stall.asks, draw > 0) {
            (false, _) => "available",
            (true, false) => "waiting",
            (true, true) => "charging",
        };
        let ma = if draw > 0 { draw - noise } else { 0 };
        let late = self.is_rough && self.dice.one_in(500);
        let at = self.now.0 - 8_000 - if late { 40_000_000 } else { 0 };
        let text = format!(
            r#"{{"boot":{boot},"seq":{seq},"at_us":{at},"state":"{state}","setpoint":{setpoint},"current_ma":[{ma}],"register_wh":{seq}}}"#
        );
        if !self.is_rough || !self.dice.one_in(200) {
            self.message(index, Channel::Reading, &text);
        }
    }

    fn meter(&mut self) {
        if self.is_rough && (self.now.0 / 60_000_000) % 97 == 0 {
            return;
        }
        let home = 3_000 + (self.now.0 / 300_000_000 % 7) as i32 * 2_500 + self.dice.roll(120) as i32;
        let flow: i32 = (0..self.stalls.len()).map(|index| self.draw(index)).sum();
        self.meter_seq += 1;
        let (seq, at, l1) = (self.meter_seq, self.now.0 - 5_000, home + flow);
        let text = format!(r#"{{"boot":1,"seq":{seq},"at_us":{at},"current_ma":[{l1},{home},{home}]}}"#);
        self.message(self.stalls.len(), Channel::Reading, &text);
    }

    /// A message reaches the edge, which decides if it makes that due.
    fn message(&mut self, device: usize, channel: Channel, text: &str) {
        let mut out = DeviceOutput::default();
        self.devices[device].handle(channel, text.as_bytes(), self.now, &mut out);
        let cause = self.scribe.take(&mut self.machine, self.now, &out.rows, out.inputs);
        out.rows.into_iter().for_each(|row| self.push(row));
        if let Some(cause) = cause {
            self.now += Micros(self.dice.roll(400) as i64);
            self.decide(cause);
        }
    }

    fn write_ticks(&mut self, is_wanted: bool) {
        if self.scribe.is_due(is_wanted)
            && let Some(ticks) = self.scribe.ticks()
        {
            self.push(replay::row(&self.site.id, EventKind::Ticks, &ticks));
        }
    }

    /// What the policies in shadow were asked comes back, now and then some decisions later.
    fn hear_shadows(&mut self) {
        if self.is_rough && self.dice.one_in(5) {
            return;
        }
        let Some(errand) = self.errand.take() else { return };
        let imagined = errand.run();
        let at = imagined.at;
        let rows = self.policy.imagined(imagined);
        self.write_ticks(!rows.is_empty());
        rows.into_iter().for_each(|row| self.push_at(at, row));
        self.note();
    }

    fn decide(&mut self, cause: wattle_wire::row::Cause) {
        self.hear_shadows();
        let snapshot = self.scribe.begin_decision(&mut self.machine, self.now, cause);
        let before = self.policy.has_shadow().then(|| self.machine.clone());
        let proposal = self.policy.propose(&snapshot, self.machine.policy_state());
        let given = self.policy.given();
        let outcome = self.scribe.finish_decision(&mut self.machine, proposal, given, self.now);
        let mut answers = Vec::new();
        for send in &outcome.setpoints {
            if !self.is_rough || !self.dice.one_in(40) {
                let index = self.index(&send.device);
                let until = self.now + Micros::from_millis(send.setpoint.validity_ms.0);
                self.stalls[index].obeyed = Some((send.setpoint.clone(), until));
                answers.push((index, send.setpoint.number));
            }
        }
        let is_recorded = outcome.rows.iter().any(|row| matches!(row, Row::Decision(_)));
        let is_keyframe = self.scribe.keyframe_is_due(self.now);
        if let Some(machine) = before {
            let errand = self.policy.errand(snapshot, machine, self.now, is_recorded);
            for (place, asked, follows) in errand.asked() {
                self.scribe.asked_beside(place, asked, follows);
            }
            self.errand = Some(errand);
        }
        self.write_ticks(is_recorded || is_keyframe);
        outcome.rows.iter().for_each(|row| self.push(row.clone()));
        self.made.push((self.now, outcome));
        if is_keyframe {
            self.keyframe();
        }
        self.note();
        self.answers.extend(answers);
    }

    fn index(&self, device: &DeviceId) -> usize {
        let chargers = &self.machine.model().chargers;
        chargers.iter().position(|charger| charger.id == *device).expect("of the site")
    }
}

fn devices(machine: &SiteMachine) -> Vec<DeviceMachine> {
    let model = machine.model();
    let chargers = model.chargers.iter().enumerate().map(|(i, charger)| (&charger.id, Part::Charger(i)));
    let meters = model.meters.iter().enumerate().map(|(i, meter)| (&meter.id, Part::Meter(i)));
    chargers.chain(meters).map(|(id, part)| DeviceMachine::new(model.id.clone(), id.clone(), part)).collect()
}

/// A site of so many chargers in turn on three phases, under a limit that binds.
pub fn depot(chargers: usize) -> String {
    let mut text = format!(
        "id = 'depot'\n[control]\nraise_delay_ms = 5000\n[[circuits]]\nid = 'grid'\nlimit_a = {}\n\
         fallback_a = 6\n[[meters]]\nid = 'm-1'\ncircuit = 'grid'\n",
        30 + 4 * chargers
    );
    for index in 0..chargers {
        let phase = ["L1", "L2", "L3"][index % 3];
        text += &format!("[[chargers]]\nid = 'cp-{index}'\ncircuit = 'grid'\nphases = ['{phase}']\n");
    }
    text
}
