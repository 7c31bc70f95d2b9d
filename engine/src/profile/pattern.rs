//! Patterns that values must match: regular expressions, anchored at both ends.
//!
//! Each becomes a table with a row for every state (a deterministic automaton), so that matching takes one step an octet
//! whatever the pattern and the value. A search that follows the states of an expression side by side takes
//! thousands of steps an octet for patterns as short as `[ab]*[ab]{0,2000}x`. Patterns whose tables are large are refused when
//! the profile is read. They are over octets with ASCII classes: `\d` is 0 to 9 and no digit of another script.

use std::error::Error;

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson::{NFA, WhichCaptures};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};

use super::locate::{Checked, fault};

/// Characters of one pattern.
const PATTERN_CHARS_MAX: usize = 512;
/// Octets of the tables of all patterns of one profile. Patterns for names have 200 octets to 25 KiB each.
/// A step costs 2 ns in a table of 4 KiB and 15 ns in one of 128 KiB, which the processor's nearest cache does not hold
/// (measured), and a request makes up to 65,536 steps for its requested names alone. With this sum, the dearest that was
/// found takes 0.3 ms of the millisecond that a request may cost.
const TABLES_BYTES_MAX: usize = 256 * 1024;
/// The same for one lot, of which there may be 10,000. A lot has one pattern, and looks at one serial number a request.
const LOT_TABLES_BYTES_MAX: usize = 32 * 1024;
/// Octets that building one table may take besides the table. It bounds the time too, to tenths of a second: 40 ms were measured.
const BUILDING_BYTES_MAX: usize = 512 * 1024;
/// Octets of one expression's states before it becomes a table.
const STATES_BYTES_MAX: usize = 256 * 1024;

/// What the patterns of one file may take together.
#[derive(Debug)]
pub(crate) struct PatternTables {
    bytes_max: usize,
    bytes_left: usize,
}

impl Default for PatternTables {
    fn default() -> Self {
        Self::up_to(TABLES_BYTES_MAX)
    }
}

impl PatternTables {
    /// For the one pattern of a lot.
    pub(crate) fn of_lot() -> Self {
        Self::up_to(LOT_TABLES_BYTES_MAX)
    }

    fn up_to(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes_left: bytes_max,
        }
    }

    /// The pattern that stands under `key`.
    ///
    /// # Errors
    /// It is no regular expression, or its table is too large beside those before it.
    pub(crate) fn pattern(&mut self, key: &str, text: &str) -> Checked<Pattern> {
        if text.is_empty() || text.len() > PATTERN_CHARS_MAX {
            return fault(key, "a pattern has 1 to 512 characters");
        }
        // By itself first: "a)(b" is sound only inside the group.
        let states = states(text).and_then(|_| states(&format!(r"\A(?:{text})\z")));
        let table = states.and_then(|states| table(&states, self.bytes_left));
        match table {
            Ok(table) => {
                self.bytes_left = self.bytes_left.saturating_sub(table.memory_usage());
                Ok(Pattern {
                    text: text.to_owned(),
                    table: Box::new(table),
                })
            }
            Err(Unfit::Expression(why)) => {
                fault(key, format!("is not a regular expression: {why}"))
            }
            Err(Unfit::Size) => fault(
                key,
                format!(
                    "could cost too much to match: its table would have over {} KiB, of the {} KiB that this file's patterns have \
                     together; write + or * in place of large bounds such as {{1,200}} (values have bounds of their own), and avoid parts \
                     that can match the same text in many ways",
                    self.bytes_left / 1024,
                    self.bytes_max / 1024,
                ),
            ),
        }
    }
}

/// A checked pattern. It matches whole values only.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    text: String,
    table: Box<dense::DFA<Vec<u32>>>,
}

impl Pattern {
    pub(crate) fn matches(&self, value: &str) -> bool {
        let value = Input::new(value.as_bytes()).anchored(Anchored::Yes);
        // No table gives an error: they are built to start so, and without octets to stop at.
        matches!(self.table.try_search_fwd(&value), Ok(Some(_)))
    }

    /// As it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

/// Why a text makes no pattern.
enum Unfit {
    /// In the library's words.
    Expression(String),
    Size,
}

fn states(text: &str) -> Result<NFA, Unfit> {
    NFA::compiler()
        .configure(
            NFA::config()
                .utf8(false)
                .which_captures(WhichCaptures::None)
                .nfa_size_limit(Some(STATES_BYTES_MAX)),
        )
        .syntax(syntax::Config::new().unicode(false).utf8(false))
        .build(text)
        .map_err(|error| match error.size_limit() {
            Some(_) => Unfit::Size,
            None => Unfit::Expression(innermost(&error)),
        })
}

fn table(states: &NFA, bytes_max: usize) -> Result<dense::DFA<Vec<u32>>, Unfit> {
    dense::Builder::new()
        .configure(
            dense::Config::new()
                .start_kind(StartKind::Anchored)
                // Skipping ahead saves time on friendly values, and costs time on those that stop it at every other octet.
                .accelerate(false)
                .dfa_size_limit(Some(bytes_max))
                .determinize_size_limit(Some(BUILDING_BYTES_MAX)),
        )
        .build_from_nfa(states)
        .map_err(|error| match error.is_size_limit_exceeded() {
            true => Unfit::Size,
            false => Unfit::Expression(innermost(&error)),
        })
}

/// What is wrong, from the cause that knows it. The library shows the pattern with a marker under it; what is wrong stands last.
fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let text = cause.to_string();
    let line = text.lines().last().unwrap_or(&text).trim();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use regex::bytes::RegexBuilder;

    fn pattern(text: &str) -> Checked<Pattern> {
        PatternTables::default().pattern("k", text)
    }

    #[test]
    fn patterns_match_whole_values() {
        let pattern = pattern(r"SN\d{3}|X").unwrap();
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
            (r"\p{Greek}", "Unicode"),
            (r"(?u:\b)a", "Unicode"),
            ("[b-a]", "invalid character class range"),
        ] {
            let error = pattern(text).unwrap_err();
            assert!(error.problem.contains(why), "{text}: {}", error.problem);
            assert!(!error.problem.contains('\n'), "{}", error.problem);
        }
    }

    #[test]
    fn patterns_that_could_cost_too_much_are_refused() {
        for text in [
            // More states than an expression may have.
            r"(?:a{1000}){1000}",
            // A table that doubles with each octet that has to be remembered.
            r"[ab]*a[ab]{20}",
            r".*[0-9].{12}",
            // Few states of the table, but each is made of thousands.
            r"[ab]*[ab]{0,2000}x",
            r"(?:a|b|ab|ba|aab|abb|bab|..|a.|b.|.a|.b|a..|b..){1,80}",
            r"[A-Z0-9-]{1,32}-[A-Z0-9-]{1,32}",
        ] {
            let error = pattern(text).unwrap_err();
            assert!(
                error.problem.contains("over 256 KiB, of the 256 KiB"),
                "{text}: {}",
                error.problem
            );
        }
    }

    #[test]
    fn patterns_share_what_their_tables_may_take() {
        let mut tables = PatternTables::default();
        let taken = (0..100).take_while(|number| {
            let text = format!("[ab]*a[ab]{{10}}x{{{number}}}");
            tables.pattern("k", &text).is_ok()
        });
        // 1,024 sets of places where the last a's were, of 8 octets' width each and more.
        let taken = taken.count();
        assert!((1..=16).contains(&taken), "{taken}");
        assert!(tables.pattern("k", "SN[0-9]{6}").is_ok());
    }

    #[test]
    fn what_profiles_say_stays_far_below() {
        let usual = [
            r"SN\d{6}",
            r"[A-Z]{2}[0-9]{10}|[0-9]{15}|(?:ACME|BETA)-(?:R|S|T)[0-9]{2,8}",
            r"(?i)[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}",
            r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+plant\.example\.com",
            r"[A-Za-z0-9._-]{1,64}@(?:[a-z0-9-]{1,63}\.)+example",
            r"10\.(?:25[0-5]|2[0-4]\d|1?\d?\d)\.(?:25[0-5]|2[0-4]\d|1?\d?\d)\.\d{1,3}",
            r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            r"https://[a-z0-9.-]+/[A-Za-z0-9/._~-]*",
            r"opc\.tcp://[A-Za-z0-9.-]+:[0-9]{1,5}(?:/[A-Za-z0-9._/-]{0,64})?",
            r"ACME Matter DAC [0-9A-Z]{8} Mvid:FFF1 Mpid:80[0-9A-F]{2}",
        ];
        let mut tables = PatternTables::default();
        for text in usual {
            let before = tables.bytes_left;
            tables.pattern("k", text).unwrap();
            let taken = before - tables.bytes_left;
            assert!(taken < TABLES_BYTES_MAX / 8, "{text}: {taken}");
        }
        let taken = TABLES_BYTES_MAX - tables.bytes_left;
        assert!(taken < TABLES_BYTES_MAX / 3, "{taken}");
    }

    proptest! {
        #[test]
        fn no_pattern_panics(text in ".{0,40}", value in ".{0,40}") {
            if let Ok(pattern) = pattern(&text) {
                let _ = pattern.matches(&value);
            }
        }

        #[test]
        fn a_literal_matches_itself_alone(value in "[A-Za-z0-9_-]{1,30}", other in "[A-Za-z0-9_-]{1,30}") {
            let pattern = pattern(&value).unwrap();
            prop_assert!(pattern.matches(&value));
            prop_assert_eq!(pattern.matches(&other), value == other);
        }

        #[test]
        fn tables_match_what_expressions_match(text in EXPRESSION, values in proptest::collection::vec("[ab é\n-]{0,6}", 20)) {
            let whole = format!(r"\A(?:{text})\z");
            let expression = RegexBuilder::new(&whole).unicode(false).build();
            if let (Ok(expression), Ok(pattern)) = (expression, pattern(&text)) {
                for value in values {
                    prop_assert_eq!(pattern.matches(&value), expression.is_match(value.as_bytes()), "{} {:?}", text, value);
                }
            }
        }
    }

    /// Expressions, of which most are sound: pieces with repetitions, choices and places.
    const EXPRESSION: &str = r"((a|b|ab|\.|\[ab\]|\[\^a\]|\(a\|ab\)|\(\?i:B\|\)|\(b\*\?a\)|\(\?s:\.\)|\\b|\\B|\^|\$|\(\?m:\$\)|\\W)([*+?]|\{0,2\}|\{2\})?\|?){1,5}";
}
