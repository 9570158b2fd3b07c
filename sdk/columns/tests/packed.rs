//! Any rows come back from packed columns as they were; any bytes are read within bounds; noise takes little room.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use wattle_columns::{Segment, SegmentBuilder};
use wattle_wire::message::{ChargerState, Number, Phases, Values};
use wattle_wire::row::{Event, EventKind, Reading, Record, Row};
use wattle_wire::uplink::Incarnation;
use wattle_wire::{
    DeviceId, EdgeId, Micros, Milliamps, Millivolts, SessionId, SiteId, UserId, WattHours, Watts,
};

/// A file as it was released.
fn golden(version: u8) -> Vec<u8> {
    let path = format!("{}/tests/golden/segment-v{version}.wseg", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).expect("there")
}

fn builder() -> SegmentBuilder {
    SegmentBuilder::new(EdgeId::new("edge-1").expect("name"), Incarnation(0xf00d))
}

fn segment(rows: impl IntoIterator<Item = (Micros, Row)>) -> Segment {
    let mut builder = builder();
    for (sequence, (at_us, row)) in (1..).zip(rows) {
        builder.push(&Record { sequence, at_us, row }).expect("contiguous");
    }
    builder.finish().expect("not empty")
}

/// What the golden files hold: of each kind something, with and without values.
fn golden_rows() -> Vec<(Micros, Row)> {
    let mut noise = Noise(7);
    let mut rows: Vec<_> = (0..40).map(|n| reading(n, 4, &mut noise)).collect();
    let mut event = Event::new(site(), Some(device(1)), EventKind::Started, "é begins");
    event.user = Some(UserId::new("alice").expect("name"));
    event.departure_us = Some(Micros(1_790_000_100_000_000));
    rows.push((Micros(1_790_000_040_000_000), Row::Event(event)));
    rows.push((
        Micros(1_790_000_041_000_000),
        Row::Event(Event::new(site(), None, EventKind::NodeStopped, "")),
    ));
    rows
}

/// Format 1 is written no more; what was written stays readable.
#[test]
fn a_segment_of_format_one_is_read_as_it_was_released() {
    assert_eq!(Segment::decode(&golden(1)).expect("sound"), segment(golden_rows()));
}

#[test]
fn a_reading_with_noise_on_three_phases_takes_at_most_twelve_bytes() {
    const DEVICES: u64 = 66;
    let mut noise = Noise(1);
    let segment = segment((0..60 * DEVICES).map(|n| reading(n, DEVICES, &mut noise)));
    let bytes = segment.encode().expect("encodes");
    let each = bytes.len() as f64 / segment.readings.num_rows() as f64;
    println!("{each:.2} bytes per reading in {} bytes", bytes.len());
    assert!(each <= 12.0, "{each}");
    assert_eq!(Segment::decode(&bytes).expect("sound"), segment);
}

proptest! {
    #[test]
    fn any_rows_come_back(rows in vec(any_row(), 1..60)) {
        let segment = segment(rows);
        let bytes = segment.encode().expect("encodes");
        prop_assert_eq!(Segment::decode(&bytes).expect("sound"), segment);
    }

    #[test]
    fn bytes_that_somebody_made_up_are_read_within_bounds(
        harms in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)
    ) {
        let mut bytes = segment(golden_rows()).encode().expect("encodes");
        for (at, byte) in harms {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let end = bytes.len() - 4;
        let crc = crc32fast::hash(&bytes[..end]);
        bytes[end..].copy_from_slice(&crc.to_le_bytes());
        // Right or wrong: it neither panics nor takes more memory than it may.
        if let Ok(segment) = Segment::decode(&bytes) {
            prop_assert!(segment.readings.num_rows() < 1 << 26);
        }
    }
}

fn any_row() -> impl Strategy<Value = (Micros, Row)> {
    let values = (option::of(vec(any::<i32>(), 1..4)), any::<Option<i64>>(), option::of(0..101));
    let reading = (0..5_u64, any::<Option<(u32, u64)>>(), any::<Option<i64>>(), values, any::<bool>());
    let reading = reading.prop_map(|(of, number, measured, (current, register, soc), session)| {
        Row::Reading(Reading {
            site: site(),
            device: device(of),
            number: number.map(|(boot, seq)| Number { boot, seq: seq >> 1 }),
            measured_us: measured.map(Micros),
            state: session.then_some(ChargerState::Plugged),
            setpoint: None,
            session: session.then(|| SessionId::new("s-1").expect("name")),
            values: Values {
                current_ma: current.map(|of| Phases::new(&of.into_iter().map(Milliamps).collect::<Vec<_>>())),
                register_wh: register.map(WattHours),
                soc_percent: soc,
                ..Values::default()
            },
        })
    });
    let event = (option::of(0..3_u64), ".{0,40}").prop_map(|(of, detail)| {
        Row::Event(Event::new(site(), of.map(device), EventKind::Malformed, detail))
    });
    (any::<i64>().prop_map(Micros), prop_oneof![3 => reading, 1 => event])
}

fn site() -> SiteId {
    SiteId::new("depot").expect("name")
}

fn device(n: u64) -> DeviceId {
    DeviceId::new(format!("cp-{n}")).expect("name")
}

/// A generator that is good enough for noise, and the same for ever.
struct Noise(u64);

impl Noise {
    fn below(&mut self, most: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as i64) % most
    }

    /// About the normal distribution: the sum of twelve uniform numbers.
    fn normal(&mut self, deviation: i64) -> i64 {
        (0..12).map(|_| self.below(1001) - 500).sum::<i64>() * deviation / 1000
    }
}

/// The reading with this number of a site where each device measures once a second, a moment late by chance.
fn reading(n: u64, devices: u64, noise: &mut Noise) -> (Micros, Row) {
    let (second, of) = ((n / devices) as i64, n % devices);
    let measured = 1_790_000_000_000_000 + second * 1_000_000 + of as i64 * 15_000 + noise.below(400);
    let amps = [(); 3].map(|()| 16_000 + noise.normal(50) as i32);
    let volts = [(); 3].map(|()| 230_000 + noise.normal(500) as i32);
    let watts = (0..3).map(|phase| i64::from(amps[phase]) * i64::from(volts[phase]) / 1_000_000).sum::<i64>();
    let reading = Reading {
        site: site(),
        device: device(of),
        number: Some(Number { boot: 7, seq: second as u64 + 1 }),
        measured_us: Some(Micros(measured)),
        state: Some(ChargerState::Charging),
        setpoint: Some(1000 + second as u64 / 5),
        session: (of % 3 > 0).then(|| SessionId::new(format!("cp-{of}-7-12")).expect("name")),
        values: Values {
            current_ma: Some(Phases::new(&amps.map(Milliamps))),
            voltage_mv: Some(Phases::new(&volts.map(Millivolts))),
            power_w: Some(Watts(watts as i32)),
            register_wh: Some(WattHours(100_000 * of as i64 + second * 11_040 / 3600)),
            ..Values::default()
        },
    };
    (Micros(measured + 900 + noise.below(300)), Row::Reading(reading))
}
