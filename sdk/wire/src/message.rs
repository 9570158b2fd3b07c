//! The payloads of the MQTT contract, as JSON. `docs/mqtt.md` is their public description.
//!
//! Rules for all of them: integers only; unknown fields are refused, so that a value in a wrong unit
//! (`current_a`) is an error and not a silence; at most [`MAX_PAYLOAD_BYTES`].

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{DeviceId, Micros, Milliamps, Millis, Millivolts, SessionId, UserId, WattHours, Watts};

/// The largest payload that is parsed at all.
pub const MAX_PAYLOAD_BYTES: usize = 4096;

/// Why a payload was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// More than [`MAX_PAYLOAD_BYTES`]; it was not parsed.
    #[error("payload has {0} bytes; at most {MAX_PAYLOAD_BYTES} are read")]
    TooLarge(usize),
    /// Not JSON of the expected shape.
    #[error("{0}")]
    Malformed(String),
    /// A boot without a sequence or the other way round.
    #[error("`boot` and `seq` belong together; give both or neither")]
    HalfNumbered,
}

/// Values on one to three phases, in the order in which the device counts them; null where it can't tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Phases<T> {
    values: [Option<T>; 3],
    len: u8,
}

impl<T: Copy> Phases<T> {
    /// Takes one to three values; what is beyond the third is dropped.
    pub fn new(values: &[T]) -> Self {
        let len = values.len().min(3);
        Self { values: core::array::from_fn(|i| values.get(i).copied()), len: len as u8 }
    }

    /// Takes values of which some may be missing, up to the last that isn't; none if all are.
    pub fn of(values: [Option<T>; 3]) -> Option<Self> {
        let last = values.iter().rposition(Option::is_some)?;
        Some(Self { values, len: last as u8 + 1 })
    }

    /// How many phases the device speaks of.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether it speaks of none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value on the device's `index`th phase.
    pub fn get(&self, index: usize) -> Option<T> {
        self.values.get(index).copied().flatten()
    }

    /// The values in order, null ones among them.
    pub fn iter(&self) -> impl Iterator<Item = Option<T>> + '_ {
        self.values.iter().take(self.len()).copied()
    }
}

impl<T: Serialize> Serialize for Phases<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.values.iter().take(self.len as usize))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Phases<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneToThree<T>(core::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> serde::de::Visitor<'de> for OneToThree<T> {
            type Value = Phases<T>;
            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str("a list of one to three whole numbers, one per phase")
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Phases<T>, A::Error> {
                let mut phases = Phases { values: [None, None, None], len: 0 };
                while let Some(value) = seq.next_element::<Option<T>>()? {
                    let Some(slot) = phases.values.get_mut(phases.len as usize) else {
                        return Err(serde::de::Error::invalid_length(4, &self));
                    };
                    *slot = value;
                    phases.len += 1;
                }
                if phases.len == 0 { Err(serde::de::Error::invalid_length(0, &self)) } else { Ok(phases) }
            }
        }
        deserializer.deserialize_seq(OneToThree(core::marker::PhantomData))
    }
}

/// What kind of device it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// Supplies vehicles.
    Charger,
    /// Measures a circuit.
    Meter,
}

/// What a charger is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChargerState {
    /// No vehicle.
    #[default]
    Available,
    /// A vehicle is plugged in and no session was started.
    Plugged,
    /// The vehicle asks, and may not draw: standby.
    Waiting,
    /// The vehicle may draw.
    Charging,
    /// The vehicle has stopped by itself, full or not.
    Finished,
    /// Out of order.
    Faulted,
}

impl ChargerState {
    /// How messages and tables write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Plugged => "plugged",
            Self::Waiting => "waiting",
            Self::Charging => "charging",
            Self::Finished => "finished",
            Self::Faulted => "faulted",
        }
    }

    /// Whether a vehicle wants energy.
    pub fn asks(self) -> bool {
        matches!(self, Self::Waiting | Self::Charging)
    }
}

/// `announce`: what the device is. Retained, sent at every connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Announce {
    /// What kind of device.
    pub kind: DeviceKind,
    /// Grows by at least one with each start of the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<u32>,
    /// Maker and model, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// Firmware version, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub firmware: String,
}

/// `status`: whether the device is connected. Retained; the last will says `false`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// Connected or not.
    pub online: bool,
    /// The start of the device that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<u32>,
}

/// The number of a message: which start of the device, and which message since. Trusted for what a device
/// has sent, and for nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Number {
    /// Grows by at least one with each start.
    pub boot: u32,
    /// Grows by one with each numbered message since that start; readings and session steps share it.
    pub seq: u64,
}

/// What a device measured at one moment. Absent is what it has no sensor for. Journaled as it stands here;
/// in JSON its fields are part of [`Reading`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Values {
    /// Current per phase, mA; export is negative.
    pub current_ma: Option<Phases<Milliamps>>,
    /// Voltage per phase to neutral, mV.
    pub voltage_mv: Option<Phases<Millivolts>>,
    /// Active power of all phases, W; export is negative.
    pub power_w: Option<Watts>,
    /// The energy register: all that was ever drawn, Wh. Never falls.
    pub register_wh: Option<WattHours>,
    /// State of charge of the vehicle, percent.
    pub soc_percent: Option<i32>,
    /// Temperature inside, thousandths of a degree Celsius.
    pub temperature_mc: Option<i32>,
    /// Relative humidity inside, percent.
    pub humidity_percent: Option<i32>,
    /// Strength of the radio signal, dBm.
    pub signal_dbm: Option<i32>,
}

/// `reading`: a measurement. Numbered, QoS 1, not retained.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// With `seq` the number of this message; without both it is neither resent nor told from a duplicate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<u32>,
    /// See `boot`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// When it was measured, UTC microseconds; without it the arrival at the edge counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_us: Option<Micros>,
    /// A charger's state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ChargerState>,
    /// The number of the setpoint that is obeyed; 0 for none, when the safe current holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setpoint: Option<u64>,
    // The measured values stand in the same object; see `Values`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current_ma: Option<Phases<Milliamps>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    voltage_mv: Option<Phases<Millivolts>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    power_w: Option<Watts>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    register_wh: Option<WattHours>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    soc_percent: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    temperature_mc: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    humidity_percent: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signal_dbm: Option<i32>,
}

impl Reading {
    /// The measured values.
    pub fn values(&self) -> Values {
        Values {
            current_ma: self.current_ma,
            voltage_mv: self.voltage_mv,
            power_w: self.power_w,
            register_wh: self.register_wh,
            soc_percent: self.soc_percent,
            temperature_mc: self.temperature_mc,
            humidity_percent: self.humidity_percent,
            signal_dbm: self.signal_dbm,
        }
    }

    /// This reading with these values.
    pub fn with_values(self, values: Values) -> Self {
        Self {
            current_ma: values.current_ma,
            voltage_mv: values.voltage_mv,
            power_w: values.power_w,
            register_wh: values.register_wh,
            soc_percent: values.soc_percent,
            temperature_mc: values.temperature_mc,
            humidity_percent: values.humidity_percent,
            signal_dbm: values.signal_dbm,
            ..self
        }
    }

    /// The number of the message, if it has one.
    ///
    /// # Errors
    /// When it has only half of one.
    pub fn number(&self) -> Result<Option<Number>, MessageError> {
        number(self.boot, self.seq)
    }
}

/// The steps of a vehicle's stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionStep {
    /// The vehicle was plugged in.
    Plug,
    /// A user started the charge.
    Start,
    /// The charge has ended; the vehicle may still stand there.
    End,
    /// The vehicle was unplugged.
    Unplug,
}

/// `session`: a step in a vehicle's stay. Numbered, QoS 1, not retained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// With `seq` the number of this message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<u32>,
    /// See `boot`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// When it happened, UTC microseconds; without it the arrival at the edge counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_us: Option<Micros>,
    /// Which step.
    pub step: SessionStep,
    /// The energy register at that moment, Wh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub register_wh: Option<WattHours>,
    /// The device's own name for the stay; without it the edge makes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// With `start`: who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// With `start`: the energy that the user asked for, Wh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_wh: Option<WattHours>,
    /// With `start`: when the user means to leave, UTC microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub departure_us: Option<Micros>,
}

impl Session {
    /// The number of the message, if it has one.
    ///
    /// # Errors
    /// When it has only half of one.
    pub fn number(&self) -> Result<Option<Number>, MessageError> {
        number(self.boot, self.seq)
    }
}

/// `setpoint`: the most that a charger may draw on each of its phases. QoS 0, never retained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setpoint {
    /// Grows with each setpoint to this charger; a lower or equal number than the last obeyed is refused.
    pub number: u64,
    /// The most on each phase; 0 is standby.
    pub limit_ma: Milliamps,
    /// How long it holds, counted from when the device sent the message that `seen` names.
    pub validity_ms: Millis,
    /// The device's last numbered message that the edge had seen; absent for a device that doesn't number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Number>,
}

/// Why a charger refused a setpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// By the device's own clock its validity is over.
    Expired,
    /// It answers a message that the device didn't send in this start, or no longer remembers.
    UnknownSeen,
    /// A newer one is obeyed already.
    Superseded,
    /// The limit is negative, or the validity is not above zero or beyond what the device allows.
    OutOfRange,
}

/// `confirm`: the answer to a setpoint. QoS 1, not retained, not numbered: each reading says again which
/// setpoint is obeyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// The start of the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<u32>,
    /// The setpoint's number.
    pub setpoint: u64,
    /// Why it was refused; absent when it is obeyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refusal>,
}

/// `ack`: the numbered messages from `from` to `to`, both included, of that start are on the edge's disk.
/// QoS 0, never retained; when it is lost the device resends and is answered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ack {
    /// The start of the device.
    pub boot: u32,
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
}

fn number(boot: Option<u32>, seq: Option<u64>) -> Result<Option<Number>, MessageError> {
    match (boot, seq) {
        (Some(boot), Some(seq)) => Ok(Some(Number { boot, seq })),
        (None, None) => Ok(None),
        _ => Err(MessageError::HalfNumbered),
    }
}

/// Reads a payload.
///
/// # Errors
/// When it is larger than [`MAX_PAYLOAD_BYTES`] or not JSON of the shape of `T`; the text says where.
pub fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, MessageError> {
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(MessageError::TooLarge(payload.len()));
    }
    serde_json::from_slice(payload).map_err(|e| MessageError::Malformed(e.to_string()))
}

/// Writes a payload.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    serde_json::to_vec(message).expect("messages hold nothing that JSON can't say")
}

/// A device as a broker knows it: its MQTT user name and client id are its device id.
pub fn mqtt_name(device: &DeviceId) -> &str {
    device.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(payload: &str, expected: &str) {
        match decode::<Reading>(payload.as_bytes()) {
            Ok(reading) => panic!("{payload} was read as {reading:?}"),
            Err(e) => assert!(e.to_string().contains(expected), "{payload}: {e}"),
        }
    }

    #[test]
    fn a_reading_is_written_flat_and_without_what_is_absent() {
        let reading = Reading { boot: Some(7), seq: Some(42), ..Reading::default() }.with_values(Values {
            current_ma: Some(Phases::new(&[Milliamps(15_998)])),
            register_wh: Some(WattHours(123_456)),
            ..Values::default()
        });
        let text = r#"{"boot":7,"seq":42,"current_ma":[15998],"register_wh":123456}"#;
        assert_eq!(encode(&reading), text.as_bytes());
        assert_eq!(decode::<Reading>(text.as_bytes()), Ok(reading));
    }

    #[test]
    fn a_reading_that_is_not_as_agreed_is_refused_with_the_reason() {
        check(r#"{"current_a":[16]}"#, "unknown field `current_a`");
        check(r#"{"current_ma":[16000.5]}"#, "floating point");
        check(r#"{"current_ma":[NaN]}"#, "line 1");
        check(r#"{"current_ma":[1,2,3,4]}"#, "one to three");
        check(r#"{"current_ma":[]}"#, "one to three");
        check(r#"{"current_ma":[99999999999]}"#, "99999999999");
        check(r#"{"boot":7,"se"#, "EOF");
        check("\u{0}\u{1}", "expected value");
    }

    #[test]
    fn a_giant_payload_is_not_parsed() {
        let payload = alloc::vec![b'['; MAX_PAYLOAD_BYTES + 1];
        assert_eq!(decode::<Reading>(&payload), Err(MessageError::TooLarge(MAX_PAYLOAD_BYTES + 1)));
    }

    #[test]
    fn half_a_number_is_refused() {
        let reading = decode::<Reading>(br#"{"seq":1}"#).expect("shape is right");
        assert_eq!(reading.number(), Err(MessageError::HalfNumbered));
    }

    #[test]
    fn a_phase_that_the_device_cannot_tell_is_null() {
        let reading = decode::<Reading>(br#"{"current_ma":[1,null,3]}"#).expect("shape is right");
        let current = reading.values().current_ma.expect("given");
        assert_eq!((current.len(), current.get(0), current.get(1)), (3, Some(Milliamps(1)), None));
    }
}
