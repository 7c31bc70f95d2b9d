//! Where a key stands in a TOML text, so that an error can say which line to mend.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A key at fault, as a path such as `subject[1].value`, and what is wrong with it.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) key: String,
    pub(crate) problem: String,
}

/// What a check of one key gives.
pub(crate) type Checked<T> = Result<T, Fault>;

pub(crate) fn fault<T>(key: impl Into<String>, problem: impl Into<String>) -> Checked<T> {
    Err(Fault {
        key: key.into(),
        problem: problem.into(),
    })
}

/// The line, from 1, on which an octet of the text stands.
pub(crate) fn line_at(text: &str, offset: usize) -> usize {
    let before = &text.as_bytes()[..offset.min(text.len())];
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// The line on which a key stands; where it is not written, that of the table it belongs to, or line 1.
pub(crate) fn line_of(text: &str, key: &str) -> usize {
    let Ok(root) = DeTable::parse(text) else {
        return 1;
    };
    let mut offset = 0;
    let mut table = Some(root.get_ref());
    for part in key.split('.') {
        let (name, number) = split_number(part);
        let entry = table.and_then(|table| table.iter().find(|(key, _)| key.get_ref() == name));
        let Some((key, mut value)) = entry else {
            break;
        };
        offset = key.span().start;
        if let Some(number) = number {
            match value.get_ref().get(number) {
                Some(element) => {
                    value = element;
                    offset = value.span().start;
                }
                None => break,
            }
        }
        table = value.get_ref().as_table();
    }
    line_at(text, offset)
}

/// The path of the innermost key that an octet of the text belongs to.
pub(crate) fn key_at(text: &str, offset: usize) -> Option<String> {
    let root = DeTable::parse(text).ok()?;
    let mut path = String::new();
    descend(root.get_ref(), offset, &mut path);
    (!path.is_empty()).then_some(path)
}

/// The line of a TOML error, and what it says in one line, with the key where that is known.
pub(crate) fn syntax(text: &str, error: &toml::de::Error) -> (usize, String) {
    let offset = error.span().map_or(0, |span| span.start);
    let message = error.message().replace('\n', " ");
    let problem = match key_at(text, offset) {
        Some(key) => format!("{key}: {message}"),
        None => message,
    };
    (line_at(text, offset), problem)
}

/// `subject[1]` as its name and number.
fn split_number(part: &str) -> (&str, Option<usize>) {
    match part.strip_suffix(']').and_then(|part| part.split_once('[')) {
        Some((name, number)) => (name, number.parse().ok()),
        None => (part, None),
    }
}

fn descend(table: &DeTable<'_>, offset: usize, path: &mut String) {
    for (key, value) in table {
        if !(key.span().contains(&offset) || holds(value, offset)) {
            continue;
        }
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(key.get_ref());
        return descend_value(value.get_ref(), offset, path);
    }
}

fn descend_value(value: &DeValue<'_>, offset: usize, path: &mut String) {
    match value {
        DeValue::Table(table) => descend(table, offset, path),
        DeValue::Array(elements) => {
            if let Some(number) = elements.iter().position(|element| holds(element, offset)) {
                path.push_str(&format!("[{number}]"));
                descend_value(elements[number].get_ref(), offset, path);
            }
        }
        _ => {}
    }
}

/// Whether a value, or one inside it, stands at `offset`. A table's own span is only its header.
fn holds(value: &Spanned<DeValue<'_>>, offset: usize) -> bool {
    value.span().contains(&offset)
        || match value.get_ref() {
            DeValue::Table(table) => table
                .iter()
                .any(|(key, value)| key.span().contains(&offset) || holds(value, offset)),
            DeValue::Array(elements) => elements.iter().any(|element| holds(element, offset)),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name = \"x\"\n[[subject]]\ntype = \"CN\"\nvalue = \"a\"\n\n[[subject]]\n\
                        value = \"b\"\n[key]\nalgorithms = [\n  \"p256\",\n]\n";

    #[test]
    fn keys_have_lines() {
        for (key, line) in [
            ("name", 1),
            ("subject[0].value", 4),
            ("subject[1].value", 7),
            ("subject[1].type", 6),
            ("key", 8),
            ("key.algorithms", 9),
            ("key.algorithms[0]", 10),
            ("validity", 1),
        ] {
            assert_eq!(line_of(TEXT, key), line, "{key}");
        }
        assert_eq!(line_of("no toml", "name"), 1);
    }

    #[test]
    fn places_have_keys() {
        for (word, key) in [
            ("\"x\"", "name"),
            ("\"b\"", "subject[1].value"),
            ("\"p256\"", "key.algorithms[0]"),
            ("algorithms", "key.algorithms"),
        ] {
            let offset = TEXT.find(word).unwrap();
            assert_eq!(key_at(TEXT, offset).as_deref(), Some(key));
        }
    }
}
