//! What happens around a device, in words: one line on standard input, or steps of a scenario file.
//!
//! | words | device | what happens |
//! |---|---|---|
//! | `load A [A A]` | meter | the home draws that much on L1, L2, L3, in amperes |
//! | `plug [USER]` | charger | a vehicle is plugged in, and with a user started |
//! | `start [USER [WH]]` | charger | a user starts, and asks for that many watt-hours |
//! | `max A` | charger | the vehicle takes at most that, now and after each plug |
//! | `need WH` | charger | the vehicle is full after that many more watt-hours, and ends the charge |
//! | `end` | charger | the charge ends |
//! | `unplug` | charger | the vehicle leaves |

use serde::Deserialize;
use wattle_wire::{DeviceId, Milliamps, UserId, WattHours};

/// The most bytes of a scenario file.
pub const MAX_SCENARIO_BYTES: u64 = 1 << 20;

/// Something that happens to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The home draws this on L1, L2, L3.
    Load([Milliamps; 3]),
    /// A vehicle is plugged in, and started where a user is named.
    Plug(Option<UserId>),
    /// A charge is started.
    Start(Option<UserId>, Option<WattHours>),
    /// The vehicle takes at most this.
    Max(Milliamps),
    /// The vehicle takes this much more.
    Need(WattHours),
    /// The charge ends.
    End,
    /// The vehicle leaves.
    Unplug,
}

impl Command {
    /// Reads the words of one command.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what is understood.
    pub fn parse(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["load", a] => Ok(Self::Load([amps(a)?, Milliamps::ZERO, Milliamps::ZERO])),
            ["load", a, b, c] => Ok(Self::Load([amps(a)?, amps(b)?, amps(c)?])),
            ["plug"] => Ok(Self::Plug(None)),
            ["plug", who] => Ok(Self::Plug(Some(user(who)?))),
            ["start"] => Ok(Self::Start(None, None)),
            ["start", who] => Ok(Self::Start(Some(user(who)?), None)),
            ["start", who, wh] => Ok(Self::Start(Some(user(who)?), Some(energy(wh)?))),
            ["max", a] => Ok(Self::Max(amps(a)?)),
            ["need", wh] => Ok(Self::Need(energy(wh)?)),
            ["end"] => Ok(Self::End),
            ["unplug"] => Ok(Self::Unplug),
            _ => Err(format!(
                "{line:?} is not understood; say load A [A A], plug [USER], start [USER [WH]], max A, need WH, end or unplug"
            )),
        }
    }
}

/// Reads amperes with at most three decimals, between -1000 and 1000.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn amps(text: &str) -> Result<Milliamps, String> {
    let amps: f64 = text.parse().map_err(|_| format!("{text:?} is not a number of amperes"))?;
    if !amps.is_finite() || amps.abs() > 1000.0 {
        return Err(format!("{text} A is out of range; use -1000 to 1000"));
    }
    Ok(Milliamps((amps * 1000.0).round() as i32))
}

fn user(text: &str) -> Result<UserId, String> {
    UserId::new(text).map_err(|e| format!("user {text:?}: {e}"))
}

fn energy(text: &str) -> Result<WattHours, String> {
    match text.parse() {
        Ok(wh) if (0..=10_000_000).contains(&wh) => Ok(WattHours(wh)),
        _ => Err(format!("{text:?} is not an energy; use whole watt-hours from 0 to 10000000")),
    }
}

/// A scenario: what happens when, to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    steps: Vec<(u64, DeviceId, Command)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    step: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    at_ms: u64,
    device: DeviceId,
    #[serde(rename = "do")]
    words: String,
}

impl Scenario {
    /// Reads a scenario: TOML with a list of `[[step]]`, each with `at_ms` (since the start), `device` and `do`.
    ///
    /// # Errors
    /// Every mistake, one per line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|e| e.to_string())?;
        let (mut steps, mut problems) = (Vec::new(), Vec::new());
        for (index, step) in file.step.into_iter().enumerate() {
            match Command::parse(&step.words) {
                Ok(command) => steps.push((step.at_ms, step.device, command)),
                Err(problem) => problems.push(format!("step {}: {problem}", index + 1)),
            }
        }
        steps.sort_by_key(|(at, ..)| *at);
        if problems.is_empty() { Ok(Self { steps }) } else { Err(problems.join("\n")) }
    }

    /// What happens to one device, in order: milliseconds since the start, and what.
    pub fn of(&self, device: &DeviceId) -> Vec<(u64, Command)> {
        let own = self.steps.iter().filter(|(_, id, _)| id == device);
        own.map(|(at, _, command)| (*at, command.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_understood() {
        let alice = UserId::new("alice").expect("name");
        let zero = Milliamps::ZERO;
        for (line, expected) in [
            ("load 3.2", Command::Load([Milliamps(3200), zero, zero])),
            ("  load 16.4 -1 0 ", Command::Load([Milliamps(16_400), Milliamps(-1000), zero])),
            ("plug alice", Command::Plug(Some(alice.clone()))),
            ("start alice 24000", Command::Start(Some(alice), Some(WattHours(24_000)))),
            ("max 16", Command::Max(Milliamps(16_000))),
            ("unplug", Command::Unplug),
        ] {
            assert_eq!(Command::parse(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn what_is_not_understood_is_answered_with_what_is() {
        for line in
            ["", "load", "load x", "load NaN", "load 1001", "plug a/b", "need -1", "start alice 1.5", "dance"]
        {
            assert!(Command::parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_scenario_gives_each_device_its_steps_in_order() {
        let text = "[[step]]\nat_ms = 3000\ndevice = 'cp-1'\ndo = 'end'\n[[step]]\nat_ms = 0\ndevice = 'cp-1'\ndo = 'plug alice'\n[[step]]\nat_ms = 5\ndevice = 'm'\ndo = 'load 5'";
        let scenario = Scenario::parse(text).expect("sound");
        let times: Vec<u64> =
            scenario.of(&DeviceId::new("cp-1").expect("name")).iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [0, 3000]);
    }

    #[test]
    fn every_mistake_of_a_scenario_is_named() {
        let text = "[[step]]\nat_ms = 1\ndevice = 'a'\ndo = 'dance'\n[[step]]\nat_ms = 1\ndevice = 'a'\ndo = 'load x'";
        let problems = Scenario::parse(text).expect_err("two mistakes");
        assert!(problems.contains("step 1") && problems.contains("step 2"), "{problems}");
        assert!(Scenario::parse("[[step]]\nat = 1").is_err());
    }
}
