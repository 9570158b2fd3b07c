//! Why a recorded decision is as it is: a replay up to it, and then the machine's own account.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use wattle_edge_core::replay::Moment;
use wattle_edge_core::{Explanation, Proposal};
use wattle_site::SiteFile;
use wattle_wire::row::{EventKind, Record, Row};
use wattle_wire::{DeviceId, Micros, SiteId};

use super::{Audience, Replay, Shelf, Tally};
use crate::journal::Reader;

/// A decision is recorded at least every so many intervals.
const INTERVALS: i64 = 61;

/// How long before a moment the decision that is explained may have been recorded, and its keyframe written: an hour, for
/// simulations whose interval is a minute.
pub const REACH: Micros = Micros::from_secs(3_660);

/// Explains the last recorded decision at or before a moment.
#[derive(Debug)]
pub struct Explainer {
    until: Micros,
    last: Option<Explanation>,
    found: Option<Explained>,
}

/// A recorded decision, explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Its sequence in the journal.
    pub sequence: u64,
    /// Whether the replay has come to what was recorded, byte for byte. If not, the explanation is of what comes out now.
    pub is_same: bool,
    /// Why.
    pub why: Explanation,
}

impl Explainer {
    /// Looks for the last recorded decision at or before `until`.
    pub fn new(until: Micros) -> Self {
        Self { until, last: None, found: None }
    }

    /// The decision, of which only one charger is told if one is named.
    ///
    /// # Errors
    /// When there is none, or no such charger; the text says why.
    pub fn found(self, tally: &Tally, charger: Option<&DeviceId>) -> anyhow::Result<Explained> {
        let Some(mut found) = self.found else {
            let why = tally.stretches.last().map_or(String::new(), |stretch| format!(": {}", stretch.reason));
            bail!("no recorded decision at or before that time can be replayed{why}");
        };
        if let Some(charger) = charger {
            found.why.chargers.retain(|explained| explained.charger == *charger);
            if found.why.chargers.is_empty() {
                bail!("the site has no charger {charger}");
            }
        }
        Ok(found)
    }
}

impl Audience for Explainer {
    fn deciding(&mut self, moment: Moment<'_>, proposal: &Proposal, _: &SiteFile) {
        let interval: Micros = moment.machine.model().control.interval_ms.into();
        let reach = Micros(interval.0.saturating_mul(INTERVALS)).max(Micros::from_secs(60));
        if moment.at <= self.until && (self.until == Micros::MAX || moment.at + reach >= self.until) {
            self.last = Some(moment.machine.explain(proposal.clone(), moment.at));
        }
    }

    fn recorded(&mut self, record: &Record, is_same: bool) {
        if let Some(why) = self.last.take_if(|why| why.at == record.at_us) {
            self.found = Some(Explained { sequence: record.sequence, is_same, why });
        }
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} (entry {} of the journal)", utc(self.why.at), self.sequence)?;
        if !self.is_same {
            writeln!(f, "What comes out now is NOT what was recorded; see `wattle policy replay`.")?;
        }
        self.why.fmt(f)
    }
}

/// Explains a decision out of the journal in this folder. Without a moment the last one.
///
/// # Errors
/// When the journal can't be read, the site has to be named, or no such decision can be replayed.
pub fn from_journal(
    folder: &Path,
    site: Option<&SiteId>,
    at: Option<Micros>,
    folders: &[PathBuf],
    charger: Option<&DeviceId>,
) -> anyhow::Result<Explained> {
    let keyframes = keyframes(folder)?;
    let mut sites: Vec<&SiteId> = keyframes.iter().map(|(site, ..)| site).collect();
    sites.sort();
    sites.dedup();
    let site = match (site, sites.as_slice()) {
        (Some(site), _) => site,
        (None, [site]) => *site,
        (None, []) => bail!("{} holds no keyframe, so no decision can be explained", folder.display()),
        (None, _) => {
            let names: Vec<_> = sites.iter().map(|site| site.as_str()).collect();
            bail!("name one of the sites with --site: {}", names.join(", "));
        }
    };
    let until = at.unwrap_or(Micros::MAX);
    let last = keyframes.iter().filter(|(of, ..)| of == site).map(|(.., at)| *at).max();
    let from = until.min(last.unwrap_or_default()) - REACH;
    let early = keyframes.iter().filter(|(of, _, at)| of == site && *at <= from);
    let first = early.map(|(_, sequence, _)| *sequence).max().unwrap_or(0);
    let shelf = Shelf::new(folders).context("can't start the runtime for policies")?;
    let explainer = Explainer::new(until);
    let mut replay = Replay::new(site.clone(), shelf, Micros(i64::MIN)..=until, explainer);
    for record in Reader::open(folder)? {
        let record = record?;
        if record.sequence >= first {
            replay.take(&record);
        }
    }
    let (tally, explainer) = replay.end();
    explainer.found(&tally, charger)
}

fn keyframes(folder: &Path) -> anyhow::Result<Vec<(SiteId, u64, Micros)>> {
    let mut keyframes = Vec::new();
    for record in Reader::open(folder)? {
        let record = record?;
        if let Row::Event(event) = record.row
            && event.kind == EventKind::Keyframe
        {
            keyframes.push((event.site, record.sequence, record.at_us));
        }
    }
    Ok(keyframes)
}

/// A moment as people read it: UTC, to the millisecond.
pub fn utc(at: Micros) -> String {
    let (days, of_day) = (at.0.div_euclid(86_400_000_000), at.0.rem_euclid(86_400_000_000));
    let (year, month, day) = date(days);
    let (seconds, millis) = (of_day / 1_000_000, of_day / 1_000 % 1_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// A moment that people write: `2026-05-01T18:00:00`, UTC, with or without a fraction and a `Z`.
///
/// # Errors
/// When it is none.
pub fn moment(text: &str) -> Result<Micros, String> {
    let read = || {
        let (date, time) = text.strip_suffix('Z').unwrap_or(text).split_once(['T', ' '])?;
        let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
        let [year, month, day] = numbers(date, '-')?;
        let [hour, minute, second] = numbers(time, ':')?;
        let is_date = (1970..2200).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
        let is_time = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..60).contains(&second);
        let micros = format!("{fraction:0<6}").get(..6)?.parse::<u32>().ok()?;
        let days = (0..84_100).find(|days| self::date(*days) == (year, month, day))?;
        let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second;
        (is_date && is_time).then(|| Micros(seconds * 1_000_000 + i64::from(micros)))
    };
    read().ok_or_else(|| format!("{text:?} is no time such as 2026-05-01T18:00:00Z"))
}

fn numbers(text: &str, between: char) -> Option<[i64; 3]> {
    let all: Vec<i64> = text.split(between).map(|part| part.parse().ok()).collect::<Option<_>>()?;
    all.try_into().ok()
}

/// The date so many days after 1970-01-01, counted in years that begin in March, so that a leap day is a year's last.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_as_a_date_and_a_time() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_795_219_200, "2026-11-21T00:00:00.000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000Z"),
            (-1, "1969-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(utc(Micros::from_secs(seconds)), expected);
            assert_eq!(
                moment(expected).ok(),
                (seconds >= 0).then(|| Micros::from_secs(seconds)),
                "{expected}"
            );
        }
        assert_eq!(moment("2026-11-21 00:00:01.25"), Ok(Micros(1_795_219_201_250_000)));
        for text in ["", "2026-02-30T00:00:00", "2026-01-01T24:00:00", "2026-01-01", "2026-01-01T00:00:0x"] {
            assert!(moment(text).is_err(), "{text}");
        }
    }
}
