use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a moment")
}

fn amount(text: &str) -> Decimal {
    text.parse().expect("an amount")
}

fn terms(from: &str, zone: &str, currency: &str, fee: &str, price: &str) -> Terms {
    Terms {
        from: at(from),
        time_zone: TimeZone::get(zone).expect("a zone"),
        tariff_version: format!("of {from}"),
        currency: currency.into(),
        start_fee: amount(fee),
        price_per_kwh: amount(price),
        names: BTreeMap::from([("u-1".to_string(), "Anna".to_string())]),
    }
}

fn berlin() -> Vec<Terms> {
    vec![terms("2026-01-01T00:00:00Z", "Europe/Berlin", "EUR", "0.50", "0.35")]
}

fn session(id: &str, user: Option<&str>, start: &str, end: &str, wh: i64) -> Session {
    Session {
        id: id.into(),
        device: "cp-1".into(),
        user: user.map(Into::into),
        started_at: Some(at(start)),
        ended_at: Some(at(end)),
        register_start_wh: Some(1_000),
        register_end_wh: Some(1_000 + wh),
        ..Session::default()
    }
}

fn march(wh: i64) -> Session {
    session("s", Some("u-1"), "2026-03-10T10:00:00Z", "2026-03-10T12:00:00Z", wh)
}

fn month(text: &str) -> Month {
    text.parse().expect("a month")
}

#[test]
fn a_session_costs_its_start_fee_and_its_energy_exactly_and_is_rounded_once() {
    let charge = rate(&march(12_345), &berlin()).expect("billed");
    assert_eq!(charge.energy_wh, 12_345);
    assert_eq!(charge.energy_cost.to_string(), "4.32075");
    assert_eq!(charge.total.to_string(), "4.82");
    assert_eq!(charge.name, "Anna");
}

#[test]
fn half_a_minor_unit_is_rounded_up() {
    check_total("EUR", "0", "0.005", 1_000, "0.01");
    check_total("EUR", "0", "0.004999", 1_000, "0.00");
    check_total("EUR", "0.10", "0.025", 1_000, "0.13");
    check_total("EUR", "0", "0.1", 3, "0.00");
}

#[test]
fn a_currency_is_rounded_to_its_own_minor_unit() {
    check_total("JPY", "0", "31.5", 1_000, "32");
    check_total("KWD", "0", "0.0125", 1_000, "0.013");
    check_total("EUR", "0", "0.35", 0, "0.00");
}

#[test]
fn a_binary_fraction_would_be_wrong_here_and_a_decimal_is_not() {
    check_total("EUR", "0", "1.005", 1_000, "1.01");
    check_total("EUR", "0", "0.29", 100_000_000, "29000.00");
}

#[test]
fn a_cost_that_can_not_be_written_is_not_billed() {
    let mut huge = march(0);
    huge.register_start_wh = Some(0);
    huge.register_end_wh = Some(i64::MAX);
    let terms = [terms("2026-01-01T00:00:00Z", "UTC", "EUR", "0", "99999999999999999.99")];
    assert_eq!(rate(&huge, &terms), Err(Unbilled::OutOfRange));
}

#[test]
fn what_is_not_certain_is_not_billed() {
    check_unbilled(|s| s.started_at = None, Unbilled::NeverStarted);
    check_unbilled(|s| s.ended_at = None, Unbilled::Unfinished);
    check_unbilled(|s| s.end_estimated = true, Unbilled::EndEstimated);
    check_unbilled(|s| s.register_start_wh = None, Unbilled::NoRegister);
    check_unbilled(|s| s.register_end_wh = None, Unbilled::NoRegister);
    check_unbilled(|s| s.register_end_wh = Some(999), Unbilled::RegisterFell);
    check_unbilled(|s| s.register_start_wh = Some(i64::MIN), Unbilled::RegisterFell);
    check_unbilled(|s| s.started_at = Some(at("2025-12-31T23:59:59Z")), Unbilled::NoTerms);
}

#[test]
fn the_unplugging_ends_a_session_whose_end_was_not_reported() {
    let mut session = march(1_000);
    session.unplugged_at = session.ended_at.take();
    assert!(rate(&session, &berlin()).is_ok());
}

#[test]
fn the_configuration_at_the_start_is_billed_and_not_a_later_one() {
    let mut history = berlin();
    history.push(terms("2026-03-10T11:00:00Z", "Europe/Berlin", "EUR", "9", "9"));
    assert_eq!(rate(&march(1_000), &history).expect("billed").total.to_string(), "0.85");
    history[1].from = at("2026-03-10T10:00:00Z");
    assert_eq!(rate(&march(1_000), &history).expect("billed").total.to_string(), "18.00");
}

#[test]
fn the_month_is_that_of_the_end_by_the_clocks_of_the_site() {
    // Winter time, one hour ahead of UTC, up to the end of March; then summer time, two hours ahead.
    check_month("Europe/Berlin", "2026-02-28T22:59:59Z", "2026-02");
    check_month("Europe/Berlin", "2026-02-28T23:00:00Z", "2026-03");
    check_month("Europe/Berlin", "2026-03-31T21:59:59Z", "2026-03");
    check_month("Europe/Berlin", "2026-03-31T22:00:00Z", "2026-04");
    check_month("Europe/Berlin", "2026-10-31T22:59:59Z", "2026-10");
    check_month("Europe/Berlin", "2026-10-31T23:00:00Z", "2026-11");
    check_month("America/Los_Angeles", "2026-11-01T06:59:59Z", "2026-10");
    check_month("America/Los_Angeles", "2026-12-01T07:59:59Z", "2026-11");
    check_month("Pacific/Kiritimati", "2026-02-28T10:00:00Z", "2026-03");
}

#[test]
fn every_moment_of_a_month_lies_in_the_span_that_is_asked_for() {
    for zone in ["Pacific/Kiritimati", "Etc/GMT+12", "UTC"] {
        let zone = TimeZone::get(zone).expect("a zone");
        let (from, to) = month("2026-12").around();
        let first = jiff::civil::date(2026, 12, 1).to_zoned(zone.clone()).expect("a day").timestamp();
        let next = jiff::civil::date(2027, 1, 1).to_zoned(zone).expect("a day").timestamp();
        assert!(from <= first && next <= to);
    }
}

#[test]
fn the_same_hour_twice_in_a_night_is_told_apart() {
    let twice = |end| session("s", None, "2026-10-24T20:00:00Z", end, 1);
    let first = rate(&twice("2026-10-25T00:30:00Z"), &berlin()).expect("billed").end;
    let second = rate(&twice("2026-10-25T01:30:00Z"), &berlin()).expect("billed").end;
    assert_eq!(first.datetime(), second.datetime());
    assert_ne!(first.offset(), second.offset());
}

#[test]
fn a_bill_holds_every_session_of_its_month_once_and_adds_rounded_costs() {
    let sessions = vec![
        session("d", None, "2026-03-02T10:00:00Z", "2026-03-02T11:00:00Z", 1_000),
        session("c", Some("u-2"), "2026-03-03T10:00:00Z", "2026-03-03T11:00:00Z", 1_009),
        session("b", Some("u-2"), "2026-03-01T10:00:00Z", "2026-03-01T11:00:00Z", 1_011),
        session("other month", Some("u-1"), "2026-03-31T10:00:00Z", "2026-04-01T11:00:00Z", 5),
        Session { ended_at: None, ..march(1) },
    ];
    let bill = bill("depot", month("2026-03"), sessions, &berlin());
    let users: Vec<_> = bill.accounts.iter().map(|a| a.user.as_deref()).collect();
    assert_eq!(users, [Some("u-2"), None]);
    let order: Vec<_> = bill.accounts[0].charges.iter().map(|c| c.session.as_str()).collect();
    assert_eq!(order, ["b", "c"]);
    assert_eq!(bill.accounts[0].sum.totals["EUR"].to_string(), "1.70");
    assert_eq!(bill.unbilled.len(), 1);
    assert_eq!((bill.sum.sessions, bill.sum.energy_wh), (3, 3_020));
    assert_eq!(bill.sum.totals["EUR"].to_string(), "2.55");
}

#[test]
fn the_order_in_which_rows_come_does_not_matter() {
    let rows: Vec<_> = (0..5).map(|i| Session { id: format!("s{i}"), ..march(i) }).collect();
    let reversed = rows.iter().rev().cloned().collect();
    assert_eq!(
        bill("depot", month("2026-03"), rows, &berlin()),
        bill("depot", month("2026-03"), reversed, &berlin())
    );
}

#[test]
fn a_month_is_read_only_as_it_is_written() {
    assert_eq!(month("2026-03").to_string(), "2026-03");
    for text in [
        "",
        "2026",
        "2026-13",
        "2026-00",
        "2026-3",
        "26-03",
        "2026-03-01",
        "+026-03",
        "2026-+3",
        "0000-01",
        "1969-12",
        "2262-01",
    ] {
        let error = text.parse::<Month>().expect_err(text);
        assert_eq!(error, format!("{text:?} is no month; give YYYY-MM, for example 2026-03"));
    }
}

fn check_total(currency: &str, fee: &str, price: &str, wh: i64, expected: &str) {
    let terms = [terms("2026-01-01T00:00:00Z", "UTC", currency, fee, price)];
    let charge = rate(&march(wh), &terms).expect("billed");
    assert_eq!(charge.total, amount(expected), "{fee} + {wh} Wh x {price} {currency}");
}

fn check_unbilled(change: impl Fn(&mut Session), expected: Unbilled) {
    let mut session = march(1_000);
    change(&mut session);
    assert_eq!(rate(&session, &berlin()), Err(expected));
}

fn check_month(zone: &str, end: &str, expected: &str) {
    let terms = [terms("2026-01-01T00:00:00Z", zone, "EUR", "0", "1")];
    let rows = vec![session("s", None, "2026-02-01T00:00:00Z", end, 1)];
    let bill = bill("depot", month(expected), rows, &terms);
    assert_eq!(bill.sum.sessions, 1, "{end} in {zone} is not in {expected}");
}
