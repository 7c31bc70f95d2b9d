//! Preparing the to-be-signed certificate: encoded once, in one buffer that becomes the certificate.

use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use birthmark_hsm::{DigestAlgorithm, SignInput, SigningPool};

use crate::claims::ClaimedRequest;
use crate::der::tag;
use crate::der::writer::Writer;
use crate::fault::Fault;
use crate::issuer::Issuer;
use crate::key::{DeviceKeyAlgorithm, sha256};
use crate::oid;
use crate::profile::{INDEFINITE, NotBefore, Profile, StaticValue, static_values};
use crate::validate::ValidatedRequest;

/// Room before the TBS for the header of the certificate's outer SEQUENCE: tag, length of length, two
/// octets. A record, and so a certificate, is under 65,536 octets.
pub(crate) const HEADROOM: usize = 4;

/// Octets of a TBS apart from subject, key and static parts: version, serial, times, headers.
const TBS_FIXED_BYTES: usize = 160;

/// Octets of a serial number. 126 random bits (CA/Browser Forum's floor is 64), always the same length
/// encoded, positive, and well under the 20 octets of RFC 5280 §4.1.2.2.
pub(crate) const SERIAL_BYTES: usize = 16;

/// A certificate's serial number.
pub(crate) type Serial = [u8; SERIAL_BYTES];

/// The parts of a profile's certificates that are the same in all of them, encoded when the profile meets
/// its issuer.
#[derive(Debug)]
pub(crate) struct TbsTemplate {
    /// signature AlgorithmIdentifier and issuer Name.
    algorithm_and_issuer: Vec<u8>,
    /// AuthorityKeyIdentifier and what the profile fixes, for certificates of RSA keys.
    rsa_extensions: Vec<u8>,
    /// The same for all other keys.
    other_extensions: Vec<u8>,
}

/// A finished TBSCertificate, RFC 5280 §4.1.2, and what a signer needs of it.
#[derive(Debug)]
pub(crate) struct TbsCertificate {
    /// `HEADROOM` octets, then the TBS.
    pub(crate) buffer: Vec<u8>,
    pub(crate) serial: Serial,
    /// SHA-256 of the TBS.
    pub(crate) digest: [u8; 32],
    pub(crate) sign_input: SignInput,
}

impl TbsTemplate {
    pub(crate) fn new(profile: &Profile, issuer: &Issuer) -> Self {
        let mut algorithm_and_issuer = issuer.signature_algorithm().to_vec();
        algorithm_and_issuer.extend_from_slice(issuer.subject());
        let mut authority = Vec::new();
        // AuthorityKeyIdentifier ::= SEQUENCE { keyIdentifier [0] IMPLICIT OCTET STRING }, §4.2.1.1.
        let mut writer = Writer::new(&mut authority);
        extension(&mut writer, oid::AUTHORITY_KEY_IDENTIFIER, false, |value| {
            value.nested(tag::SEQUENCE, |aki| {
                aki.primitive(tag::context_primitive(0), issuer.subject_key_identifier());
            });
        });
        let rules = profile.rules();
        let values = static_values(
            rules.key_usage,
            &rules.extended_key_usage,
            rules.basic_constraints,
            &rules.constant,
        );
        let encoded = |of_key: fn(&StaticValue) -> &[u8]| {
            let mut extensions = authority.clone();
            let mut writer = Writer::new(&mut extensions);
            for known in &values {
                extension(&mut writer, &known.oid, known.critical, |value| {
                    value.raw(of_key(known));
                });
            }
            extensions
        };
        Self {
            algorithm_and_issuer,
            rsa_extensions: encoded(|value| &value.rsa),
            other_extensions: encoded(|value| &value.other),
        }
    }

    fn extensions(&self, algorithm: DeviceKeyAlgorithm) -> &[u8] {
        match algorithm {
            DeviceKeyAlgorithm::Rsa => &self.rsa_extensions,
            _ => &self.other_extensions,
        }
    }
}

/// Prepares the TBS of a claimed request. `now_s` is the time of issue in seconds since 1970.
pub(crate) fn prepare(
    claimed: &ClaimedRequest<'_>,
    profile: &Profile,
    template: &TbsTemplate,
    issuer: &Issuer,
    pool: &SigningPool,
    now_s: u64,
) -> Result<TbsCertificate, Fault> {
    encode(&claimed.request, profile, template, issuer, pool, now_s)
}

/// The encoding by itself, which a bench can repeat.
pub(crate) fn encode(
    request: &ValidatedRequest<'_>,
    profile: &Profile,
    template: &TbsTemplate,
    issuer: &Issuer,
    pool: &SigningPool,
    now_s: u64,
) -> Result<TbsCertificate, Fault> {
    let times = validity(profile, issuer, now_s)?;
    let serial = random_serial()?;
    let buffer = write(request, profile, template, issuer, times, &serial);
    let tbs = &buffer[HEADROOM..];
    let sign_input = pool.input_for(tbs);
    let digest = tbs_digest(tbs, &sign_input);
    Ok(TbsCertificate {
        buffer,
        serial,
        digest,
        sign_input,
    })
}

/// `HEADROOM` octets, then the TBS. The times are notBefore, and notAfter unless it is indefinite.
pub(crate) fn write(
    request: &ValidatedRequest<'_>,
    profile: &Profile,
    template: &TbsTemplate,
    issuer: &Issuer,
    (not_before_s, not_after_s): (u64, Option<u64>),
    serial: &Serial,
) -> Vec<u8> {
    let static_extensions = template.extensions(request.key.algorithm);
    let capacity = HEADROOM
        + TBS_FIXED_BYTES
        + template.algorithm_and_issuer.len()
        + static_extensions.len()
        + request.subject.len()
        + request.key.encoding.len()
        + request.alt_names.as_ref().map_or(0, Vec::len)
        + issuer.form().encoded_bytes_max();
    let mut buffer = Vec::with_capacity(capacity);
    buffer.extend_from_slice(&[0; HEADROOM]);
    Writer::new(&mut buffer).nested(tag::SEQUENCE, |tbs| {
        // version [0] EXPLICIT INTEGER { v3(2) }, RFC 5280 §4.1.2.1.
        tbs.raw(&[tag::context_constructed(0), 3, tag::INTEGER, 1, 2]);
        tbs.unsigned(serial);
        tbs.raw(&template.algorithm_and_issuer);
        tbs.nested(tag::SEQUENCE, |validity| {
            time(validity, Some(not_before_s));
            time(validity, not_after_s);
        });
        tbs.raw(&request.subject);
        tbs.raw(request.key.encoding);
        tbs.nested(tag::context_constructed(3), |explicit| {
            explicit.nested(tag::SEQUENCE, |extensions| {
                extensions.raw(static_extensions);
                request_extensions(extensions, request, profile);
            });
        });
    });
    buffer
}

/// SHA-256 of the TBS. Most signers sign just that, so that it is there already.
fn tbs_digest(tbs: &[u8], sign_input: &SignInput) -> [u8; 32] {
    match sign_input {
        SignInput::Digest {
            bytes,
            algorithm: DigestAlgorithm::Sha256,
            ..
        } => {
            let mut digest = [0; 32];
            digest.copy_from_slice(&bytes[..32]);
            digest
        }
        _ => sha256(tbs),
    }
}

/// notBefore, and notAfter unless it is indefinite. What counts from the time of issue begins no earlier than the
/// issuer's own notBefore.
fn validity(profile: &Profile, issuer: &Issuer, now_s: u64) -> Result<(u64, Option<u64>), Fault> {
    issuer
        .check_valid_at(now_s)
        .map_err(|error| Fault::Issuer(error.to_string()))?;
    let (issuer_from_s, issuer_until_s) = issuer.validity_s();
    let (mut from_s, until_s) = profile.validity.at(now_s);
    if let NotBefore::Issue { .. } = profile.validity.not_before {
        from_s = from_s.max(issuer_from_s);
    }
    let problem = if from_s < issuer_from_s || from_s > issuer_until_s {
        "validity.not_before is outside the issuer certificate's validity; correct the profile"
    } else if until_s.is_some_and(|until_s| until_s < now_s) {
        "validity.not_after has passed; give the profile a later one"
    } else if until_s.is_some_and(|until_s| until_s < from_s) {
        "validity.not_after is before notBefore; correct the profile"
    } else if until_s.is_some_and(|until_s| until_s > issuer_until_s) {
        "the certificate would outlive the issuer certificate; shorten the profile's validity or renew the issuer"
    } else {
        return Ok((from_s, until_s));
    };
    Err(Fault::Issuer(problem.to_owned()))
}

fn random_serial() -> Result<Serial, Fault> {
    let mut serial = [0; SERIAL_BYTES];
    SystemRandom::new()
        .fill(&mut serial)
        .map_err(|_| Fault::Random)?;
    // 01 in the top bits: positive, and no leading zero octet to strip.
    serial[0] = serial[0] & 0x3f | 0x40;
    Ok(serial)
}

/// SubjectKeyIdentifier (§4.2.1.2, RFC 7093 §2 (1)) and SubjectAltName (§4.2.1.6), where the profile has
/// them.
fn request_extensions(
    extensions: &mut Writer<'_>,
    request: &ValidatedRequest<'_>,
    profile: &Profile,
) {
    if profile.rules().subject_key_identifier {
        extension(extensions, oid::SUBJECT_KEY_IDENTIFIER, false, |value| {
            value.primitive(tag::OCTET_STRING, &request.key.key_identifier());
        });
    }
    if let Some(names) = &request.alt_names {
        // §4.2.1.6: critical where the subject is empty.
        let critical = profile.rules().empty_subject;
        extension(extensions, oid::SUBJECT_ALT_NAME, critical, |value| {
            value.raw(names);
        });
    }
}

fn extension(
    writer: &mut Writer<'_>,
    oid: &[u8],
    critical: bool,
    value: impl FnOnce(&mut Writer<'_>),
) {
    writer.nested(tag::SEQUENCE, |extension| {
        extension.primitive(tag::OID, oid);
        if critical {
            extension.primitive(tag::BOOLEAN, &[0xff]);
        }
        extension.nested(tag::OCTET_STRING, value);
    });
}

/// UTCTime through 2049 and GeneralizedTime after, RFC 5280 §4.1.2.5. `None` is no well-defined expiration.
fn time(writer: &mut Writer<'_>, unix_s: Option<u64>) {
    let date = unix_s
        .and_then(|unix_s| der::DateTime::from_unix_duration(Duration::from_secs(unix_s)).ok());
    let Some(date) = date else {
        return writer.primitive(tag::GENERALIZED_TIME, INDEFINITE.as_bytes());
    };
    let mut text = [0; 15];
    put_digits(&mut text[..4], date.year().into());
    let fields = [
        date.month(),
        date.day(),
        date.hour(),
        date.minutes(),
        date.seconds(),
    ];
    for (place, field) in text[4..14].chunks_exact_mut(2).zip(fields) {
        put_digits(place, field.into());
    }
    text[14] = b'Z';
    if date.year() < 2050 {
        writer.primitive(tag::UTC_TIME, &text[2..]);
    } else {
        writer.primitive(tag::GENERALIZED_TIME, &text);
    }
}

fn put_digits(place: &mut [u8], mut number: u32) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10).to_le_bytes()[0];
        number /= 10;
    }
}
