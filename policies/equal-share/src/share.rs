//! The division: which chargers get what.
//!
//! Circuits are taken from the leaves to the grid connection, so that a shortage is met by chargers of the
//! circuit that is short. On each phase the chargers that ask stand in order of priority, then registration; from
//! the end of that order they are sent to standby until each of the rest can have what it needs. Sending one away
//! only raises the shares elsewhere, so one pass is enough.

use std::cmp::Reverse;

use wattle_policy::room::{self, Asking};
use wattle_policy::{Phase, Snapshot};

/// One phase of one circuit, divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Index of the circuit.
    pub circuit: usize,
    /// The phase.
    pub phase: Phase,
    /// What was divided, mA.
    pub available: i32,
    /// By how many.
    pub among: i32,
}

impl Share {
    /// What each gets, mA.
    pub fn each(self) -> i32 {
        self.available.div_euclid(self.among)
    }
}

/// What becomes of a charger that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It may draw `limit` mA; `share` is the smallest that it has.
    Gets { limit: i32, share: Share },
    /// It is on standby because of `share`, what each would have got if nobody had to wait.
    Waits { share: Share },
    /// No multiple of its step lies between its minimum and its maximum.
    CannotCharge,
}

/// A charger that asks, and the share because of which it waits.
struct Seat<'a> {
    one: Asking<'a>,
    waits: Option<Share>,
}

impl Seat<'_> {
    fn takes_part(&self) -> bool {
        self.one.least.is_some() && self.waits.is_none()
    }

    fn loads(&self, phase: Phase) -> bool {
        self.one.charger.phases.contains(&phase)
    }
}

/// What becomes of each charger that asks, by its index in the snapshot.
///
/// # Errors
/// When a charger or a circuit names a circuit that isn't there or doesn't stand before it.
pub fn outcomes(snapshot: &Snapshot) -> Result<Vec<(usize, Outcome)>, String> {
    let mut asking = room::asking(snapshot)?;
    asking.sort_by_key(|one| Reverse(one.charger.priority));
    let mut seats: Vec<_> = asking.into_iter().map(|one| Seat { one, waits: None }).collect();
    let below = below(&seats, snapshot.circuits.len());
    for circuit in (0..snapshot.circuits.len()).rev() {
        for phase in Phase::ALL {
            shed(snapshot, circuit, phase, &below[circuit], &mut seats);
        }
    }
    let counts = counts(&seats, snapshot.circuits.len());
    let mut outcomes: Vec<_> =
        seats.iter().map(|seat| (seat.one.index, outcome(snapshot, seat, &counts))).collect();
    outcomes.sort_unstable_by_key(|(index, _)| *index);
    Ok(outcomes)
}

/// For each circuit the chargers below it, as positions in `seats` and in their order.
fn below(seats: &[Seat<'_>], circuits: usize) -> Vec<Vec<usize>> {
    let mut below = vec![Vec::new(); circuits];
    for (position, seat) in seats.iter().enumerate() {
        for circuit in &seat.one.path {
            below[*circuit].push(position);
        }
    }
    below
}

/// Sends chargers to standby, the last first, until each of the rest can have what it needs of this phase.
fn shed(snapshot: &Snapshot, circuit: usize, phase: Phase, below: &[usize], seats: &mut [Seat<'_>]) {
    let counts = |position: &usize| seats[*position].takes_part() && seats[*position].loads(phase);
    let mut loading: Vec<usize> = below.iter().copied().filter(counts).collect();
    let mut needs = Vec::with_capacity(loading.len());
    let mut most = 0;
    for position in &loading {
        most = most.max(seats[*position].one.least.unwrap_or(0));
        needs.push(most);
    }
    let available = snapshot.circuits[circuit].available.on(phase);
    let among_all = Share { circuit, phase, available, among: loading.len() as i32 };
    while let (Some(position), Some(need)) = (loading.last(), needs.last()) {
        let share = Share { among: loading.len() as i32, ..among_all };
        if share.each() >= *need {
            return;
        }
        seats[*position].waits = Some(among_all);
        loading.pop();
        needs.pop();
    }
}

/// For each circuit how many of the chargers that take part load each phase.
fn counts(seats: &[Seat<'_>], circuits: usize) -> Vec<[i32; 3]> {
    let mut counts = vec![[0; 3]; circuits];
    for seat in seats.iter().filter(|seat| seat.takes_part()) {
        for circuit in &seat.one.path {
            for phase in &seat.one.charger.phases {
                counts[*circuit][*phase as usize] += 1;
            }
        }
    }
    counts
}

fn outcome(snapshot: &Snapshot, seat: &Seat<'_>, counts: &[[i32; 3]]) -> Outcome {
    if let Some(share) = seat.waits {
        return Outcome::Waits { share };
    }
    let one = &seat.one;
    if one.least.is_none() {
        return Outcome::CannotCharge;
    }
    let shares = one.path.iter().flat_map(|circuit| {
        one.charger.phases.iter().map(|phase| Share {
            circuit: *circuit,
            phase: *phase,
            available: snapshot.circuits[*circuit].available.on(*phase),
            among: counts[*circuit][*phase as usize],
        })
    });
    match shares.min_by_key(|share| share.each()) {
        Some(share) => {
            let most = share.each().min(one.charger.maximum);
            Outcome::Gets { limit: most - most.rem_euclid(one.step()), share }
        }
        None => Outcome::CannotCharge,
    }
}
