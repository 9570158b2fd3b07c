//! How far back the row log is kept for a replay: to the last keyframe but one of each site.
//!
//! Without that an edge whose lake keeps up would have nothing to explain its last decisions from. It is ten to twenty minutes of
//! rows, a few megabytes for a site of 64 chargers; under the byte budget they go first, see [`super`].
//!
//! After an opening the log that is there stays until each site has written its second keyframe.

use std::collections::BTreeMap;

use wattle_wire::SiteId;
use wattle_wire::row::{EventKind, Row};

/// The keyframes that count. Bounded by the sites of a node.
pub(super) struct Kept {
    first: u64,
    /// How many sites write keyframes.
    sites: usize,
    /// Per site the last keyframe but one, and the last.
    keyframes: BTreeMap<SiteId, [u64; 2]>,
}

impl Kept {
    /// Of a journal whose log begins at `first`, to which so many sites write.
    pub(super) fn new(first: u64, sites: usize) -> Self {
        Self { first, sites, keyframes: BTreeMap::new() }
    }

    /// The site whose keyframe a row is.
    pub(super) fn keyframe_of(row: &Row) -> Option<SiteId> {
        match row {
            Row::Event(event) if event.kind == EventKind::Keyframe => Some(event.site.clone()),
            _ => None,
        }
    }

    /// A keyframe of `site` has this sequence.
    pub(super) fn note(&mut self, site: SiteId, sequence: u64) {
        let [_, last] = self.keyframes.get(&site).copied().unwrap_or([0, self.first]);
        self.keyframes.insert(site, [last, sequence]);
    }

    /// The last sequence that may go; all where no site writes keyframes.
    pub(super) fn may_go(&self) -> u64 {
        if self.keyframes.len() < self.sites {
            return self.first.saturating_sub(1);
        }
        self.keyframes.values().map(|[before, _]| before.saturating_sub(1)).min().unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_goes_up_to_the_last_keyframe_but_one_of_the_site_that_is_furthest_behind() {
        let site = |name: &str| SiteId::new(name).expect("name");
        assert_eq!(Kept::new(100, 0).may_go(), u64::MAX);
        let mut kept = Kept::new(100, 2);
        assert_eq!(kept.may_go(), 99);
        for (name, sequence, expected) in [
            ("a", 500, 99),
            ("b", 501, 99),
            ("a", 600, 99),
            ("b", 700, 499),
            ("b", 800, 499),
            ("a", 900, 599),
        ] {
            kept.note(site(name), sequence);
            assert_eq!(kept.may_go(), expected, "{name} {sequence}");
        }
    }
}
