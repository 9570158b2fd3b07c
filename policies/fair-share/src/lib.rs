//! Fair share: what one vehicle can't take goes to the others, in whole amps.
//!
//! Who asks stands in line: highest priority first, then who arrived first, then who was registered first. In
//! that order each charger gets its minimum if that still fits on every phase of every circuit above it; who comes too
//! late for that waits. Then all who charge are raised together, the lowest first, until each has met its maximum or
//! a circuit that has nothing left: nobody could have more without somebody having less who has no more than that
//! already. What is left of a division goes out one step at a time, in the order of the line.
//!
//! A priority decides who waits and who gets the remainder, not how large a share is. A vehicle that draws less than its
//! charger's maximum keeps its share here; lending that to others is the edge node's business.
//!
//! Takes no settings and keeps no state. The work grows with chargers times depth of the tree; where many
//! circuits run out, each at a level of its own, also with the number of such levels, of which there are at most as
//! many as steps in a charger's range.

use wattle_policy::room::{self, Asking, Room};
use wattle_policy::{Description, Plan, Policy, Snapshot, settings};

/// The policy.
pub struct FairShare;

impl Policy for FairShare {
    fn describe() -> Description {
        Description {
            name: "fair-share".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            ..Description::default()
        }
    }

    fn validate_settings(settings: &str) -> Vec<String> {
        settings::none(settings)
    }

    fn decide(snapshot: &Snapshot, _settings: &str, _state: &[u8]) -> Result<Plan, String> {
        let mut line = room::asking(snapshot)?;
        line.sort_by_cached_key(Asking::by_arrival);
        let mut room = Room::new(snapshot, &line);
        let charging: Vec<usize> = (0..line.len()).filter(|position| room.admit(*position)).collect();
        room.fill_evenly(&charging);
        Ok(Plan { allocations: room.allocations(|position| room.reason(position)), state: Vec::new() })
    }
}

wattle_policy::export!(FairShare);
