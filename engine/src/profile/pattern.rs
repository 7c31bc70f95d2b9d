//! Patterns that values must match: regular expressions, anchored at both ends.
//!
//! The `regex` crate matches in time linear in the value and compiles into a bounded size, so that no pattern
//! and no request can make it slow. Patterns are over octets with ASCII classes: `\d` is 0 to 9 and no digit of
//! another script.

use regex::bytes::{Regex, RegexBuilder};

use super::locate::{Checked, fault};

/// Characters of one pattern.
const PATTERN_CHARS_MAX: usize = 512;
/// Octets of one compiled pattern. Patterns for names compile to under 20 kB.
const COMPILED_BYTES_MAX: usize = 256 * 1024;

/// A checked pattern. It matches whole values only.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    text: String,
    regex: Regex,
}

impl Pattern {
    pub(crate) fn new(key: &str, text: &str) -> Checked<Self> {
        if text.is_empty() || text.len() > PATTERN_CHARS_MAX {
            return fault(key, "a pattern has 1 to 512 characters");
        }
        // By itself first: "a)(b" is sound only inside the group.
        let compiled = compile(text).and_then(|_| compile(&format!(r"\A(?:{text})\z")));
        match compiled {
            Ok(regex) => Ok(Self {
                text: text.to_owned(),
                regex,
            }),
            Err(error) => fault(
                key,
                format!(
                    "is not a regular expression: {}",
                    last_line(&error.to_string())
                ),
            ),
        }
    }

    pub(crate) fn matches(&self, value: &str) -> bool {
        self.regex.is_match(value.as_bytes())
    }

    /// As it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

fn compile(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text)
        .unicode(false)
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(COMPILED_BYTES_MAX)
        .build()
}

/// The library shows the pattern with a marker under it; what is wrong stands last.
fn last_line(text: &str) -> &str {
    let line = text.lines().last().unwrap_or(text).trim();
    line.strip_prefix("error: ").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_match_whole_values() {
        let pattern = Pattern::new("k", r"SN\d{3}|X").unwrap();
        for (value, matches) in [
            ("SN123", true),
            ("X", true),
            ("SN1234", false),
            ("aSN123", false),
            ("SN12٣", false),
            ("X\n", false),
            ("", false),
        ] {
            assert_eq!(pattern.matches(value), matches, "{value:?}");
        }
    }

    #[test]
    fn bad_patterns_say_why() {
        for (text, why) in [
            ("", "1 to 512"),
            ("a)(b", "unopened group"),
            ("(", "unclosed group"),
            (r"(?:a{1000}){1000}", "size limit"),
            (r"\p{Greek}", "Unicode"),
        ] {
            let error = Pattern::new("k", text).unwrap_err();
            assert!(error.problem.contains(why), "{text}: {}", error.problem);
        }
    }

    proptest! {
        #[test]
        fn no_pattern_panics(text in ".{0,40}", value in ".{0,40}") {
            if let Ok(pattern) = Pattern::new("k", &text) {
                let _ = pattern.matches(&value);
            }
        }

        #[test]
        fn a_literal_matches_itself_alone(value in "[A-Za-z0-9_-]{1,30}", other in "[A-Za-z0-9_-]{1,30}") {
            let pattern = Pattern::new("k", &value).unwrap();
            prop_assert!(pattern.matches(&value));
            prop_assert_eq!(pattern.matches(&other), value == other);
        }
    }
}
