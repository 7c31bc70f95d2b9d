//! What one request would get from a profile, without issuing.

use std::collections::BTreeMap;

use p256x8::Verifier;

use super::explain::{Statement, date};
use super::{INDEFINITE, Profile};
use crate::csr::{CertificateSigningRequestDer, CertificationRequest, verify_batch};
use crate::der::reader::Reader;
use crate::general_name::{GeneralName, general_names};
use crate::hex;
use crate::name::{AttributeType, Name, text};
use crate::oid;
use crate::rejection::Rejection;
use crate::template::{FieldValues, brings_serial};
use crate::validate::{Content, check_data, check_no_ca, content};

impl Profile {
    /// What a certificate for `csr` (DER) would hold if it were issued at `now_s`, seconds since 1970, with the
    /// line's `data`; a statement each. Nothing is claimed: whether key and identity are free only the log knows.
    ///
    /// # Errors
    /// The rejection that the request would get.
    pub fn preview(
        &self,
        csr: &[u8],
        data: &BTreeMap<String, String>,
        now_s: u64,
    ) -> Result<Vec<Statement>, Rejection> {
        check_data(None, data)?;
        let parsed = CertificationRequest::parse(CertificateSigningRequestDer::new(csr)?);
        let Some(verified) = verify_batch(&Verifier::scalar(), vec![parsed]).pop() else {
            return Err(Rejection::Empty);
        };
        let verified = verified?;
        self.check_key(&verified.key)?;
        check_no_ca(&verified, self)?;
        // Which number is free only the log knows: the first stands for it.
        let serials = self.serials().filter(|_| !brings_serial(&verified));
        let serial = serials.map(|serials| serials.text(0));
        let values = &mut FieldValues::new();
        let content = content(&verified, self, data, serial.as_deref(), values)?;
        let mut statements = vec![
            ("identity", content.identity.clone().unwrap_or_default()),
            ("key", verified.key.algorithm.name().to_owned()),
            ("key fingerprint", hex::encode(&verified.key.fingerprint())),
        ];
        if let Some(first) = serial {
            let text = format!("the first free one; {first} stands for it here");
            statements.push(("serial", text));
        }
        describe_names(&content, &mut statements);
        let (from_s, until_s) = self.validity.at(now_s);
        let until = until_s.map_or_else(|| INDEFINITE.to_owned(), date);
        statements.extend([("valid from", date(from_s)), ("valid until", until)]);
        Ok(statements)
    }
}

fn describe_names(content: &Content, statements: &mut Vec<Statement>) {
    let subject = Reader::new(&content.subject).any();
    if let Some(name) = subject.ok().and_then(|tlv| Name::parse(&tlv).ok()) {
        statements.push(("subject", describe_name(&name)));
    }
    for name in general_names(content.alt_names.as_deref().unwrap_or_default()) {
        statements.push(("subject alternative name", describe_general_name(&name)));
    }
}

/// In the order in which it is encoded.
fn describe_name(name: &Name<'_>) -> String {
    let parts: Vec<String> = name
        .attributes()
        .map(|(oid, value)| {
            let known = AttributeType::by_oid(oid).map(|known| known.name.to_owned());
            let value = text(&value).unwrap_or_default();
            format!("{}={value}", known.unwrap_or_else(|| oid::to_dotted(oid)))
        })
        .collect();
    match parts.is_empty() {
        true => "empty".to_owned(),
        false => parts.join(","),
    }
}

fn describe_general_name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::Dns(text) => format!("dns {text}"),
        GeneralName::Uri(text) => format!("uri {text}"),
        GeneralName::Email(text) => format!("email {text}"),
        GeneralName::Ip(ip) => format!("ip {ip}"),
        GeneralName::RegisteredId(oid) => format!("registered_id {}", oid::to_dotted(oid)),
        GeneralName::OtherName { type_id, value } => {
            let label = match *type_id {
                oid::HARDWARE_MODULE_NAME => "hardware_module_name".to_owned(),
                oid::PERMANENT_IDENTIFIER => "permanent_identifier".to_owned(),
                other => oid::to_dotted(other),
            };
            format!("{label} {}", describe_parts(value.content))
        }
        GeneralName::DirectoryName(name) => format!("directory name {}", describe_name(name)),
        GeneralName::Unread { tag } => format!("[{}]", tag & 0x1f),
    }
}

/// The parts of a hardware module name or permanent identifier: identifiers dotted, texts as they are.
fn describe_parts(content: &[u8]) -> String {
    let mut reader = Reader::new(content);
    let mut parts = Vec::new();
    while let Ok(part) = reader.any() {
        parts.push(match (part.tag, std::str::from_utf8(part.content)) {
            (crate::der::tag::OID, _) => oid::to_dotted(part.content),
            (_, Ok(text)) => text.to_owned(),
            (_, Err(_)) => hex::encode(part.content),
        });
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csr::tests::Draft;

    #[test]
    fn rejections_are_those_of_an_issue() {
        let text = super::super::IDEVID_TOML;
        let profile = Profile::parse(text, "idevid".as_ref()).unwrap();
        let none = BTreeMap::new();
        assert_eq!(profile.preview(&[], &none, 0), Err(Rejection::Empty));
        let error = profile.preview(&[0x30, 0x80], &none, 0).unwrap_err();
        assert_eq!(error.reason(), "malformed");
        let csr = Draft::p256().signed();
        let other_keys = text.replace("algorithms = [", "algorithms = [\"ed25519\"] # [");
        let profile = Profile::parse(&other_keys, "idevid".as_ref()).unwrap();
        let error = profile.preview(&csr, &none, 0).unwrap_err();
        assert_eq!(error.reason(), "key-not-allowed");
    }
}
