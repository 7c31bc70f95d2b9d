//! What profiles let into certificates, the linter takes: one set of bounds on both sides of the signature.

use std::path::Path;

use proptest::prelude::*;

use super::parts::*;
use super::{Options, Severity, lint};
use crate::der::writer::Writer;
use crate::name::{ATTRIBUTE_TYPES, AttributeType};
use crate::oid;
use crate::profile::{AltNameForm, Profile};

/// The errors in a certificate, by their identifiers.
fn errors(parts: &Parts) -> Vec<&'static str> {
    let findings = lint(&parts.der(), &Options::default());
    let errors = findings
        .iter()
        .filter(|f| f.rule.severity == Severity::Error);
    errors.map(|finding| finding.rule.id).collect()
}

fn errors_of_attribute(known: &AttributeType, text: &str) -> Vec<&'static str> {
    let mut parts = Parts::end_entity();
    let value = attribute(known.oid, known.string_tag(), text.as_bytes());
    parts.subject = name(&[value]);
    errors(&parts)
}

fn errors_of_name(form: &AltNameForm, text: &str) -> Vec<&'static str> {
    let mut names = Vec::new();
    form.encode(text, &mut Writer::new(&mut names));
    let mut parts = Parts::end_entity();
    parts.set(oid::SUBJECT_ALT_NAME, seq(&[names]));
    errors(&parts)
}

#[test]
fn the_longest_values_of_every_attribute_pass() {
    for known in ATTRIBUTE_TYPES {
        for letter in ["A", "\u{e4}", "\u{1f511}"] {
            let longest = letter.repeat(known.max);
            if known.check(&longest).is_ok() {
                assert_eq!(
                    errors_of_attribute(known, &longest),
                    [""; 0],
                    "{}",
                    known.name
                );
            }
        }
    }
}

#[test]
fn attributes_by_their_identifiers_have_the_same_bounds() {
    let parse = |string: &str, value: &str| {
        let text = format!(
            "name = \"c\"\nbase = \"custom\"\nidentity = \"{{csr.key.id}}\"\n[[subject]]\noid = \"2.5.4.17\"\n\
             string = \"{string}\"\nvalue = \"{value}\"\n[validity]\ndays = 8\n\
             [key]\nalgorithms = [\"p256\"]\n[extensions]\nkey_usage = [\"digitalSignature\"]\n"
        );
        Profile::parse(&text, Path::new("x.toml")).map_err(|error| error.to_string())
    };
    assert!(parse("utf8", &"1".repeat(40)).is_ok());
    let long = parse("utf8", &"1".repeat(41)).unwrap_err();
    assert!(long.contains("longer than X.520 allows"), "{long}");
    let string = parse("ia5", "1").unwrap_err();
    assert!(string.contains("string type"), "{string}");
}

proptest! {
    #[test]
    fn general_names_that_profiles_take_pass(
        text in prop_oneof![
            "[a-z+.]{1,4}:(//)?[a-z0-9_.@:%/?#-]{0,16}",
            "[a-z.\"+_]{1,6}@[a-z0-9.-]{1,8}",
            "[a-z0-9.*_-]{1,16}",
            "[0-9]\\.[0-9]{1,2}(\\.[0-9]{1,12}){0,4}",
            "[ -~]{1,24}",
        ],
    ) {
        let forms = [
            AltNameForm::HardwareModuleName { hardware_type: PRIVATE.to_vec() },
            AltNameForm::PermanentIdentifier { assigner: Some(PRIVATE.to_vec()) },
            AltNameForm::Uri,
            AltNameForm::Dns,
            AltNameForm::Ip,
            AltNameForm::Email,
            AltNameForm::RegisteredId,
        ];
        for form in forms.iter().filter(|form| form.check(&text).is_ok()) {
            prop_assert_eq!(errors_of_name(form, &text), [""; 0], "{:?}", form);
        }
    }

    #[test]
    fn attributes_that_profiles_take_pass(text in "\\PC{1,70}") {
        for known in ATTRIBUTE_TYPES.iter().filter(|known| known.check(&text).is_ok()) {
            prop_assert_eq!(errors_of_attribute(known, &text), [""; 0], "{}", known.name);
        }
    }
}
