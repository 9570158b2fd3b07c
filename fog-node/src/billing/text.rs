//! A bill and a receipt for people to read. Energy in kWh with three digits (Wh, exactly), money in the
//! currency of the tariff, times by the clocks of the site with their distance from UTC.

use std::fmt::{self, Write as _};

use jiff::Zoned;
use rust_decimal::Decimal;

use super::rate::{Account, Bill, Charge, Session, Sum, Unbilled, minor_digits};

const ROUNDING: &str = "A total is the start fee plus kWh x price, rounded once: half up, to the currency's smallest \
     unit. Sums add totals.";

/// A bill as text. It ends with a line break.
pub fn bill(bill: &Bill) -> String {
    let mut out = format!("Bill of site {} for {}\n", bill.site, bill.month);
    for account in &bill.accounts {
        push(&mut out, format_args!("\n{}\n", heading(account)));
        let mut rows = vec![HEADER.map(String::from)];
        rows.extend(account.charges.iter().map(row));
        out.push_str(&aligned(&rows));
        push(&mut out, format_args!("  {}\n", sum_line(&account.sum)));
    }
    if !bill.unbilled.is_empty() {
        out.push_str("\nNot billed\n");
        let mut rows = vec![["session", "charger", "user", "start", "reason"].map(String::from)];
        rows.extend(bill.unbilled.iter().map(|(session, reason)| unbilled_row(session, *reason)));
        out.push_str(&aligned(&rows));
    }
    push(&mut out, format_args!("\nSite {}: {}\n{ROUNDING}\n", bill.site, sum_line(&bill.sum)));
    out
}

/// A receipt for one session as text. It ends with a line break.
pub fn receipt(site: &str, charge: &Charge) -> String {
    let user = charge.user.as_deref().map_or("no user".to_string(), |u| named(u, &charge.name));
    let lines = [
        ("Receipt", charge.session.clone()),
        ("site", site.to_string()),
        ("charger", charge.device.clone()),
        ("user", user),
        ("start", time(&charge.start)),
        ("end", time(&charge.end)),
        ("register", format!("{} Wh -> {} Wh", charge.register_start_wh, charge.register_end_wh)),
        ("energy", format!("{} kWh", kwh(charge.energy_wh))),
        (
            "tariff",
            format!("{}, {} {} per kWh", charge.tariff_version, charge.price_per_kwh, charge.currency),
        ),
        ("start fee", money(charge.start_fee, &charge.currency)),
        ("energy cost", money(charge.energy_cost, &charge.currency)),
        ("total", money(charge.total, &charge.currency)),
    ];
    lines.iter().fold(String::new(), |mut out, (name, value)| {
        push(&mut out, format_args!("{name:<12} {value}\n"));
        out
    })
}

const HEADER: [&str; 9] =
    ["session", "charger", "start", "end", "kWh", "tariff", "start fee", "energy cost", "total"];

fn row(charge: &Charge) -> [String; 9] {
    [
        charge.session.clone(),
        charge.device.clone(),
        time(&charge.start),
        time(&charge.end),
        kwh(charge.energy_wh),
        charge.tariff_version.clone(),
        decimal(charge.start_fee, &charge.currency),
        decimal(charge.energy_cost, &charge.currency),
        money(charge.total, &charge.currency),
    ]
}

fn unbilled_row(session: &Session, reason: Unbilled) -> [String; 5] {
    let start = session.started_at.or(session.plugged_at);
    [
        session.id.clone(),
        session.device.clone(),
        session.user.clone().unwrap_or_else(|| "-".into()),
        start.map_or("-".into(), |at| at.to_string()),
        reason.to_string(),
    ]
}

fn heading(account: &Account) -> String {
    match &account.user {
        Some(user) => format!("User {}", named(user, &account.name)),
        None => "No user".to_string(),
    }
}

fn named(user: &str, name: &str) -> String {
    if name.is_empty() { user.to_string() } else { format!("{user} ({name})") }
}

fn sum_line(sum: &Sum) -> String {
    let sessions = if sum.sessions == 1 { "session" } else { "sessions" };
    let mut line = format!("{} {sessions}, {} kWh", sum.sessions, kwh(sum.energy_wh));
    for (currency, total) in &sum.totals {
        push(&mut line, format_args!(", {}", money(*total, currency)));
    }
    line
}

fn time(at: &Zoned) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}

fn kwh(energy_wh: i64) -> String {
    format!("{}.{:03}", energy_wh / 1000, energy_wh % 1000)
}

fn money(amount: Decimal, currency: &str) -> String {
    format!("{} {currency}", decimal(amount, currency))
}

/// All digits that an amount has, and at least those of the currency's minor unit.
pub(super) fn decimal(amount: Decimal, currency: &str) -> String {
    let mut amount = amount.normalize();
    let digits = minor_digits(currency);
    if amount.scale() < digits {
        amount.rescale(digits);
    }
    amount.to_string()
}

/// Columns side by side; those of numbers would read better at the right, but a wide name must not move them.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |i: usize| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            push(&mut line, format_args!("  {cell:<width$}"));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn push(out: &mut String, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a text takes all that is written to it");
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
