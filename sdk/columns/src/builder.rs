//! Contiguous journal records in, one segment out.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, Int32Builder, Int64Builder, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};
use wattle_wire::EdgeId;
use wattle_wire::message::{Number, Phases};
use wattle_wire::row::{Decision, Event, Reading, Record, Row};
use wattle_wire::uplink::{Incarnation, SegmentHeader};

use crate::{Segment, SegmentError, ToldGap, schema};

/// Gathers contiguous records into columns.
pub struct SegmentBuilder {
    edge: EdgeId,
    incarnation: Incarnation,
    range: Option<(u64, u64)>,
    readings: Readings,
    events: Events,
    decisions: Decisions,
}

impl SegmentBuilder {
    /// An empty one for one journal.
    pub fn new(edge: EdgeId, incarnation: Incarnation) -> Self {
        let owner = Owner { edge: edge.to_string(), incarnation: incarnation.to_string() };
        Self {
            edge,
            incarnation,
            range: None,
            readings: Readings::new(owner.clone()),
            events: Events::new(owner.clone()),
            decisions: Decisions::new(owner),
        }
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// [`SegmentError::Hole`] when it isn't the one after the last: it is not taken.
    pub fn push(&mut self, record: &Record) -> Result<(), SegmentError> {
        let from = record.sequence;
        let to = if let Row::Gap(gap) = &record.row { gap.to } else { from };
        let expected = self.range.map_or(from, |(_, last)| last + 1);
        if from != expected || to < from {
            return Err(SegmentError::Hole { expected, found: from });
        }
        self.range = Some((self.range.map_or(from, |(first, _)| first), to));
        match &record.row {
            Row::Reading(reading) => self.readings.push(record, reading),
            Row::Event(event) => self.events.push(record, event),
            Row::Decision(decision) => self.decisions.push(record, decision),
            Row::Gap(gap) => self.events.push_gap(record.sequence, &ToldGap::new(record.at_us, gap)),
        }
        Ok(())
    }

    /// How many sequences it spans.
    pub fn len(&self) -> u64 {
        self.range.map_or(0, |(from, to)| to - from + 1)
    }

    /// Whether nothing was pushed yet.
    pub fn is_empty(&self) -> bool {
        self.range.is_none()
    }

    /// The segment of all that was pushed, or nothing if that was nothing. The builder is empty afterwards.
    pub fn finish(&mut self) -> Option<Segment> {
        let (from, to) = self.range.take()?;
        let header = SegmentHeader { edge: self.edge.clone(), incarnation: self.incarnation, from, to };
        Some(Segment {
            header,
            readings: batch(schema::readings(), self.readings.finish()),
            events: batch(schema::events(), self.events.finish()),
            decisions: batch(schema::decisions(), self.decisions.finish()),
        })
    }
}

/// The rows of gaps alone, with the columns of [`schema::events`], in the order given. Each stands under its first number.
pub fn gap_rows(
    edge: &EdgeId,
    incarnation: Incarnation,
    gaps: impl IntoIterator<Item = ToldGap>,
) -> RecordBatch {
    let owner = Owner { edge: edge.to_string(), incarnation: incarnation.to_string() };
    let mut events = Events::new(owner);
    gaps.into_iter().for_each(|gap| events.push_gap(gap.from, &gap));
    batch(schema::events(), events.finish())
}

fn batch(schema: arrow::datatypes::SchemaRef, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(schema, columns).expect("a builder fills the columns of its schema in order")
}

/// Journal numbers stay far below what the signed integers of tables hold.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn moments() -> TimestampMicrosecondBuilder {
    TimestampMicrosecondBuilder::new().with_timezone("UTC")
}

#[derive(Clone)]
struct Owner {
    edge: String,
    incarnation: String,
}

/// The columns that every raw table begins with.
struct Positions {
    owner: Owner,
    edge: StringBuilder,
    incarnation: StringBuilder,
    sequence: Int64Builder,
}

impl Positions {
    fn new(owner: Owner) -> Self {
        Self {
            owner,
            edge: StringBuilder::new(),
            incarnation: StringBuilder::new(),
            sequence: Int64Builder::new(),
        }
    }

    fn push(&mut self, record: &Record) {
        self.push_number(record.sequence);
    }

    fn push_number(&mut self, sequence: u64) {
        self.edge.append_value(&self.owner.edge);
        self.incarnation.append_value(&self.owner.incarnation);
        self.sequence.append_value(signed(sequence));
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        vec![
            Arc::new(self.edge.finish()),
            Arc::new(self.incarnation.finish()),
            Arc::new(self.sequence.finish()),
        ]
    }
}

/// The device's number for a message, as two columns.
#[derive(Default)]
struct Numbers {
    boot: Int64Builder,
    seq: Int64Builder,
}

impl Numbers {
    fn push(&mut self, number: Option<Number>) {
        self.boot.append_option(number.map(|n| i64::from(n.boot)));
        self.seq.append_option(number.map(|n| signed(n.seq)));
    }
}

struct Readings {
    positions: Positions,
    site: StringBuilder,
    device: StringBuilder,
    numbers: Numbers,
    measured: TimestampMicrosecondBuilder,
    arrived: TimestampMicrosecondBuilder,
    state: StringBuilder,
    setpoint: Int64Builder,
    session: StringBuilder,
    current: [Int32Builder; 3],
    voltage: [Int32Builder; 3],
    power: Int32Builder,
    register: Int64Builder,
    soc: Int32Builder,
    temperature: Int32Builder,
    humidity: Int32Builder,
    signal: Int32Builder,
}

impl Readings {
    fn new(owner: Owner) -> Self {
        Self {
            positions: Positions::new(owner),
            site: StringBuilder::new(),
            device: StringBuilder::new(),
            numbers: Numbers::default(),
            measured: moments(),
            arrived: moments(),
            state: StringBuilder::new(),
            setpoint: Int64Builder::new(),
            session: StringBuilder::new(),
            current: Default::default(),
            voltage: Default::default(),
            power: Int32Builder::new(),
            register: Int64Builder::new(),
            soc: Int32Builder::new(),
            temperature: Int32Builder::new(),
            humidity: Int32Builder::new(),
            signal: Int32Builder::new(),
        }
    }

    fn push(&mut self, record: &Record, reading: &Reading) {
        let values = &reading.values;
        self.positions.push(record);
        self.site.append_value(reading.site.as_str());
        self.device.append_value(reading.device.as_str());
        self.numbers.push(reading.number);
        self.measured.append_option(reading.measured_us.map(|t| t.0));
        self.arrived.append_value(record.at_us.0);
        self.state.append_option(reading.state.map(wattle_wire::message::ChargerState::as_str));
        self.setpoint.append_option(reading.setpoint.map(signed));
        self.session.append_option(reading.session.as_ref().map(wattle_wire::SessionId::as_str));
        push_phases(&mut self.current, values.current_ma.as_ref(), |i| i.0);
        push_phases(&mut self.voltage, values.voltage_mv.as_ref(), |v| v.0);
        self.power.append_option(values.power_w.map(|p| p.0));
        self.register.append_option(values.register_wh.map(|e| e.0));
        self.soc.append_option(values.soc_percent);
        self.temperature.append_option(values.temperature_mc);
        self.humidity.append_option(values.humidity_percent);
        self.signal.append_option(values.signal_dbm);
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        let mut columns = self.positions.finish();
        columns.extend([
            Arc::new(self.site.finish()) as ArrayRef,
            Arc::new(self.device.finish()),
            Arc::new(self.numbers.boot.finish()),
            Arc::new(self.numbers.seq.finish()),
            Arc::new(self.measured.finish()),
            Arc::new(self.arrived.finish()),
            Arc::new(self.state.finish()),
            Arc::new(self.setpoint.finish()),
            Arc::new(self.session.finish()),
        ]);
        columns.extend(
            self.current.iter_mut().chain(&mut self.voltage).map(|c| Arc::new(c.finish()) as ArrayRef),
        );
        columns.extend([
            Arc::new(self.power.finish()) as ArrayRef,
            Arc::new(self.register.finish()),
            Arc::new(self.soc.finish()),
            Arc::new(self.temperature.finish()),
            Arc::new(self.humidity.finish()),
            Arc::new(self.signal.finish()),
        ]);
        columns
    }
}

fn push_phases<T: Copy>(
    columns: &mut [Int32Builder; 3],
    phases: Option<&Phases<T>>,
    value: impl Fn(T) -> i32,
) {
    for (index, column) in columns.iter_mut().enumerate() {
        column.append_option(phases.and_then(|p| p.get(index)).map(&value));
    }
}

struct Events {
    positions: Positions,
    site: StringBuilder,
    device: StringBuilder,
    kind: StringBuilder,
    numbers: Numbers,
    measured: TimestampMicrosecondBuilder,
    arrived: TimestampMicrosecondBuilder,
    session: StringBuilder,
    user: StringBuilder,
    register: Int64Builder,
    requested: Int64Builder,
    departure: TimestampMicrosecondBuilder,
    setpoint: Int64Builder,
    detail: StringBuilder,
}

impl Events {
    fn new(owner: Owner) -> Self {
        Self {
            positions: Positions::new(owner),
            site: StringBuilder::new(),
            device: StringBuilder::new(),
            kind: StringBuilder::new(),
            numbers: Numbers::default(),
            measured: moments(),
            arrived: moments(),
            session: StringBuilder::new(),
            user: StringBuilder::new(),
            register: Int64Builder::new(),
            requested: Int64Builder::new(),
            departure: moments(),
            setpoint: Int64Builder::new(),
            detail: StringBuilder::new(),
        }
    }

    fn push(&mut self, record: &Record, event: &Event) {
        self.positions.push(record);
        self.site.append_value(event.site.as_str());
        self.device.append_option(event.device.as_ref().map(wattle_wire::DeviceId::as_str));
        self.kind.append_value(event.kind.as_str());
        self.numbers.push(event.number);
        self.measured.append_option(event.measured_us.map(|t| t.0));
        self.arrived.append_value(record.at_us.0);
        self.session.append_option(event.session.as_ref().map(wattle_wire::SessionId::as_str));
        self.user.append_option(event.user.as_ref().map(wattle_wire::UserId::as_str));
        self.register.append_option(event.register_wh.map(|e| e.0));
        self.requested.append_option(event.requested_wh.map(|e| e.0));
        self.departure.append_option(event.departure_us.map(|t| t.0));
        self.setpoint.append_option(event.setpoint.map(signed));
        self.detail.append_value(&event.detail);
    }

    /// A gap is of no site: the entries that it stands for may have been of several.
    fn push_gap(&mut self, sequence: u64, gap: &ToldGap) {
        self.positions.push_number(sequence);
        self.site.append_value("");
        self.device.append_null();
        self.kind.append_value("gap");
        self.numbers.push(None);
        self.measured.append_null();
        self.arrived.append_value(gap.at_us.0);
        self.session.append_null();
        self.user.append_null();
        self.register.append_null();
        self.requested.append_null();
        self.departure.append_null();
        self.setpoint.append_null();
        self.detail.append_value(gap.detail());
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        let mut columns = self.positions.finish();
        columns.extend([
            Arc::new(self.site.finish()) as ArrayRef,
            Arc::new(self.device.finish()),
            Arc::new(self.kind.finish()),
            Arc::new(self.numbers.boot.finish()),
            Arc::new(self.numbers.seq.finish()),
            Arc::new(self.measured.finish()),
            Arc::new(self.arrived.finish()),
            Arc::new(self.session.finish()),
            Arc::new(self.user.finish()),
            Arc::new(self.register.finish()),
            Arc::new(self.requested.finish()),
            Arc::new(self.departure.finish()),
            Arc::new(self.setpoint.finish()),
            Arc::new(self.detail.finish()),
        ]);
        columns
    }
}

struct Decisions {
    positions: Positions,
    site: StringBuilder,
    decided: TimestampMicrosecondBuilder,
    cause: StringBuilder,
    policy: StringBuilder,
    policy_digest: StringBuilder,
    settings_digest: StringBuilder,
    fuel: Int64Builder,
    charger: StringBuilder,
    proposed: Int32Builder,
    setpoint: Int32Builder,
    number: Int64Builder,
    reason: StringBuilder,
    circuits: StringBuilder,
    state: BinaryBuilder,
}

impl Decisions {
    fn new(owner: Owner) -> Self {
        Self {
            positions: Positions::new(owner),
            site: StringBuilder::new(),
            decided: moments(),
            cause: StringBuilder::new(),
            policy: StringBuilder::new(),
            policy_digest: StringBuilder::new(),
            settings_digest: StringBuilder::new(),
            fuel: Int64Builder::new(),
            charger: StringBuilder::new(),
            proposed: Int32Builder::new(),
            setpoint: Int32Builder::new(),
            number: Int64Builder::new(),
            reason: StringBuilder::new(),
            circuits: StringBuilder::new(),
            state: BinaryBuilder::new(),
        }
    }

    fn push(&mut self, record: &Record, decision: &Decision) {
        for index in 0..decision.chargers.len().max(1) {
            self.positions.push(record);
            self.site.append_value(decision.site.as_str());
            self.decided.append_value(record.at_us.0);
            self.cause.append_value(decision.cause.as_str());
            self.policy.append_value(&decision.policy);
            self.policy_digest.append_value(format!("{:016x}", decision.policy_digest));
            self.settings_digest.append_value(format!("{:016x}", decision.settings_digest));
            self.fuel.append_value(signed(decision.fuel));
            let charger = decision.chargers.get(index);
            self.charger.append_option(charger.map(|c| c.charger.as_str()));
            self.proposed.append_option(charger.map(|c| c.proposed_ma.0));
            self.setpoint.append_option(charger.map(|c| c.setpoint_ma.0));
            self.number.append_option(charger.map(|c| signed(c.number)));
            self.reason.append_option(charger.map(|c| c.reason.as_str()));
            self.circuits.append_option((index == 0).then(|| circuits_json(decision)));
            self.state.append_option((index == 0).then_some(&decision.state));
        }
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        let mut columns = self.positions.finish();
        columns.extend([
            Arc::new(self.site.finish()) as ArrayRef,
            Arc::new(self.decided.finish()),
            Arc::new(self.cause.finish()),
            Arc::new(self.policy.finish()),
            Arc::new(self.policy_digest.finish()),
            Arc::new(self.settings_digest.finish()),
            Arc::new(self.fuel.finish()),
            Arc::new(self.charger.finish()),
            Arc::new(self.proposed.finish()),
            Arc::new(self.setpoint.finish()),
            Arc::new(self.number.finish()),
            Arc::new(self.reason.finish()),
            Arc::new(self.circuits.finish()),
            Arc::new(self.state.finish()),
        ]);
        columns
    }
}

fn circuits_json(decision: &Decision) -> String {
    serde_json::to_string(&decision.circuits).expect("circuits hold nothing that JSON can't say")
}
