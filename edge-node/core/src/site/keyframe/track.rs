//! A charger's track, as this version writes it and as the first did.

use serde::{Deserialize, Serialize};
use wattle_wire::{Micros, Milliamps, PerPhase};

use super::Since;
use crate::site::track::{Bucket, Track};

/// A track as some version wrote it.
pub(super) trait Tracked {
    fn load(self, since: Since) -> Track;
}

#[derive(Serialize, Deserialize)]
pub(super) struct SavedTrack {
    last: PerPhase<Milliamps>,
    buckets: Vec<SavedBucket>,
}

/// A bucket by its least draw and what the most is above it, which is nothing for a steady draw.
#[derive(Serialize, Deserialize)]
struct SavedBucket {
    from: i64,
    length: i32,
    least: PerPhase<Milliamps>,
    above: PerPhase<Milliamps>,
}

/// The first version's: every bucket has its last draw, of which that of the last bucket counts.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct FirstTrack(Vec<FirstBucket>);

/// A bucket by its last draw and what the least and the most differ from it.
#[derive(Deserialize)]
struct FirstBucket {
    from: i64,
    length: i64,
    last: PerPhase<Milliamps>,
    below: PerPhase<Milliamps>,
    above: PerPhase<Milliamps>,
}

impl SavedTrack {
    pub(super) fn of(track: &Track, since: Since) -> Self {
        let last = track.last().map_or(PerPhase::all(Milliamps::ZERO), |(draw, _)| draw);
        Self { last, buckets: track.buckets().map(|bucket| SavedBucket::of(&bucket, since)).collect() }
    }
}

impl Tracked for SavedTrack {
    fn load(self, since: Since) -> Track {
        Track::new(self.buckets.iter().map(|bucket| bucket.load(since)), self.last)
    }
}

impl Tracked for FirstTrack {
    fn load(self, since: Since) -> Track {
        let last = self.0.last().map_or(PerPhase::all(Milliamps::ZERO), |bucket| bucket.last);
        Track::new(self.0.iter().map(|bucket| bucket.load(since)), last)
    }
}

impl SavedBucket {
    fn of(bucket: &Bucket, since: Since) -> Self {
        let Bucket { from, to, least, most } = *bucket;
        // A bucket is kept with a length of so many bits.
        let length = to.0.wrapping_sub(from.0) as i32;
        let above = most.zip(least, |most, least| Milliamps(most.0.wrapping_sub(least.0)));
        Self { from: since.ago(from), length, least, above }
    }

    fn load(&self, since: Since) -> Bucket {
        let from = since.at(self.from);
        let most = self.least.zip(self.above, |least, above| Milliamps(least.0.wrapping_add(above.0)));
        Bucket { from, to: Micros(from.0.wrapping_add(self.length.into())), least: self.least, most }
    }
}

impl FirstBucket {
    fn load(&self, since: Since) -> Bucket {
        let from = since.at(self.from);
        let (least, most) = (
            self.last.zip(self.below, |last, below| Milliamps(last.0.wrapping_sub(below.0))),
            self.last.zip(self.above, |last, above| Milliamps(last.0.wrapping_add(above.0))),
        );
        Bucket { from, to: Micros(from.0.wrapping_add(self.length)), least, most }
    }
}
