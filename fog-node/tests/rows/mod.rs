//! Journals as tests need them: records in a row, cut into segments.
#![allow(dead_code, reason = "each test uses a part of it")]

use wattle_columns::{Segment, SegmentBuilder};
use wattle_wire::message::{ChargerState, Number, Phases, Values};
use wattle_wire::row::{
    Cause, DecidedCharger, Decision, Event, EventKind, Gap, GapReason, Reading, Record, Row,
};
use wattle_wire::uplink::Incarnation;
use wattle_wire::{
    DeviceId, EdgeId, Micros, Milliamps, Millivolts, SessionId, SiteId, UserId, WattHours, Watts,
};

/// 2026-03-01T12:00:00Z.
pub const NOON: i64 = 1_772_366_400;

pub fn edge() -> EdgeId {
    EdgeId::new("edge-1").expect("a name")
}

pub fn site() -> SiteId {
    SiteId::new("depot").expect("a name")
}

/// A journal that grows, and is cut into segments where a test says so.
pub struct Journal {
    pub incarnation: Incarnation,
    builder: SegmentBuilder,
    next: u64,
}

impl Journal {
    pub fn new(incarnation: u128) -> Self {
        Self::starting_at(incarnation, 1)
    }

    pub fn starting_at(incarnation: u128, next: u64) -> Self {
        let incarnation = Incarnation(incarnation);
        Self { incarnation, builder: SegmentBuilder::new(edge(), incarnation), next }
    }

    /// The number of the last record.
    pub fn last(&self) -> u64 {
        self.next - 1
    }

    pub fn push(&mut self, second: i64, row: Row) -> &mut Self {
        let sequence = self.next;
        self.next = if let Row::Gap(gap) = &row { gap.to + 1 } else { sequence + 1 };
        let record = Record { sequence, at_us: Micros::from_secs(second), row };
        self.builder.push(&record).expect("contiguous");
        self
    }

    pub fn reading(&mut self, device: &str, second: i64, power: i32, register: i64) -> &mut Self {
        self.arrived(device, second, second, power, register)
    }

    /// A reading of one second that arrived in another.
    pub fn arrived(
        &mut self,
        device: &str,
        measured: i64,
        arrived: i64,
        power: i32,
        register: i64,
    ) -> &mut Self {
        self.push(arrived, Row::Reading(reading(device, measured, power, register)))
    }

    pub fn step(
        &mut self,
        device: &str,
        session: &str,
        kind: EventKind,
        second: i64,
        register: i64,
    ) -> &mut Self {
        let device = DeviceId::new(device).expect("a name");
        let mut event = Event::new(site(), Some(device), kind, "");
        event.session = Some(SessionId::new(session).expect("a name"));
        event.measured_us = Some(Micros::from_secs(second));
        event.register_wh = Some(WattHours(register));
        if kind == EventKind::Started {
            event.user = Some(UserId::new("u1").expect("a name"));
            event.requested_wh = Some(WattHours(9000));
        }
        self.push(second, Row::Event(event))
    }

    pub fn event(&mut self, second: i64, kind: EventKind, detail: &str) -> &mut Self {
        self.push(second, Row::Event(Event::new(site(), None, kind, detail)))
    }

    pub fn gap(&mut self, second: i64, entries: u64) -> &mut Self {
        let gap = Gap { from: self.next, to: self.next + entries - 1, reason: GapReason::Budget };
        self.push(second, Row::Gap(gap))
    }

    pub fn decision(&mut self, second: i64) -> &mut Self {
        let charger = DecidedCharger {
            charger: DeviceId::new("cp-1").expect("a name"),
            proposed_ma: Milliamps(16_000),
            setpoint_ma: Milliamps(16_000),
            number: 1,
            reason: "share".into(),
        };
        let decision = Decision {
            site: site(),
            cause: Cause::Interval,
            policy: "equal-share 1".into(),
            policy_digest: 1,
            settings_digest: 2,
            fuel: 3,
            circuits: Vec::new(),
            chargers: vec![charger],
            state: Vec::new(),
        };
        self.push(second, Row::Decision(decision))
    }

    /// All records since the last cut.
    pub fn cut(&mut self) -> Segment {
        self.builder.finish().expect("something was pushed")
    }
}

pub fn reading(device: &str, second: i64, power: i32, register: i64) -> Reading {
    Reading {
        site: site(),
        device: DeviceId::new(device).expect("a name"),
        number: Some(Number { boot: 1, seq: second as u64 }),
        measured_us: Some(Micros::from_secs(second)),
        state: Some(ChargerState::Charging),
        setpoint: Some(1),
        session: Some(SessionId::new(format!("{device}-s")).expect("a name")),
        values: Values {
            current_ma: Some(Phases::new(&[Milliamps(power * 1000 / 230)])),
            voltage_mv: Some(Phases::new(&[Millivolts(230_000)])),
            power_w: Some(Watts(power)),
            register_wh: Some(WattHours(register)),
            ..Values::default()
        },
    }
}
