//! The site's clocks.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use wattle_wire::Micros;

use crate::file::SiteFile;

/// Changes of the clocks that are looked up: twice a year, for half a century.
const MOST_CHANGES: usize = 100;

impl SiteFile {
    /// From when on the site's clocks are how many seconds ahead of UTC, in order, from 2020 on; empty where the time
    /// zone is not known.
    pub fn clock_changes(&self) -> Vec<(Micros, i32)> {
        let start = Timestamp::from_second(1_577_836_800).unwrap_or(Timestamp::UNIX_EPOCH);
        let Ok(zone) = TimeZone::get(&self.time_zone) else { return Vec::new() };
        let first = (Micros(start.as_microsecond()), zone.to_offset(start).seconds());
        let changes = zone.following(start).take(MOST_CHANGES);
        let changes =
            changes.map(|change| (Micros(change.timestamp().as_microsecond()), change.offset().seconds()));
        std::iter::once(first).chain(changes).collect()
    }
}
