//! Colour for words that matter, where a person sees it: on a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`.

use std::io::{IsTerminal as _, stdout};

/// What a word is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// As it should be: green.
    Good,
    /// As it should not be: red.
    Bad,
    /// Worth a look: yellow.
    Odd,
}

impl Paint {
    /// The word for standard output.
    pub fn text(self, word: &str) -> String {
        if is_wanted() { self.painted(word) } else { word.to_owned() }
    }

    fn painted(self, word: &str) -> String {
        let colour = match self {
            Self::Good => 32,
            Self::Bad => 31,
            Self::Odd => 33,
        };
        format!("\x1b[{colour}m{word}\x1b[0m")
    }
}

fn is_wanted() -> bool {
    let is_set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    stdout().is_terminal() && is_set("NO_COLOR").is_none() && is_set("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_painted_word_ends_its_colour() {
        assert_eq!(Paint::Bad.painted("FAIL"), "\x1b[31mFAIL\x1b[0m");
        assert_eq!(Paint::Good.painted("ok"), "\x1b[32mok\x1b[0m");
        assert_eq!(Paint::Odd.painted("new"), "\x1b[33mnew\x1b[0m");
    }
}
