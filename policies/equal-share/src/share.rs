//! The division: which chargers get what.
//!
//! Circuits are taken from the leaves to the grid connection, so that a shortage is met by chargers of the
//! circuit that is short. On each phase the chargers that ask stand in order of priority, then registration; from
//! the end of that order they are sent to standby until each of the rest can have what it needs. Sending one away
//! only raises the shares elsewhere, so one pass is enough.

use wattle_policy::{Charger, Phase, Snapshot};

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

/// A charger that asks.
struct Asking<'a> {
    index: usize,
    charger: &'a Charger,
    /// The circuits above it, its own first.
    path: Vec<usize>,
    /// The smallest share that it can charge with, mA; none if there is none.
    need: Option<i32>,
    waits: Option<Share>,
}

impl Asking<'_> {
    fn takes_part(&self) -> bool {
        self.need.is_some() && self.waits.is_none()
    }
}

/// What becomes of each charger that asks, by its index in the snapshot.
///
/// # Errors
/// When a charger or a circuit names a circuit that isn't there or doesn't stand before it.
pub fn outcomes(snapshot: &Snapshot) -> Result<Vec<(usize, Outcome)>, String> {
    let mut asking = asking(snapshot)?;
    let below = below(&asking, snapshot.circuits.len());
    for circuit in (0..snapshot.circuits.len()).rev() {
        for phase in Phase::ALL {
            shed(snapshot, circuit, phase, &below[circuit], &mut asking);
        }
    }
    let counts = counts(&asking, snapshot.circuits.len());
    let mut outcomes: Vec<_> =
        asking.iter().map(|one| (one.index, outcome(snapshot, one, &counts))).collect();
    outcomes.sort_unstable_by_key(|(index, _)| *index);
    Ok(outcomes)
}

/// The chargers that ask: highest priority first, between equals in order of registration.
fn asking(snapshot: &Snapshot) -> Result<Vec<Asking<'_>>, String> {
    let mut asking = Vec::new();
    for (index, charger) in snapshot.chargers.iter().enumerate().filter(|(_, charger)| charger.asks()) {
        let path = path(snapshot, charger)?;
        asking.push(Asking { index, charger, path, need: need(charger), waits: None });
    }
    asking.sort_by_key(|one| std::cmp::Reverse(one.charger.priority));
    Ok(asking)
}

fn path(snapshot: &Snapshot, charger: &Charger) -> Result<Vec<usize>, String> {
    let mut path = Vec::new();
    let mut next = Some(charger.circuit);
    while let Some(index) = next {
        let circuit = snapshot.circuits.get(index as usize).ok_or_else(|| {
            format!("charger {} hangs below circuit {index}, which the snapshot doesn't have", charger.id)
        })?;
        if circuit.parent.is_some_and(|parent| parent >= index) {
            return Err(format!("circuit {} doesn't stand behind the circuit that feeds it", circuit.id));
        }
        path.push(index as usize);
        next = circuit.parent;
    }
    Ok(path)
}

/// The smallest multiple of the step that isn't below the minimum, if the maximum allows it.
fn need(charger: &Charger) -> Option<i32> {
    let step = i64::from(charger.step.max(1));
    let minimum = i64::from(charger.minimum.max(0));
    let need = minimum.div_euclid(step) * step + if minimum.rem_euclid(step) == 0 { 0 } else { step };
    i32::try_from(need).ok().filter(|need| *need <= charger.maximum)
}

/// For each circuit the chargers below it, as positions in `asking` and in its order.
fn below(asking: &[Asking<'_>], circuits: usize) -> Vec<Vec<usize>> {
    let mut below = vec![Vec::new(); circuits];
    for (position, one) in asking.iter().enumerate() {
        for circuit in &one.path {
            below[*circuit].push(position);
        }
    }
    below
}

/// Sends chargers to standby, the last first, until each of the rest can have what it needs of this phase.
fn shed(snapshot: &Snapshot, circuit: usize, phase: Phase, below: &[usize], asking: &mut [Asking<'_>]) {
    let mut loading: Vec<usize> = below
        .iter()
        .copied()
        .filter(|position| {
            asking[*position].takes_part() && asking[*position].charger.phases.contains(&phase)
        })
        .collect();
    let mut needs = Vec::with_capacity(loading.len());
    let mut most = 0;
    for position in &loading {
        most = most.max(asking[*position].need.unwrap_or(0));
        needs.push(most);
    }
    let available = snapshot.circuits[circuit].available.on(phase);
    let among_all = Share { circuit, phase, available, among: loading.len() as i32 };
    while let (Some(position), Some(need)) = (loading.last(), needs.last()) {
        let share = Share { among: loading.len() as i32, ..among_all };
        if share.each() >= *need {
            return;
        }
        asking[*position].waits = Some(among_all);
        loading.pop();
        needs.pop();
    }
}

/// For each circuit how many of the chargers that take part load each phase.
fn counts(asking: &[Asking<'_>], circuits: usize) -> Vec<[i32; 3]> {
    let mut counts = vec![[0; 3]; circuits];
    for one in asking.iter().filter(|one| one.takes_part()) {
        for circuit in &one.path {
            for phase in &one.charger.phases {
                counts[*circuit][*phase as usize] += 1;
            }
        }
    }
    counts
}

fn outcome(snapshot: &Snapshot, one: &Asking<'_>, counts: &[[i32; 3]]) -> Outcome {
    if let Some(share) = one.waits {
        return Outcome::Waits { share };
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
        Some(share) if one.need.is_some() => {
            let most = share.each().min(one.charger.maximum);
            Outcome::Gets { limit: most - most.rem_euclid(one.charger.step.max(1)), share }
        }
        _ => Outcome::CannotCharge,
    }
}
