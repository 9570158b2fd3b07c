//! Asks the lake, when all is in it, whether it holds what the trace says.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use wattle_wire::SiteId;

use super::trace::{Stay, Trace};
use crate::source::Source;

/// The power of a charge that nothing holds back: 32 A at 230 V.
const FULL_W: i128 = 7_360;

/// What the lake says of the sessions of a trace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// Sessions.
    pub sessions: u64,
    /// What they were given.
    pub delivered_wh: i64,
    /// Sessions that were given what the trace says, to 0.1 %.
    pub full: u64,
    /// Sessions whose energy takes at most 95 % of their stay at full power.
    pub easy: u64,
    /// Those of them that differ from the trace by more than 0.1 %.
    pub short: u64,
}

/// Checks that each row of the trace is in the lake's sessions or in its quarantine, once, and nothing else is.
///
/// # Errors
/// When that is not so, or the lake can't be asked.
pub async fn check(lake: &mut Source, site: &SiteId, trace: &Trace) -> anyhow::Result<Found> {
    check_quarantine(lake, site, trace).await.context("the lake's quarantine is not that of the trace")?;
    check_sessions(lake, site, trace).await.context("the lake's sessions are not those of the trace")
}

async fn check_quarantine(lake: &mut Source, site: &SiteId, trace: &Trace) -> anyhow::Result<()> {
    let sql = format!("SELECT coalesce(detail, reason) AS detail FROM quarantine WHERE site = '{site}'");
    let mut expected: BTreeSet<u64> = trace.refused.iter().map(|refused| refused.row).collect();
    for batch in lake.collect(&sql).await? {
        let details = text(&batch, "detail")?;
        for detail in details.as_string::<i32>().iter().flatten() {
            let row = row_in(detail).with_context(|| format!("{detail:?} is no row of the trace"))?;
            ensure!(expected.remove(&row), "row {row} is there twice or makes sense");
        }
    }
    ensure!(expected.is_empty(), "rows are missing: {expected:?}");
    Ok(())
}

/// The number in `code: row N: text`.
fn row_in(detail: &str) -> Option<u64> {
    detail.split(": ").nth(1)?.strip_prefix("row ")?.parse().ok()
}

async fn check_sessions(lake: &mut Source, site: &SiteId, trace: &Trace) -> anyhow::Result<Found> {
    let sql = format!("SELECT session, device, energy_wh FROM sessions WHERE site = '{site}'");
    let mut expected: BTreeMap<&str, &Stay> =
        trace.stays.iter().map(|stay| (stay.session.as_str(), stay)).collect();
    let mut found = Found::default();
    for batch in lake.collect(&sql).await? {
        let (sessions, devices) = (text(&batch, "session")?, text(&batch, "device")?);
        let energies = batch.column_by_name("energy_wh").context("no column energy_wh")?;
        let energies = energies.as_primitive::<Int64Type>();
        for index in 0..batch.num_rows() {
            let name = sessions.as_string::<i32>().value(index);
            let stay = expected.remove(name).with_context(|| format!("{name} is there twice or is none"))?;
            let device = devices.as_string::<i32>().value(index);
            ensure!(device == stay.station.as_str(), "{name} is at {device}, not at {}", stay.station);
            ensure!(energies.is_valid(index), "{name} has no energy");
            found.add(stay, energies.value(index))?;
        }
    }
    ensure!(expected.is_empty(), "{} are missing, the first is {:?}", expected.len(), expected.keys().next());
    Ok(found)
}

impl Found {
    fn add(&mut self, stay: &Stay, energy_wh: i64) -> anyhow::Result<()> {
        let wanted = stay.delivered.0;
        ensure!((0..=wanted).contains(&energy_wh), "{} has {energy_wh} Wh of {wanted} Wh", stay.session);
        self.sessions += 1;
        self.delivered_wh += energy_wh;
        let is_full = (wanted - energy_wh) * 1000 <= wanted;
        self.full += u64::from(is_full);
        let length = i128::from((stay.departure - stay.arrival).0);
        if i128::from(wanted) * 3_600_000_000 * 100 <= 95 * length * FULL_W {
            self.easy += 1;
            self.short += u64::from(!is_full);
        }
        Ok(())
    }
}

fn text(batch: &RecordBatch, name: &str) -> anyhow::Result<arrow::array::ArrayRef> {
    let column = batch.column_by_name(name).with_context(|| format!("no column {name}"))?;
    Ok(cast(column, &DataType::Utf8)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wattle_wire::{Micros, WattHours};

    fn check(seconds: i64, delivered: i64, energy: i64) -> Option<(u64, u64)> {
        let stay = Stay {
            row: 1,
            arrival: Micros::ZERO,
            departure: Micros::from_secs(seconds),
            requested: None,
            delivered: WattHours(delivered),
            station: "A".parse().expect("name"),
            session: "s".parse().expect("name"),
            estimated_departure: None,
            user: None,
        };
        let mut found = Found::default();
        found.add(&stay, energy).ok()?;
        Some((found.easy, found.short))
    }

    #[test]
    fn a_session_is_easy_up_to_95_percent_of_its_stay_and_short_beyond_a_thousandth() {
        assert_eq!(check(3600, 6992, 6992), Some((1, 0)));
        assert_eq!(check(3600, 6992, 6986), Some((1, 0)));
        assert_eq!(check(3600, 6992, 6985), Some((1, 1)));
        assert_eq!(check(3600, 6993, 100), Some((0, 0)));
        assert_eq!(check(3600, 500, 499), Some((1, 1)), "half a watt-hour is a thousandth");
    }

    #[test]
    fn a_session_with_more_than_the_trace_says_is_an_error() {
        assert_eq!(check(3600, 500, 501), None);
        assert_eq!(check(3600, 500, -1), None);
    }

    #[test]
    fn the_row_of_a_refusal_is_read_from_its_detail() {
        assert_eq!(row_in("overlap: row 17: station A is taken by row 3: x"), Some(17));
        assert_eq!(row_in("power_range"), None);
    }
}
