//! One row of a trace by itself: its texts become a [`Stay`], or a code and a text for why they don't.
//!
//! | code | the row |
//! |---|---|
//! | `line_too_long`, `not_text`, `wrong_columns` | can't be taken apart |
//! | `bad_arrival`, `bad_departure`, `bad_estimated_departure` | has a time that is none, lacks its offset from UTC, or is not between 2000 and 2100 |
//! | `departure_not_after_arrival`, `stay_too_long` | ends before it begins, or lasts more than [`MAX_STAY`] |
//! | `missing_station`, `bad_station`, `unknown_station` | has no station, no name for one, or one that the site lacks |
//! | `missing_session`, `bad_session`, `duplicate_session` | the same of its session, or one of an earlier row |
//! | `missing_energy`, `bad_energy`, `negative_energy`, `bad_requested`, `negative_requested` | has an energy that is none |
//! | `impossible_energy` | was delivered more than 32 A at 253 V (230 V and 10 %, the most that EN 50160 allows) give in its stay |
//! | `bad_user` | has no name for a user |
//! | `overlap` | begins while another one stands at its station |
//!
//! Empty may be: the requested energy, the estimated departure, and the user. An estimate that turned out wrong and a
//! request above or below what was delivered are a user's right, and no reason to refuse.

use jiff::Timestamp;
use rust_decimal::{Decimal, RoundingStrategy};
use wattle_wire::{Micros, SessionId, WattHours};

use super::trace::Stay;

/// The longest stay: 31 days.
pub const MAX_STAY: Micros = Micros::from_secs(31 * 86_400);
/// 2000-01-01 and 2100-01-01.
const TIMES: std::ops::Range<i64> = 946_684_800_000_000..4_102_444_800_000_000;
/// The most that one phase of 32 A gives.
const MOST_W: i128 = 32 * 253;

/// The texts of a row.
pub struct Fields<'a> {
    /// When the vehicle came.
    pub arrival: &'a str,
    /// When it left.
    pub departure: &'a str,
    /// kWh; may be empty.
    pub requested: &'a str,
    /// kWh.
    pub delivered: &'a str,
    /// Where.
    pub station: &'a str,
    /// Its name.
    pub session: &'a str,
    /// When it meant to leave; may be empty.
    pub estimated_departure: &'a str,
    /// Who; may be empty.
    pub user: &'a str,
}

/// A code and a text for people.
type Refusal = (&'static str, String);

/// Reads a row.
///
/// # Errors
/// The first thing that makes no sense: its code and a text.
pub fn stay(row: u64, fields: &Fields<'_>) -> Result<Stay, Refusal> {
    let arrival = time(fields.arrival).map_err(|why| ("bad_arrival", why))?;
    let departure = time(fields.departure).map_err(|why| ("bad_departure", why))?;
    let length = departure - arrival;
    if length <= Micros::ZERO {
        let text = format!("leaves at {}, comes at {}", fields.departure, fields.arrival);
        return Err(("departure_not_after_arrival", text));
    }
    if length > MAX_STAY {
        return Err(("stay_too_long", format!("{} days", length.0 / 86_400_000_000)));
    }
    let station = name(fields.station, fields.station, "missing_station", "bad_station")?;
    let session: SessionId =
        name(fields.session, &fields.session.replace(' ', "_"), "missing_session", "bad_session")?;
    let delivered = delivered(fields.delivered, length)?;
    let requested = optional(fields.requested, requested)?;
    let estimated = |text: &str| time(text).map_err(|why| ("bad_estimated_departure", why));
    let estimated_departure = optional(fields.estimated_departure, estimated)?;
    let user = optional(fields.user, |text| name(text, text, "bad_user", "bad_user"))?;
    Ok(Stay { row, arrival, departure, requested, delivered, station, session, estimated_departure, user })
}

fn optional<T>(text: &str, read: impl FnOnce(&str) -> Result<T, Refusal>) -> Result<Option<T>, Refusal> {
    if text.is_empty() { Ok(None) } else { read(text).map(Some) }
}

fn time(text: &str) -> Result<Micros, String> {
    let moment: Timestamp = text.parse().map_err(|_| {
        format!("{:?} is no time with an offset from UTC, such as 2019-05-01 05:04:06-07:00", shown(text))
    })?;
    // Virtual time has whole milliseconds.
    let micros = moment.as_millisecond() * 1000;
    if TIMES.contains(&micros) {
        Ok(Micros(micros))
    } else {
        Err(format!("{:?} is not between the years 2000 and 2100", shown(text)))
    }
}

fn name<T: std::str::FromStr<Err: std::fmt::Display>>(
    given: &str,
    text: &str,
    missing: &'static str,
    bad: &'static str,
) -> Result<T, Refusal> {
    let code = if text.is_empty() { missing } else { bad };
    text.parse().map_err(|error: T::Err| (code, format!("{:?}: {error}", shown(given))))
}

fn delivered(text: &str, length: Micros) -> Result<WattHours, Refusal> {
    if text.is_empty() {
        return Err(("missing_energy", "no delivered energy".into()));
    }
    let energy = energy(text, "bad_energy", "negative_energy")?;
    let most = MOST_W * i128::from(length.0) / 3_600_000_000;
    if i128::from(energy.0) > most {
        let text = format!("{energy} in {} s; 32 A give at most {most} Wh", length.0 / 1_000_000);
        return Err(("impossible_energy", text));
    }
    Ok(energy)
}

fn requested(text: &str) -> Result<WattHours, Refusal> {
    energy(text, "bad_requested", "negative_requested")
}

/// Kilowatt-hours, rounded to the watt-hour, halves away from zero.
fn energy(text: &str, bad: &'static str, negative: &'static str) -> Result<WattHours, Refusal> {
    let unreadable = || (bad, format!("{:?} is no number of kWh", shown(text)));
    let kwh: Decimal = text.parse().map_err(|_| unreadable())?;
    if kwh.is_sign_negative() && !kwh.is_zero() {
        return Err((negative, format!("{kwh} kWh")));
    }
    let wh = kwh.checked_mul(Decimal::ONE_THOUSAND).ok_or_else(unreadable)?;
    let wh = wh.round_dp_with_strategy(0, RoundingStrategy::MidpointAwayFromZero);
    i64::try_from(wh).map(WattHours).map_err(|_| unreadable())
}

/// What of a text is shown to people.
fn shown(text: &str) -> &str {
    let end = (0..=80.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}
