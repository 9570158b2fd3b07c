//! A guest that misbehaves, for the host's tests: its settings name the way.
//!
//! Each way is an attack on a bound that the host states: time, memory, stack, the size and shape of what a
//! policy gives, the log, or on the word that it has given of itself. Never part of an installation.
//!
//! The settings are the way as it stands, or the JSON that a site file makes of `way = "..."`. A test that needs
//! another version writes it over [`VERSION`] in the component; the first digit is its generation:
//!
//! | generation | |
//! |---|---|
//! | 1 | as it was built |
//! | 2 | takes over the state of 1, adding 100 to what it counts; traps the "trap from 2" way |
//! | 3 | declines to take over any state |
//! | 4 | asks for 32 MiB |
//! | 5 | asks for all the fuel that there is |
//! | 6 | has a settings schema that its own default breaks |
//! | 7 | traps when it is to take over a state |
//! | 8 | never comes back from that |
//! | 9 | makes of it one that is longer than a state may be |
//! | 0 | makes of it what it can't go on from: it traps at its next decision |

use std::hint::black_box;

use wattle_policy::{Allocation, Description, Plan, Policy, Snapshot, log};

/// Its version, in one place in the component.
static VERSION: &str = "1.0.0-hostile";

const SCHEMA: &str =
    r#"{"type":"object","properties":{"way":{"type":"string"}},"additionalProperties":false}"#;
const BROKEN_SCHEMA: &str = r#"{"type":"object","properties":{"way":{"type":"string","default":7}}}"#;

/// A state that no version can go on from.
const RUBBISH: &[u8] = b"rubbish";

/// The policy that isn't one.
pub struct Hostile;

impl Policy for Hostile {
    fn describe() -> Description {
        let memory = if generation() == 4 { 32 << 20 } else { 0 };
        let fuel = if generation() == 5 { u64::MAX } else { 0 };
        let settings_schema = if generation() == 6 { BROKEN_SCHEMA } else { SCHEMA }.into();
        let (name, version) = ("hostile".into(), version().into());
        Description { name, version, memory, fuel, settings_schema, ..Description::default() }
    }

    fn validate_settings(settings: &str) -> Vec<String> {
        match way(settings) {
            "a thousand faults" => vec!["x".into(); 1_000],
            "a giant fault" => vec!["x".repeat(1_000_000)],
            "spin" => spin(),
            _ => Vec::new(),
        }
    }

    fn decide(snapshot: &Snapshot, settings: &str, state: &[u8]) -> Result<Plan, String> {
        if state == RUBBISH {
            panic!("the state is rubbish");
        }
        match way(settings) {
            "spin" | "spin on" => spin(),
            "allocate" => allocate(),
            "hold 20 MiB" => {
                black_box(Vec::<u8>::with_capacity(20 << 20));
                Ok(plan(&[]))
            }
            "recurse" => Err(recurse(1).to_string()),
            "trap" => panic!("trapped on purpose"),
            "trap from 2" if generation() >= 2 => panic!("trapped on purpose"),
            // It has found no fault in them.
            "lie" => Err("settings: \"lie\" is no way to go".into()),
            "refuse" => Err("not today".into()),
            "refuse at length" => Err("é".repeat(10_000)),
            "log a lot" => {
                (0..10_000).for_each(|line| log::info(&format!("line {line}")));
                Ok(plan(&[]))
            }
            "log long lines" => {
                log::warn(&"é".repeat(10_000));
                Ok(plan(&[]))
            }
            "log a giant line" => {
                log::warn(&"x".repeat(8_000_000));
                Ok(plan(&[]))
            }
            "too many allocations" => Ok(plan(&[(0, 6_000); 5])),
            "a flood of allocations" => {
                Ok(Plan { allocations: vec![allocation(0, 0, String::new()); 90_000], state: Vec::new() })
            }
            "an unknown charger" => Ok(plan(&[(snapshot.chargers.len() as u32, 6_000)])),
            "the same charger twice" => Ok(plan(&[(0, 6_000), (0, 7_000)])),
            "a negative limit" => Ok(plan(&[(0, -1)])),
            "a huge limit" => Ok(plan(&[(0, i32::MAX)])),
            "a long reason" => {
                Ok(Plan { allocations: vec![allocation(0, 0, "x".repeat(300))], state: Vec::new() })
            }
            "a giant reason" => {
                Ok(Plan { allocations: vec![allocation(0, 0, "x".repeat(8_000_000))], state: Vec::new() })
            }
            "a long state" => Ok(Plan { allocations: Vec::new(), state: vec![0; 64 * 1024 + 1] }),
            "the longest state" => Ok(Plan { allocations: Vec::new(), state: vec![0; 64 * 1024] }),
            "trap after 3" if generation() == 1 && state.first() >= Some(&3) => panic!("trapped on purpose"),
            "remember" | "trap from 2" | "trap after 3" => Ok(remember(state)),
            _ => Ok(plan(&[])),
        }
    }

    fn migrate_state(from: &str, mut state: Vec<u8>) -> Result<Vec<u8>, String> {
        match generation() {
            7 => panic!("trapped on purpose"),
            8 => spin(),
            9 => return Ok(vec![0; 64 * 1024 + 1]),
            0 => return Ok(RUBBISH.into()),
            _ => {}
        }
        match from {
            "0.9.0" => Ok(state),
            from if generation() == 2 && from.starts_with("1.") => {
                state.iter_mut().for_each(|told| *told += 100);
                Ok(state)
            }
            "a long state" => Ok(vec![0; 64 * 1024 + 1]),
            other => Err(format!("I know no version {other}")),
        }
    }
}

wattle_policy::export!(Hostile);

fn version() -> &'static str {
    black_box(VERSION)
}

fn generation() -> u8 {
    version().as_bytes().first().map_or(0, |digit| digit.wrapping_sub(b'0'))
}

/// The way that the settings name.
fn way(settings: &str) -> &str {
    let in_json = settings.strip_prefix(r#"{"way":""#).and_then(|rest| rest.strip_suffix(r#""}"#));
    in_json.unwrap_or(settings)
}

/// Gives the first charger 10 A. Tells how often this instance was called, and how often the state says so: they differ where the host
/// starts each decision from a fresh instance.
fn remember(state: &[u8]) -> Plan {
    use std::sync::atomic::{AtomicU8, Ordering};
    static CALLS: AtomicU8 = AtomicU8::new(0);
    let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
    let told = state.first().copied().unwrap_or(0) + 1;
    Plan { allocations: vec![allocation(0, 10_000, format!("call {calls} of {told}"))], state: vec![told] }
}

fn plan(limits: &[(u32, i32)]) -> Plan {
    let allocations = limits.iter().map(|(charger, limit)| allocation(*charger, *limit, String::new()));
    Plan { allocations: allocations.collect(), state: Vec::new() }
}

fn allocation(charger: u32, limit: i32, reason: String) -> Allocation {
    Allocation { charger, limit, reason }
}

fn spin() -> ! {
    let mut turns = 0u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

fn allocate() -> ! {
    let mut kept = Vec::new();
    loop {
        kept.push(black_box(Vec::<u8>::with_capacity(1 << 20)));
    }
}

#[allow(unconditional_recursion)]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 32]);
    recurse(depth + 1).wrapping_add(frame[(depth % 32) as usize])
}
