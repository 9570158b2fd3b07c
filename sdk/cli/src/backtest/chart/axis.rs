//! Round values and round moments for the axes of a chart.

use jiff::{SignedDuration, Timestamp};

/// Moments that are shown, at most.
const MOST_MOMENTS: i64 = 8;
const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 24 * HOUR_S;
/// How far two shown moments may stand apart, s.
const DISTANCES_S: [i64; 12] = [
    300,
    900,
    HOUR_S,
    2 * HOUR_S,
    6 * HOUR_S,
    12 * HOUR_S,
    DAY_S,
    2 * DAY_S,
    7 * DAY_S,
    14 * DAY_S,
    28 * DAY_S,
    364 * DAY_S,
];

/// The next round value, which four lines part evenly into round ones.
pub fn nice(most: f64) -> f64 {
    let power = 10_f64.powf(most.max(0.01).log10().floor());
    [1.0, 1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 6.0, 8.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|scale| *scale >= most)
        .unwrap_or(10.0 * power)
}

/// A value with as many digits as it needs.
pub fn plain(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() { "0".into() } else { text.into() }
}

/// The round moments, UTC, of a time that begins at `from` and is so long: how far into it each stands (0 to 1), and what it is called.
pub fn moments(from: Timestamp, length: SignedDuration) -> Vec<(f64, String)> {
    let (begin, length_s) = (from.as_second(), length.as_secs().max(1));
    let longest = DISTANCES_S[DISTANCES_S.len() - 1];
    let distance = DISTANCES_S.into_iter().find(|one| length_s / one <= MOST_MOMENTS).unwrap_or(longest);
    let form = if distance < DAY_S { "%m-%d %H:%M" } else { "%Y-%m-%d" };
    let first = begin.div_euclid(distance) + i64::from(begin.rem_euclid(distance) > 0);
    let all = (first..).map(|number| number * distance).take_while(|at| *at <= begin + length_s);
    let named = |at: i64| {
        let name = Timestamp::from_second(at).map(|at| at.strftime(form).to_string());
        ((at - begin) as f64 / length_s as f64, name.unwrap_or_default())
    };
    // However long it is, a chart has an end.
    all.take(2 * MOST_MOMENTS as usize).map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_a_round_value() {
        for (most, expected) in
            [(0.0, 0.01), (0.9, 1.0), (1.0, 1.0), (13.8, 16.0), (39.0, 40.0), (81.0, 100.0), (115.6, 120.0)]
        {
            assert!((nice(most) - expected).abs() < 1e-9, "{most}: {}", nice(most));
        }
        assert_eq!(["0", "0.25", "20"].map(String::from), [0.0, 0.25, 20.0].map(plain));
    }

    fn shown(from: &str, hours: i64) -> Vec<(i64, String)> {
        let from = from.parse().expect("a moment");
        let all = moments(from, SignedDuration::from_hours(hours)).into_iter();
        all.map(|(part, name)| ((part * 1_000.0).round() as i64, name)).collect()
    }

    #[test]
    fn moments_are_round_and_not_many() {
        let hours = shown("2026-03-30T05:45:00Z", 4);
        let names: Vec<_> = hours.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["03-30 06:00", "03-30 07:00", "03-30 08:00", "03-30 09:00"]);
        assert_eq!(hours[0].0, 63, "a quarter of an hour of four hours");
        let days = shown("2026-03-30T00:00:00Z", 72);
        assert_eq!(
            (days.len(), days[0].clone(), days[6].clone()),
            (7, (0, "03-30 00:00".into()), (1_000, "04-02 00:00".into()))
        );
        for hours in [0, 1, 24, 100, 1_000, 3_000, 10_000, 1_000_000] {
            let count = shown("2026-03-30T05:45:01Z", hours).len();
            assert!(count <= 16 && (hours == 0 || count > 0), "{hours}: {count}");
        }
    }
}
