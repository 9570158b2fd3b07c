//! Runs a case, and says what came out otherwise than expected.

use std::collections::BTreeMap;

use wattle_policy_host::{Policy, RunError};
use wattle_wire::Phase;
use wattle_wire::policy::{Plan, Snapshot};

use super::{Case, Expect, Kind, Limit, Step, Sum};

/// What a policy gave in a case.
#[derive(Debug, Clone, PartialEq)]
pub enum Given {
    /// The faults of its settings.
    Faults(Vec<String>),
    /// What each charger got in each step, or why it declined.
    Plans(Vec<Result<Shares, String>>),
}

/// What each charger got, with the reason; 0 for those that the plan doesn't name.
pub type Shares = BTreeMap<String, (i32, String)>;

/// What a run of a case came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What the policy gave.
    pub given: Given,
    /// Each difference, as lines that a person reads; none if all is as expected.
    pub differences: Vec<String>,
}

/// Runs a case.
///
/// # Errors
/// When the policy breaks down, or finds fault with settings that should be right.
pub fn run(policy: &Policy, case: &Case) -> Result<Outcome, String> {
    let faults = policy.validate_settings(&case.settings).map_err(|error| error.to_string())?;
    match &case.kind {
        Kind::Faults(expected) => {
            Ok(Outcome { differences: lists(expected, &faults), given: Given::Faults(faults) })
        }
        Kind::Steps(_) if !faults.is_empty() => {
            Err(format!("the policy refuses the settings: {}", faults.join("; ")))
        }
        Kind::Steps(steps) => decide(policy, case, steps),
    }
}

fn decide(policy: &Policy, case: &Case, steps: &[Step]) -> Result<Outcome, String> {
    let (mut state, mut plans, mut differences) = (Vec::new(), Vec::new(), Vec::new());
    for (index, step) in steps.iter().enumerate() {
        let decided = policy.decide(&step.snapshot, &case.settings, &state);
        let given = match decided {
            Ok(decided) => {
                state = decided.plan.state.clone();
                Ok((shares(&step.snapshot, &decided.plan), decided.plan))
            }
            Err(RunError::Refused(why)) => Err(why),
            Err(error) => return Err(format!("step {index}: {error}")),
        };
        let place = if steps.len() > 1 { format!("step {index}: ") } else { String::new() };
        differences
            .extend(compare(step, &given).into_iter().map(|difference| format!("{place}{difference}")));
        plans.push(given.map(|(shares, _)| shares));
    }
    Ok(Outcome { given: Given::Plans(plans), differences })
}

fn shares(snapshot: &Snapshot, plan: &Plan) -> Shares {
    let none = snapshot.chargers.iter().map(|charger| (charger.id.as_str().to_owned(), (0, String::new())));
    let mut shares: Shares = none.collect();
    for allocation in &plan.allocations {
        // The host takes no plan that names a charger that isn't there.
        let id = snapshot.chargers[allocation.charger as usize].id.as_str().to_owned();
        shares.insert(id, (allocation.limit_ma.0, allocation.reason.clone()));
    }
    shares
}

fn compare(step: &Step, given: &Result<(Shares, Plan), String>) -> Vec<String> {
    let expect = &step.expect;
    match (given, &expect.refuses) {
        (Err(why), Some(part)) if why.contains(part) => Vec::new(),
        (Err(why), Some(part)) => vec![format!("it declines with `{why}`, in which `{part}` was expected")],
        (Err(why), None) => vec![format!("it declines: {why}")],
        (Ok(_), Some(part)) => vec![format!("it gives a plan; it was expected to decline with `{part}`")],
        (Ok((shares, _)), None) => {
            let mut differences = table(expect, shares);
            differences.extend(relations(expect, shares));
            if expect.fits {
                differences.extend(overloads(&step.snapshot, shares));
            }
            differences
        }
    }
}

/// The chargers that got something else than expected.
fn table(expect: &Expect, shares: &Shares) -> Vec<String> {
    let plan = expect.plan.iter().flatten();
    let differs = plan.filter_map(|(id, limit)| {
        let (given, why) = &shares[id];
        let words = |limit: i32, why: &str| format!("{} ({why})", amps(limit));
        match limit {
            Limit::Milliamps(expected) if given != expected => {
                Some(format!("{id}: expected {}, got {}", amps(*expected), words(*given, why)))
            }
            Limit::Reasoned { limit_ma, reason } if given != limit_ma || why != reason => {
                Some(format!("{id}: expected {}, got {}", words(*limit_ma, reason), words(*given, why)))
            }
            _ => None,
        }
    });
    let standby = expect.standby.iter().filter(|id| shares[*id].0 != 0);
    let draws = standby.map(|id| format!("{id}: expected standby, got {}", amps(shares[id].0)));
    differs.chain(draws).collect()
}

fn relations(expect: &Expect, shares: &Shares) -> Vec<String> {
    let got = |id: &String| shares[id].0;
    let mut differences = Vec::new();
    for pair in expect.order.windows(2).filter(|pair| got(&pair[0]) < got(&pair[1])) {
        let (first, second) = (amps(got(&pair[0])), amps(got(&pair[1])));
        differences.push(format!("order: {} gets {first}, {} behind it {second}", pair[0], pair[1]));
    }
    for pair in expect.equal.windows(2).filter(|pair| got(&pair[0]) != got(&pair[1])) {
        let (first, second) = (amps(got(&pair[0])), amps(got(&pair[1])));
        differences.push(format!("equal: {} gets {first}, {} {second}", pair[0], pair[1]));
    }
    let sum: i64 = shares.values().map(|(limit, _)| i64::from(*limit)).sum();
    match &expect.sum_ma {
        Some(Sum::Exact(expected)) if sum != *expected => {
            differences.push(format!("sum_ma: expected {expected}, got {sum}"));
        }
        Some(Sum::Within { at_least, at_most }) => {
            let too_little = at_least.filter(|least| sum < *least).map(|least| format!("at least {least}"));
            let too_much = at_most.filter(|most| sum > *most).map(|most| format!("at most {most}"));
            let bound = too_little.or(too_much);
            differences.extend(bound.map(|bound| format!("sum_ma: expected {bound}, got {sum}")));
        }
        _ => {}
    }
    differences
}

/// Where a plan gives more than there is, or what a charger can't be told.
fn overloads(snapshot: &Snapshot, shares: &Shares) -> Vec<String> {
    let limit = |id: &str| shares[id].0;
    let mut differences = Vec::new();
    for charger in &snapshot.chargers {
        let (given, id) = (limit(charger.id.as_str()), &charger.id);
        let (least, most, step) = (charger.min_ma.0, charger.max_ma.0, charger.step_ma.0.max(1));
        if given != 0 && !(least..=most).contains(&given) {
            differences.push(format!(
                "fits: {id} gets {}, its range is {} to {}",
                amps(given),
                amps(least),
                amps(most)
            ));
        } else if given % step != 0 {
            differences.push(format!("fits: {id} gets {}, in steps of {}", amps(given), amps(step)));
        }
    }
    for (index, circuit) in snapshot.circuits.iter().enumerate() {
        for (phase, available) in [Phase::L1, Phase::L2, Phase::L3].into_iter().zip(circuit.available_ma.0) {
            let below = snapshot.chargers.iter().filter(|one| {
                one.phases.contains(&phase) && hangs_below(snapshot, one.circuit as usize, index)
            });
            let sum: i64 = below.map(|one| i64::from(limit(one.id.as_str()))).sum();
            if sum > i64::from(available.0.max(0)) {
                let (id, available) = (&circuit.id, amps(available.0));
                differences.push(format!("fits: {id} {phase:?} is over its limit: {sum} mA of {available}"));
            }
        }
    }
    differences
}

fn hangs_below(snapshot: &Snapshot, circuit: usize, above: usize) -> bool {
    let parent = |index: &usize| snapshot.circuits[*index].parent.map(|parent| parent as usize);
    std::iter::successors(Some(circuit), parent).any(|index| index == above)
}

fn lists(expected: &[String], given: &[String]) -> Vec<String> {
    let missing = expected.iter().filter(|fault| !given.contains(fault)).map(|fault| format!("- {fault}"));
    let more = given.iter().filter(|fault| !expected.contains(fault)).map(|fault| format!("+ {fault}"));
    missing.chain(more).collect()
}

/// A current as people say it.
fn amps(milliamps: i32) -> String {
    match (milliamps / 1000, milliamps % 1000) {
        (0, 0) => "standby".into(),
        (whole, 0) => format!("{whole} A"),
        _ => format!("{} A", f64::from(milliamps) / 1000.0),
    }
}
