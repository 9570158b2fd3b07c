//! Reads a flat JSON object, which is all that settings are: small, so that policies stay small.

/// A member of an object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Member<'a> {
    pub(crate) name: String,
    pub(crate) value: Value,
    /// The value as it stands in the text.
    pub(crate) written: &'a str,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Number(i64),
    Text(String),
    /// Anything else: a fraction, true, null, a list, an object.
    Other,
}

/// The members of the object that `text` is.
///
/// # Errors
/// What was expected, and at which byte.
pub(crate) fn object(text: &str) -> Result<Vec<Member<'_>>, String> {
    let mut reader = Reader { text, at: 0 };
    let mut members = Vec::new();
    reader.expect('{')?;
    if !reader.take('}') {
        loop {
            members.push(reader.member()?);
            if reader.take('}') {
                break;
            }
            reader.expect(',')?;
        }
    }
    reader.skip_space();
    if reader.rest().is_empty() { Ok(members) } else { Err(reader.fault("the end")) }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn take(&mut self, mark: char) -> bool {
        self.skip_space();
        let is_there = self.rest().starts_with(mark);
        self.at += if is_there { mark.len_utf8() } else { 0 };
        is_there
    }

    fn expect(&mut self, mark: char) -> Result<(), String> {
        if self.take(mark) { Ok(()) } else { Err(self.fault(&format!("`{mark}`"))) }
    }

    fn fault(&self, expected: &str) -> String {
        format!("{expected} is expected at byte {}", self.at)
    }

    fn member(&mut self) -> Result<Member<'a>, String> {
        self.skip_space();
        let name = self.string()?;
        self.expect(':')?;
        self.skip_space();
        let start = self.at;
        let value = self.value()?;
        Ok(Member { name, value, written: &self.text[start..self.at] })
    }

    fn value(&mut self) -> Result<Value, String> {
        match self.rest().chars().next() {
            Some('"') => Ok(Value::Text(self.string()?)),
            Some('{' | '[') => self.nested(),
            _ => {
                let rest = self.rest();
                let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.');
                let written = &rest[..rest.find(|c: char| !word(c)).unwrap_or(rest.len())];
                if written.is_empty() {
                    return Err(self.fault("a value"));
                }
                self.at += written.len();
                let number = written.parse().ok().filter(|_| !written.starts_with('+'));
                Ok(number.map_or(Value::Other, Value::Number))
            }
        }
    }

    /// Passes over a list or an object, to the bracket that closes it.
    fn nested(&mut self) -> Result<Value, String> {
        let mut depth = 0;
        while let Some(next) = self.rest().chars().next() {
            match next {
                '"' => {
                    self.string()?;
                    continue;
                }
                '{' | '[' => depth += 1,
                '}' | ']' => depth -= 1,
                _ => {}
            }
            self.at += next.len_utf8();
            if depth == 0 {
                return Ok(Value::Other);
            }
        }
        Err(self.fault("a closing bracket"))
    }

    fn string(&mut self) -> Result<String, String> {
        let Some(body) = self.rest().strip_prefix('"') else { return Err(self.fault("a text")) };
        let mut text = String::new();
        let mut chars = body.char_indices();
        while let Some((at, next)) = chars.next() {
            match next {
                '"' => {
                    self.at += at + 2;
                    return Ok(text);
                }
                '\\' => match chars.next().map(|(_, escaped)| escaped) {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some('b') => text.push('\u{8}'),
                    Some('f') => text.push('\u{c}'),
                    Some('u') => {
                        let code = chars.by_ref().take(4).try_fold(0, |code, (_, digit)| {
                            digit.to_digit(16).map(|digit| code * 16 + digit)
                        });
                        text.push(code.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                    Some(other) => text.push(other),
                    None => break,
                },
                other => text.push(other),
            }
        }
        Err(self.fault("a text that ends"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_with_what_stands_in_the_text() {
        let members = object(" {\"a\" : -12 ,\n\"b\\n\\u00e9\":\"x \\\"y\\\"\"} ").expect("an object");
        let [a, b] = members.as_slice() else { panic!("{members:?}") };
        assert_eq!((a.name.as_str(), &a.value, a.written), ("a", &Value::Number(-12), "-12"));
        assert_eq!((b.name.as_str(), &b.value), ("b\n\u{e9}", &Value::Text("x \"y\"".into())));
        assert_eq!(b.written, "\"x \\\"y\\\"\"");
        assert_eq!(object("{}"), Ok(vec![]));
    }

    #[test]
    fn what_is_neither_a_whole_number_nor_a_text_is_passed_over() {
        for other in
            ["1.5", "2.0", "1e3", "true", "null", "99999999999999999999", "[1,{\"]\":[\"}\"]}]", "{}"]
        {
            let text = format!("{{\"a\":{other},\"b\":1}}");
            let members = object(&text).unwrap_or_else(|fault| panic!("{other}: {fault}"));
            assert_eq!((&members[0].value, members[0].written), (&Value::Other, other));
            assert_eq!(members[1].value, Value::Number(1));
        }
    }

    #[test]
    fn what_is_no_object_is_a_fault_that_says_where() {
        check("", "`{` is expected at byte 0");
        check("[1]", "`{` is expected at byte 0");
        check("{\"a\":1", "`,` is expected at byte 6");
        check("{\"a\":1,}", "a text is expected at byte 7");
        check("{\"a\" 1}", "`:` is expected at byte 5");
        check("{\"a\":}", "a value is expected at byte 5");
        check("{\"a\":\"x}", "a text that ends is expected at byte 5");
        check("{\"a\":\"x\\", "a text that ends is expected at byte 5");
        check("{\"a\":[1}", "`,` is expected at byte 8");
        check("{\"a\":[1", "a closing bracket is expected at byte 7");
        check("{} x", "the end is expected at byte 3");
        check("{\u{e9}}", "a text is expected at byte 1");
    }

    fn check(text: &str, expected: &str) {
        assert_eq!(object(text).expect_err(text), expected, "{text}");
    }
}
