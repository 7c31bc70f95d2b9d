//! The names of a profile's certificates: subject attributes and general names, and where their values come
//! from.

use super::alt_names::{AltName, AltNameForm, registered_id};
use super::locate::{Checked, Fault, fault};
use super::pattern::{Pattern, PatternTables};
use super::raw::{AltNameType, RawAltName, RawHardwareModuleName, RawProfile, RawSubjectAttribute};
use crate::der::tag;
use crate::der::writer::Writer;
use crate::lint::name::chars_max;
use crate::name::{AttributeType, StringType};
use crate::oid;
use crate::template::{Fields, Template};

/// Attributes in a subject. Device names have one to six.
const SUBJECT_ATTRIBUTES_MAX: usize = 16;
/// Entries of a subject alternative name. Devices have one to three.
const ALT_NAMES_MAX: usize = 16;
/// Characters of an attribute whose type the profile gives as an identifier.
const CUSTOM_CHARS_MAX: usize = 255;
/// One subject attribute and where its value comes from.
#[derive(Debug, Clone)]
pub(crate) struct SubjectAttribute {
    kind: AttributeKind,
    oid: Vec<u8>,
    pub(crate) value: Template,
    pub(crate) pattern: Option<Pattern>,
    form: ValueForm,
    /// The RDN, DER, where the value is the same in all certificates.
    pub(crate) encoded: Option<Vec<u8>>,
}

#[derive(Debug, Clone)]
enum AttributeKind {
    Known(&'static AttributeType),
    /// Its identifier in dotted form, and the characters that it has at most.
    Custom(String, StringType, usize),
}

/// What a value must look like besides its attribute's own rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueForm {
    Any,
    /// The registration id of device clouds.
    RegistrationId,
    /// `Mvid:XXXX` inside the CN, and `Mpid:XXXX` too, which may be left out unless `product`.
    MatterIds {
        product: bool,
    },
}

impl SubjectAttribute {
    /// Content octets of the type's identifier.
    pub(crate) fn oid(&self) -> &[u8] {
        &self.oid
    }

    /// Short name or dotted identifier.
    pub(crate) fn name(&self) -> &str {
        match &self.kind {
            AttributeKind::Known(known) => known.name,
            AttributeKind::Custom(dotted, ..) => dotted,
        }
    }

    /// Whether `value` may stand here.
    pub(crate) fn check(&self, value: &str) -> Result<(), &'static str> {
        match &self.kind {
            AttributeKind::Known(known) => known.check(value)?,
            AttributeKind::Custom(_, string, max) => string.check(value, *max)?,
        }
        match self.form {
            ValueForm::Any => {}
            ValueForm::RegistrationId => check_registration_id(value)?,
            ValueForm::MatterIds { product } => check_matter_ids(value, product)?,
        }
        match &self.pattern {
            Some(pattern) if !pattern.matches(value) => Err(NOT_THE_PATTERN),
            _ => Ok(()),
        }
    }

    /// `RelativeDistinguishedName ::= SET SIZE (1) OF AttributeTypeAndValue`, RFC 5280 §4.1.2.4.
    pub(crate) fn encode(&self, value: &str, name: &mut Writer<'_>) {
        let string_tag = match &self.kind {
            AttributeKind::Known(known) => known.string_tag(),
            AttributeKind::Custom(_, string, _) => string.tag(),
        };
        name.nested(tag::SET, |rdn| {
            rdn.nested(tag::SEQUENCE, |pair| {
                pair.primitive(tag::OID, &self.oid);
                pair.primitive(string_tag, value.as_bytes());
            });
        });
    }
}

/// What a value that a pattern refuses is told.
pub(crate) const NOT_THE_PATTERN: &str = "the value does not match the profile's pattern";

/// A registration id: letters, digits, `.`, `_` and `-`, as device clouds take it.
fn check_registration_id(text: &str) -> Result<(), &'static str> {
    if text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    {
        Ok(())
    } else {
        Err("a registration id holds only letters, digits, '.', '_' and '-'")
    }
}

/// Matter 1.x §6.2.2.2: the marks stand once each, followed by four upper-case hexadecimal digits. Where the product
/// may be left out its mark may be, but one that stands there is held to the same: the check before release
/// ([`crate::lint`]) would refuse the certificate.
fn check_matter_ids(text: &str, product: bool) -> Result<(), &'static str> {
    let holds = |mark: &str| {
        let mut parts = text.split(mark);
        parts.next();
        let (id, more) = (parts.next(), parts.next());
        let hex = |byte: &u8| b"0123456789ABCDEF".contains(byte);
        let id = id.and_then(|rest| rest.as_bytes().get(..4));
        more.is_none() && id.is_some_and(|id| id.iter().all(hex))
    };
    let product_left_out = !product && !text.contains("Mpid:");
    if !holds("Mvid:") {
        Err(
            "the CN must hold Mvid: once, with four upper-case hexadecimal digits (Matter §6.2.2.2)",
        )
    } else if !(product_left_out || holds("Mpid:")) {
        Err(
            "the CN must hold Mpid: once, with four upper-case hexadecimal digits (Matter §6.2.2.2)",
        )
    } else {
        Ok(())
    }
}

/// What the names of a profile are read with.
pub(super) struct NameReader<'a> {
    pub(super) fields: &'a mut Fields,
    pub(super) warnings: &'a mut Vec<String>,
    pub(super) patterns: &'a mut PatternTables,
}

impl NameReader<'_> {
    pub(super) fn template(&mut self, key: &str, text: &str) -> Checked<Template> {
        self.fields
            .template(text)
            .or_else(|error| fault(key, error.to_string()))
    }

    fn pattern(&mut self, key: &str, written: Option<&str>) -> Checked<Option<Pattern>> {
        written
            .map(|text| self.patterns.pattern(key, text))
            .transpose()
    }

    /// `forms` gives what an attribute's value must look like, by its name.
    pub(super) fn subject(
        &mut self,
        raw: &RawProfile,
        forms: impl Fn(&str) -> ValueForm,
    ) -> Checked<Vec<SubjectAttribute>> {
        if raw.subject.len() > SUBJECT_ATTRIBUTES_MAX {
            return fault("subject", "has more than 16 attributes");
        }
        let mut subject = Vec::with_capacity(raw.subject.len());
        for (number, entry) in raw.subject.iter().enumerate() {
            let key = |name: &str| format!("subject[{number}].{name}");
            let (kind, oid) = attribute_kind(entry, &key)?;
            let mut attribute = SubjectAttribute {
                kind,
                oid,
                value: self.template(&key("value"), &entry.value)?,
                pattern: self.pattern(&key("pattern"), entry.pattern.as_deref())?,
                form: ValueForm::Any,
                encoded: None,
            };
            attribute.form = forms(attribute.name());
            if let Some(constant) = attribute.value.constant() {
                at(&key("value"), attribute.check(constant))?;
                let mut encoded = Vec::new();
                attribute.encode(constant, &mut Writer::new(&mut encoded));
                attribute.encoded = Some(encoded);
            }
            subject.push(attribute);
        }
        Ok(subject)
    }

    pub(super) fn alt_names(&mut self, raw: &RawProfile) -> Checked<Vec<AltName>> {
        if raw.subject_alt_name.len() > ALT_NAMES_MAX {
            return fault("subject_alt_name", "has more than 16 entries");
        }
        let mut names = Vec::new();
        if let Some(module) = &raw.hardware_module_name {
            names.push(self.hardware_module_name(module)?);
        }
        for (number, entry) in raw.subject_alt_name.iter().enumerate() {
            let prefix = format!("subject_alt_name[{number}]");
            let form = self.alt_name_form(entry, &prefix)?;
            names.push(self.alt_name(
                form,
                (&format!("{prefix}.value"), &entry.value),
                (&format!("{prefix}.pattern"), entry.pattern.as_deref()),
            )?);
        }
        Ok(names)
    }

    fn hardware_module_name(&mut self, raw: &RawHardwareModuleName) -> Checked<AltName> {
        let hardware_type = self.hardware_type("hardware_module_name.type", &raw.r#type)?;
        self.alt_name(
            AltNameForm::HardwareModuleName { hardware_type },
            ("hardware_module_name.serial", &raw.serial),
            ("hardware_module_name.pattern", raw.pattern.as_deref()),
        )
    }

    fn alt_name_form(&mut self, raw: &RawAltName, prefix: &str) -> Checked<AltNameForm> {
        let type_key = format!("{prefix}.hardware_type");
        let assigner_key = format!("{prefix}.assigner");
        if raw.hardware_type.is_some() && raw.r#type != AltNameType::HardwareModuleName {
            return fault(type_key, "goes with type = \"hardware_module_name\"");
        }
        if raw.assigner.is_some() && raw.r#type != AltNameType::PermanentIdentifier {
            return fault(assigner_key, "goes with type = \"permanent_identifier\"");
        }
        Ok(match raw.r#type {
            AltNameType::HardwareModuleName => {
                let written = raw.hardware_type.as_deref().unwrap_or_default();
                AltNameForm::HardwareModuleName {
                    hardware_type: self.hardware_type(&type_key, written)?,
                }
            }
            AltNameType::PermanentIdentifier => AltNameForm::PermanentIdentifier {
                assigner: match &raw.assigner {
                    None => None,
                    Some(dotted) => Some(at(&assigner_key, registered_id(dotted))?),
                },
            },
            AltNameType::Uri => AltNameForm::Uri,
            AltNameType::Dns => AltNameForm::Dns,
            AltNameType::Ip => AltNameForm::Ip,
            AltNameType::Email => AltNameForm::Email,
            AltNameType::RegisteredId => AltNameForm::RegisteredId,
        })
    }

    fn alt_name(
        &mut self,
        form: AltNameForm,
        (value_key, value): (&str, &str),
        (pattern_key, written): (&str, Option<&str>),
    ) -> Checked<AltName> {
        let mut name = AltName {
            form,
            value: self.template(value_key, value)?,
            pattern: self.pattern(pattern_key, written)?,
            encoded: None,
        };
        if let Some(constant) = name.value.constant() {
            at(value_key, name.check(constant))?;
            let mut encoded = Vec::new();
            name.form.encode(constant, &mut Writer::new(&mut encoded));
            name.encoded = Some(encoded);
        }
        Ok(name)
    }

    fn hardware_type(&mut self, key: &str, dotted: &str) -> Checked<Vec<u8>> {
        let Some(hardware_type) = oid::from_dotted(dotted) else {
            return fault(key, "is not an object identifier in dotted form");
        };
        if dotted.starts_with("1.3.6.1.4.1.32473.") {
            self.warnings.push(format!(
                "{key} {dotted} is from the documentation arc (RFC 5612): set the maker's own"
            ));
        }
        Ok(hardware_type)
    }
}

fn attribute_kind(
    raw: &RawSubjectAttribute,
    key: &impl Fn(&str) -> String,
) -> Checked<(AttributeKind, Vec<u8>)> {
    match (&raw.r#type, &raw.oid, raw.string.as_deref()) {
        (Some(name), None, None) => match AttributeType::by_name(name) {
            Some(known) => Ok((AttributeKind::Known(known), known.oid.to_vec())),
            None => fault(
                key("type"),
                format!(
                    "{name:?} is not a known attribute type; use {}, or oid and string",
                    AttributeType::names()
                ),
            ),
        },
        (Some(_), None, Some(_)) => fault(key("string"), "goes with oid; a type has its own"),
        (None, Some(dotted), string) => {
            let Some(oid) = oid::from_dotted(dotted) else {
                return fault(key("oid"), "is not an object identifier in dotted form");
            };
            if let Some(known) = AttributeType::by_oid(&oid) {
                return fault(key("oid"), format!("write type = \"{}\"", known.name));
            }
            let string = match string {
                Some("utf8") => StringType::Utf8,
                Some("printable") => StringType::Printable,
                Some("ia5") => StringType::Ia5,
                _ => {
                    return fault(
                        key("string"),
                        "an attribute given by its oid needs string = \"utf8\", \"printable\" or \"ia5\"",
                    );
                }
            };
            let Some(max) = chars_max(&oid, string.tag()) else {
                return fault(
                    key("string"),
                    "is not the string type of this attribute (RFC 5280 appendix A.1); try \"utf8\"",
                );
            };
            let max = max.min(CUSTOM_CHARS_MAX);
            Ok((AttributeKind::Custom(dotted.clone(), string, max), oid))
        }
        _ => fault(key("type"), "an attribute has either a type or an oid"),
    }
}

/// Puts a key before what is wrong with its value.
fn at<T>(key: &str, checked: Result<T, &'static str>) -> Checked<T> {
    checked.map_err(|problem| Fault {
        key: key.to_owned(),
        problem: problem.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matter_ids_stand_inside_the_common_name() {
        for (text, product, fits) in [
            (
                "ACME Matter Devel DAC 5CDA9899 Mvid:FFF1 Mpid:00B1",
                true,
                true,
            ),
            ("Mpid:00B1,ACME Mvid:FFF1", true, true),
            ("ACME Mvid:FFF1", true, false),
            ("ACME Mvid:FFF1", false, true),
            ("ACME Mvid:FFF1 Mvid:FFF2", false, false),
            ("ACME Mvid:FF1 Mpid:00B1", true, false),
            ("ACME Mvid:fff1 Mpid:00B1", true, false),
            ("ACME Mvid: FFF1 Mpid:00B1", true, false),
            ("ACME Mvid:FFF1 Mpid:00B1", false, true),
            ("ACME Mvid:FFF1 Mpid:80", false, false),
            ("ACME Mvid:FFF1 Mpid:", false, false),
            ("ACME Mvid:FFF1 Mpid:00b1", false, false),
            ("ACME Mvid:FFF1 Mpid:00B1 Mpid:00B1", false, false),
        ] {
            assert_eq!(check_matter_ids(text, product).is_ok(), fits, "{text}");
        }
    }
}
