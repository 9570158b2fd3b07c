use super::*;

const HEADER: &str = "arrival,departure,requested_energy (kWh),delivered_energy (kWh),station_id,session_id,\
                      estimated_departure,claimed";
const FIRST: &str = "2026-03-02 08:00:00+01:00,2026-03-02 12:00:00+01:00,10,7.5,A,a,,True";

fn read(text: &str) -> anyhow::Result<Trace> {
    parse(text.as_bytes(), "trace.csv", |station| station.as_str() != "Z")
}

fn check(row: &str, code: &str) {
    let trace = read(&format!("{HEADER}\n{FIRST}\n{row}\n")).expect("a bad row is no error");
    let found: Vec<_> = trace.refused.iter().map(|refused| (refused.row, refused.code)).collect();
    assert_eq!(found, [(2, code)], "{row}");
    assert_eq!((trace.rows, trace.stays.len()), (2, 1), "{row}");
}

#[test]
fn a_row_becomes_a_stay_with_whole_watt_hours_and_moments_in_utc() {
    let text = format!(
        "\u{feff}{HEADER},user_id\r\n\r\n2019-05-01 05:04:06-07:00,2019-05-01 17:56:21-07:00,44.85,\
         44.8755,AG-1F11,1_1 x,2019-05-01 14:09:06-07:00,True,anna"
    );
    let trace = read(&text).expect("readable");
    let stay = Stay {
        row: 1,
        arrival: Micros::from_secs(1_556_712_246),
        departure: Micros::from_secs(1_556_758_581),
        requested: Some(WattHours(44_850)),
        delivered: WattHours(44_876),
        station: "AG-1F11".parse().expect("name"),
        session: "1_1_x".parse().expect("name"),
        estimated_departure: Some(Micros::from_secs(1_556_744_946)),
        user: Some("anna".parse().expect("name")),
    };
    assert_eq!(trace, Trace { rows: 1, stays: vec![stay], refused: vec![] });
}

#[test]
fn a_row_that_makes_no_sense_is_refused_with_its_own_code() {
    let at = "2026-03-02 08:00:00+01:00,2026-03-02 12:00:00+01:00";
    check("8 o'clock,2026-03-02 12:00:00+01:00,10,7.5,B,b,,True", "bad_arrival");
    check("2026-03-02 08:00:00,2026-03-02 12:00:00+01:00,10,7.5,B,b,,True", "bad_arrival");
    check("1926-03-02 08:00:00+01:00,2026-03-02 12:00:00+01:00,10,7.5,B,b,,True", "bad_arrival");
    check("2026-03-02 08:00:00+01:00,,10,7.5,B,b,,True", "bad_departure");
    check(
        "2026-03-02 08:00:00+01:00,2026-03-02 08:00:00+01:00,10,7.5,B,b,,True",
        "departure_not_after_arrival",
    );
    check("2026-03-02 08:00:00+01:00,2026-04-12 08:00:00+01:00,10,7.5,B,b,,True", "stay_too_long");
    check(&format!("{at},10,7.5,,b,,True"), "missing_station");
    check(&format!("{at},10,7.5,B/1,b,,True"), "bad_station");
    check(&format!("{at},10,7.5,Z,b,,True"), "unknown_station");
    check(&format!("{at},10,7.5,B,,,True"), "missing_session");
    check(&format!("{at},10,7.5,B,b#,,True"), "bad_session");
    check(&format!("{at},10,7.5,B,a,,True"), "duplicate_session");
    check(&format!("{at},10,,B,b,,True"), "missing_energy");
    check(&format!("{at},10,NaN,B,b,,True"), "bad_energy");
    check(&format!("{at},10,inf,B,b,,True"), "bad_energy");
    check(&format!("{at},10,99999999999999999999999,B,b,,True"), "bad_energy");
    check(&format!("{at},10,-1,B,b,,True"), "negative_energy");
    check(&format!("{at},10,32.385,B,b,,True"), "impossible_energy");
    check(&format!("{at},much,7.5,B,b,,True"), "bad_requested");
    check(&format!("{at},-0.1,7.5,B,b,,True"), "negative_requested");
    check(&format!("{at},10,7.5,B,b,soon,True"), "bad_estimated_departure");
    check("2026-03-02 11:59:59+01:00,2026-03-02 13:00:00+01:00,10,1,A,b,,True", "overlap");
    check(&format!("{at},10,7.5,B,b"), "wrong_columns");
    check(&format!("{at},10,7.5,B,b,,True,more"), "wrong_columns");
    check(&format!("{at},10,7.5,B,{},,True", "x".repeat(MAX_LINE_BYTES)), "line_too_long");
}

#[test]
fn a_line_that_is_no_text_is_refused_and_the_next_one_read() {
    let mut text = format!("{HEADER}\n").into_bytes();
    text.extend(b"\xff\xfe,,,,,,,\n");
    text.extend(FIRST.as_bytes());
    let trace = parse(text.as_slice(), "trace.csv", |_| true).expect("readable");
    assert_eq!((trace.refused[0].code, trace.stays.len()), ("not_text", 1));
}

#[test]
fn what_a_user_estimated_wrong_or_left_out_is_no_reason_to_refuse() {
    let rows = "2026-03-02 08:00:00+01:00,2026-03-02 12:00:00+01:00,,7.5,B,b,2026-03-02 07:00:00+01:00,False\n\
                2026-03-02 08:00:00+01:00,2026-03-02 12:00:00+01:00,3,0,C,c,,";
    let trace = read(&format!("{HEADER}\n{rows}")).expect("readable");
    assert_eq!((trace.stays.len(), trace.refused.len()), (2, 0));
}

#[test]
fn a_vehicle_may_come_in_the_second_in_which_the_last_one_left() {
    let next = "2026-03-02 12:00:00+01:00,2026-03-02 13:00:00+01:00,10,1,A,b,,True";
    let trace = read(&format!("{HEADER}\n{next}\n{FIRST}")).expect("readable");
    let names: Vec<_> = trace.stays.iter().map(|stay| stay.session.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn a_broken_header_is_one_error_that_says_what_is_missing() {
    for (text, says) in [
        ("", "the header lacks arrival"),
        ("arrival;departure", "the header lacks arrival"),
        (&HEADER.replace("delivered_energy (kWh)", "delivered_energy (Wh)"), "lacks delivered_energy (kWh)"),
        (&format!("{HEADER},arrival"), "arrival twice"),
        (&"x".repeat(MAX_LINE_BYTES + 5), "can't be read"),
    ] {
        let error = read(text).expect_err("broken");
        assert!(error.is::<Usage>() && error.to_string().contains(says), "{error}");
    }
}

#[test]
fn every_row_is_a_stay_or_refused() {
    let rows: String = (0..500)
        .map(|i| {
            format!("{}\n", if i % 3 == 0 { FIRST.replace(",a,", &format!(",a{i},")) } else { "?,?".into() })
        })
        .collect();
    let trace = read(&format!("{HEADER}\n{rows}")).expect("readable");
    assert_eq!(trace.rows, 500);
    assert_eq!(trace.stays.len() + trace.refused.len(), 500);
    assert_eq!(trace.refusals().values().sum::<u64>() as usize, trace.refused.len());
}
