//! A bill and a receipt for programs. Energy in Wh; money as text, exact; times in UTC (RFC 3339). The order of
//! keys is part of the format.

use std::collections::BTreeMap;

use serde::Serialize;

use super::rate::{Account, Bill, Charge, Session, Sum, Unbilled};
use super::text::decimal;

#[derive(Serialize)]
struct BillOut<'a> {
    site: &'a str,
    month: String,
    users: Vec<AccountOut<'a>>,
    unbilled: Vec<UnbilledOut<'a>>,
    #[serde(flatten)]
    sum: SumOut,
}

#[derive(Serialize)]
struct AccountOut<'a> {
    user: Option<&'a str>,
    name: &'a str,
    charges: Vec<ChargeOut<'a>>,
    #[serde(flatten)]
    sum: SumOut,
}

#[derive(Serialize)]
struct SumOut {
    sessions: usize,
    energy_wh: i64,
    totals: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct ChargeOut<'a> {
    session: &'a str,
    device: &'a str,
    user: Option<&'a str>,
    start: String,
    end: String,
    register_start_wh: i64,
    register_end_wh: i64,
    energy_wh: i64,
    tariff: &'a str,
    currency: &'a str,
    price_per_kwh: String,
    start_fee: String,
    energy_cost: String,
    total: String,
}

#[derive(Serialize)]
struct UnbilledOut<'a> {
    session: &'a str,
    device: &'a str,
    user: Option<&'a str>,
    start: Option<String>,
    reason: &'static str,
}

/// A bill as JSON, on several lines. It ends with a line break.
pub fn bill(bill: &Bill) -> String {
    print(&BillOut {
        site: &bill.site,
        month: bill.month.to_string(),
        users: bill.accounts.iter().map(account).collect(),
        unbilled: bill.unbilled.iter().map(|(session, reason)| unbilled(session, *reason)).collect(),
        sum: sum(&bill.sum),
    })
}

/// A receipt as JSON, on several lines. It ends with a line break.
pub fn receipt(charged: &Charge) -> String {
    print(&charge(charged))
}

fn account(account: &Account) -> AccountOut<'_> {
    AccountOut {
        user: account.user.as_deref(),
        name: &account.name,
        charges: account.charges.iter().map(charge).collect(),
        sum: sum(&account.sum),
    }
}

fn sum(sum: &Sum) -> SumOut {
    let totals = sum.totals.iter().map(|(currency, total)| (currency.clone(), decimal(*total, currency)));
    SumOut { sessions: sum.sessions, energy_wh: sum.energy_wh, totals: totals.collect() }
}

fn charge(charge: &Charge) -> ChargeOut<'_> {
    ChargeOut {
        session: &charge.session,
        device: &charge.device,
        user: charge.user.as_deref(),
        start: charge.start.timestamp().to_string(),
        end: charge.end.timestamp().to_string(),
        register_start_wh: charge.register_start_wh,
        register_end_wh: charge.register_end_wh,
        energy_wh: charge.energy_wh,
        tariff: &charge.tariff_version,
        currency: &charge.currency,
        price_per_kwh: charge.price_per_kwh.to_string(),
        start_fee: decimal(charge.start_fee, &charge.currency),
        energy_cost: decimal(charge.energy_cost, &charge.currency),
        total: decimal(charge.total, &charge.currency),
    }
}

fn unbilled(session: &Session, reason: Unbilled) -> UnbilledOut<'_> {
    UnbilledOut {
        session: &session.id,
        device: &session.device,
        user: session.user.as_deref(),
        start: session.started_at.or(session.plugged_at).map(|at| at.to_string()),
        reason: reason.code(),
    }
}

fn print(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("texts and whole numbers can be written");
    text.push('\n');
    text
}
