use std::sync::Arc;

use arrow::array::{BooleanArray, Int64Array, StringArray, StringViewArray, TimestampMicrosecondArray};
use datafusion::prelude::SessionContext;

use super::*;

const SITE: &str = r#"
id = "depot"
time_zone = "Europe/Berlin"
[[circuits]]
id = "grid"
limit_a = 30
[[users]]
id = "u-1"
name = "Anna"
[tariff]
version = "t1"
currency = "EUR"
start_fee = "0.50"
price_per_kwh = "0.35"
"#;

fn site() -> SiteId {
    SiteId::new("depot").expect("a name")
}

fn times(us: &[Option<i64>]) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(us.to_vec()).with_timezone("UTC"))
}

/// Two sessions as the view gives them, one of them with nothing but its name.
fn stays() -> RecordBatch {
    let march = "2026-03-10T10:00:00Z".parse::<Timestamp>().expect("a moment").as_microsecond();
    let hour = 3_600_000_000;
    RecordBatch::try_from_iter_with_nullable([
        ("site", Arc::new(StringArray::from(vec!["depot", "depot"])) as ArrayRef, false),
        ("session", Arc::new(StringViewArray::from(vec!["a", "b"])), false),
        ("device", Arc::new(StringArray::from(vec!["cp-1", "cp-2"])), false),
        ("user", Arc::new(StringArray::from(vec![Some("u-1"), None])), true),
        ("plugged_at", times(&[Some(march), Some(march)]), true),
        ("started_at", times(&[Some(march), None]), true),
        ("ended_at", times(&[Some(march + hour), None]), true),
        ("unplugged_at", times(&[None, None]), true),
        ("register_start_wh", Arc::new(Int64Array::from(vec![Some(5), None])), true),
        ("register_end_wh", Arc::new(Int64Array::from(vec![Some(1005), None])), true),
        ("end_estimated", Arc::new(BooleanArray::from(vec![Some(false), None])), true),
    ])
    .expect("columns of one length")
}

async fn ask(sql: &str) -> Vec<RecordBatch> {
    let context = SessionContext::new();
    context.register_batch("sessions", stays()).expect("a table");
    context.sql(sql).await.expect("a query").collect().await.expect("rows")
}

#[tokio::test]
async fn the_sessions_of_a_month_are_read_as_they_stand() {
    let rows = ask(&sessions_of_month(&site(), "2026-03".parse().expect("a month"))).await;
    let sessions = read_sessions(&rows).expect("readable");
    assert_eq!(sessions.len(), 2);
    let (site, first) = &sessions[0];
    assert_eq!((site.as_str(), first.id.as_str(), first.user.as_deref()), ("depot", "a", Some("u-1")));
    assert_eq!(first.ended_at.map(|t| t.to_string()).as_deref(), Some("2026-03-10T11:00:00Z"));
    assert_eq!(first.register_end_wh, Some(1005));
    let second = &sessions[1].1;
    assert_eq!((second.started_at, second.register_end_wh, second.end_estimated), (None, None, false));
}

#[tokio::test]
async fn sessions_of_other_months_and_sites_are_not_asked_for() {
    for (site, month) in [("depot", "2026-05"), ("other", "2026-03")] {
        let site = SiteId::new(site).expect("a name");
        let rows = ask(&sessions_of_month(&site, month.parse().expect("a month"))).await;
        assert_eq!(read_sessions(&rows).expect("readable").len(), 0);
    }
}

#[tokio::test]
async fn one_session_is_found_by_its_name() {
    let rows = ask(&session_named(&SessionId::new("b").expect("a name"))).await;
    assert_eq!(read_sessions(&rows).expect("readable").len(), 1);
}

#[test]
fn a_lake_without_a_column_is_refused_by_its_name() {
    let batch = stays().project(&[0, 1, 2]).expect("columns");
    let error = read_sessions(&[batch]).expect_err("no user").to_string();
    assert_eq!(
        error,
        "the answer has no usable column \"user\": it is missing; is the lake of another version of Wattle?"
    );
}

#[test]
fn terms_are_those_of_the_site_file() {
    let terms = read_terms(&site(), &[configured(SITE)]).expect("readable");
    assert_eq!(terms[0].tariff_version, "t1");
    assert_eq!(terms[0].price_per_kwh.to_string(), "0.35");
    assert_eq!(terms[0].names["u-1"], "Anna");
    assert_eq!(terms[0].time_zone.iana_name(), Some("Europe/Berlin"));
}

#[test]
fn terms_that_were_recorded_before_they_would_be_refused_are_read_as_before() {
    let once = SITE
        .replace("limit_a = 30", "limit_a = 30\nfallback_a = 40")
        .replace("price_per_kwh = \"0.35\"", "price_per_kwh = 0.35")
        .replace("currency = \"EUR\"", "currency = \"EUX\"");
    assert!(SiteFile::parse("depot.toml", &once).is_err());
    let now = read_terms(&site(), &[configured(SITE)]).expect("readable");
    let then = read_terms(&site(), &[configured(&once)]).expect("readable");
    assert_eq!((then[0].price_per_kwh, &*then[0].currency), (now[0].price_per_kwh, "EUX"));
}

#[test]
fn a_configuration_that_can_not_be_read_is_named_by_its_time() {
    let error = read_terms(&site(), &[configured("id = 5")]).expect_err("no site").to_string();
    assert!(error.starts_with("the configuration of 1970-01-01T00:00:00Z can't be read"), "{error}");
}

fn configured(text: &str) -> RecordBatch {
    RecordBatch::try_from_iter([
        ("configured_at", times(&[Some(0)])),
        ("text", Arc::new(StringArray::from(vec![text])) as ArrayRef),
    ])
    .expect("columns of one length")
}
