//! Whether a profile's certificates can come from an issuer: what only the two of them together show.

use super::names::SubjectAttribute;
use super::{BasicConstraintsRule, Profile};
use crate::der::reader::{Reader, single};
use crate::der::tag;
use crate::issuer::Issuer;
use crate::name::{AttributeType, Name, text};
use crate::oid;

impl Profile {
    /// Holds the profile against the issuer of its certificates.
    ///
    /// # Errors
    /// What does not go together, as a sentence that begins after the profile's name.
    pub(crate) fn check_issuer(&self, issuer: &Issuer) -> Result<(), String> {
        if let BasicConstraintsRule::Ca { path_length } = self.rules.basic_constraints {
            check_path_length(path_length, issuer.path_length())?;
        }
        if self.is_matter {
            self.check_matter_issuer(issuer)?;
        }
        Ok(())
    }

    /// Matter 1.x §6.2.2: signed with ecdsa-with-SHA256 on P-256; vendor and product are those of the issuer,
    /// if it names them.
    fn check_matter_issuer(&self, issuer: &Issuer) -> Result<(), String> {
        if !holds_oid(issuer.signature_algorithm(), oid::ECDSA_SHA256) {
            return Err("needs an issuer with a P-256 key (Matter 1.x §6.2.2)".to_owned());
        }
        for (attribute, mark) in [("VID", "Mvid:"), ("PID", "Mpid:")] {
            let Some(of_issuer) = issuer_id(issuer.subject(), attribute, mark) else {
                continue;
            };
            let own = self
                .subject
                .iter()
                .find_map(|entry| own_id(entry, attribute, mark));
            // A PAI may leave the product to its DACs; the other way round the DAC has to name the PAI's.
            let same = own.as_deref() == Some(of_issuer.as_str());
            let left_open = own.is_none() && self.is_ca() && attribute == "PID";
            if !(same || left_open) {
                return Err(format!(
                    "must have the issuer's {attribute} {of_issuer} written in it (Matter 1.x §6.2.2.3)"
                ));
            }
        }
        Ok(())
    }
}

/// RFC 5280 §4.2.1.9: how many CAs may follow the issuer.
fn check_path_length(wanted: Option<u8>, of_issuer: Option<u8>) -> Result<(), String> {
    match (wanted, of_issuer) {
        (_, None) => Ok(()),
        (_, Some(0)) => Err(
            "issues CAs, and the issuer certificate's path length of 0 allows none (RFC 5280 §4.2.1.9)"
                .to_owned(),
        ),
        (Some(wanted), Some(length)) if wanted >= length => Err(format!(
            "gives its CAs a path length of {wanted}, and the issuer certificate's is {length} (RFC 5280 §4.2.1.9)"
        )),
        (_, Some(_)) => Ok(()),
    }
}

/// Whether an AlgorithmIdentifier has this identifier.
fn holds_oid(algorithm: &[u8], oid: &[u8]) -> bool {
    let fields = single(algorithm, tag::SEQUENCE, "no algorithm");
    fields
        .and_then(|fields| fields.reader().expect(tag::OID, "no identifier"))
        .is_ok_and(|found| found.content == oid)
}

/// The identifier in an issuer's name: as an attribute, or inside the CN (Matter 1.x §6.2.2.2).
fn issuer_id(subject: &[u8], attribute: &str, mark: &str) -> Option<String> {
    let name = Name::parse(&Reader::new(subject).any().ok()?).ok()?;
    let find = |name_of: &str| {
        let oid = AttributeType::by_name(name_of)?.oid;
        let (_, value) = name.attributes().find(|(found, _)| *found == oid)?;
        text(&value).ok().map(str::to_owned)
    };
    find(attribute).or_else(|| after_mark(&find("CN")?, mark))
}

/// The identifier that a profile's attribute has in every certificate.
fn own_id(entry: &SubjectAttribute, attribute: &str, mark: &str) -> Option<String> {
    if entry.name() == attribute {
        return entry.value.constant().map(str::to_owned);
    }
    if entry.name() != "CN" {
        return None;
    }
    entry
        .value
        .constants()
        .find_map(|text| after_mark(text, mark))
}

/// The four digits behind a mark.
fn after_mark(text: &str, mark: &str) -> Option<String> {
    let (_, rest) = text.split_once(mark)?;
    rest.get(..4).map(str::to_owned)
}
