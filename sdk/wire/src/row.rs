//! What an edge journals, in postcard, and a fog node turns into tables.
//!
//! The order of fields and variants is the format: postcard writes no names. A change is a new
//! [`ROW_VERSION`]; variants are only ever added at the end. The tests pin the bytes.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::message::{ChargerState, Number, Values};
use crate::{CircuitId, DeviceId, Micros, Milliamps, PerPhase, SessionId, SiteId, UserId, WattHours};

/// The version of the format of [`Record`].
pub const ROW_VERSION: u8 = 1;

/// The most that is kept of a text that came from outside.
pub const MAX_DETAIL_BYTES: usize = 1024;

/// One entry of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its number in this journal: the next one, without a hole.
    pub sequence: u64,
    /// When the edge took it, by the edge's clock.
    pub at_us: Micros,
    /// What it is.
    pub row: Row,
}

/// What an entry can be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Row {
    /// A measurement.
    Reading(Reading),
    /// Anything else that happened.
    Event(Event),
    /// What was decided.
    Decision(Decision),
    /// Entries that are no more.
    Gap(Gap),
}

/// A measurement as a device sent it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Where.
    pub site: SiteId,
    /// Who measured.
    pub device: DeviceId,
    /// The device's number for it, if it numbers.
    pub number: Option<Number>,
    /// When it was measured by the device's clock, if it has one.
    pub measured_us: Option<Micros>,
    /// A charger's state.
    pub state: Option<ChargerState>,
    /// The setpoint that it obeys; 0 for none.
    pub setpoint: Option<u64>,
    /// The stay that it belongs to.
    pub session: Option<SessionId>,
    /// What was measured.
    pub values: Values,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Where.
    pub site: SiteId,
    /// Whom it is about; none for the edge itself.
    pub device: Option<DeviceId>,
    /// What.
    pub kind: EventKind,
    /// The device's number for it, if it has one.
    pub number: Option<Number>,
    /// When it happened by the device's clock, if it said so.
    pub measured_us: Option<Micros>,
    /// The stay that it belongs to.
    pub session: Option<SessionId>,
    /// Who charges.
    pub user: Option<UserId>,
    /// The energy register at that moment.
    pub register_wh: Option<WattHours>,
    /// What the user asked for.
    pub requested_wh: Option<WattHours>,
    /// When the user means to leave.
    pub departure_us: Option<Micros>,
    /// The setpoint that it is about.
    pub setpoint: Option<u64>,
    /// For people: the reason, or what could not be read, cut to [`MAX_DETAIL_BYTES`]. What was refused
    /// ([`EventKind::is_refusal`]) begins with a code, a colon and a space. The configuration
    /// ([`EventKind::Configured`]), a signal ([`EventKind::Signalled`]), keyframes, ticks and what documents say stand here
    /// whole.
    pub detail: String,
}

impl Event {
    /// An event with nothing but where, about whom, and what; `detail` is cut to [`MAX_DETAIL_BYTES`].
    pub fn new(site: SiteId, device: Option<DeviceId>, kind: EventKind, detail: impl Into<String>) -> Self {
        Self {
            site,
            device,
            kind,
            number: None,
            measured_us: None,
            session: None,
            user: None,
            register_wh: None,
            requested_wh: None,
            departure_us: None,
            setpoint: None,
            detail: cut(detail.into()),
        }
    }
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_DETAIL_BYTES {
        let end = (0..=MAX_DETAIL_BYTES).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

macro_rules! event_kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// The kinds of events. In tables they are texts.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum EventKind {
            $($(#[$doc])* $name,)*
        }

        impl EventKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// How tables write it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

event_kinds!(
    /// A vehicle was plugged in.
    Plugged = "plugged",
    /// A user started a charge.
    Started = "started",
    /// A charge has ended.
    Ended = "ended",
    /// A vehicle was unplugged.
    Unplugged = "unplugged",
    /// A device said what it is.
    Announced = "announced",
    /// A device has connected.
    Online = "online",
    /// A device is gone: its last will, or silence.
    Offline = "offline",
    /// A charger obeys a setpoint.
    Confirmed = "confirmed",
    /// A charger refused a setpoint.
    Refused = "refused",
    /// A payload could not be read.
    Malformed = "malformed",
    /// A message on a topic that is none of ours.
    WrongTopic = "wrong_topic",
    /// A message from a device that the site doesn't know.
    UnknownDevice = "unknown_device",
    /// The number of an earlier message with other values.
    Conflict = "conflict",
    /// The site's configuration as it was taken.
    Configured = "configured",
    /// The edge has started.
    NodeStarted = "node_started",
    /// The edge stops as it was told to.
    NodeStopped = "node_stopped",
    /// The policy gave no plan; the detail says why and who decided instead.
    PolicyFailed = "policy_failed",
    /// A meter is silent on a phase: its circuit has the fallback budget there, or less.
    MeterStale = "meter_stale",
    /// A silent meter speaks again.
    MeterBack = "meter_back",
    /// A charger draws more than it may.
    OverDraw = "over_draw",
    /// A limit was exceeded by what was measured.
    OverLimit = "over_limit",
    /// Somebody tried to connect with an unknown name or a wrong password; the detail says who.
    LoginRefused = "login_refused",
    /// A version of a policy was read, compiled and has found its settings right.
    PolicyLoaded = "policy_loaded",
    /// A version of a policy decides beside the one that is obeyed.
    PolicyShadow = "policy_shadow",
    /// A version of a policy decides from now on.
    PolicyActive = "policy_active",
    /// A version of a policy can't be used, or did not prove itself in shadow; the detail says why.
    PolicyRefused = "policy_refused",
    /// A version of a policy failed too often; the one before it decides again.
    PolicyRolledBack = "policy_rolled_back",
    /// Something looks wrong with a charger; the detail begins with a code, a colon and a space.
    Anomaly = "anomaly",
    /// The site was told something from outside; the detail is the whole of it.
    Signalled = "signalled",
    /// The state of a site's machine, from which its decisions can be made again: bytes in base64.
    Keyframe = "keyframe",
    /// What the machine did since the one before that no other row tells: bytes in base64.
    Ticks = "ticks",
    /// A document of the way down is on the edge's disk and holds; the detail is the whole of what it says, JSON.
    DocumentApplied = "document_applied",
    /// A document of the way down does not hold; the detail says which and why, JSON.
    DocumentRefused = "document_refused",
);

impl EventKind {
    /// Whether it tells of input that was not taken: such events are part of the quarantine.
    pub const fn is_refusal(self) -> bool {
        matches!(self, Self::Malformed | Self::WrongTopic | Self::UnknownDevice | Self::Conflict)
    }
}

/// What was decided at one moment for one site. It has seen exactly those entries of its site that stand
/// before it in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Where.
    pub site: SiteId,
    /// What made it: `interval`, `breach`, `request`; `shadow` where it was never obeyed.
    pub cause: Cause,
    /// Name and version of the policy that proposed.
    pub policy: String,
    /// The first eight bytes of the SHA-256 of the policy's component; 0 for the built-in share.
    pub policy_digest: u64,
    /// The first eight bytes of the SHA-256 of the settings.
    pub settings_digest: u64,
    /// What the policy consumed, in units of the host's fuel.
    pub fuel: u64,
    /// Each circuit with what was known of it.
    pub circuits: Vec<DecidedCircuit>,
    /// Each charger with what was proposed and what it got.
    pub chargers: Vec<DecidedCharger>,
    /// The policy's new state.
    pub state: Vec<u8>,
}

/// What made a decision due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// The control interval.
    Interval,
    /// A reading that shows a breach.
    Breach,
    /// A vehicle that came, asked or left.
    Request,
    /// None: what a policy in shadow would have done at the same moment. Nothing of it was sent; each number is 0.
    Shadow,
}

impl Cause {
    /// How tables write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interval => "interval",
            Self::Breach => "breach",
            Self::Request => "request",
            Self::Shadow => "shadow",
        }
    }
}

/// A circuit in a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecidedCircuit {
    /// Its name.
    pub circuit: CircuitId,
    /// What it could carry: the least of what its breaker, its schedule and signals from outside allowed, less the margin.
    pub limit_ma: PerPhase<Milliamps>,
    /// What other consumers draw.
    pub uncontrolled_ma: PerPhase<Milliamps>,
    /// The most that the chargers may draw after this decision.
    pub reserved_ma: PerPhase<Milliamps>,
}

/// A charger in a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecidedCharger {
    /// Which.
    pub charger: DeviceId,
    /// What the policy proposed.
    pub proposed_ma: Milliamps,
    /// What the envelope granted.
    pub setpoint_ma: Milliamps,
    /// The number under which it was sent; 0 when nothing had to be sent.
    pub number: u64,
    /// Why, from the policy or from the envelope where it changed the proposal.
    pub reason: String,
}

/// Entries that are no more, so that numbers stay contiguous: it stands in their place, its record's sequence
/// is `from`, and the next record's is `to + 1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The first that is missing.
    pub from: u64,
    /// The last that is missing.
    pub to: u64,
    /// Why.
    pub reason: GapReason,
}

/// Why entries are no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GapReason {
    /// The byte budget was reached.
    Budget,
    /// They could not be read any more.
    Damage,
    /// The edge had freed them, since a lake or Kafka had them, and the lake that asks has not.
    Freed,
    /// A newer edge has said why, and whoever reads doesn't know that reason. No edge writes it.
    Other,
}

impl GapReason {
    /// How tables write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Budget => "budget",
            Self::Damage => "damage",
            Self::Freed => "freed",
            Self::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Phases;
    use crate::{Millivolts, Watts};

    fn site() -> SiteId {
        SiteId::new("depot").expect("name")
    }

    fn device() -> DeviceId {
        DeviceId::new("cp-1").expect("name")
    }

    fn check(row: Row, expected: &str) {
        let record = Record { sequence: 300, at_us: Micros(1_000_000), row };
        let bytes = postcard::to_allocvec(&record).expect("writable");
        let hex: String = bytes.iter().map(|b| alloc::format!("{b:02x}")).collect();
        assert_eq!(hex, expected);
        assert_eq!(postcard::from_bytes::<Record>(&bytes), Ok(record));
    }

    #[test]
    fn the_bytes_of_a_reading_are_as_released() {
        let row = Reading {
            site: site(),
            device: device(),
            number: Some(Number { boot: 7, seq: 42 }),
            measured_us: Some(Micros(999_000)),
            state: Some(ChargerState::Charging),
            setpoint: Some(5),
            session: None,
            values: Values {
                current_ma: Some(Phases::new(&[Milliamps(15_998)])),
                voltage_mv: Some(Phases::new(&[Millivolts(230_100)])),
                power_w: Some(Watts(-3)),
                register_wh: Some(WattHours(123_456)),
                ..Values::default()
            },
        };
        check(
            Row::Reading(row),
            "ac0280897a00056465706f740463702d3101072a01b0f9790103010500010101fcf901010101a88b1c01050180890f00000000",
        );
    }

    #[test]
    fn the_bytes_of_a_gap_are_as_released() {
        check(Row::Gap(Gap { from: 1, to: 299, reason: GapReason::Damage }), "ac0280897a0301ab0201");
        check(Row::Gap(Gap { from: 1, to: 299, reason: GapReason::Freed }), "ac0280897a0301ab0202");
        check(Row::Gap(Gap { from: 1, to: 299, reason: GapReason::Other }), "ac0280897a0301ab0203");
    }

    #[test]
    fn the_bytes_of_what_a_shadow_would_have_done_are_as_released() {
        let row = Decision {
            site: site(),
            cause: Cause::Shadow,
            policy: "p 2".into(),
            policy_digest: 1,
            settings_digest: 2,
            fuel: 3,
            circuits: Vec::new(),
            chargers: alloc::vec![DecidedCharger {
                charger: device(),
                proposed_ma: Milliamps(8_000),
                setpoint_ma: Milliamps(6_000),
                number: 0,
                reason: "x".into(),
            }],
            state: alloc::vec![9],
        };
        check(Row::Decision(row), "ac0280897a02056465706f74030370203201020300010463702d31807de05d0001780109");
    }

    #[test]
    fn the_kinds_of_events_keep_their_places() {
        let place = |kind| postcard::to_allocvec(&kind).expect("writable");
        assert_eq!(place(EventKind::Plugged), [0]);
        assert_eq!(place(EventKind::LoginRefused), [21]);
        assert_eq!((place(EventKind::Keyframe), place(EventKind::Ticks)), (vec![29], vec![30]));
        assert_eq!(place(EventKind::DocumentApplied), [31]);
        assert_eq!(place(EventKind::DocumentRefused), [32]);
    }

    #[test]
    fn every_event_kind_has_a_text_of_its_own() {
        let texts: alloc::collections::BTreeSet<_> = EventKind::ALL.iter().map(|k| k.as_str()).collect();
        assert_eq!(texts.len(), EventKind::ALL.len());
    }

    #[test]
    fn a_long_detail_is_cut_at_a_character() {
        let event = Event::new(site(), None, EventKind::Malformed, "é".repeat(MAX_DETAIL_BYTES));
        assert_eq!(event.detail.len(), MAX_DETAIL_BYTES);
        let odd = Event::new(
            site(),
            None,
            EventKind::Malformed,
            alloc::format!("a{}", "é".repeat(MAX_DETAIL_BYTES)),
        );
        assert_eq!(odd.detail.len(), MAX_DETAIL_BYTES - 1);
    }
}
