//! The rules of a bill.
//!
//! - **Terms** are the site's configuration that was the latest when the session started: tariff, time zone,
//!   names. A later configuration changes nothing about a session that runs.
//! - **Energy** is the register at the end less the register at the start, in whole Wh.
//! - **Cost** is start fee + Wh / 1000 x price per kWh, exact, then rounded once: half up, to the currency's
//!   minor unit (ISO 4217). OCPI leaves the rounding of prices to law and contract; this is ours. Sums add
//!   rounded costs, so that the receipts of a month add up to its bill.
//! - **Month** is that of the session's end by the clocks of the site: the end of the charge, or the unplugging
//!   where no end was reported. A session without an end belongs to the month of its start.
//! - What can't be billed for certain ([`Unbilled`]) is listed apart with its reason, never billed silently.
//!   So every session of a month stands in its bill exactly once.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use rust_decimal::{Decimal, RoundingStrategy};

/// A session, as the `sessions` view has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Session {
    /// Its name.
    pub id: String,
    /// The charger.
    pub device: String,
    /// Who started it, if anyone said so.
    pub user: Option<String>,
    /// When the vehicle was plugged in.
    pub plugged_at: Option<Timestamp>,
    /// When the charge was started.
    pub started_at: Option<Timestamp>,
    /// When the charge ended.
    pub ended_at: Option<Timestamp>,
    /// When the vehicle was unplugged.
    pub unplugged_at: Option<Timestamp>,
    /// The register at the start, Wh.
    pub register_start_wh: Option<i64>,
    /// The register at the end, Wh.
    pub register_end_wh: Option<i64>,
    /// Whether the end was not reported but estimated.
    pub end_estimated: bool,
}

impl Session {
    /// The end of the charge, or the unplugging.
    fn end(&self) -> Option<Timestamp> {
        self.ended_at.or(self.unplugged_at)
    }

    /// The moment whose month and terms count when nothing better is known.
    fn beginning(&self) -> Option<Timestamp> {
        self.started_at.or(self.plugged_at)
    }
}

/// What held at a site from a moment on.
#[derive(Debug, Clone)]
pub struct Terms {
    /// From when on.
    pub from: Timestamp,
    /// The site's clocks.
    pub time_zone: TimeZone,
    /// The version of the tariff.
    pub tariff_version: String,
    /// ISO 4217.
    pub currency: String,
    /// Per session.
    pub start_fee: Decimal,
    /// Per kWh.
    pub price_per_kwh: Decimal,
    /// The names of users, by id.
    pub names: BTreeMap<String, String>,
}

/// What one session costs.
#[derive(Debug, Clone, PartialEq)]
pub struct Charge {
    /// The session.
    pub session: String,
    /// The charger.
    pub device: String,
    /// Who pays.
    pub user: Option<String>,
    /// The name of who pays, empty where the site has none.
    pub name: String,
    /// The start of the charge, by the site's clocks.
    pub start: Zoned,
    /// The end of the charge, by the site's clocks.
    pub end: Zoned,
    /// The register at the start, Wh.
    pub register_start_wh: i64,
    /// The register at the end, Wh.
    pub register_end_wh: i64,
    /// Their difference, Wh.
    pub energy_wh: i64,
    /// The version of the tariff.
    pub tariff_version: String,
    /// ISO 4217.
    pub currency: String,
    /// The price per kWh.
    pub price_per_kwh: Decimal,
    /// The fee, not rounded.
    pub start_fee: Decimal,
    /// The energy's cost, not rounded.
    pub energy_cost: Decimal,
    /// Their sum, rounded to the currency's minor unit.
    pub total: Decimal,
}

/// Why a session is not billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unbilled {
    /// A vehicle was plugged in and no charge was started.
    NeverStarted,
    /// It has no end yet.
    Unfinished,
    /// Its end was not reported.
    EndEstimated,
    /// It has no register at its start or at its end.
    NoRegister,
    /// The register at the end is lower than at the start.
    RegisterFell,
    /// No configuration of the site is as old as its start.
    NoTerms,
    /// Its cost is more than can be written.
    OutOfRange,
}

impl Unbilled {
    /// How JSON writes it.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NeverStarted => "never_started",
            Self::Unfinished => "unfinished",
            Self::EndEstimated => "end_estimated",
            Self::NoRegister => "no_register",
            Self::RegisterFell => "register_fell",
            Self::NoTerms => "no_terms",
            Self::OutOfRange => "out_of_range",
        }
    }
}

impl fmt::Display for Unbilled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NeverStarted => "no charge was started",
            Self::Unfinished => "it has not ended",
            Self::EndEstimated => "its end was not reported and is estimated",
            Self::NoRegister => "the register at its start or end is missing",
            Self::RegisterFell => "the register fell between start and end",
            Self::NoTerms => "no configuration of the site is as old as its start",
            Self::OutOfRange => "its cost is larger than an amount can be",
        })
    }
}

/// What a session of a user, or of nobody known, adds up to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Account {
    /// Who; none for sessions without a user.
    pub user: Option<String>,
    /// The user's name in the last of these sessions, empty where the site has none.
    pub name: String,
    /// In order of their end.
    pub charges: Vec<Charge>,
    /// What they add up to.
    pub sum: Sum,
}

/// Energy and money of several sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many.
    pub sessions: usize,
    /// Their energy, Wh.
    pub energy_wh: i64,
    /// Their rounded costs, by currency.
    pub totals: BTreeMap<String, Decimal>,
}

impl Sum {
    fn add(&mut self, charge: &Charge) {
        self.sessions += 1;
        self.energy_wh = self.energy_wh.saturating_add(charge.energy_wh);
        let total = self.totals.entry(charge.currency.clone()).or_default();
        *total = total.saturating_add(charge.total);
    }
}

/// A month of a site.
#[derive(Debug, Clone, PartialEq)]
pub struct Bill {
    /// The site.
    pub site: String,
    /// The month.
    pub month: Month,
    /// Users in order of their ids; sessions without a user last.
    pub accounts: Vec<Account>,
    /// What is not billed, in order of start, with its reason.
    pub unbilled: Vec<(Session, Unbilled)>,
    /// All accounts together.
    pub sum: Sum,
}

/// A month of a year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month {
    year: i16,
    month: i8,
}

impl Month {
    /// Whether a moment falls into it by these clocks.
    fn holds(self, at: Timestamp, clocks: &TimeZone) -> bool {
        let date = at.to_zoned(clocks.clone()).date();
        (date.year(), date.month()) == (self.year, self.month)
    }

    /// A span of time that holds this month by any clocks on earth.
    pub fn around(self) -> (Timestamp, Timestamp) {
        let first = jiff::civil::date(self.year, self.month, 1);
        let at = |date: jiff::civil::Date| {
            date.to_zoned(TimeZone::UTC).map(|z| z.timestamp()).unwrap_or(Timestamp::MAX)
        };
        let day = jiff::Span::new().days(1);
        (at(first.saturating_sub(day)), at(first.last_of_month().saturating_add(day.days(2))))
    }
}

impl FromStr for Month {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is no month; give YYYY-MM, for example 2026-03");
        let (year, month) = text.split_once('-').ok_or_else(bad)?;
        let digits = |t: &str, n| t.len() == n && t.bytes().all(|b| b.is_ascii_digit());
        if !digits(year, 4) || !digits(month, 2) {
            return Err(bad());
        }
        let (year, month) = (year.parse().map_err(|_| bad())?, month.parse().map_err(|_| bad())?);
        // Timestamps of other years don't fit into the 64 bits of nanoseconds of an engine.
        let is_month = (1970..2262).contains(&year) && (1..=12).contains(&month);
        if is_month { Ok(Self { year, month }) } else { Err(bad()) }
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

/// Bills a month. `terms` are in order of time; sessions of other months are passed over.
pub fn bill(site: &str, month: Month, mut sessions: Vec<Session>, terms: &[Terms]) -> Bill {
    sessions.sort_by(|a, b| (a.end(), a.beginning(), &a.id).cmp(&(b.end(), b.beginning(), &b.id)));
    let mut accounts: BTreeMap<(bool, Option<String>), Account> = BTreeMap::new();
    let mut unbilled = Vec::new();
    let mut sum = Sum::default();
    for session in sessions.into_iter().filter(|s| falls_into(month, s, terms)) {
        match rate(&session, terms) {
            Ok(charge) => {
                sum.add(&charge);
                let user = charge.user.clone();
                let account = accounts.entry((user.is_none(), user)).or_default();
                account.sum.add(&charge);
                account.user.clone_from(&charge.user);
                account.name.clone_from(&charge.name);
                account.charges.push(charge);
            }
            Err(reason) => unbilled.push((session, reason)),
        }
    }
    unbilled.sort_by(|(a, _), (b, _)| (a.beginning(), &a.id).cmp(&(b.beginning(), &b.id)));
    Bill { site: site.to_string(), month, accounts: accounts.into_values().collect(), unbilled, sum }
}

/// What one session costs under the terms that held at its start. `terms` are in order of time.
///
/// # Errors
/// The reason when it can't be billed for certain.
pub fn rate(session: &Session, terms: &[Terms]) -> Result<Charge, Unbilled> {
    let start = session.started_at.ok_or(Unbilled::NeverStarted)?;
    let end = session.end().ok_or(Unbilled::Unfinished)?;
    if session.end_estimated {
        return Err(Unbilled::EndEstimated);
    }
    let (from_wh, to_wh) =
        session.register_start_wh.zip(session.register_end_wh).ok_or(Unbilled::NoRegister)?;
    let energy_wh = to_wh.checked_sub(from_wh).filter(|wh| *wh >= 0).ok_or(Unbilled::RegisterFell)?;
    let terms = terms_at(terms, start).ok_or(Unbilled::NoTerms)?;
    let (energy_cost, total) = cost(energy_wh, terms).ok_or(Unbilled::OutOfRange)?;
    Ok(Charge {
        session: session.id.clone(),
        device: session.device.clone(),
        name: session.user.as_ref().and_then(|u| terms.names.get(u)).cloned().unwrap_or_default(),
        user: session.user.clone(),
        start: start.to_zoned(terms.time_zone.clone()),
        end: end.to_zoned(terms.time_zone.clone()),
        register_start_wh: from_wh,
        register_end_wh: to_wh,
        energy_wh,
        tariff_version: terms.tariff_version.clone(),
        currency: terms.currency.clone(),
        price_per_kwh: terms.price_per_kwh,
        start_fee: terms.start_fee,
        energy_cost,
        total,
    })
}

/// The energy's cost, exact, and with the start fee the total, rounded; none when it can't be written.
fn cost(energy_wh: i64, terms: &Terms) -> Option<(Decimal, Decimal)> {
    let price = terms.price_per_kwh;
    // On the digits themselves, because a product of decimals is rounded where it doesn't fit.
    let digits = i128::from(energy_wh).checked_mul(price.mantissa())?;
    let energy_cost = Decimal::try_from_i128_with_scale(digits, price.scale() + 3).ok()?;
    let exact = energy_cost.checked_add(terms.start_fee)?;
    let digits = minor_digits(&terms.currency);
    Some((energy_cost, exact.round_dp_with_strategy(digits, RoundingStrategy::MidpointAwayFromZero)))
}

/// The terms that held at a moment: the latest that are not younger.
fn terms_at(terms: &[Terms], at: Timestamp) -> Option<&Terms> {
    terms.iter().rev().find(|t| t.from <= at)
}

fn falls_into(month: Month, session: &Session, terms: &[Terms]) -> bool {
    let terms = session.beginning().and_then(|at| terms_at(terms, at)).or(terms.first());
    let clocks = terms.map_or(TimeZone::UTC, |t| t.time_zone.clone());
    session.end().or(session.beginning()).is_some_and(|at| month.holds(at, &clocks))
}

/// How many digits the minor unit of a currency has, by ISO 4217: two, with these exceptions.
pub fn minor_digits(currency: &str) -> u32 {
    match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "UYI"
        | "VND" | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        _ => 2,
    }
}

#[cfg(test)]
#[path = "rate_tests.rs"]
mod tests;
