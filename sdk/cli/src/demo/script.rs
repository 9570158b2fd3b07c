//! What happens in the demo: a published scenario, step by step, with the setpoints that must come out.

use std::time::Duration;

/// How long each step lasts.
pub const STEP: Duration = Duration::from_secs(3);

/// The chargers, in order of registration, each with who charges there.
pub const CHARGERS: [(&str, &str); 3] = [("cp-1", "alice"), ("cp-2", "bob"), ("cp-3", "carol")];

/// The meter.
pub const METER: &str = "meter-1";

/// The step at whose start the fog node is killed.
pub const OUTAGE_FROM: char = 'f';

/// How long it stays away.
pub const OUTAGE: Duration = Duration::from_secs(10);

/// One step.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Its letter in the published table.
    pub name: char,
    /// What the home draws, mA.
    pub home_ma: i32,
    /// Which of the three chargers have a vehicle that asks.
    pub asking: [bool; 3],
    /// The setpoints at its end, A; 0 for standby and where nobody asks.
    pub setpoints_a: [i32; 3],
}

const fn step(name: char, home_ma: i32, asking: [u8; 3], setpoints_a: [i32; 3]) -> Step {
    Step { name, home_ma, asking: [asking[0] == 1, asking[1] == 1, asking[2] == 1], setpoints_a }
}

/// The scenario: one phase, 230 V, 30 A, minimum 6 A, whole amperes, equal share.
pub const STEPS: [Step; 14] = [
    step('a', 3_200, [0, 0, 0], [0, 0, 0]),
    step('b', 3_200, [1, 0, 0], [26, 0, 0]),
    step('c', 5_000, [1, 0, 0], [25, 0, 0]),
    step('d', 5_000, [1, 0, 0], [25, 0, 0]),
    step('e', 5_000, [1, 1, 0], [12, 12, 0]),
    step('f', 5_000, [1, 1, 1], [8, 8, 8]),
    step('g', 8_000, [1, 1, 1], [7, 7, 7]),
    step('h', 14_000, [1, 1, 1], [8, 8, 0]),
    step('i', 16_400, [1, 1, 1], [6, 6, 0]),
    step('j', 16_400, [1, 1, 1], [6, 6, 0]),
    step('k', 16_400, [1, 0, 0], [13, 0, 0]),
    step('l', 4_300, [1, 1, 1], [8, 8, 8]),
    step('m', 4_300, [1, 1, 0], [12, 12, 0]),
    step('n', 4_300, [1, 0, 0], [25, 0, 0]),
];

/// What the supply allows, mA.
pub const LIMIT_MA: i32 = 30_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_fits_the_supply_and_only_those_that_ask_get_something() {
        for step in STEPS {
            let sum: i32 = step.setpoints_a.iter().sum();
            assert!(sum * 1000 + step.home_ma <= LIMIT_MA, "step {}", step.name);
            for (asks, setpoint) in step.asking.iter().zip(step.setpoints_a) {
                assert!(*asks || setpoint == 0, "step {}", step.name);
            }
        }
    }

    #[test]
    fn the_outage_lies_within_the_scenario() {
        let after = STEPS.iter().skip_while(|step| step.name != OUTAGE_FROM).count();
        assert!(STEP * after as u32 > OUTAGE);
    }
}
