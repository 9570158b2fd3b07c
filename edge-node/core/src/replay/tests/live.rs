//! A random history of a site with real device machines, written down.

use wattle_wire::message::SessionStep;
use wattle_wire::policy::{Plan, Series, Snapshot};
use wattle_wire::row::{Cause, Row};
use wattle_wire::topic::Channel;
use wattle_wire::{CircuitId, DeviceId, Micros, Milliamps, Millis, PerPhase, Phase, SiteId, UserId, Watts};

use crate::device::{DeviceMachine, DeviceOutput};
use crate::replay::{Given, Keyframe, Scribe};
use crate::site::{
    Charger, Circuit, Control, Due, Heard, Limit, LocalTime, Meter, Outcome, Part, Proposal, Signalled,
    SiteInput, SiteMachine, SiteModel, User, Window, equal_share,
};

pub(super) const START: Micros = Micros::from_secs(1_800_000_000);

/// Numbers that look random and are the same for the same seed.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    pub(super) fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }
}

pub(super) fn model() -> SiteModel {
    let circuit = |id: &str, parent, amps| Circuit {
        id: CircuitId::new(id).expect("name"),
        parent,
        limit_ma: PerPhase::all(Milliamps::from_amps(amps)),
        margin_ma: Milliamps::from_amps(1),
        fallback_ma: Milliamps::from_amps(7),
        generation: false,
        schedule: Vec::new(),
    };
    let charger = |index: usize, phases| Charger {
        phases,
        priority: (index % 3) as i32,
        ..Charger::new(DeviceId::new(format!("cp-{index}")).expect("name"), index % 2)
    };
    let every_day = Window { days: [true; 7], from_minute: 600, to_minute: 1_200 };
    let mut circuits = vec![circuit("grid", None, 40), circuit("hall", Some(0), 25)];
    circuits[1].schedule.push((every_day, Limit::Power(Watts(12_000))));
    let meter =
        |id: &str, circuit| Meter { id: DeviceId::new(id).expect("name"), circuit, lag_ms: Millis(0) };
    SiteModel {
        id: SiteId::new("depot").expect("name"),
        control: Control {
            raise_delay_ms: Millis(2_000),
            lend_after_ms: Millis(4_000),
            raise_ramp_ma_per_s: Milliamps::from_amps(4),
            resume_room_ma: Milliamps::from_amps(1),
            least_on_ms: Millis(3_000),
            least_off_ms: Millis(3_000),
            ..Control::default()
        },
        circuits,
        meters: vec![meter("m-grid", 0), meter("m-hall", 1)],
        chargers: vec![
            charger(0, Some(vec![Phase::L1])),
            charger(1, Some(vec![Phase::L2, Phase::L3, Phase::L1])),
            charger(2, None),
            charger(3, Some(vec![Phase::L3])),
        ],
        users: vec![User {
            id: UserId::new("ann").expect("name"),
            max_power: Some(Watts(3_000)),
            priority: Some(9),
        }],
        systems: Vec::new(),
        local_time: LocalTime(vec![(Micros::ZERO, 3_600)]),
    }
}

/// Two policies: shares equally, with what is left of a count in the state; the second gives the first charger nothing.
pub(super) fn plan(digest: u64, snapshot: &Snapshot, state: &[u8]) -> (Plan, u64) {
    let mut plan = equal_share(snapshot);
    if digest == 2
        && let Some(first) = plan.allocations.first_mut()
    {
        first.limit_ma = Milliamps::ZERO;
        first.reason = "not today".into();
    }
    plan.state = vec![state.first().copied().unwrap_or_default().wrapping_add(digest as u8)];
    (plan, 100 + digest)
}

#[derive(Clone)]
pub(super) enum Entry {
    Row(Micros, Box<Row>),
    Ticks(Vec<u8>),
    /// With how many decisions were made before it.
    Keyframe(Box<Keyframe>, usize),
}

/// A site that runs, and what it writes down.
pub(super) struct Live {
    pub(super) machine: SiteMachine,
    pub(super) scribe: Scribe,
    devices: Vec<DeviceMachine>,
    seqs: Vec<u64>,
    pub(super) dice: Dice,
    pub(super) now: Micros,
    pub(super) journal: Vec<Entry>,
    pub(super) made: Vec<(Micros, Outcome)>,
    told: Vec<u64>,
    digest: u64,
    /// Whether something can't be written down now and then.
    pub(super) loses: bool,
}

impl Live {
    pub(super) fn new(seed: u64) -> Self {
        let model = model();
        let machine = SiteMachine::new(model.clone(), 7_000, START).expect("sound");
        let ids = model.chargers.iter().enumerate().map(|(i, c)| (c.id.clone(), Part::Charger(i)));
        let meters = model.meters.iter().enumerate().map(|(i, m)| (m.id.clone(), Part::Meter(i)));
        let devices: Vec<_> =
            ids.chain(meters).map(|(id, part)| DeviceMachine::new(model.id.clone(), id, part)).collect();
        let mut live = Self {
            scribe: Scribe::new(&machine, "test", "the configuration"),
            machine,
            seqs: vec![1; devices.len()],
            devices,
            dice: Dice(seed * 2_654_435_761 + 1),
            now: START,
            journal: Vec::new(),
            made: Vec::new(),
            told: vec![0; 4],
            digest: 1,
            loses: true,
        };
        live.keyframe();
        live
    }

    pub(super) fn keyframe(&mut self) {
        let keyframe = self.scribe.keyframe(&self.machine, self.now);
        self.journal.push(Entry::Keyframe(Box::new(keyframe), self.made.len()));
    }

    pub(super) fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            self.now += Micros(1 + self.dice.roll(900_000) as i64);
            if self.dice.one_in(300) {
                self.now += Micros::from_secs(self.dice.roll(7_200) as i64 - 3_600);
            }
            let cause = self.hear();
            let cause = match self.machine.wake(self.now) {
                Due::Now(due) => cause.or(Some(due)),
                Due::No => cause,
            };
            if let Some(cause) = cause {
                self.now += Micros(self.dice.roll(3_000) as i64);
                self.decide(cause);
            }
            if self.loses && self.dice.one_in(200) {
                self.scribe.lost();
            }
        }
        // What was done since nothing was recorded is written down too, to be played.
        if let Some(ticks) = self.scribe.ticks() {
            self.journal.push(Entry::Ticks(ticks));
        }
        self.keyframe();
    }

    pub(super) fn hear(&mut self) -> Option<Cause> {
        let mut out = DeviceOutput::default();
        for _ in 0..1 + self.dice.roll(6) {
            self.message(&mut out);
        }
        if self.dice.one_in(20) {
            out.inputs.push(self.signal());
        }
        let cause = self.scribe.take(&mut self.machine, self.now, &out.rows, out.inputs);
        self.journal.extend(out.rows.into_iter().map(|row| Entry::Row(self.now, Box::new(row))));
        cause
    }

    pub(super) fn message(&mut self, out: &mut DeviceOutput) {
        let device = self.dice.roll(6) as usize;
        let charger = device.min(3);
        let seq = self.seqs[device];
        let number = format!(r#""boot":1,"seq":{seq}"#);
        let at = self.now.0 - if self.dice.one_in(8) { 60_000_000 } else { 0 };
        let (channel, text) = match self.dice.roll(20) {
            0 => (Channel::Status, r#"{"online":false}"#.to_owned()),
            1 | 2 => (Channel::Status, r#"{"online":true}"#.to_owned()),
            3 => (Channel::Announce, r#"{"kind":"charger","boot":1}"#.to_owned()),
            4 => (Channel::Announce, r#"{"kind":"charger"}"#.to_owned()),
            5 if device < 4 => {
                let steps = [SessionStep::Plug, SessionStep::Start, SessionStep::End, SessionStep::Unplug];
                let step = serde_json_name(steps[self.dice.roll(4) as usize]);
                let user = if self.dice.one_in(2) { r#","user":"ann","requested_wh":900"# } else { "" };
                self.seqs[device] += 1;
                (Channel::Session, format!(r#"{{{number},"step":"{step}","register_wh":5{user}}}"#))
            }
            6 if device < 4 => {
                let setpoint = self.told[charger];
                let refused = if self.dice.one_in(4) { r#","refused":"expired""# } else { "" };
                (Channel::Confirm, format!(r#"{{"setpoint":{setpoint}{refused}}}"#))
            }
            7 => (Channel::Reading, format!(r#"{{{number},"at_us":"soon"}}"#)),
            8 => (Channel::Reading, r#"{"current_ma":[null,null,null]}"#.to_owned()),
            9 if device < 4 => {
                (Channel::Reading, format!(r#"{{"setpoint":{},"current_ma":[6000]}}"#, u64::MAX))
            }
            _ => {
                let ma = self.dice.roll(24_000);
                let currents = if device < 4 { format!("[{ma}]") } else { format!("[{ma},{ma},900]") };
                let state = ["waiting", "charging", "charging", "plugged"][self.dice.roll(4) as usize];
                let own = if device < 4 {
                    let setpoint = self.told[charger];
                    format!(r#","state":"{state}","setpoint":{setpoint},"temperature_mc":{}"#, 4 * ma)
                } else {
                    String::new()
                };
                self.seqs[device] += u64::from(!self.dice.one_in(10));
                (Channel::Reading, format!(r#"{{{number},"at_us":{at},"current_ma":{currents}{own}}}"#))
            }
        };
        self.devices[device].handle(channel, text.as_bytes(), self.now, out);
    }

    pub(super) fn signal(&mut self) -> SiteInput {
        let amps = Milliamps::from_amps(self.dice.roll(30) as i32);
        let until_us = self.now + Micros::from_secs(60);
        let (part, heard) = match self.dice.roll(4) {
            0 => (
                Part::Charger(1),
                Heard::Manual(Some(crate::site::Manual { current_ma: amps, until_us: Some(until_us) })),
            ),
            1 => (Part::Charger(1), Heard::Manual(None)),
            2 => {
                let signalled = Signalled { limit: Limit::Current(PerPhase::all(amps)), until_us };
                (Part::Circuit(1), Heard::Limit { by: 3, limit: Some(signalled) })
            }
            _ => {
                let values = vec![amps.0.into(), 9_000];
                let series = Series { start_us: self.now, step_ms: Millis(60_000), values };
                (Part::Site, Heard::Price(Some(series)))
            }
        };
        SiteInput { part, seen: None, heard }
    }

    pub(super) fn decide(&mut self, cause: Cause) {
        if self.dice.one_in(50) {
            self.digest = self.dice.roll(3);
        }
        let snapshot = self.scribe.begin_decision(&mut self.machine, self.now, cause);
        let (proposal, given) = self.propose(&snapshot);
        let outcome = self.scribe.finish_decision(&mut self.machine, proposal, given, self.now);
        for send in &outcome.setpoints {
            let charger = self.machine.model().chargers.iter().position(|c| c.id == send.device);
            if !self.dice.one_in(4) {
                self.told[charger.expect("of the site")] = send.setpoint.number;
            }
        }
        let is_recorded = outcome.rows.iter().any(|row| matches!(row, Row::Decision(_)));
        let is_keyframe = self.scribe.keyframe_is_due(self.now);
        if self.scribe.is_due(is_recorded || is_keyframe)
            && let Some(ticks) = self.scribe.ticks()
        {
            self.journal.push(Entry::Ticks(ticks));
        }
        self.journal.extend(outcome.rows.iter().map(|row| Entry::Row(self.now, Box::new(row.clone()))));
        self.made.push((self.now, outcome));
        if is_keyframe {
            self.keyframe();
        }
    }

    pub(super) fn propose(&mut self, snapshot: &Snapshot) -> (Proposal, Given) {
        let kept = self.machine.policy_state().to_vec();
        let state = self.dice.one_in(30).then(|| vec![self.dice.roll(9) as u8]);
        let keeps_state = self.digest != 0 && self.dice.one_in(30);
        let (mut plan, fuel) = plan(self.digest, snapshot, state.as_deref().unwrap_or(&kept));
        let mut given = Given { state, keeps_state };
        if keeps_state {
            plan.state = kept;
        }
        let fails = self.dice.one_in(15);
        let mut plan = if fails { Err(format!("trap {}", self.dice.roll(2))) } else { Ok(plan) };
        if self.digest == 0 && !fails {
            plan = Ok(equal_share(snapshot));
            given = Given::default();
        }
        let fuel = if fails || self.digest == 0 { 0 } else { fuel };
        let policy = format!("p {}", self.digest);
        (Proposal { plan, policy, policy_digest: self.digest, settings_digest: 5, fuel }, given)
    }
}

pub(super) fn serde_json_name(step: SessionStep) -> &'static str {
    match step {
        SessionStep::Plug => "plug",
        SessionStep::Start => "start",
        SessionStep::End => "end",
        SessionStep::Unplug => "unplug",
    }
}
