//! Amounts for people, as reasons tell them.

/// A current: amperes, with as many decimals as it has.
///
/// ```
/// assert_eq!(wattle_policy::text::amps(26_800), "26.8 A");
/// ```
pub fn amps(milliamps: i32) -> String {
    thousands(milliamps.into(), "A")
}

/// A power: kilowatts, with as many decimals as it has.
///
/// ```
/// assert_eq!(wattle_policy::text::kilowatts(4_140), "4.14 kW");
/// ```
pub fn kilowatts(watts: i64) -> String {
    thousands(watts, "kW")
}

/// A time: its two largest units.
///
/// ```
/// assert_eq!(wattle_policy::text::span(7_500), "2 h 5 min");
/// ```
pub fn span(seconds: i64) -> String {
    let (sign, seconds) = (if seconds < 0 { "-" } else { "" }, seconds.unsigned_abs());
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{sign}{seconds} s"),
        (0, minutes, 0) => format!("{sign}{minutes} min"),
        (0, minutes, seconds) => format!("{sign}{minutes} min {seconds} s"),
        (hours, 0, _) => format!("{sign}{hours} h"),
        (hours, minutes, _) => format!("{sign}{hours} h {minutes} min"),
    }
}

fn thousands(amount: i64, unit: &str) -> String {
    let (sign, size) = (if amount < 0 { "-" } else { "" }, amount.unsigned_abs());
    let thousandths = format!("{:03}", size % 1000);
    match thousandths.trim_end_matches('0') {
        "" => format!("{sign}{} {unit}", size / 1000),
        decimals => format!("{sign}{}.{decimals} {unit}", size / 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_written_with_the_decimals_that_it_has() {
        assert_eq!(amps(12_000), "12 A");
        assert_eq!(amps(26_800), "26.8 A");
        assert_eq!(amps(5), "0.005 A");
        assert_eq!(amps(-1_500), "-1.5 A");
        assert_eq!(amps(i32::MIN), "-2147483.648 A");
        assert_eq!(kilowatts(0), "0 kW");
        assert_eq!(kilowatts(i64::MIN), "-9223372036854775.808 kW");
    }

    #[test]
    fn a_time_is_written_in_its_two_largest_units() {
        let written = [0, 59, 60, 61, 3_599, 3_600, 3_660, 90_000, -90].map(span);
        let expected =
            ["0 s", "59 s", "1 min", "1 min 1 s", "59 min 59 s", "1 h", "1 h 1 min", "25 h", "-1 min 30 s"];
        assert_eq!(written, expected);
        assert_eq!(span(i64::MIN), "-2562047788015215 h 30 min");
    }
}
