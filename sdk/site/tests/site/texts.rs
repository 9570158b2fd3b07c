//! Names, lists and amounts of money; what was recorded.

use wattle_site::SiteFile;

use super::{EXAMPLE, change, check, with};

#[test]
fn what_is_taken_out_of_a_list_does_not_make_it_a_mistake_that_it_is_empty() {
    check(
        &change("phases = [\"L1\"]", "phases = [\"L9\"]"),
        &["chargers[0].phases[0]: \"L9\": unknown variant"],
    );
    let text = change("phases = [\"L1\"]", "phases = [\"L9\", \"L1\", \"L1\"]");
    check(
        &text,
        &["chargers[0].phases[0]: \"L9\"", "chargers.cp-1.phases: must name one to three phases, each once"],
    );
    check(
        &change("phases = [\"L1\"]", "phases = []"),
        &["chargers.cp-1.phases: must name one to three phases"],
    );
    let timer =
        |days: &str| with("", "", &format!("min_a = 6\nmax_a = 32\ntimer = [{{ days = {days} }}]"), "");
    check(&timer("[\"mo\"]"), &["chargers[0].timer[0].days[0]: \"mo\": unknown variant"]);
    let connector = "phases = [\"L1\"]\nconnectors = [{ id = \"1\", phases = [\"L7\"] }]";
    check(&change("phases = [\"L1\"]", connector), &["chargers[0].connectors[0].phases[0]: \"L7\""]);
    let may = change("may = [\"limit\", \"price\", \"surplus\", \"manual\"]", "may = [\"all\"]");
    check(&may, &["systems[0].may[0]: \"all\""]);
}

#[test]
fn a_currency_is_one_of_iso_4217() {
    for currency in ["JYP", "EUX", "eur", "", "EURO", "XTS"] {
        let text = change("currency = \"EUR\"", &format!("currency = \"{currency}\""));
        check(&text, &["tariff.currency: "]);
    }
    for currency in ["JPY", "EUR", "KWD", "CHF"] {
        let text = change("currency = \"EUR\"", &format!("currency = \"{currency}\""));
        assert!(SiteFile::parse("s", &text).is_ok(), "{currency}");
    }
}

#[test]
fn a_tariff_has_a_price_and_prices_are_decimal_text() {
    let price = |price: &str| change("price_per_kwh = \"0.39\"", price);
    check(&price(""), &["tariff.price_per_kwh: is missing"]);
    check(&price("").replace("Europe/Berlin", "Europe/Bern"), &["price_per_kwh: is missing", "time_zone"]);
    for number in ["0.39", "1"] {
        let text = price(&format!("price_per_kwh = {number}"));
        check(&text, &[&format!("tariff.price_per_kwh: {number}: a price is text, such as \"0.39\"")]);
    }
    let says = "tariff.price_per_kwh: \"0,39\": is no amount; give decimal text, such as \"0.39\"";
    check(&price("price_per_kwh = \"0,39\""), &[says]);
    check(&change("start_fee = \"0.50\"", "start_fee = 0.5"), &["tariff.start_fee: 0.5: a price is text"]);
    let (site, _) = EXAMPLE.split_once("[tariff]").expect("one");
    assert_eq!(SiteFile::parse("s", site).expect("fits").tariff.price_per_kwh.to_string(), "0");
}

#[test]
fn what_was_right_when_it_was_recorded_is_read_for_ever() {
    let once = change("fallback_a = 6", "fallback_a = 30")
        .replace("price_per_kwh = \"0.39\"", "price_per_kwh = 0.39")
        .replace("start_fee = \"0.50\"", "start_fee = 1");
    assert_eq!(SiteFile::parse("s", &once).expect_err("refused today").0.len(), 3);
    let site = SiteFile::recorded("s", &once).expect("was right");
    assert_eq!(
        (site.tariff.price_per_kwh.to_string(), site.tariff.start_fee.to_string()),
        ("0.39".into(), "1".into())
    );
    let site = SiteFile::recorded("s", &change("price_per_kwh = \"0.39\"", "")).expect("was right");
    assert_eq!(site.tariff.price_per_kwh.to_string(), "0");
    let right = SiteFile::parse("s", EXAMPLE).expect("fits");
    assert_eq!(SiteFile::recorded("s", EXAMPLE).expect("was right"), right);
    assert!(SiteFile::recorded("s", &change("limit_a = [30, 0, 0]", "limit_a = \"thirty\"")).is_err());
}
