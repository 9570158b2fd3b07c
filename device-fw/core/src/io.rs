//! What goes into a machine and what comes out.

use alloc::vec::Vec;

use wattle_wire::message::Phases;
use wattle_wire::topic::Channel;
use wattle_wire::{Micros, Milliamps, Millivolts, SessionId, UserId, WattHours};

/// The time of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of a clock that only runs forward, from any start.
    pub mono_ms: u64,
    /// The time of day, where the device knows it.
    pub utc_us: Option<Micros>,
}

/// What the sensors say at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Measurement {
    /// Current per phase; export is negative.
    pub current_ma: Option<Phases<Milliamps>>,
    /// Voltage per phase to neutral.
    pub voltage_mv: Option<Phases<Millivolts>>,
    /// Active power of all phases in thousandths of a watt; export is negative. The register counts it from
    /// this moment until the next measurement.
    pub power_mw: i64,
    /// State of charge of the vehicle, percent.
    pub soc_percent: Option<i32>,
    /// Temperature inside, thousandths of a degree Celsius.
    pub temperature_mc: Option<i32>,
    /// Relative humidity inside, percent.
    pub humidity_percent: Option<i32>,
    /// Strength of the radio signal, dBm.
    pub signal_dbm: Option<i32>,
}

/// A user's start of a charge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Start {
    /// Who, if known.
    pub user: Option<UserId>,
    /// The energy that the user asked for.
    pub requested_wh: Option<WattHours>,
    /// When the user means to leave.
    pub departure_us: Option<Micros>,
    /// The device's own name for the stay; without it the edge makes one.
    pub session: Option<SessionId>,
}

/// What happens to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input<'a> {
    /// The broker has taken the connection and the subscriptions are made.
    Connected,
    /// The connection is gone.
    Disconnected,
    /// A message on one of the device's own topics.
    Message {
        /// Which topic.
        channel: Channel,
        /// The payload as it came; at most 4096 bytes of it are read.
        payload: &'a [u8],
    },
    /// A vehicle was plugged in. Charger only.
    Plugged,
    /// A vehicle was plugged in, and the device has its own name for the stay. Charger only.
    PluggedAs(SessionId),
    /// A user started the charge. Charger only; ignored unless a vehicle is plugged in and not started.
    Started(Start),
    /// The vehicle or its user has ended the charge. Charger only; ignored unless one is under way.
    Ended,
    /// The vehicle was unplugged. Charger only.
    Unplugged,
    /// The sensors were read.
    Measured(Measurement),
    /// Time has passed.
    Tick,
    /// The device is about to be switched off: it stores its register to the last digit and says that it goes.
    Stop,
}

/// What a driver has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Keep these bytes under this name, durably, before the next output is carried out.
    Store {
        /// The name.
        key: &'static str,
        /// All of its new content.
        bytes: Vec<u8>,
    },
    /// Send this.
    Publish(Publish),
    /// The vehicle may draw at most this on each of its phases; 0 opens the relay.
    Limit(Milliamps),
}

/// A message to the edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Which of the device's topics.
    pub channel: Channel,
    /// JSON.
    pub payload: Vec<u8>,
    /// The delivery that MQTT promises as far as the broker.
    pub qos: Qos,
    /// Whether the broker keeps it for later subscribers.
    pub retained: bool,
}

/// MQTT's quality of service, as far as the contract uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos {
    /// At most once.
    AtMostOnce,
    /// At least once.
    AtLeastOnce,
}
