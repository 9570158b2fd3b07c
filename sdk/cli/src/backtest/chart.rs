//! A report as a chart: power, vehicles on standby and the energy given so far, each column a line.

mod axis;

use std::fmt::Write as _;

use super::report::Report;
use axis::{nice, plain};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 64.0;
const PANEL: f64 = 170.0;
const BETWEEN: f64 = 52.0;
/// How wide the name of a moment is, at most.
const MOMENT: f64 = 80.0;
/// The most of a column's name that stands in the legend, characters: three fit beside each other.
const MOST_NAME: usize = 34;
const COLOURS: [&str; 3] = ["#555555", "#1f77b4", "#d95f02"];
const DASHES: [&str; 3] = ["", "6 3", ""];

/// A panel: a title, and the values of each column at the begin of each step.
struct Panel {
    title: String,
    lines: Vec<Vec<f64>>,
    /// A line across, with its name.
    mark: Option<(f64, String)>,
}

/// The chart as SVG.
pub fn svg(report: &Report) -> String {
    let panels = panels(report);
    let height = TOP + panels.len() as f64 * (PANEL + BETWEEN);
    let mut text = String::new();
    // Writing into a text can't fail.
    let _ = write!(
        text,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{}, {} to {} UTC</text>\n",
        escaped(&report.site),
        day(&report.from),
        day(&report.until)
    );
    legend(&mut text, report);
    for (index, panel) in panels.iter().enumerate() {
        draw(&mut text, report, panel, TOP + index as f64 * (PANEL + BETWEEN) + 20.0);
    }
    text.push_str("</svg>\n");
    text
}

fn panels(report: &Report) -> Vec<Panel> {
    let course = &report.course;
    let hours = course.step_s as f64 / 3_600.0;
    let kilo = |line: &Vec<f64>| line.iter().map(|value| value / 1e3).collect::<Vec<_>>();
    let so_far = |line: &Vec<f64>| {
        let sums = line.iter().scan(0.0, |sum, value| {
            *sum += value / 1e3 * hours;
            Some(*sum)
        });
        sums.collect::<Vec<_>>()
    };
    let limit_kw: f64 = report.limit_a.iter().sum::<f64>() * 0.23;
    let power: Vec<_> = course.power_w.iter().map(kilo).collect();
    let most = power.iter().flatten().copied().fold(0.0, f64::max);
    let mark =
        (limit_kw > 0.0 && limit_kw <= 4.0 * most).then(|| (limit_kw, format!("limit {limit_kw:.1} kW")));
    vec![
        Panel {
            title: format!("power of all chargers, kW, mean of {}", length(course.step_s)),
            lines: power,
            mark,
        },
        Panel { title: "vehicles on standby, mean".into(), lines: course.waiting.clone(), mark: None },
        Panel {
            title: "energy given so far, kWh".into(),
            lines: course.power_w.iter().map(so_far).collect(),
            mark: None,
        },
    ]
}

fn legend(text: &mut String, report: &Report) {
    let mut x = LEFT;
    for (index, figures) in report.columns.iter().enumerate() {
        let (colour, dashes) = (COLOURS[index % 3], DASHES[index % 3]);
        let name = short(&figures.name);
        let _ = writeln!(
            text,
            "<line x1=\"{x:.0}\" y1=\"42\" x2=\"{:.0}\" y2=\"42\" stroke=\"{colour}\" stroke-width=\"2\" \
             stroke-dasharray=\"{dashes}\"/><text x=\"{:.0}\" y=\"46\">{}</text>",
            x + 28.0,
            x + 34.0,
            escaped(&name)
        );
        x += 60.0 + 7.0 * name.chars().count() as f64;
    }
}

fn draw(text: &mut String, report: &Report, panel: &Panel, top: f64) {
    let most = panel.lines.iter().flatten().copied().chain(panel.mark.iter().map(|(value, _)| *value));
    let scale = nice(most.fold(0.0, f64::max));
    let (bottom, right) = (top + PANEL, WIDTH - RIGHT);
    let y = |value: f64| bottom - value.max(0.0) / scale * PANEL;
    let _ = writeln!(
        text,
        "<text x=\"{LEFT}\" y=\"{:.0}\" font-weight=\"bold\">{}</text>",
        top - 8.0,
        panel.title
    );
    for tick in 0..=4 {
        let value = scale * f64::from(tick) / 4.0;
        let _ = writeln!(
            text,
            "<line x1=\"{LEFT}\" y1=\"{0:.1}\" x2=\"{right}\" y2=\"{0:.1}\" stroke=\"#dddddd\"/>\
             <text x=\"{1:.0}\" y=\"{2:.1}\" text-anchor=\"end\">{3}</text>",
            y(value),
            LEFT - 6.0,
            y(value) + 4.0,
            plain(value)
        );
    }
    let steps = panel.lines.first().map_or(1, Vec::len).max(1);
    let x = |step: usize| LEFT + (right - LEFT) * step as f64 / steps as f64;
    for (part, name) in moments(report, steps) {
        let at = LEFT + (right - LEFT) * part;
        // A name at the end stays within the picture; at the begin there is room.
        let anchor = if at + MOMENT / 2.0 > WIDTH { "end" } else { "middle" };
        let _ = writeln!(
            text,
            "<line x1=\"{at:.1}\" y1=\"{top:.1}\" x2=\"{at:.1}\" y2=\"{:.1}\" stroke=\"#eeeeee\"/>\
             <text x=\"{at:.1}\" y=\"{:.0}\" text-anchor=\"{anchor}\" fill=\"#555555\">{name}</text>",
            bottom + 4.0,
            bottom + 16.0
        );
    }
    if let Some((value, name)) = &panel.mark {
        let _ = writeln!(
            text,
            "<line x1=\"{LEFT}\" y1=\"{0:.1}\" x2=\"{right}\" y2=\"{0:.1}\" stroke=\"#b2182b\" stroke-dasharray=\"2 3\"/>\
             <text x=\"{right}\" y=\"{1:.1}\" text-anchor=\"end\" fill=\"#b2182b\">{name}</text>",
            y(*value),
            y(*value) - 4.0
        );
    }
    for (index, line) in panel.lines.iter().enumerate() {
        let mut points = String::new();
        for (step, value) in line.iter().enumerate() {
            let _ = write!(points, "{:.1},{2:.1} {:.1},{2:.1} ", x(step), x(step + 1), y(*value));
        }
        let _ = writeln!(
            text,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\" stroke-dasharray=\"{}\"/>",
            points.trim_end(),
            COLOURS[index % 3],
            DASHES[index % 3]
        );
    }
}

/// The moments that are shown, each as a part of all steps.
fn moments(report: &Report, steps: usize) -> Vec<(f64, String)> {
    let Ok(from) = report.course.from.parse() else { return Vec::new() };
    let length_s = (steps as u64).saturating_mul(report.course.step_s);
    axis::moments(from, jiff::SignedDuration::from_secs(i64::try_from(length_s).unwrap_or(i64::MAX)))
}

/// A moment without seconds.
fn day(at: &str) -> String {
    at.get(..16).unwrap_or(at).replace('T', " ")
}

fn length(seconds: u64) -> String {
    match seconds {
        3_600.. if seconds.is_multiple_of(3_600) => format!("{} h", seconds / 3_600),
        _ => format!("{} min", seconds / 60),
    }
}

/// A name, cut where it is too long for the legend.
fn short(name: &str) -> String {
    if name.chars().count() <= MOST_NAME {
        return name.to_owned();
    }
    name.chars().take(MOST_NAME - 1).chain(['…']).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_not_break_the_markup() {
        assert_eq!(escaped("a<b> & c"), "a&lt;b&gt; &amp; c");
    }

    #[test]
    fn three_names_fit_beside_each_other_however_long_they_are() {
        assert_eq!(short("fair-share 0.1.0"), "fair-share 0.1.0");
        let cut = short(&"é".repeat(129));
        assert!(cut.ends_with('…') && LEFT + 3.0 * (60.0 + 7.0 * cut.chars().count() as f64) <= WIDTH);
    }
}
