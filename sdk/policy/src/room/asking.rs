//! The chargers that ask.

use std::cmp::Reverse;

use crate::{Charger, Phase, Snapshot};

/// A charger that asks, or one of [`staying`].
///
/// ```
/// use wattle_policy::{kit::{Site, charger}, room};
///
/// let site = Site::new([20_000; 3]).charger(charger("a").range(6_000, 25_500, 1_000).priority(1));
/// let snapshot = site.asking("b").snapshot();
/// let asking = room::asking(&snapshot).unwrap();
/// assert_eq!((asking[0].index, asking[0].path.as_slice(), asking[0].least), (0, &[0][..], Some(6_000)));
/// ```
#[derive(Debug, Clone)]
pub struct Asking<'a> {
    /// Its index in the snapshot.
    pub index: usize,
    /// The charger.
    pub charger: &'a Charger,
    /// The circuits above it, its own first.
    pub path: Vec<usize>,
    /// The least that it can charge with, mA: the smallest whole number of its steps that isn't below its
    /// minimum. None if its maximum is below that, or if it loads no phase.
    pub least: Option<i32>,
}

impl Asking<'_> {
    /// Its step, mA, at least 1.
    ///
    /// ```
    /// use wattle_policy::{kit::{Site, charger}, room};
    ///
    /// let site = Site::new([20_000; 3]).charger(charger("a").range(6_000, 25_500, 1_000).priority(1));
    /// let snapshot = site.asking("b").snapshot();
    /// let asking = room::asking(&snapshot).unwrap();
    /// assert_eq!(asking[0].step(), 1_000);
    /// ```
    pub fn step(&self) -> i32 {
        self.charger.step.max(1)
    }

    /// The most that it can be given, mA: its maximum in whole steps.
    ///
    /// ```
    /// use wattle_policy::{kit::{Site, charger}, room};
    ///
    /// let site = Site::new([20_000; 3]).charger(charger("a").range(6_000, 25_500, 1_000).priority(1));
    /// let snapshot = site.asking("b").snapshot();
    /// let asking = room::asking(&snapshot).unwrap();
    /// assert_eq!(asking[0].most(), 25_000);
    /// ```
    pub fn most(&self) -> i32 {
        let maximum = self.charger.maximum.max(0);
        maximum - maximum % self.step()
    }

    /// The most that it could have if nobody else drew anything, mA: its maximum and the limits above it, in
    /// whole steps, but at least what it can charge with.
    ///
    /// ```
    /// use wattle_policy::{kit::{Site, charger}, room};
    ///
    /// let site = Site::new([20_000; 3]).charger(charger("a").range(6_000, 25_500, 1_000).priority(1));
    /// let snapshot = site.asking("b").snapshot();
    /// let asking = room::asking(&snapshot).unwrap();
    /// assert_eq!(asking[0].alone(&snapshot), 20_000);
    /// ```
    pub fn alone(&self, snapshot: &Snapshot) -> i32 {
        let mut most = self.most();
        for circuit in &self.path {
            let limit = &snapshot.circuits[*circuit].limit;
            most = self.phases().map(|phase| limit.on(phase)).fold(most, i32::min);
        }
        let most = most.max(self.least.unwrap_or(0));
        most - most % self.step()
    }

    /// How many phases it loads.
    ///
    /// ```
    /// use wattle_policy::{kit::{Site, charger}, room};
    ///
    /// let site = Site::new([20_000; 3]).charger(charger("a").range(6_000, 25_500, 1_000).priority(1));
    /// let snapshot = site.asking("b").snapshot();
    /// let asking = room::asking(&snapshot).unwrap();
    /// assert_eq!(asking[0].loads(), 1);
    /// ```
    pub fn loads(&self) -> i64 {
        self.phases().count() as i64
    }

    /// Where it stands in line: highest priority first, then who arrived first, then who was registered first.
    /// Who has no session yet arrives last.
    ///
    /// ```
    /// use wattle_policy::{kit::{Site, charger}, room};
    ///
    /// let site = Site::new([20_000; 3]).charger(charger("a").range(6_000, 25_500, 1_000).priority(1));
    /// let snapshot = site.asking("b").snapshot();
    /// let mut asking = room::asking(&snapshot).unwrap();
    /// asking.sort_by_key(|one| one.by_arrival());
    /// assert_eq!(asking[0].charger.id, "a", "it has priority");
    /// ```
    pub fn by_arrival(&self) -> (Reverse<i32>, i64, usize) {
        let arrived = self.charger.session.as_ref().map_or(i64::MAX, |session| session.arrived);
        (Reverse(self.charger.priority), arrived, self.index)
    }

    /// The phases of the circuits that it loads, as places of a room.
    pub(super) fn places(&self) -> Vec<usize> {
        let mut places = Vec::with_capacity(self.path.len() * Phase::ALL.len());
        for circuit in &self.path {
            for phase in self.phases() {
                places.push(super::place(*circuit, phase));
            }
        }
        places
    }

    fn phases(&self) -> impl Iterator<Item = Phase> + '_ {
        Phase::ALL.into_iter().filter(|phase| self.charger.phases.contains(phase))
    }
}

/// The chargers that ask, in order of registration.
///
/// # Errors
/// When one of them hangs below a circuit that isn't there or that doesn't stand behind the one that feeds it.
///
/// ```
/// use wattle_policy::{kit::{Site, charger}, room};
///
/// let site = Site::new([20_000; 3]).charger(charger("a").range(6_000, 25_500, 1_000).priority(1));
/// let snapshot = site.asking("b").snapshot();
/// let asking = room::asking(&snapshot).unwrap();
/// assert_eq!(asking.len(), 2);
/// ```
pub fn asking(snapshot: &Snapshot) -> Result<Vec<Asking<'_>>, String> {
    those(snapshot, Charger::asks)
}

/// The chargers that ask, and those that could any moment because a vehicle stays there, in order of registration. An edge
/// shows a vehicle that has to rest as one that doesn't ask.
///
/// # Errors
/// As of [`asking()`].
///
/// ```
/// use wattle_policy::{ChargerState, kit::{Site, charger}, room};
///
/// let site = Site::new([20_000; 3]).asking("a").charger(charger("rests").state(ChargerState::Plugged));
/// let snapshot = site.snapshot();
/// assert_eq!(room::asking(&snapshot).unwrap().len(), 1);
/// assert_eq!(room::staying(&snapshot).unwrap().len(), 2);
/// ```
pub fn staying(snapshot: &Snapshot) -> Result<Vec<Asking<'_>>, String> {
    those(snapshot, |charger| charger.asks() || charger.session.is_some())
}

fn those(snapshot: &Snapshot, which: impl Fn(&Charger) -> bool) -> Result<Vec<Asking<'_>>, String> {
    let chargers = snapshot.chargers.iter().enumerate();
    chargers
        .filter(|(_, charger)| which(charger))
        .map(|(index, charger)| {
            Ok(Asking { index, charger, path: path(snapshot, charger)?, least: least(charger) })
        })
        .collect()
}

fn path(snapshot: &Snapshot, charger: &Charger) -> Result<Vec<usize>, String> {
    let mut path = Vec::with_capacity(4);
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

fn least(charger: &Charger) -> Option<i32> {
    let step = i64::from(charger.step.max(1));
    let steps = (i64::from(charger.minimum) + step - 1).div_euclid(step).max(1);
    let least = i32::try_from(steps * step).ok()?;
    (least <= charger.maximum && !charger.phases.is_empty()).then_some(least)
}
