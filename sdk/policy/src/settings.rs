//! Settings: declared once, as a table, from which come their check, their JSON schema and their documentation.
//!
//! ```
//! use wattle_policy::settings::{self, Setting};
//!
//! const SETTINGS: &[Setting] = &[
//!     Setting::choice("mode", &["slots", "reserve"], "how the site is shared"),
//!     Setting::number("slots", 2, 1..=1_000, "vehicles", "how many charge at once"),
//! ];
//!
//! let values = settings::read(SETTINGS, r#"{"slots": 3}"#).unwrap();
//! assert_eq!((values.choice("mode"), values.number("slots")), ("slots", 3));
//!
//! let faults = settings::read(SETTINGS, r#"{"slots": 0, "slot": 1}"#).unwrap_err();
//! assert_eq!(faults[0], "slots: `0` is not a whole number from 1 to 1000");
//! assert_eq!(faults[1], "slot: there is no such setting; there are mode, slots");
//! ```

use std::ops::RangeInclusive;

use crate::json::{self, Member, Value};

/// The JSON schema of a policy that takes no settings.
///
/// ```
/// use wattle_policy::{Description, settings::NONE_SCHEMA};
///
/// assert_eq!(Description::default().settings_schema, NONE_SCHEMA);
/// ```
pub const NONE_SCHEMA: &str = r#"{"type":"object","additionalProperties":false}"#;

/// The most faults that are named.
const MOST_FAULTS: usize = 20;

/// One setting.
///
/// ```
/// use wattle_policy::settings::{Setting, read};
///
/// const SLOTS: Setting = Setting::number("slots", 2, 1..=9, "vehicles", "how many charge at once");
/// assert_eq!(read(&[SLOTS], "").unwrap().number("slots"), 2);
/// ```
#[derive(Debug, Clone)]
pub struct Setting {
    name: &'static str,
    about: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Number { default: i64, range: RangeInclusive<i64>, unit: &'static str },
    Choice(&'static [&'static str]),
}

impl Setting {
    /// A whole number.
    ///
    /// ```
    /// use wattle_policy::settings::{Setting, faults};
    ///
    /// const DELAY: Setting = Setting::number("delay_s", 60, 0..=600, "s", "how long to wait");
    /// assert_eq!(faults(&[DELAY], r#"{"delay_s":-1}"#), ["delay_s: `-1` is not a whole number from 0 to 600"]);
    /// ```
    pub const fn number(
        name: &'static str,
        default: i64,
        range: RangeInclusive<i64>,
        unit: &'static str,
        about: &'static str,
    ) -> Self {
        Self { name, about, kind: Kind::Number { default, range, unit } }
    }

    /// One of several texts; the first is the default.
    ///
    /// ```
    /// use wattle_policy::settings::{Setting, faults};
    ///
    /// const MODE: Setting = Setting::choice("mode", &["slots", "reserve"], "how the site is shared");
    /// assert_eq!(faults(&[MODE], r#"{"mode":"fifo"}"#), [r#"mode: `"fifo"` is not one of "slots", "reserve""#]);
    /// ```
    pub const fn choice(name: &'static str, options: &'static [&'static str], about: &'static str) -> Self {
        Self { name, about, kind: Kind::Choice(options) }
    }

    /// Its row in a table of documentation: name, unit, default, what is allowed, what it is.
    ///
    /// ```
    /// use wattle_policy::settings::Setting;
    ///
    /// const SLOTS: Setting = Setting::number("slots", 2, 1..=9, "vehicles", "how many charge at once");
    /// assert_eq!(SLOTS.row(), "| `slots` | vehicles | 2 | 1 to 9 | how many charge at once |");
    /// ```
    pub fn row(&self) -> String {
        let (name, about) = (self.name, self.about);
        match &self.kind {
            Kind::Number { default, range, unit } => {
                let (least, most) = (range.start(), range.end());
                format!("| `{name}` | {unit} | {default} | {least} to {most} | {about} |")
            }
            Kind::Choice(options) => {
                let allowed: Vec<_> = options.iter().map(|option| format!("`{option}`")).collect();
                format!("| `{name}` | | `{}` | {} | {about} |", options[0], allowed.join(", "))
            }
        }
    }

    /// What is wrong with a member that gives it.
    fn fault(&self, member: &Member<'_>) -> Option<String> {
        let allowed = match (&self.kind, &member.value) {
            (Kind::Number { range, .. }, Value::Number(number)) if range.contains(number) => return None,
            (Kind::Choice(options), Value::Text(text)) if options.contains(&text.as_str()) => return None,
            (Kind::Number { range, .. }, _) => {
                format!("a whole number from {} to {}", range.start(), range.end())
            }
            (Kind::Choice(options), _) => format!("one of \"{}\"", options.join("\", \"")),
        };
        Some(format!("{}: `{}` is not {allowed}", self.name, start(member.written)))
    }

    fn schema(&self) -> String {
        let (name, about) = (self.name, self.about);
        let kind = match &self.kind {
            Kind::Number { default, range, .. } => format!(
                r#""type":"integer","minimum":{},"maximum":{},"default":{default}"#,
                range.start(),
                range.end()
            ),
            Kind::Choice(options) => {
                format!(r#""enum":["{}"],"default":"{}""#, options.join("\",\""), options[0])
            }
        };
        format!(r#""{name}":{{{kind},"description":"{about}"}}"#)
    }
}

/// The values of settings, defaults included.
///
/// ```
/// use wattle_policy::settings::{Setting, read};
///
/// const MODE: Setting = Setting::choice("mode", &["slots", "reserve"], "how the site is shared");
/// assert_eq!(read(&[MODE], "").unwrap().choice("mode"), "slots");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Values {
    numbers: Vec<(&'static str, i64)>,
    choices: Vec<(&'static str, &'static str)>,
}

impl Values {
    /// The value of a number.
    ///
    /// # Panics
    /// When the table has no number of this name.
    ///
    /// ```
    /// use wattle_policy::settings::{Setting, read};
    ///
    /// const SLOTS: Setting = Setting::number("slots", 2, 1..=9, "vehicles", "how many charge at once");
    /// assert_eq!(read(&[SLOTS], r#"{"slots":5}"#).unwrap().number("slots"), 5);
    /// ```
    pub fn number(&self, name: &str) -> i64 {
        let found = self.numbers.iter().find(|(declared, _)| *declared == name);
        found.expect("the table declares what its policy reads").1
    }

    /// The value of a choice.
    ///
    /// # Panics
    /// When the table has no choice of this name.
    ///
    /// ```
    /// use wattle_policy::settings::{Setting, read};
    ///
    /// const MODE: Setting = Setting::choice("mode", &["slots", "reserve"], "how the site is shared");
    /// assert_eq!(read(&[MODE], r#"{"mode":"reserve"}"#).unwrap().choice("mode"), "reserve");
    /// ```
    pub fn choice(&self, name: &str) -> &'static str {
        let found = self.choices.iter().find(|(declared, _)| *declared == name);
        found.expect("the table declares what its policy reads").1
    }
}

/// The values that `text` (JSON; empty for none) gives the settings of a table.
///
/// # Errors
/// Every fault, with path, value and reason.
///
/// ```
/// use wattle_policy::settings::{Setting, read};
///
/// const SLOTS: Setting = Setting::number("slots", 2, 1..=9, "vehicles", "how many charge at once");
/// assert_eq!(read(&[SLOTS], r#"{"slot":5}"#).unwrap_err(), ["slot: there is no such setting; there are slots"]);
/// ```
pub fn read(table: &[Setting], text: &str) -> Result<Values, Vec<String>> {
    let members = match text.trim() {
        "" | "null" => Vec::new(),
        text => json::object(text).map_err(|fault| vec![format!("settings: `{}`: {fault}", start(text))])?,
    };
    let mut faults: Vec<String> = members.iter().filter_map(|member| fault(table, member)).collect();
    for (at, member) in members.iter().enumerate().take(MOST_FAULTS) {
        if members[..at].iter().any(|earlier| earlier.name == member.name) {
            faults.push(format!("{}: `{}` is given twice", start(&member.name), start(member.written)));
        }
    }
    faults.truncate(MOST_FAULTS);
    if faults.is_empty() { Ok(values(table, &members)) } else { Err(faults) }
}

/// The faults of `text` by a table: what a policy's `validate_settings` gives.
///
/// ```
/// use wattle_policy::settings::{Setting, faults};
///
/// const SLOTS: Setting = Setting::number("slots", 2, 1..=9, "vehicles", "how many charge at once");
/// assert!(faults(&[SLOTS], r#"{"slots":3}"#).is_empty());
/// ```
pub fn faults(table: &[Setting], text: &str) -> Vec<String> {
    read(table, text).err().unwrap_or_default()
}

/// The JSON schema of a table of settings.
///
/// ```
/// use wattle_policy::settings;
///
/// assert_eq!(settings::schema(&[]), r#"{"type":"object","additionalProperties":false,"properties":{}}"#);
/// ```
pub fn schema(table: &[Setting]) -> String {
    let properties: Vec<_> = table.iter().map(Setting::schema).collect();
    format!(r#"{{"type":"object","additionalProperties":false,"properties":{{{}}}}}"#, properties.join(","))
}

/// The faults of `settings` for a policy that takes none: an empty text and an empty object are right.
///
/// ```
/// use wattle_policy::settings::none;
///
/// assert!(none("").is_empty() && none("{}").is_empty());
/// assert_eq!(none("[1]"), ["settings: `[1]` is not empty; this policy takes no settings"]);
/// ```
pub fn none(settings: &str) -> Vec<String> {
    let bare: String = settings.chars().filter(|c| !c.is_whitespace()).collect();
    if matches!(bare.as_str(), "" | "{}" | "null") {
        Vec::new()
    } else {
        vec![format!("settings: `{}` is not empty; this policy takes no settings", start(settings))]
    }
}

fn fault(table: &[Setting], member: &Member<'_>) -> Option<String> {
    match table.iter().find(|setting| setting.name == member.name) {
        Some(setting) => setting.fault(member),
        None => {
            let names: Vec<_> = table.iter().map(|setting| setting.name).collect();
            let (name, names) = (start(&member.name), names.join(", "));
            Some(format!("{name}: there is no such setting; there are {names}"))
        }
    }
}

fn values(table: &[Setting], members: &[Member<'_>]) -> Values {
    let mut values = Values { numbers: Vec::new(), choices: Vec::new() };
    for setting in table {
        let given = members.iter().find(|member| member.name == setting.name).map(|member| &member.value);
        match (&setting.kind, given) {
            (_, Some(Value::Number(number))) => values.numbers.push((setting.name, *number)),
            (Kind::Number { default, .. }, _) => values.numbers.push((setting.name, *default)),
            (Kind::Choice(options), given) => {
                let is_given = |option: &&&str| matches!(given, Some(Value::Text(text)) if text == **option);
                let option = options.iter().find(is_given).unwrap_or(&options[0]);
                values.choices.push((setting.name, *option));
            }
        }
    }
    values
}

fn start(text: &str) -> &str {
    &text[..text.floor_char_boundary(60)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Setting] = &[
        Setting::choice("mode", &["slots", "reserve"], "how"),
        Setting::number("slots", 2, 1..=1_000, "vehicles", "how many"),
    ];

    #[test]
    fn no_settings_are_an_empty_text_or_object() {
        for text in ["", " ", "{}", "{ \n }", "null"] {
            assert!(none(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn a_setting_is_a_fault_where_none_is_taken() {
        assert_eq!(
            none(r#"{"share":2}"#),
            [r#"settings: `{"share":2}` is not empty; this policy takes no settings"#]
        );
        assert_eq!(none(&"é".repeat(500)).len(), 1);
    }

    #[test]
    fn what_is_not_given_has_its_default() {
        for text in ["", " \n", "null", "{}"] {
            let values = read(TABLE, text).expect("right");
            assert_eq!((values.choice("mode"), values.number("slots")), ("slots", 2));
        }
        let values = read(TABLE, r#"{"slots":1000,"mode":"reserve"}"#).expect("right");
        assert_eq!((values.choice("mode"), values.number("slots")), ("reserve", 1_000));
    }

    #[test]
    fn each_fault_names_path_value_and_reason() {
        check("[]", &["settings: `[]`: `{` is expected at byte 0"]);
        check(r#"{"slots":1001}"#, &["slots: `1001` is not a whole number from 1 to 1000"]);
        check(r#"{"slots":"2"}"#, &[r#"slots: `"2"` is not a whole number from 1 to 1000"#]);
        check(r#"{"mode":"fifo"}"#, &[r#"mode: `"fifo"` is not one of "slots", "reserve""#]);
        check(
            r#"{"mode":1,"x":[1,2]}"#,
            &[
                r#"mode: `1` is not one of "slots", "reserve""#,
                "x: there is no such setting; there are mode, slots",
            ],
        );
        check(r#"{"slots":1,"slots":2}"#, &["slots: `2` is given twice"]);
    }

    #[test]
    fn faults_are_bounded_in_number_and_length() {
        let name = "é".repeat(1_000);
        let many: Vec<_> = (0..500).map(|n| format!("\"{n}{name}\":\"{name}\"")).collect();
        let faults = faults(TABLE, &format!("{{{}}}", many.join(",")));
        assert_eq!(faults.len(), MOST_FAULTS);
        assert!(faults.iter().all(|fault| fault.len() < 200), "{}", faults[0]);
    }

    #[test]
    fn the_schema_and_the_rows_say_what_is_allowed() {
        assert_eq!(
            schema(TABLE),
            r#"{"type":"object","additionalProperties":false,"properties":{"mode":{"enum":["slots","reserve"],"default":"slots","description":"how"},"slots":{"type":"integer","minimum":1,"maximum":1000,"default":2,"description":"how many"}}}"#
        );
        assert_eq!(TABLE[0].row(), "| `mode` | | `slots` | `slots`, `reserve` | how |");
        assert_eq!(TABLE[1].row(), "| `slots` | vehicles | 2 | 1 to 1000 | how many |");
    }

    fn check(text: &str, expected: &[&str]) {
        assert_eq!(faults(TABLE, text), expected, "{text}");
    }
}
