use super::super::json;
use super::super::rate::{self, Terms};
use super::*;
use jiff::tz::TimeZone;

fn terms() -> Vec<Terms> {
    let terms = |from: &str, version: &str, price: &str| Terms {
        from: from.parse().expect("a moment"),
        time_zone: TimeZone::get("Europe/Berlin").expect("a zone"),
        tariff_version: version.into(),
        currency: "EUR".into(),
        start_fee: "0.5".parse().expect("an amount"),
        price_per_kwh: price.parse().expect("an amount"),
        names: [("u-1".to_string(), "Anna Ärmel".to_string())].into(),
    };
    vec![terms("2026-01-01T00:00:00Z", "t1", "0.35"), terms("2026-03-15T00:00:00Z", "t2", "0.4125")]
}

fn session(id: &str, user: Option<&str>, day: i8, wh: i64) -> Session {
    let at = |hour| jiff::civil::date(2026, 3, day).at(hour, 0, 0, 0).to_zoned(TimeZone::UTC).ok();
    Session {
        id: id.into(),
        device: "cp-1".into(),
        user: user.map(Into::into),
        started_at: at(10).map(|z| z.timestamp()),
        ended_at: at(12).map(|z| z.timestamp()),
        register_start_wh: Some(5_000),
        register_end_wh: Some(5_000 + wh),
        ..Session::default()
    }
}

fn sessions() -> Vec<Session> {
    let mut estimated = session("cp-1-1-40", Some("u-2"), 20, 7_000);
    estimated.end_estimated = true;
    vec![
        session("cp-1-1-30", None, 30, 1),
        session("cp-1-1-20", Some("u-1"), 16, 12_345),
        session("cp-1-1-10", Some("u-1"), 2, 12_345),
        estimated,
    ]
}

fn march() -> rate::Bill {
    rate::bill("depot", "2026-03".parse().expect("a month"), sessions(), &terms())
}

#[test]
fn a_bill_in_words_is_as_released() {
    assert_eq!(bill(&march()), include_str!("golden/bill.txt"));
}

#[test]
fn a_bill_as_json_is_as_released() {
    assert_eq!(json::bill(&march()), include_str!("golden/bill.json"));
}

#[test]
fn a_receipt_is_as_released() {
    let charge = rate::rate(&sessions()[1], &terms()).expect("billed");
    assert_eq!(receipt("depot", &charge), include_str!("golden/receipt.txt"));
    assert_eq!(json::receipt(&charge), include_str!("golden/receipt.json"));
}

#[test]
fn a_month_without_sessions_has_a_bill_too() {
    let empty = rate::bill("depot", "2026-05".parse().expect("a month"), sessions(), &terms());
    assert!(bill(&empty).contains("\nSite depot: 0 sessions, 0.000 kWh\n"));
}

#[test]
fn an_amount_has_all_its_digits_and_at_least_those_of_its_currency() {
    for (text, currency, expected) in [
        ("0.5", "EUR", "0.50"),
        ("4.32075", "EUR", "4.32075"),
        ("4.500000", "EUR", "4.50"),
        ("32", "JPY", "32"),
        ("0.1", "KWD", "0.100"),
        ("0", "EUR", "0.00"),
    ] {
        assert_eq!(decimal(text.parse().expect("an amount"), currency), expected);
    }
}
