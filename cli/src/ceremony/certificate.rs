//! CA certificates: what stands in them, how they are signed and checked.

use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::rand;
use birthmark_hsm::{
    Curve, KeyAlgorithm, MlDsaParameterSet, PublicKey, RsaSignature, SignCompletion, SignError,
    SignJob, Signature, SigningPool,
};
use der::asn1::{Any, AnyRef, BitString, Null, ObjectIdentifier, OctetString, Uint};
use der::{Decode, Encode, Sequence};
use x509_cert::certificate::Version;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, KeyUsage, KeyUsages, SubjectKeyIdentifier,
};
use x509_cert::ext::{Extensions, ToExtension};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::{Time, Validity};
use x509_cert::{Certificate, certificate};

use super::CeremonyError;

/// notBefore lies this long before the ceremony. A verifier whose clock is a little behind accepts
/// the chain, and certificates issued in the first seconds never begin before their CA
/// even when the profile sets their own notBefore back.
pub const NOT_BEFORE_BACKDATE: Duration = Duration::from_secs(60 * 60);

/// Octets of a serial number: 126 random bits, always positive and without a leading zero
/// (RFC 5280 §4.1.2.2 allows 20 octets).
pub const SERIAL_BYTES: usize = 16;

/// Which CA a certificate is for.
pub(crate) enum Role<'a> {
    /// Self-signed, no path length.
    Root,
    /// Signed by `root`, pathLenConstraint 0: it issues to devices only.
    Issuing { root: &'a CaCertificate },
}

/// A CA certificate, verified and read back.
pub(crate) struct CaCertificate {
    pub(crate) certificate: Certificate,
    key_identifier: OctetString,
    subject: Name,
}

impl CaCertificate {
    /// A certificate that was made earlier, to issue below it.
    pub(crate) fn from_certificate(
        certificate: Certificate,
    ) -> Result<CaCertificate, CeremonyError> {
        let tbs = certificate.tbs_certificate();
        let subject = tbs.subject().clone();
        let identifier = tbs.get_extension::<SubjectKeyIdentifier>()?;
        let (_, key_identifier) = identifier.ok_or_else(|| CeremonyError::NoKeyIdentifier {
            subject: subject.to_string(),
        })?;
        Ok(CaCertificate {
            key_identifier: key_identifier.0,
            certificate,
            subject,
        })
    }
}

/// Makes the certificate for `key`, signed by `signer` (the root's pool in either role).
///
/// The signature is verified and the encoding read back before the certificate is returned.
pub(crate) fn issue(
    role: &Role<'_>,
    subject: Name,
    key: &PublicKey,
    signer: &SigningPool,
    now: SystemTime,
) -> Result<CaCertificate, CeremonyError> {
    let algorithm = signature_algorithm(signer)?;
    let subject_public_key_info = public_key_info(key)?;
    let key_identifier = key_identifier(&subject_public_key_info)?;
    let not_before = truncate_to_seconds(now - NOT_BEFORE_BACKDATE);
    let issuer = match role {
        Role::Root => subject.clone(),
        Role::Issuing { root } => root.subject.clone(),
    };
    let tbs = TbsCertificate {
        version: Version::V3,
        serial_number: SerialNumber::new(&random_serial()?)?,
        signature: algorithm.clone(),
        issuer,
        validity: Validity::new(Time::try_from(not_before)?, Time::INFINITY),
        extensions: extensions(role, &subject, &key_identifier)?,
        subject: subject.clone(),
        subject_public_key_info,
    };
    let tbs = tbs.to_der()?;
    let signature = signed(signer, &tbs)?;
    let certificate = SignedCertificate {
        tbs_certificate: Any::from_der(&tbs)?,
        signature_algorithm: algorithm,
        signature: BitString::from_bytes(signature.as_bytes())?,
    };
    let certificate = certificate.to_der()?;
    let read_back = Certificate::from_der(&certificate)?;
    if read_back.to_der()? != certificate {
        return Err(CeremonyError::Encoding {
            source: der::ErrorKind::Noncanonical {
                tag: der::Tag::Sequence,
            }
            .into(),
        });
    }
    Ok(CaCertificate {
        certificate: read_back,
        key_identifier,
        subject,
    })
}

/// Whether a certificate is one that [`issue`] makes of these, but for serial number, notBefore and signature.
pub(crate) fn is_as_issued(
    found: &Certificate,
    role: &Role<'_>,
    subject: &Name,
    key: &PublicKey,
    signer: &SigningPool,
) -> Result<bool, CeremonyError> {
    let (tbs, info) = (found.tbs_certificate(), public_key_info(key)?);
    let algorithm = signature_algorithm(signer)?;
    let issuer = match role {
        Role::Root => subject,
        Role::Issuing { root } => &root.subject,
    };
    let extensions = extensions(role, subject, &key_identifier(&info)?)?;
    Ok(tbs.subject() == subject
        && tbs.issuer() == issuer
        && tbs.signature() == &algorithm
        && found.signature_algorithm() == &algorithm
        && tbs.subject_public_key_info() == &info
        && tbs.extensions() == Some(&extensions)
        && tbs.validity().not_after == Time::INFINITY)
}

/// ```text
/// TBSCertificate  ::=  SEQUENCE  {                       -- RFC 5280 §4.1
///     version         [0]  EXPLICIT Version DEFAULT v1,
///     serialNumber         CertificateSerialNumber,
///     signature            AlgorithmIdentifier,
///     issuer               Name,
///     validity             Validity,
///     subject              Name,
///     subjectPublicKeyInfo SubjectPublicKeyInfo,
///     extensions      [3]  EXPLICIT Extensions OPTIONAL }
/// ```
///
/// A type of its own because the fields of `x509_cert`'s are private; the parts are that crate's.
#[derive(Sequence)]
struct TbsCertificate {
    #[asn1(context_specific = "0", default = "Default::default")]
    version: Version,
    serial_number: SerialNumber<certificate::Rfc5280>,
    signature: AlgorithmIdentifierOwned,
    issuer: Name,
    validity: Validity<certificate::Rfc5280>,
    subject: Name,
    subject_public_key_info: SubjectPublicKeyInfoOwned,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    extensions: Extensions,
}

/// ```text
/// Certificate  ::=  SEQUENCE  {                          -- RFC 5280 §4.1
///     tbsCertificate       TBSCertificate,
///     signatureAlgorithm   AlgorithmIdentifier,
///     signature            BIT STRING  }
/// ```
///
/// The TBS goes in as the bytes that were signed; it is never encoded again.
#[derive(Sequence)]
struct SignedCertificate {
    tbs_certificate: Any,
    signature_algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

/// ```text
/// RSAPublicKey ::= SEQUENCE { modulus INTEGER, publicExponent INTEGER }   -- RFC 8017 §A.1.1
/// ```
#[derive(Sequence)]
struct RsaPublicKey {
    modulus: Uint,
    public_exponent: Uint,
}

/// The extensions of RFC 5280 §4.2.1 that a CA certificate needs.
fn extensions(
    role: &Role<'_>,
    subject: &Name,
    key_identifier: &OctetString,
) -> Result<Extensions, der::Error> {
    let Role::Issuing { root } = role else {
        return ca_extensions(None, subject, key_identifier);
    };
    let mut extensions = ca_extensions(Some(0), subject, key_identifier)?;
    let authority = AuthorityKeyIdentifier {
        key_identifier: Some(root.key_identifier.clone()),
        ..AuthorityKeyIdentifier::default()
    };
    extensions.push(authority.to_extension(subject, &[])?);
    Ok(extensions)
}

/// What the request of an issuing CA asks for: all that does not depend on who issues it.
pub(super) fn requested_extensions(
    subject: &Name,
    key: &SubjectPublicKeyInfoOwned,
) -> Result<Extensions, der::Error> {
    ca_extensions(Some(0), subject, &key_identifier(key)?)
}

fn ca_extensions(
    path_len_constraint: Option<u8>,
    subject: &Name,
    key_identifier: &OctetString,
) -> Result<Extensions, der::Error> {
    let constraints = BasicConstraints {
        ca: true,
        path_len_constraint,
    };
    let usage = KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign);
    let subject_key = SubjectKeyIdentifier(key_identifier.clone());
    Ok(vec![
        constraints.to_extension(subject, &[])?,
        usage.to_extension(subject, &[])?,
        subject_key.to_extension(subject, &[])?,
    ])
}

/// Key identifier by RFC 7093 §2 method 1: the leftmost 160 bits of the SHA-256 of the
/// subjectPublicKey BIT STRING's value. As long as RFC 5280's SHA-1 identifier, without SHA-1.
fn key_identifier(info: &SubjectPublicKeyInfoOwned) -> Result<OctetString, der::Error> {
    let hash = digest::digest(&SHA256, info.subject_public_key.raw_bytes());
    OctetString::new(&hash.as_ref()[..20])
}

/// SHA-256 of a key's SubjectPublicKeyInfo in lower-case hexadecimal: how a key is named where people compare it,
/// and what `openssl pkey -pubin -outform DER | sha256sum` gives. `None` for a key that has no encoding here.
pub(crate) fn public_key_sha256(key: &PublicKey) -> Option<String> {
    let info = public_key_info(key).ok()?.to_der().ok()?;
    Some(crate::hex::encode(digest::digest(&SHA256, &info).as_ref()))
}

pub(crate) fn public_key_info(key: &PublicKey) -> Result<SubjectPublicKeyInfoOwned, CeremonyError> {
    let (oid, parameters, key) = match key {
        // RFC 5480 §2.1.1: id-ecPublicKey, namedCurve.
        PublicKey::Ec { curve, point } => {
            let curve = match curve {
                Curve::P256 => "1.2.840.10045.3.1.7",
                Curve::P384 => "1.3.132.0.34",
                Curve::P521 => "1.3.132.0.35",
            };
            let curve = ObjectIdentifier::new_unwrap(curve);
            (
                "1.2.840.10045.2.1",
                Some(Any::encode_from(&curve)?),
                point.clone(),
            )
        }
        // RFC 8410 §3: parameters absent.
        PublicKey::Ed25519(key) => ("1.3.101.112", None, key.to_vec()),
        // RFC 9881 §4: parameters absent.
        PublicKey::MlDsa { parameter_set, key } => (ml_dsa_oid(*parameter_set), None, key.clone()),
        // RFC 3279 §2.3.1: rsaEncryption, NULL.
        PublicKey::Rsa { modulus, exponent } => {
            let key = RsaPublicKey {
                modulus: Uint::new(modulus)?,
                public_exponent: Uint::new(exponent)?,
            };
            (
                "1.2.840.113549.1.1.1",
                Some(Any::from(AnyRef::from(Null))),
                key.to_der()?,
            )
        }
    };
    Ok(SubjectPublicKeyInfoOwned {
        algorithm: AlgorithmIdentifierOwned {
            oid: ObjectIdentifier::new_unwrap(oid),
            parameters,
        },
        subject_public_key: BitString::from_bytes(&key)?,
    })
}

/// RFC 9881 §2; key and signature share it.
fn ml_dsa_oid(parameter_set: MlDsaParameterSet) -> &'static str {
    match parameter_set {
        MlDsaParameterSet::MlDsa44 => "2.16.840.1.101.3.4.3.17",
        MlDsaParameterSet::MlDsa65 => "2.16.840.1.101.3.4.3.18",
        MlDsaParameterSet::MlDsa87 => "2.16.840.1.101.3.4.3.19",
    }
}

/// `RSASSA-PSS-params` for SHA-256, MGF1 with SHA-256 and a salt of 32 octets (RFC 4055 §3.1).
const PSS_PARAMETERS: &[u8] = &[
    0x30, 0x34, 0xa0, 0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
    0x01, 0x05, 0x00, 0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01,
    0x01, 0x08, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0xa2, 0x03, 0x02, 0x01, 0x20,
];

pub(super) fn signature_algorithm(
    signer: &SigningPool,
) -> Result<AlgorithmIdentifierOwned, CeremonyError> {
    let (oid, parameters) = match signer.key_algorithm() {
        _ if signer.rsa_signature() == Some(RsaSignature::Pss) => (
            "1.2.840.113549.1.1.10",
            Some(Any::from_der(PSS_PARAMETERS)?),
        ),
        // RFC 5758 §3.2: parameters absent.
        KeyAlgorithm::EcP256 => ("1.2.840.10045.4.3.2", None),
        KeyAlgorithm::EcP384 => ("1.2.840.10045.4.3.3", None),
        KeyAlgorithm::EcP521 => ("1.2.840.10045.4.3.4", None),
        // RFC 8410 §3: parameters absent.
        KeyAlgorithm::Ed25519 => ("1.3.101.112", None),
        // RFC 9881 §2: parameters absent.
        KeyAlgorithm::MlDsa44 => (ml_dsa_oid(MlDsaParameterSet::MlDsa44), None),
        KeyAlgorithm::MlDsa65 => (ml_dsa_oid(MlDsaParameterSet::MlDsa65), None),
        KeyAlgorithm::MlDsa87 => (ml_dsa_oid(MlDsaParameterSet::MlDsa87), None),
        // RFC 4055 §5: sha256WithRSAEncryption, NULL.
        KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => {
            ("1.2.840.113549.1.1.11", Some(Any::from(AnyRef::from(Null))))
        }
    };
    Ok(AlgorithmIdentifierOwned {
        oid: ObjectIdentifier::new_unwrap(oid),
        parameters,
    })
}

/// One signature, waited for and verified.
pub(crate) fn signed(signer: &SigningPool, message: &[u8]) -> Result<Signature, CeremonyError> {
    let signature = sign(signer, message)?;
    verify(signer, message, signature.as_bytes())?;
    Ok(signature)
}

/// One signature, waited for.
fn sign(signer: &SigningPool, message: &[u8]) -> Result<Signature, CeremonyError> {
    struct Answer(mpsc::Sender<Result<Signature, SignError>>);
    impl SignCompletion for Answer {
        fn signed(&self, _ticket: u64, outcome: Result<Signature, SignError>) {
            // The receiver waits below for as long as this sender lives.
            let _ = self.0.send(outcome);
        }
    }
    let (answer, outcome) = mpsc::channel();
    signer.submit(SignJob {
        ticket: 0,
        input: signer.input_for(message),
        completion: Arc::new(Answer(answer)),
    });
    let outcome = outcome.recv().map_err(|_| CeremonyError::SignerGone)?;
    outcome.map_err(|source| CeremonyError::Sign { source })
}

/// Verifies with the key that will stand in the chain: a token that answers with another
/// key is found here and not in the field.
pub(crate) fn verify(
    signer: &SigningPool,
    message: &[u8],
    sig: &[u8],
) -> Result<(), CeremonyError> {
    if signer.verifies(message, sig) {
        Ok(())
    } else {
        Err(CeremonyError::SignatureWrong)
    }
}

fn random_serial() -> Result<[u8; SERIAL_BYTES], CeremonyError> {
    let mut serial = [0; SERIAL_BYTES];
    rand::fill(&mut serial).map_err(|_| CeremonyError::Random)?;
    // Top bit clear: positive. Next bit set: no leading zero, so always 16 octets.
    serial[0] = serial[0] & 0x7f | 0x40;
    Ok(serial)
}

/// RFC 5280 §4.1.2.5: no fractional seconds.
fn truncate_to_seconds(time: SystemTime) -> SystemTime {
    let since_epoch = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since_epoch.as_secs())
}
