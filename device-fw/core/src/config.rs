//! What a machine can be told when it is made.

use alloc::string::String;

use wattle_wire::Milliamps;

/// How a device keeps and sends its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineConfig {
    /// Maker and model, for people. Default `wattle`.
    pub model: String,
    /// Firmware version, for people. Default: of this crate.
    pub firmware: String,
    /// Whether messages carry a number. Without it nothing is resent or told from a duplicate, and setpoints
    /// count from their arrival. Default yes.
    pub numbered: bool,
    /// The most messages that wait for an acknowledgement. Default 1024.
    pub ring: usize,
    /// The most of them that are under way at once. Default 64.
    pub in_flight: usize,
    /// How long to wait for an acknowledgement before sending again. Default 3000 ms; doubles up to
    /// `resend_max_ms` while nothing is heard from the edge.
    pub resend_ms: u64,
    /// The longest wait before sending again. Default 24,000 ms.
    pub resend_max_ms: u64,
    /// The register is stored, and shown, whenever it has grown by this much; a power cut loses at most this
    /// (and it is never billed). Default 1 Wh; a board whose storage wears out takes more.
    pub store_step_wh: i64,
}

impl Default for LineConfig {
    fn default() -> Self {
        Self {
            model: String::from("wattle"),
            firmware: String::from(env!("CARGO_PKG_VERSION")),
            numbered: true,
            ring: 1024,
            in_flight: 64,
            resend_ms: 3000,
            resend_max_ms: 24_000,
            store_step_wh: 1,
        }
    }
}

/// When a device sends a reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaceConfig {
    /// The longest time between two readings. Default 1000 ms.
    pub interval_ms: u64,
    /// The same while a charger has no vehicle that asks; none for only at changes. Default 1000 ms.
    pub idle_interval_ms: Option<u64>,
    /// A current that differs by this much from the last reading's is sent before the interval is over.
    /// Default 500 mA.
    pub change_ma: Milliamps,
    /// The shortest time between a reading and one that only a changed current makes due. Default 50 ms.
    pub spacing_ms: u64,
}

impl Default for PaceConfig {
    fn default() -> Self {
        Self { interval_ms: 1000, idle_interval_ms: Some(1000), change_ma: Milliamps(500), spacing_ms: 50 }
    }
}

/// A charger's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargerConfig {
    /// How it keeps and sends its messages.
    pub line: LineConfig,
    /// When it sends a reading.
    pub pace: PaceConfig,
    /// The least that a vehicle can be offered; below it there is only standby. Default 6 A.
    pub min_ma: Milliamps,
    /// The most that the charger can give. Default 32 A.
    pub max_ma: Milliamps,
    /// What a vehicle may draw while no setpoint is in force. Default 0.
    pub safe_ma: Milliamps,
    /// A setpoint that wants to hold for longer is refused. Default 3,600,000 ms.
    pub max_validity_ms: i64,
    /// How many of its last messages the device remembers the sending time of. Default 256.
    pub remembered_sends: usize,
}

impl Default for ChargerConfig {
    fn default() -> Self {
        Self {
            line: LineConfig::default(),
            pace: PaceConfig::default(),
            min_ma: Milliamps::from_amps(6),
            max_ma: Milliamps::from_amps(32),
            safe_ma: Milliamps::ZERO,
            max_validity_ms: 3_600_000,
            remembered_sends: 256,
        }
    }
}

/// A meter's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MeterConfig {
    /// How it keeps and sends its messages.
    pub line: LineConfig,
    /// When it sends a reading; `idle_interval_ms` is not used.
    pub pace: PaceConfig,
}
