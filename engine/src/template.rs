//! Value templates of a profile: constants with fields of the verified request and of the caller's data,
//! as in `"line-{data.line}-{csr.subject.serialNumber}"`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::csr::VerifiedRequest;
use crate::der::reader::Tlv;
use crate::general_name::GeneralName;
use crate::hex;
use crate::name::{AttributeType, text};
use crate::oid;
use crate::profile::Profile;
use crate::rejection::Rejection;

/// Fields that one profile takes. Real profiles take one to four.
pub(crate) const FIELDS_MAX: usize = 16;

/// Where a field's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// An attribute of the request's subject, which must stand there exactly once: its name, and the content
    /// octets of its identifier.
    CsrSubject(String, Vec<u8>),
    /// A name of one kind in the subject alternative name that the request asks for. It must be the only one.
    CsrAltName(AltNameKind),
    /// The key's identifier, RFC 7093 §2 (1), in hexadecimal.
    KeyId,
    /// What the caller sends under a key.
    Data(String),
    /// The serial number that the request brings in its subject, or the one that is handed out to it.
    Serial,
}

/// The kinds of requested names that a template can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AltNameKind {
    Dns,
    Uri,
    Ip,
    Email,
}

impl AltNameKind {
    const ALL: [Self; 4] = [Self::Dns, Self::Uri, Self::Ip, Self::Email];

    fn name(self) -> &'static str {
        match self {
            Self::Dns => "csr.san.dns",
            Self::Uri => "csr.san.uri",
            Self::Ip => "csr.san.ip",
            Self::Email => "csr.san.email",
        }
    }

    /// The text of a name, if it is of this kind.
    fn text<'a>(self, name: &GeneralName<'a>) -> Option<Cow<'a, str>> {
        match (self, name) {
            (Self::Dns, GeneralName::Dns(text))
            | (Self::Uri, GeneralName::Uri(text))
            | (Self::Email, GeneralName::Email(text)) => Some(Cow::Borrowed(text)),
            (Self::Ip, GeneralName::Ip(ip)) => Some(Cow::Owned(ip.to_string())),
            _ => None,
        }
    }
}

impl Source {
    /// From what stands between braces.
    fn parse(name: &str) -> Option<Self> {
        if let Some(attribute) = name.strip_prefix("csr.subject.") {
            let known = AttributeType::by_name(attribute).map(|known| known.oid.to_vec());
            let oid = known.or_else(|| oid::from_dotted(attribute))?;
            return Some(Self::CsrSubject(attribute.to_owned(), oid));
        }
        let mut kinds = AltNameKind::ALL.into_iter();
        if let Some(kind) = kinds.find(|kind| kind.name() == name) {
            return Some(Self::CsrAltName(kind));
        }
        match name {
            "csr.key.id" => Some(Self::KeyId),
            "serial" => Some(Self::Serial),
            _ => match name.strip_prefix("data.") {
                Some(key) if !key.is_empty() => Some(Self::Data(key.to_owned())),
                _ => None,
            },
        }
    }

    /// As it stands between braces.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::CsrSubject(attribute, _) => format!("csr.subject.{attribute}"),
            Self::CsrAltName(kind) => kind.name().to_owned(),
            Self::KeyId => "csr.key.id".to_owned(),
            Self::Data(key) => format!("data.{key}"),
            Self::Serial => "serial".to_owned(),
        }
    }

    /// The value in one request. `serial` is the number that is handed out to it.
    fn value<'a>(
        &self,
        profile: &Profile,
        request: &VerifiedRequest<'a>,
        data: &'a BTreeMap<String, String>,
        serial: Option<&str>,
    ) -> Result<Cow<'a, str>, Rejection> {
        let name = profile.name();
        match self {
            Self::CsrSubject(_, oid) => {
                let values = request.subject.attributes();
                let values = values.filter(|(found, _)| found == oid);
                let value = self.only(name, values.map(|(_, value)| value))?;
                let value = text(&value).map_err(|problem| Rejection::FieldValue {
                    target: self.name(),
                    problem,
                })?;
                Ok(Cow::Borrowed(value))
            }
            Self::CsrAltName(kind) => {
                let names = request.extensions.subject_alt_names();
                self.only(name, names.filter_map(|name| kind.text(&name)))
            }
            Self::KeyId => Ok(Cow::Owned(hex::encode(&request.key.key_identifier()))),
            Self::Data(key) => {
                let value = self.only(name, data.get(key).into_iter())?;
                Ok(Cow::Borrowed(value))
            }
            Self::Serial => match serial {
                Some(serial) => Ok(Cow::Owned(serial.to_owned())),
                None => self.brought_serial(profile, request),
            },
        }
    }

    /// The serial number in the request's subject, which must be one of the profile's.
    fn brought_serial<'a>(
        &self,
        profile: &Profile,
        request: &VerifiedRequest<'a>,
    ) -> Result<Cow<'a, str>, Rejection> {
        let value = self.only(profile.name(), serials_in(request))?;
        let checked = text(&value).and_then(|serial| {
            let known = profile.serials().is_some_and(|all| all.contains(serial));
            known
                .then_some(serial)
                .ok_or("the serial number is not one of the profile's")
        });
        match checked {
            Ok(serial) => Ok(Cow::Borrowed(serial)),
            Err(problem) => Err(Rejection::FieldValue {
                target: self.name(),
                problem,
            }),
        }
    }

    /// The value that stands exactly once.
    fn only<T>(&self, profile: &str, mut values: impl Iterator<Item = T>) -> Result<T, Rejection> {
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(value),
            (first, second) => Err(Rejection::FieldCount {
                profile: profile.to_owned(),
                source_field: self.name(),
                count: usize::from(first.is_some())
                    + usize::from(second.is_some())
                    + values.count(),
            }),
        }
    }
}

/// The serial numbers in a request's subject.
fn serials_in<'a>(request: &VerifiedRequest<'a>) -> impl Iterator<Item = Tlv<'a>> + use<'a> {
    let serial_number = AttributeType::by_name("serialNumber").map(|known| known.oid);
    let attributes = request.subject.attributes();
    attributes
        .filter(move |(oid, _)| Some(*oid) == serial_number)
        .map(|(_, value)| value)
}

/// Whether a request has a serial number of its own.
pub(crate) fn brings_serial(request: &VerifiedRequest<'_>) -> bool {
    serials_in(request).next().is_some()
}

/// The fields that a profile takes, in order of first mention.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields {
    sources: Vec<Source>,
    /// The sources' names in order, each with its place in `sources`.
    by_name: BTreeMap<String, usize>,
}

/// The values of a profile's [`Fields`] in one request, borrowed from it.
pub(crate) type FieldValues<'a> = arrayvec::ArrayVec<Cow<'a, str>, FIELDS_MAX>;

impl Fields {
    /// Parses a template and adds the fields that it names.
    pub(crate) fn template(&mut self, text: &str) -> Result<Template, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            if rest.as_bytes()[open] == b'}' {
                return Err(TemplateError::Brace);
            }
            if open > 0 {
                parts.push(Part::Constant(rest[..open].to_owned()));
            }
            let after = &rest[open + 1..];
            let close = after.find('}').ok_or(TemplateError::Brace)?;
            parts.push(Part::Field(self.field(&after[..close])?));
            rest = &after[close + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Constant(rest.to_owned()));
        }
        if parts.is_empty() {
            return Err(TemplateError::Empty);
        }
        Ok(Template { parts })
    }

    fn field(&mut self, name: &str) -> Result<usize, TemplateError> {
        let source = Source::parse(name).ok_or_else(|| TemplateError::Field(name.to_owned()))?;
        if let Some(known) = self.sources.iter().position(|other| *other == source) {
            return Ok(known);
        }
        if self.sources.len() == FIELDS_MAX {
            return Err(TemplateError::TooMany);
        }
        self.by_name.insert(source.name(), self.sources.len());
        self.sources.push(source);
        Ok(self.sources.len() - 1)
    }

    /// A field that is taken from a request, if there is one, as it stands between braces.
    pub(crate) fn taken_from_csr(&self) -> Option<String> {
        let csr = |source: &&Source| !matches!(source, Source::Data(_));
        self.sources.iter().find(csr).map(Source::name)
    }

    /// As they stand between braces, sorted, each with the place of its value: however a profile's file is
    /// arranged, the order is the same.
    pub(crate) fn by_name(&self) -> &BTreeMap<String, usize> {
        &self.by_name
    }

    /// A template as it was written.
    pub(crate) fn text(&self, template: &Template) -> String {
        let parts = template.parts.iter();
        parts
            .map(|part| match part {
                Part::Constant(text) => text.clone(),
                Part::Field(number) => format!("{{{}}}", self.sources[*number].name()),
            })
            .collect()
    }

    /// Whether `{serial}` is one of them.
    pub(crate) fn takes_serial(&self) -> bool {
        self.sources.contains(&Source::Serial)
    }

    /// Whether the field in this place is `{serial}`.
    pub(crate) fn is_serial(&self, number: usize) -> bool {
        self.sources.get(number) == Some(&Source::Serial)
    }

    /// The values where `{serial}` is `serial` and all others are empty.
    pub(crate) fn only_serial(&self, serial: &str) -> FieldValues<'static> {
        let values = self.sources.iter();
        values
            .map(|source| match source {
                Source::Serial => Cow::Owned(serial.to_owned()),
                _ => Cow::Borrowed(""),
            })
            .collect()
    }

    /// Whether `{serial}` is the one field in a template.
    pub(crate) fn takes_serial_alone(&self, template: &Template) -> bool {
        let mut taken = template.parts.iter().filter_map(|part| match part {
            Part::Constant(_) => None,
            Part::Field(number) => Some(self.is_serial(*number)),
        });
        taken.next().is_some_and(|serial| serial) && taken.all(|serial| serial)
    }

    /// Finds every field's value, each exactly once, in place of what is in `values`. `serial` is the number that is
    /// handed out to the request.
    pub(crate) fn values<'a>(
        &self,
        profile: &Profile,
        request: &VerifiedRequest<'a>,
        data: &'a BTreeMap<String, String>,
        serial: Option<&str>,
        values: &mut FieldValues<'a>,
    ) -> Result<(), Rejection> {
        values.clear();
        for source in &self.sources {
            values.push(source.value(profile, request, data, serial)?);
        }
        Ok(())
    }
}

/// A parsed template.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Constant(String),
    Field(usize),
}

impl Template {
    /// The text, if no field is in it.
    pub(crate) fn constant(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [Part::Constant(text)] => Some(text),
            _ => None,
        }
    }

    /// The texts between the fields.
    pub(crate) fn constants(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Constant(text) => Some(text.as_str()),
            Part::Field(_) => None,
        })
    }

    /// Replaces `out` by the text with the fields filled in.
    pub(crate) fn render(&self, values: &FieldValues<'_>, out: &mut String) {
        out.clear();
        for part in &self.parts {
            match part {
                Part::Constant(text) => out.push_str(text),
                Part::Field(number) => out.push_str(&values[*number]),
            }
        }
    }
}

/// What is wrong with a template's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("a brace without its partner")]
    Brace,
    #[error("the value is empty")]
    Empty,
    #[error(
        "{{{0}}} is not a field; use {{csr.subject.TYPE}}, {{csr.san.dns}} (uri, ip, email), \
         {{csr.key.id}}, {{serial}} or {{data.KEY}}"
    )]
    Field(String),
    #[error("the profile takes more than {FIELDS_MAX} fields")]
    TooMany,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_shared_between_templates() {
        let mut fields = Fields::default();
        let one = fields.template("a-{data.line}-{csr.subject.CN}").unwrap();
        let two = fields.template("{csr.subject.CN}").unwrap();
        assert_eq!(fields.by_name().len(), 2);
        let values = FieldValues::from_iter(["7".into(), "name".into()]);
        let mut out = String::from("old");
        one.render(&values, &mut out);
        assert_eq!(out, "a-7-name");
        two.render(&values, &mut out);
        assert_eq!(out, "name");
    }

    #[test]
    fn faults_are_found() {
        for (text, error) in [
            ("{data.x", TemplateError::Brace),
            ("a}b", TemplateError::Brace),
            ("", TemplateError::Empty),
            ("{csr.key}", TemplateError::Field("csr.key".into())),
            (
                "{csr.subject.XYZ}",
                TemplateError::Field("csr.subject.XYZ".into()),
            ),
            ("{data.}", TemplateError::Field("data.".into())),
        ] {
            assert_eq!(Fields::default().template(text).unwrap_err(), error);
        }
    }
}
