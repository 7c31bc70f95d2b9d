//! The serial numbers of devices that a profile hands out: a range, or a list in a file.

use std::collections::HashSet;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::alt_names::AltName;
use super::locate::{Checked, fault};
use super::names::SubjectAttribute;
use super::raw::RawSerial;
use crate::name::AttributeType;
use crate::template::Fields;

/// Serial numbers in one profile: more than any line makes of one product.
const SERIALS_MAX: u64 = 1_000_000_000;
/// Entries of a list, which is held in memory.
const LIST_ENTRIES_MAX: usize = 10_000_000;
/// Octets of a list: [`LIST_ENTRIES_MAX`] of 25.
const LIST_BYTES_MAX: u64 = 256 << 20;

/// Serial numbers in the order in which they are handed out.
#[derive(Debug, Clone)]
pub(crate) enum Serials {
    /// `SN000001` to `SN999999`.
    Range {
        prefix: String,
        from: u64,
        /// Digits, with leading zeros.
        digits: usize,
        count: u64,
    },
    List(Arc<SerialList>),
}

/// The lines of a file.
#[derive(Debug)]
pub(crate) struct SerialList {
    serials: Vec<String>,
    /// In small letters: identities are compared without case.
    folded: HashSet<String>,
}

impl Serials {
    pub(crate) fn count(&self) -> u64 {
        match self {
            Self::Range { count, .. } => *count,
            Self::List(list) => list.serials.len() as u64,
        }
    }

    /// The serial number in a place from 0 to below [`Serials::count`].
    pub(crate) fn text(&self, number: u64) -> String {
        match self {
            Self::Range {
                prefix,
                from,
                digits,
                ..
            } => format!("{prefix}{:0digits$}", from + number),
            Self::List(list) => {
                let place = usize::try_from(number).unwrap_or(usize::MAX);
                list.serials.get(place).cloned().unwrap_or_default()
            }
        }
    }

    /// A serial number that `other` has too, if there is one. Without regard to case, as identities are compared.
    pub(crate) fn shared_with(&self, other: &Self) -> Option<String> {
        match (self, other) {
            (Self::List(list), ranged @ Self::Range { .. })
            | (ranged @ Self::Range { .. }, Self::List(list)) => {
                let ranged = ranged.folded();
                let mut serials = list.serials.iter();
                let shared = serials.find(|serial| ranged.contains(&serial.to_ascii_lowercase()));
                shared.cloned()
            }
            (Self::List(list), Self::List(_)) => list
                .serials
                .iter()
                .find(|serial| other.contains(serial))
                .cloned(),
            (Self::Range { .. }, Self::Range { .. }) => {
                // Two ranges that meet have the first number of one of them in common.
                let (one, other) = (self.folded(), other.folded());
                match (other.contains(&one.text(0)), one.contains(&other.text(0))) {
                    (true, _) => Some(self.text(0)),
                    (false, true) => Some(other.text(0)),
                    (false, false) => None,
                }
            }
        }
    }

    /// A range with its prefix in small letters.
    fn folded(&self) -> Self {
        let mut folded = self.clone();
        if let Self::Range { prefix, .. } = &mut folded {
            prefix.make_ascii_lowercase();
        }
        folded
    }

    /// Whether a serial number that a request brings is one of these.
    pub(crate) fn contains(&self, serial: &str) -> bool {
        match self {
            Self::Range {
                prefix,
                from,
                digits,
                count,
            } => {
                let Some(number) = serial.strip_prefix(prefix.as_str()) else {
                    return false;
                };
                let number = (number.len() == *digits && is_digits(number))
                    .then(|| number.parse::<u64>().ok())
                    .flatten();
                number.is_some_and(|number| number >= *from && number - from < *count)
            }
            Self::List(list) => list.folded.contains(&serial.to_ascii_lowercase()),
        }
    }
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `folder` is where the profile's file lies.
pub(crate) fn check_serials(raw: &RawSerial, folder: &Path) -> Checked<Serials> {
    match (&raw.from, &raw.to, &raw.list) {
        (Some(from), Some(to), None) => range(from, to),
        (None, None, Some(list)) => read_list(&folder.join(list)),
        _ => fault("serial", "needs from and to, or list"),
    }
}

fn range(from: &str, to: &str) -> Checked<Serials> {
    let prefix_of = |text: &str| {
        text.trim_end_matches(|last: char| last.is_ascii_digit())
            .len()
    };
    let (prefix, first) = from.split_at(prefix_of(from));
    let (other, last) = to.split_at(prefix_of(to));
    check_serial("serial.from", from)?;
    if prefix != other || first.len() != last.len() {
        return fault(
            "serial.to",
            "differs from serial.from in more than the digits at its end, or has another number of them",
        );
    }
    // 19 digits fit into 64 bits.
    let numbers = match (first.len(), first.parse::<u64>(), last.parse::<u64>()) {
        (1..=19, Ok(first), Ok(last)) => Some((first, last)),
        _ => None,
    };
    let Some((first_number, last_number)) = numbers else {
        return fault("serial.from", "does not end in 1 to 19 digits");
    };
    match last_number.checked_sub(first_number) {
        Some(more @ 0..SERIALS_MAX) => Ok(Serials::Range {
            prefix: prefix.to_owned(),
            from: first_number,
            digits: first.len(),
            count: more + 1,
        }),
        Some(_) => fault(
            "serial.to",
            "makes a range of over 1,000,000,000 serial numbers",
        ),
        None => fault("serial.to", "is before serial.from"),
    }
}

fn read_list(path: &Path) -> Checked<Serials> {
    let key = "serial.list";
    // What a pipe or a device holds shows only as it is read.
    let mut text = String::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(LIST_BYTES_MAX + 1).read_to_string(&mut text));
    if let Err(error) = read {
        return fault(key, format!("cannot be read: {}: {error}", path.display()));
    }
    if text.len() as u64 > LIST_BYTES_MAX {
        return fault(key, "is a file of over 256 MiB");
    }
    let mut list = SerialList {
        serials: Vec::new(),
        folded: HashSet::new(),
    };
    for (number, line) in text.lines().enumerate() {
        let serial = line.trim();
        if serial.is_empty() {
            continue;
        }
        let wrong = |problem: &str| {
            fault(
                key,
                format!("{}, line {}: {problem}", path.display(), number + 1),
            )
        };
        if let Err(error) = check_serial(key, serial) {
            return wrong(&error.problem);
        }
        if !list.folded.insert(serial.to_ascii_lowercase()) {
            return wrong("stands twice");
        }
        if list.serials.len() == LIST_ENTRIES_MAX {
            return wrong("is over the limit of 10,000,000 serial numbers");
        }
        list.serials.push(serial.to_owned());
    }
    if list.serials.is_empty() {
        return fault(key, "holds no serial number");
    }
    Ok(Serials::List(Arc::new(list)))
}

/// A serial number must do as a serialNumber attribute and as an identity.
fn check_serial(key: &str, serial: &str) -> Checked<()> {
    let attribute = AttributeType::by_name("serialNumber");
    let problem = match attribute.map(|attribute| attribute.check(serial)) {
        Some(Err(problem)) => problem,
        _ if serial.contains("  ") => "an identity has no spaces in a row",
        _ if serial.trim() != serial => "an identity has no spaces at its ends",
        _ => return Ok(()),
    };
    fault(key, problem)
}

/// Every number of a list, and the first and last of a range, must do in the names that are made of a number alone:
/// one that does not would refuse the devices to which it is handed out.
pub(super) fn check_names_of(
    serials: Option<&Serials>,
    fields: &Fields,
    subject: &[SubjectAttribute],
    alt_names: &[AltName],
) -> Checked<()> {
    let Some(serials) = serials else {
        return Ok(());
    };
    let subject: Vec<_> = subject
        .iter()
        .filter(|entry| fields.takes_serial_alone(&entry.value))
        .collect();
    let alt_names: Vec<_> = alt_names
        .iter()
        .filter(|name| fields.takes_serial_alone(&name.value))
        .collect();
    let last = serials.count().saturating_sub(1);
    let (key, step) = match serials {
        Serials::Range { .. } => ("serial.from", last.max(1)),
        Serials::List(_) => ("serial.list", 1),
    };
    let mut text = String::new();
    let mut number = 0;
    while number <= last {
        let serial = serials.text(number);
        let values = fields.only_serial(&serial);
        let wrong =
            |name: &str, problem: &str| fault(key, format!("{serial} in {name}: {problem}"));
        for entry in &subject {
            entry.value.render(&values, &mut text);
            if let Err(problem) = entry.check(&text) {
                return wrong(&format!("subject {}", entry.name()), problem);
            }
        }
        for name in &alt_names {
            name.value.render(&values, &mut text);
            if let Err(problem) = name.check(&text) {
                return wrong(&format!("subject_alt_name {}", name.form.label()), problem);
            }
        }
        number += step;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn raw(from: &str, to: &str) -> RawSerial {
        RawSerial {
            from: Some(from.to_owned()),
            to: Some(to.to_owned()),
            list: None,
        }
    }

    #[test]
    fn ranges_and_their_faults() {
        let serials = check_serials(&raw("SN1-098", "SN1-101"), Path::new("")).unwrap();
        let all: Vec<String> = (0..serials.count()).map(|n| serials.text(n)).collect();
        assert_eq!(all, ["SN1-098", "SN1-099", "SN1-100", "SN1-101"]);
        for outside in [
            "SN1-097", "SN1-102", "SN1-99", "SN1-0099", "SN1-+99", "SN2-099", "",
        ] {
            assert!(!serials.contains(outside), "{outside}");
        }
        for (from, to, key) in [
            ("SN1", "SN10", "serial.to"),
            ("SN2", "SN1", "serial.to"),
            ("A1", "B2", "serial.to"),
            ("SN", "SN", "serial.from"),
            ("S*1", "S*2", "serial.from"),
            ("1", "18446744073709551616", "serial.to"),
            (
                "00000000000000000001",
                "00000000000000000002",
                "serial.from",
            ),
            ("0000000000", "9999999999", "serial.to"),
        ] {
            let error = check_serials(&raw(from, to), Path::new("")).unwrap_err();
            assert_eq!(error.key, key, "{from} {to}: {}", error.problem);
        }
    }

    #[test]
    fn lists_and_their_faults() {
        let folder = tempfile::tempdir().unwrap();
        let list = |text: &str| {
            std::fs::write(folder.path().join("list"), text).unwrap();
            let raw = RawSerial {
                from: None,
                to: None,
                list: Some("list".into()),
            };
            check_serials(&raw, folder.path()).map_err(|error| error.problem)
        };
        let serials = list("b-2\r\n\n a-1 \nc").unwrap();
        let all: Vec<String> = (0..serials.count()).map(|n| serials.text(n)).collect();
        assert_eq!(all, ["b-2", "a-1", "c"]);
        assert!(serials.contains("A-1") && !serials.contains("d"));
        for (text, problem) in [
            ("", "holds no serial"),
            ("a\nA\n", "line 2: stands twice"),
            ("a\nb@\n", "line 2: the value holds a character"),
            ("a  b\n", "line 1: an identity"),
        ] {
            let error = list(text).unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
    }

    /// A number that no certificate can hold is found before it is handed out.
    #[test]
    fn numbers_that_do_not_do_in_a_name_are_faults() {
        let folder = tempfile::tempdir().unwrap();
        let load = |pattern: &str, serial: &str| {
            let text = crate::profile::IDEVID_TOML
                .replace("{csr.subject.serialNumber}", "{serial}")
                .replace(
                    "[hardware_module_name]",
                    &format!("{pattern}\n[hardware_module_name]"),
                );
            let text = format!("identity_domain = \"d\"\n{text}\n[serial]\n{serial}\n");
            let loaded = crate::profile::Profile::parse(&text, &folder.path().join("p.toml"));
            loaded.map(drop).map_err(|error| error.to_string())
        };
        let names = "[[subject_alt_name]]\ntype = \"dns\"\nvalue = \"{serial}.lan\"";
        let range = "from = \"S1\"\nto = \"S3\"";
        assert_eq!(load(names, range), Ok(()));
        let patterned = format!("{names}\npattern = 'S[12]\\.lan'");
        let error = load(&patterned, range).unwrap_err();
        assert!(
            error.contains("serial.from: S3 in subject_alt_name dns"),
            "{error}"
        );
        std::fs::write(folder.path().join("list"), "s1\ns 2\ns3\n").unwrap();
        let error = load(names, "list = \"list\"").unwrap_err();
        assert!(
            error.contains("serial.list: s 2 in subject_alt_name dns"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn a_range_holds_just_what_it_hands_out(
            prefix in "[A-Z]{0,3}-?", from in 0u64..5_000, more in 0u64..500, other in "[A-Z]{0,3}-?[0-9]{1,5}",
        ) {
            let (first, last) = (format!("{prefix}{from:05}"), format!("{prefix}{:05}", from + more));
            let serials = check_serials(&raw(&first, &last), Path::new("")).unwrap();
            let all: Vec<String> = (0..serials.count()).map(|n| serials.text(n)).collect();
            prop_assert!(all.iter().all(|serial| serials.contains(serial)));
            prop_assert_eq!(serials.contains(&other), all.contains(&other));
            prop_assert_eq!((&all[0], &all[all.len() - 1]), (&first, &last));
        }
    }
}
