//! A profile in words: what its certificates hold, and what one request would get.

use super::alt_names::AltNameForm;
use super::extensions::purpose_name;
use super::validity::{NotAfter, NotBefore};
use super::{BasicConstraintsRule, Profile, key_usage};
use crate::oid;

/// One thing that certificates of a profile hold: what it is, and what it holds.
pub type Statement = (&'static str, String);

impl Profile {
    /// What certificates of this profile will hold, a statement each.
    #[must_use]
    pub fn explain(&self) -> Vec<Statement> {
        let mut statements = vec![
            ("profile", format!("{} ({})", self.name, self.source)),
            ("identity", self.explain_identity()),
            ("keys", self.explain_keys()),
        ];
        if let Some(serials) = &self.serials {
            let (first, last) = (serials.text(0), serials.text(serials.count() - 1));
            let text = format!(
                "the request's, or the first free of {} from {first} to {last}",
                serials.count()
            );
            statements.push(("serial", text));
        }
        for entry in &self.subject {
            let pattern = entry.pattern.as_ref();
            let pattern = pattern.map_or(String::new(), |p| format!(", must match {}", p.text()));
            let value = self.fields.text(&entry.value);
            statements.push(("subject", format!("{} = {value}{pattern}", entry.name())));
        }
        if self.subject.is_empty() {
            statements.push(("subject", "empty".to_owned()));
        }
        let critical = if self.subject.is_empty() {
            ", critical"
        } else {
            ""
        };
        for name in &self.alt_names {
            let pattern = name.pattern.as_ref();
            let pattern = pattern.map_or(String::new(), |p| format!(", must match {}", p.text()));
            let value = self.fields.text(&name.value);
            let label = match &name.form {
                AltNameForm::HardwareModuleName { hardware_type } => {
                    format!("hardware_module_name of {}", oid::to_dotted(hardware_type))
                }
                form => form.label().to_owned(),
            };
            statements.push((
                "subject alternative name",
                format!("{label} = {value}{pattern}{critical}"),
            ));
        }
        statements.extend([
            ("valid from", self.explain_start()),
            ("valid until", self.explain_end()),
        ]);
        self.explain_extensions(&mut statements);
        let requested = self.requested.describe();
        let ignored = "ignored, but for a CA certificate, which is refused".to_owned();
        match requested.is_empty() {
            true => statements.push(("requested extensions", ignored)),
            false => statements.extend(
                requested
                    .into_iter()
                    .map(|line| ("requested extensions", line)),
            ),
        }
        if let Some(max) = self.rules.certificate_bytes_max {
            statements.push(("size", format!("at most {max} bytes")));
        }
        statements.push(("reissue", self.reissue.name().to_owned()));
        if let Some(residency) = self.residency {
            statements.push(("record", format!("birthmark:residency = {residency}")));
        }
        statements
    }

    fn explain_identity(&self) -> String {
        format!(
            "{}, unique in the domain {}; keys unique in {}",
            self.identity_text.as_deref().unwrap_or("none"),
            self.identity_domain,
            match self.key_domain.as_str() {
                "" => "the whole log".to_owned(),
                domain => format!("the domain {domain}"),
            }
        )
    }

    fn explain_keys(&self) -> String {
        let names: Vec<&str> = self.key.algorithms.iter().map(|key| key.name()).collect();
        let mut text = names.join(", ");
        if names.iter().any(|name| name.starts_with("RSA")) {
            let (min, max) = self.key.rsa_bits;
            text.push_str(&format!(" (RSA of {min} to {max} bits, exponent 65537)"));
        }
        text
    }

    fn explain_start(&self) -> String {
        let aligned = self.explain_alignment("the first second of its");
        match self.validity.not_before {
            NotBefore::Issue { backdate_s: 0 } => format!("the time of issue{aligned}"),
            NotBefore::Issue { backdate_s } => {
                format!(
                    "{} minutes before the time of issue{aligned}",
                    backdate_s / 60
                )
            }
            NotBefore::At(unix_s) => date(unix_s),
        }
    }

    fn explain_end(&self) -> String {
        match self.validity.not_after {
            NotAfter::Indefinite => format!("{} (no expiry)", super::INDEFINITE),
            NotAfter::At(unix_s) => date(unix_s),
            NotAfter::Seconds(seconds) => {
                let (count, unit) = match seconds % 86_400 {
                    0 => (seconds / 86_400, "days"),
                    _ => (seconds / 3_600, "hours"),
                };
                let aligned = self.explain_alignment("the last second of its");
                format!("{count} {unit} after the time of issue{aligned}")
            }
        }
    }

    fn explain_alignment(&self, which: &str) -> String {
        match self.validity.align_s {
            1 => String::new(),
            3_600 => format!(", {which} hour (UTC)"),
            _ => format!(", {which} day (UTC)"),
        }
    }

    fn explain_extensions(&self, statements: &mut Vec<Statement>) {
        let rules = &self.rules;
        let names = |bits| key_usage::names(bits).collect::<Vec<_>>().join(", ");
        let (rsa, other) = (rules.key_usage.rsa, rules.key_usage.other);
        let any = |is_rsa: bool| {
            let mut algorithms = self.key.algorithms.iter();
            algorithms.any(|key| (key.name() == "RSA") == is_rsa)
        };
        if any(false) {
            statements.push(("key usage", format!("{}, critical", names(other))));
        }
        if any(true) && (rsa != other || !any(false)) {
            statements.push(("key usage", format!("RSA keys: {}, critical", names(rsa))));
        }
        if !rules.extended_key_usage.is_empty() {
            let purposes = rules.extended_key_usage.iter();
            let purposes: Vec<String> = purposes.map(|oid| purpose_name(oid)).collect();
            statements.push(("extended key usage", purposes.join(", ")));
        }
        let constraints = match rules.basic_constraints {
            BasicConstraintsRule::Absent => None,
            BasicConstraintsRule::EndEntity { .. } => Some("not a CA, critical".to_owned()),
            BasicConstraintsRule::Ca { path_length: None } => Some("CA, critical".to_owned()),
            BasicConstraintsRule::Ca {
                path_length: Some(length),
            } => Some(format!("CA, path length {length}, critical")),
        };
        statements.extend(constraints.map(|text| ("basic constraints", text)));
        for constant in &rules.constant {
            let critical = if constant.critical { ", critical" } else { "" };
            let name = extension_name(&constant.oid);
            let value = crate::hex::encode(&constant.value);
            statements.push(("extension", format!("{name} = {value}{critical}")));
        }
        statements.push(("authority key identifier", "the issuer's".to_owned()));
        let identifier = match rules.subject_key_identifier {
            true => "20 octets of SHA-256 over the key (RFC 7093)",
            false => "none",
        };
        statements.push(("subject key identifier", identifier.to_owned()));
    }
}

fn extension_name(oid: &[u8]) -> String {
    let name = match oid {
        oid::CERTIFICATE_POLICIES => "certificate policies",
        oid::AUTHORITY_INFO_ACCESS => "authority info access",
        oid::CRL_DISTRIBUTION_POINTS => "CRL distribution points",
        oid::MASA_URL => "MASA URL",
        other => return oid::to_dotted(other),
    };
    name.to_owned()
}

/// As a person reads a time.
pub(super) fn date(unix_s: u64) -> String {
    let time = der::DateTime::from_unix_duration(std::time::Duration::from_secs(unix_s));
    time.map_or_else(|_| unix_s.to_string(), |time| time.to_string())
}
