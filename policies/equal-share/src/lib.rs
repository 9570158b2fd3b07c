//! Equal share: every vehicle that asks gets the same whole amps.
//!
//! On each phase of each circuit, what is available is divided by the number of chargers that ask below it. A
//! charger gets the least of these shares over its phases and the circuits above it, in whole steps, at most
//! its maximum. Where a share would be less than a charger can charge with, the charger of the lowest
//! priority there (of several, the one registered last) goes on standby and the rest is shared again. What the division
//! leaves over stays unused.
//!
//! Takes no settings and keeps no state. The work grows with chargers times depth of the tree, not with the number of
//! chargers that have to wait.

mod share;

use wattle_policy::text::amps;
use wattle_policy::{Allocation, Charger, Description, Plan, Policy, Snapshot, settings};

use share::{Outcome, Share};

/// The policy.
pub struct EqualShare;

impl Policy for EqualShare {
    fn describe() -> Description {
        Description {
            name: "equal-share".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            ..Description::default()
        }
    }

    fn validate_settings(settings: &str) -> Vec<String> {
        settings::none(settings)
    }

    fn decide(snapshot: &Snapshot, _settings: &str, _state: &[u8]) -> Result<Plan, String> {
        let mut reasons = Reasons { snapshot, known: Vec::new() };
        let allocations = share::outcomes(snapshot)?
            .into_iter()
            .map(|(index, outcome)| Allocation {
                charger: index as u32,
                limit: if let Outcome::Gets { limit, .. } = outcome { limit } else { 0 },
                reason: reasons.of(&snapshot.chargers[index], outcome),
            })
            .collect();
        Ok(Plan { allocations, state: Vec::new() })
    }
}

wattle_policy::export!(EqualShare);

/// The reasons of a plan. Chargers side by side mostly share theirs, and writing one costs more than finding it.
struct Reasons<'a> {
    snapshot: &'a Snapshot,
    known: Vec<(Outcome, [i32; 3], String)>,
}

impl Reasons<'_> {
    /// How many reasons are kept for chargers to come.
    const KEPT: usize = 16;

    fn of(&mut self, charger: &Charger, outcome: Outcome) -> String {
        let range = [charger.minimum, charger.maximum, charger.step];
        let mut known = self.known.iter();
        if let Some((_, _, text)) = known.find(|(other, of, _)| (*other, *of) == (outcome, range)) {
            return text.clone();
        }
        let text = reason(self.snapshot, charger, outcome);
        if self.known.len() < Self::KEPT {
            self.known.push((outcome, range, text.clone()));
        }
        text
    }
}

fn reason(snapshot: &Snapshot, charger: &Charger, outcome: Outcome) -> String {
    match outcome {
        Outcome::Gets { limit, share } if at_maximum(charger, limit, share) => {
            format!("{}: its maximum", amps(limit))
        }
        Outcome::Gets { limit, share } => {
            let (amount, place) = (amps(share.available), place(snapshot, share));
            format!("{}: {} {amount} on {place}", amps(limit), part(share.among))
        }
        Outcome::Waits { share } => {
            let (amount, place) = (amps(share.available), place(snapshot, share));
            let least = amps(charger.minimum);
            format!("standby: {amount} on {place} is less than {least} for each of {}", share.among)
        }
        Outcome::CannotCharge => "standby: its range has no whole step".into(),
    }
}

/// Whether the charger's own maximum is what bounds it, not its share.
fn at_maximum(charger: &Charger, limit: i32, share: Share) -> bool {
    limit.saturating_add(charger.step.max(1)) > charger.maximum && share.each() > limit
}

fn place(snapshot: &Snapshot, share: Share) -> String {
    format!("{} {}", snapshot.circuits[share.circuit].id, share.phase.name())
}

fn part(among: i32) -> String {
    match among {
        1 => "all of".into(),
        2 => "half of".into(),
        3 => "a third of".into(),
        4 => "a quarter of".into(),
        more => format!("1/{more} of"),
    }
}

#[cfg(test)]
mod tests {
    use wattle_policy::kit::{self, Site};

    use super::*;

    fn reasons(site: &Site) -> Vec<String> {
        let plan = EqualShare::decide(&site.snapshot(), "", &[]).expect("the site is whole");
        plan.allocations.into_iter().map(|allocation| allocation.reason).collect()
    }

    #[test]
    fn a_reason_says_what_was_divided_by_how_many() {
        let site = Site::new([30_000, 0, 0]).load("grid", [3_200, 0, 0]).asking("1");
        assert_eq!(reasons(&site), ["26 A: all of 26.8 A on grid L1"]);
        let site = site.asking("2").asking("3");
        assert_eq!(reasons(&site)[0], "8 A: a third of 26.8 A on grid L1");
    }

    #[test]
    fn a_reason_says_why_a_charger_waits() {
        let site = Site::new([10_000, 0, 0]).asking("1").asking("2");
        assert_eq!(
            reasons(&site),
            ["10 A: all of 10 A on grid L1", "standby: 10 A on grid L1 is less than 6 A for each of 2"]
        );
    }

    #[test]
    fn a_reason_says_that_the_charger_itself_is_the_bound() {
        assert_eq!(reasons(&Site::new([63_000, 0, 0]).asking("1")), ["32 A: its maximum"]);
        let exact = Site::new([32_000, 0, 0]).asking("1");
        assert_eq!(reasons(&exact), ["32 A: all of 32 A on grid L1"]);
    }

    #[test]
    fn a_setting_is_a_fault() {
        assert!(EqualShare::validate_settings("{}").is_empty());
        assert_eq!(EqualShare::validate_settings("{\"a\":1}").len(), 1);
    }

    #[test]
    fn it_takes_over_any_state_by_forgetting_it() {
        assert_eq!(EqualShare::migrate_state("0.0.1", vec![1, 2, 3]), Ok(Vec::new()));
        assert_eq!(
            kit::limits(&Site::new([0; 3]).snapshot(), &Plan { allocations: vec![], state: vec![] }),
            []
        );
    }
}
