//! What a replay has come to, as text and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};
use wattle_edge::replay::beside::{Compared, ComparedCharger};
use wattle_edge::replay::{Difference, Shadows, Stretch, Tally};
use wattle_wire::Milliamps;

use super::entries::{Life, shown};

/// Differences and stretches that a text shows; JSON has more.
const MOST_SHOWN: usize = 10;

/// Whether everything that could be replayed came out the same.
pub fn is_same(tally: &Tally) -> bool {
    tally.different == 0 && tally.keyframes_different == 0 && tally.shadows.different == 0
}

/// Whether anything was compared at all.
pub fn compares(tally: &Tally) -> bool {
    let decisions = tally.same + tally.different + tally.shadows.same + tally.shadows.different;
    decisions + tally.keyframes_same + tally.keyframes_different > 0
}

/// For people.
pub fn text(replayed: &[(Life, Tally)]) -> String {
    let mut text = String::new();
    for (life, tally) in replayed {
        // Writing into a text can't fail.
        let _ = one(&mut text, life, tally);
    }
    text
}

fn one(text: &mut String, life: &Life, tally: &Tally) -> std::fmt::Result {
    writeln!(text, "site {} on edge {}, journal {}", life.site, life.edge, life.incarnation)?;
    writeln!(text, "decisions made again  {}", tally.made)?;
    writeln!(text, "recorded decisions    {} the same, {} different", tally.same, tally.different)?;
    writeln!(
        text,
        "keyframes             {} the same, {} different, {} begun from",
        tally.keyframes_same, tally.keyframes_different, tally.begun
    )?;
    if tally.shadows != Shadows::default() {
        let Shadows { same, different, not_replayed } = tally.shadows;
        writeln!(
            text,
            "in shadow             {same} the same, {different} different, {not_replayed} not replayed"
        )?;
    }
    if tally.not_replayed > 0 || !tally.stretches.is_empty() {
        writeln!(text, "not replayed          {} recorded decisions", tally.not_replayed)?;
    }
    for stretch in tally.stretches.iter().take(MOST_SHOWN) {
        let Stretch { from, to, reason, .. } = stretch;
        let (from_at, to_at) = (shown(stretch.from_at), shown(stretch.to_at));
        writeln!(text, "  entries {from} to {to}, {from_at} to {to_at}: {reason}")?;
    }
    for difference in tally.differences.iter().take(MOST_SHOWN) {
        let Difference { sequence, at, text: what, .. } = difference;
        writeln!(text, "different: entry {sequence}, {}", shown(*at))?;
        for line in what.lines() {
            writeln!(text, "  {line}")?;
        }
    }
    Ok(())
}

/// For programs: one object per line.
pub fn json(replayed: &[(Life, Tally)]) -> String {
    replayed
        .iter()
        .fold(String::new(), |text, (life, tally)| text + &one_json(life, tally).to_string() + "\n")
}

fn one_json(life: &Life, tally: &Tally) -> Value {
    let stretch = |stretch: &Stretch| {
        json!({
            "from": stretch.from, "to": stretch.to,
            "from_at": shown(stretch.from_at), "to_at": shown(stretch.to_at), "reason": stretch.reason,
        })
    };
    let difference = |difference: &Difference| json!({"sequence": difference.sequence, "at": shown(difference.at), "text": difference.text});
    json!({
        "site": life.site, "edge": life.edge, "incarnation": life.incarnation,
        "made": tally.made, "same": tally.same, "different": tally.different,
        "keyframes": {
            "same": tally.keyframes_same, "different": tally.keyframes_different, "begun": tally.begun,
        },
        "shadows": {
            "same": tally.shadows.same, "different": tally.shadows.different,
            "not_replayed": tally.shadows.not_replayed,
        },
        "not_replayed": tally.not_replayed,
        "stretches": tally.stretches.iter().map(stretch).collect::<Vec<_>>(),
        "differences": tally.differences.iter().map(difference).collect::<Vec<_>>(),
    })
}

/// What another policy would have done at one moment, on one line.
pub fn compared(compared: &Compared, json: bool) -> String {
    let at = shown(compared.at);
    if json {
        let charger = |charger: &ComparedCharger| {
            let ComparedCharger { charger, was_told, would_have } = charger;
            json!({"charger": charger, "setpoint_ma": was_told, "would_have_ma": would_have})
        };
        let chargers = compared.chargers.as_ref().map(|all| all.iter().map(charger).collect::<Vec<_>>());
        let value = match chargers {
            Ok(chargers) => json!({"at": at, "sequence": compared.sequence, "chargers": chargers}),
            Err(reason) => json!({"at": at, "sequence": compared.sequence, "failed": reason}),
        };
        return value.to_string();
    }
    format!("{at}  {}", line(compared.chargers.as_deref().map_err(String::as_str)))
}

/// What chargers were told, and what another policy would have told them; or why it gives no plan.
pub fn line(chargers: Result<&[ComparedCharger], &str>) -> String {
    let charger = |charger: &ComparedCharger| {
        let ComparedCharger { charger, was_told, would_have } = charger;
        if was_told == would_have {
            format!("{charger} {}", amps(*was_told))
        } else {
            format!("{charger} {} -> {}", amps(*was_told), amps(*would_have))
        }
    };
    match chargers {
        Ok(all) => all.iter().map(charger).collect::<Vec<_>>().join("  "),
        Err(reason) => format!("gives no plan: {reason}"),
    }
}

fn amps(current: Milliamps) -> String {
    let (whole, rest) = (current.0 / 1_000, current.0 % 1_000);
    if rest == 0 { format!("{whole} A") } else { format!("{:.1} A", f64::from(current.0) / 1_000.0) }
}
