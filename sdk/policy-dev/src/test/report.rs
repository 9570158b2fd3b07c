//! What a run of cases is told as: text for people, JSON and JUnit XML for programs.

use serde_json::{Value, json};

use super::Ran;
use crate::paint::Paint;

/// For people.
pub fn text(policy: &str, ran: &[Ran]) -> String {
    let mut out = format!("{policy}\n");
    for one in ran {
        let mark = match (one.differences.is_empty(), one.updated) {
            (false, _) => Paint::Bad.text("FAIL"),
            (true, true) => Paint::Odd.text("new "),
            (true, false) => Paint::Good.text("ok  "),
        };
        out += &format!("{mark}  {}: {}\n", one.name, one.about);
        for difference in &one.differences {
            out += &format!("      {difference}\n");
        }
    }
    let failed = ran.iter().filter(|one| !one.differences.is_empty()).count();
    let updated = ran.iter().filter(|one| one.updated).count();
    out += &format!("{} cases, {failed} not as expected", ran.len());
    out += &if updated > 0 { format!(", {updated} written anew\n") } else { "\n".into() };
    out
}

/// For programs.
pub fn json(policy: &str, ran: &[Ran]) -> Value {
    let case = |one: &Ran| {
        json!({
            "name": one.name, "about": one.about, "ok": one.differences.is_empty(), "updated": one.updated,
            "differences": one.differences, "milliseconds": one.took.as_millis() as u64,
        })
    };
    json!({ "policy": policy, "cases": ran.iter().map(case).collect::<Vec<_>>() })
}

/// For continuous integration.
pub fn junit(policy: &str, ran: &[Ran]) -> String {
    let failed = ran.iter().filter(|one| !one.differences.is_empty()).count();
    let time: f64 = ran.iter().map(|one| one.took.as_secs_f64()).sum();
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{}\" tests=\"{}\" failures=\"{failed}\" time=\"{time:.3}\">\n",
        escaped(policy),
        ran.len()
    );
    for one in ran {
        let (name, seconds) = (escaped(&format!("{}: {}", one.name, one.about)), one.took.as_secs_f64());
        out +=
            &format!("  <testcase classname=\"{}\" name=\"{name}\" time=\"{seconds:.3}\"", escaped(policy));
        if one.differences.is_empty() {
            out += "/>\n";
            continue;
        }
        let (first, all) = (escaped(&one.differences[0]), escaped(&one.differences.join("\n")));
        out += &format!(">\n    <failure message=\"{first}\">{all}</failure>\n  </testcase>\n");
    }
    out + "</testsuite>\n"
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\n' | '\t' => out.push(c),
            // XML has no way to say them.
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ran() -> Vec<Ran> {
        let one = |name: &str, differences: &[&str]| Ran {
            name: name.into(),
            about: "a <b> & \"c\"".into(),
            took: Duration::from_millis(12),
            differences: differences.iter().map(|one| (*one).into()).collect(),
            updated: false,
        };
        vec![one("good", &[]), one("bad", &["x: expected 6 A, got \u{1}7 A", "y"])]
    }

    #[test]
    fn a_person_reads_which_case_failed_and_how() {
        let told = text("p 1", &ran());
        assert!(told.contains("ok    good: a <b>"), "{told}");
        assert!(told.contains("FAIL  bad: a <b> & \"c\"\n      x: expected 6 A, got"), "{told}");
        assert!(told.ends_with("2 cases, 1 not as expected\n"), "{told}");
    }

    #[test]
    fn junit_counts_and_escapes() {
        let told = junit("p 1", &ran());
        assert!(told.contains("tests=\"2\" failures=\"1\" time=\"0.024\""), "{told}");
        assert!(told.contains("name=\"good: a &lt;b&gt; &amp; &quot;c&quot;\" time=\"0.012\"/>"), "{told}");
        assert!(told.contains("<failure message=\"x: expected 6 A, got \u{fffd}7 A\">"), "{told}");
    }
}
