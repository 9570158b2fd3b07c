//! Checks for policies with few settings. One with more parses the JSON with a library of its choice.

/// The JSON schema of a policy that takes no settings.
pub const NONE_SCHEMA: &str = r#"{"type":"object","additionalProperties":false}"#;

/// The faults of `settings` for a policy that takes none: an empty text and an empty object are right.
pub fn none(settings: &str) -> Vec<String> {
    let bare: String = settings.chars().filter(|c| !c.is_whitespace()).collect();
    if matches!(bare.as_str(), "" | "{}" | "null") {
        Vec::new()
    } else {
        let start: String = settings.chars().take(60).collect();
        vec![format!("settings: `{start}` is not empty; this policy takes no settings")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
