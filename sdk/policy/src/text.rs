//! Amounts for people, as reasons tell them.
//!
//! Written digit by digit: a policy writes a reason for each charger, and `format!` costs thousands of
//! instructions.

/// A whole number.
///
/// ```
/// assert_eq!(wattle_policy::text::number(1_203), "1203");
/// ```
pub fn number(number: u64) -> String {
    let mut digits = Digits::default();
    digits.whole(number);
    digits.as_str().into()
}

/// A current: amperes, with as many decimals as it has.
///
/// ```
/// assert_eq!(wattle_policy::text::amps(26_800), "26.8 A");
/// ```
pub fn amps(milliamps: i32) -> String {
    thousands(milliamps.into(), " A")
}

/// A power: kilowatts, with as many decimals as it has.
///
/// ```
/// assert_eq!(wattle_policy::text::kilowatts(4_140), "4.14 kW");
/// ```
pub fn kilowatts(watts: i64) -> String {
    thousands(watts, " kW")
}

/// A time: its two largest units.
///
/// ```
/// assert_eq!(wattle_policy::text::span(7_500), "2 h 5 min");
/// ```
pub fn span(seconds: i64) -> String {
    let (sign, seconds) = (if seconds < 0 { "-" } else { "" }, seconds.unsigned_abs());
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let units = [(hours, " h"), (minutes, " min"), (rest, " s")];
    let first = units.iter().position(|(amount, _)| *amount > 0).unwrap_or(2);
    let mut text = [sign, &number(units[first].0), units[first].1].concat();
    if let Some((amount, unit)) = units.get(first + 1).filter(|(amount, _)| *amount > 0) {
        text += &[" ", &number(*amount), unit].concat();
    }
    text
}

fn thousands(amount: i64, unit: &str) -> String {
    let mut digits = Digits::default();
    let (mut decimals, mut size) = (3, amount.unsigned_abs());
    while decimals > 0 && size % 10 == 0 {
        (decimals, size) = (decimals - 1, size / 10);
    }
    for _ in 0..decimals {
        digits.push(b'0' + (size % 10) as u8);
        size /= 10;
    }
    if decimals > 0 {
        digits.push(b'.');
    }
    digits.whole(size);
    if amount < 0 {
        digits.push(b'-');
    }
    let mut text = String::with_capacity(32);
    text.push_str(digits.as_str());
    text.push_str(unit);
    text
}

/// A number that is written from its end.
#[derive(Default)]
struct Digits {
    bytes: [u8; 32],
    length: usize,
}

impl Digits {
    fn push(&mut self, byte: u8) {
        self.length += 1;
        let start = self.bytes.len() - self.length;
        self.bytes[start] = byte;
    }

    fn whole(&mut self, mut number: u64) {
        loop {
            self.push(b'0' + (number % 10) as u8);
            number /= 10;
            if number == 0 {
                return;
            }
        }
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[self.bytes.len() - self.length..]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_in_full() {
        assert_eq!([0, 7, 10, 1_203].map(number), ["0", "7", "10", "1203"]);
        assert_eq!(number(u64::MAX), "18446744073709551615");
    }

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
        assert_eq!(span(3_601), "1 h");
        assert_eq!(span(i64::MIN), "-2562047788015215 h 30 min");
    }
}
