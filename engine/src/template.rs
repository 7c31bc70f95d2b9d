//! Value templates of a profile: constants with fields of the verified request and of the caller's data,
//! as in `"line-{data.line}-{csr.subject.serialNumber}"`.

use std::collections::BTreeMap;

use crate::csr::VerifiedRequest;
use crate::name::{AttributeType, text};
use crate::rejection::Rejection;

/// Fields that one profile takes. Real profiles take one to four.
pub(crate) const FIELDS_MAX: usize = 16;

/// Where a field's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// An attribute of the request's subject, which must stand there exactly once.
    CsrSubject(&'static AttributeType),
    /// What the caller sends under a key.
    Data(String),
}

impl Source {
    /// As it stands between braces.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::CsrSubject(attribute) => format!("csr.subject.{}", attribute.name),
            Self::Data(key) => format!("data.{key}"),
        }
    }
}

/// The fields that a profile takes, in order of first mention.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields {
    sources: Vec<Source>,
    /// The sources' names in order, each with its place in `sources`.
    by_name: BTreeMap<String, usize>,
}

/// The values of a profile's [`Fields`] in one request, borrowed from it.
pub(crate) type FieldValues<'a> = arrayvec::ArrayVec<&'a str, FIELDS_MAX>;

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
        let unknown = || TemplateError::Field(name.to_owned());
        let source = if let Some(attribute) = name.strip_prefix("csr.subject.") {
            Source::CsrSubject(AttributeType::by_name(attribute).ok_or_else(unknown)?)
        } else if let Some(key) = name.strip_prefix("data.").filter(|key| !key.is_empty()) {
            Source::Data(key.to_owned())
        } else {
            return Err(unknown());
        };
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

    /// Finds every field's value, each exactly once.
    pub(crate) fn values<'a>(
        &self,
        profile: &str,
        request: &VerifiedRequest<'a>,
        data: &'a BTreeMap<String, String>,
    ) -> Result<FieldValues<'a>, Rejection> {
        let mut values = FieldValues::new();
        for source in &self.sources {
            let (first, count) = match source {
                Source::CsrSubject(attribute) => {
                    let mut found = request.subject.values(attribute.oid);
                    let first = found.next();
                    let count = found.count() + usize::from(first.is_some());
                    let first = first
                        .map(|value| text(&value))
                        .transpose()
                        .map_err(|problem| Rejection::FieldValue {
                            target: source.name(),
                            problem,
                        })?;
                    (first, count)
                }
                Source::Data(key) => {
                    let value = data.get(key).map(String::as_str);
                    (value, usize::from(value.is_some()))
                }
            };
            match (first, count) {
                (Some(value), 1) => values.push(value),
                _ => {
                    return Err(Rejection::FieldCount {
                        profile: profile.to_owned(),
                        source_field: source.name(),
                        count,
                    });
                }
            }
        }
        Ok(values)
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

    /// Replaces `out` by the text with the fields filled in.
    pub(crate) fn render(&self, values: &FieldValues<'_>, out: &mut String) {
        out.clear();
        for part in &self.parts {
            match part {
                Part::Constant(text) => out.push_str(text),
                Part::Field(number) => out.push_str(values[*number]),
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
    #[error("{{{0}}} is not a field; use {{csr.subject.TYPE}} or {{data.KEY}}")]
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
        let values = FieldValues::from_iter(["7", "name"]);
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
