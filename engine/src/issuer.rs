//! An issuing CA: its certificate, checked, and the public key that its signatures must verify with.

use std::path::{Path, PathBuf};

use aws_lc_rs::signature::ParsedPublicKey;
use birthmark_hsm::{PublicKey, RsaSignature, SigningPool};

use crate::certificate::{CertificateView, from_pem, unix_seconds};
use crate::der::reader::{DerError, single, unsigned};
use crate::der::tag;
use crate::der::writer::Writer;
use crate::key::{DeviceKeyAlgorithm, SubjectPublicKeyInfo};
use crate::oid;
use crate::pss;
use crate::requested_extensions::KEY_CERT_SIGN;

/// Octets of a subject key identifier that are accepted: RFC 7093 goes up to a whole SHA-512.
const KEY_IDENTIFIER_BYTES_MAX: usize = 64;

/// An issuing CA certificate that is fit to issue.
#[derive(Debug)]
pub struct Issuer {
    certificate: Vec<u8>,
    subject: Vec<u8>,
    subject_key_identifier: Vec<u8>,
    key_identifier: [u8; 20],
    key_algorithm: DeviceKeyAlgorithm,
    key_fingerprint: [u8; 32],
    spki_key: Vec<u8>,
    /// How this issuer signs.
    form: SignatureForm,
    /// How else its key may have signed: an RSA key's other form.
    other_form: Option<SignatureForm>,
    /// notBefore and notAfter, seconds since 1970.
    validity_s: (u64, u64),
    /// pathLenConstraint; more than 255 is none.
    path_length: Option<u8>,
}

/// One form of signature that a key makes.
#[derive(Debug)]
pub(crate) struct SignatureForm {
    /// The AlgorithmIdentifier, DER.
    pub(crate) algorithm: Vec<u8>,
    /// What verifies it.
    pub(crate) key: ParsedPublicKey,
    /// Octets of the longest signature.
    pub(crate) signature_bytes_max: usize,
    /// Which form it is, if the key is an RSA key.
    rsa: Option<RsaSignature>,
}

/// Octets of a bit string besides its content: tag, length of up to three octets, unused bits.
const BIT_STRING_HEADER_BYTES: usize = 5;

impl SignatureForm {
    /// Octets that follow the TBS in a certificate, at most: the signature's algorithm and the signature.
    pub(crate) fn encoded_bytes_max(&self) -> usize {
        self.algorithm.len() + BIT_STRING_HEADER_BYTES + self.signature_bytes_max
    }
}

/// An issuing CA certificate that cannot issue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssuerError {
    /// The file cannot be read.
    #[error("issuer certificate {path}: cannot be read; check the path", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not one certificate in PEM.
    #[error("issuer certificate {path}: not a certificate in PEM: {problem}", path = path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Not a certificate in DER.
    #[error("the issuer certificate has {0}")]
    Malformed(&'static str),
    /// Not a CA that may sign certificates.
    #[error("the issuer certificate cannot issue: {0}")]
    NotCa(&'static str),
    /// Outside its validity.
    #[error("the issuer certificate {0}; install a valid one, or correct the clock")]
    Validity(&'static str),
    /// The signer holds another key.
    #[error(
        "the signer's public key is not the one in the issuer certificate; \
         check that issuer.certificate and issuer.signer belong together"
    )]
    WrongKey,
    /// The issuing key does not sign as the configuration wants.
    #[error(
        "issuer.signature = \"{wanted}\" does not fit the issuer certificate's key, which is {key}; \
         leave the line out, or correct it"
    )]
    Signature {
        /// What the configuration asks for.
        wanted: RsaSignature,
        /// The kind of key.
        key: &'static str,
    },
    /// The signer signs otherwise than the issuer's certificates say.
    #[error(
        "the signer makes RSA signatures of another form (PKCS #1 v1.5 or PSS) than the issuer is set to; \
         set issuer.signature to what the signer's key can do"
    )]
    WrongSignature,
    /// A key that cannot verify its own signatures here.
    #[error("the issuer certificate's key is not supported")]
    KeyUnsupported,
}

impl From<DerError> for IssuerError {
    fn from(DerError(what): DerError) -> Self {
        Self::Malformed(what)
    }
}

impl Issuer {
    /// Reads a PEM file with one certificate.
    ///
    /// # Errors
    /// As [`Issuer::from_der`], or that the file is not there or not PEM.
    pub fn read(path: &Path) -> Result<Self, IssuerError> {
        let pem = std::fs::read(path).map_err(|source| IssuerError::Read {
            path: path.to_owned(),
            source,
        })?;
        let problem = |problem: String| IssuerError::Pem {
            path: path.to_owned(),
            problem,
        };
        Self::from_der(&from_pem(&pem).map_err(problem)?)
    }

    /// Checks a CA certificate in DER: RFC 5280 §4.2.1.9 cA, §4.2.1.3 keyCertSign, §4.2.1.2 key identifier.
    ///
    /// # Errors
    /// What keeps it from issuing.
    pub fn from_der(certificate: &[u8]) -> Result<Self, IssuerError> {
        let view = CertificateView::parse(certificate)?;
        let (is_ca, path_length) = basic_constraints(&view)?;
        if !is_ca {
            return Err(IssuerError::NotCa("its basic constraints do not say cA"));
        }
        if !may_sign_certificates(&view)? {
            return Err(IssuerError::NotCa("its key usage lacks keyCertSign"));
        }
        if view.subject.content.is_empty() {
            return Err(IssuerError::NotCa(
                "its subject is empty (RFC 5280 section 4.1.2.4)",
            ));
        }
        let subject_key_identifier = subject_key_identifier(&view)?;
        let spki =
            SubjectPublicKeyInfo::parse(&view.spki).map_err(|_| IssuerError::KeyUnsupported)?;
        let (form, other_form) = match spki.algorithm {
            DeviceKeyAlgorithm::Rsa => (
                rsa_form(&spki, RsaSignature::Pkcs1v15)?,
                Some(rsa_form(&spki, RsaSignature::Pss)?),
            ),
            DeviceKeyAlgorithm::RsaPss => (rsa_form(&spki, RsaSignature::Pss)?, None),
            _ => (only_form(&spki)?, None),
        };
        Ok(Self {
            certificate: certificate.to_vec(),
            subject: view.subject.encoding.to_vec(),
            subject_key_identifier,
            key_identifier: spki.key_identifier(),
            key_algorithm: spki.algorithm,
            key_fingerprint: spki.fingerprint(),
            spki_key: spki.key.to_vec(),
            form,
            other_form,
            validity_s: (
                unix_seconds(&view.not_before)?,
                unix_seconds(&view.not_after)?,
            ),
            path_length,
        })
    }

    /// The same issuer, signing as said. Without this an RSA key signs PKCS #1 v1.5, and one that is
    /// restricted to PSS (RFC 4055 §1.2) signs PSS.
    ///
    /// # Errors
    /// [`IssuerError::Signature`] when the key is no RSA key, or is restricted to PSS and told otherwise.
    pub fn with_rsa_signature(mut self, wanted: RsaSignature) -> Result<Self, IssuerError> {
        if self.form.rsa == Some(wanted) {
            return Ok(self);
        }
        match &mut self.other_form {
            Some(other) if other.rsa == Some(wanted) => std::mem::swap(&mut self.form, other),
            _ => {
                return Err(IssuerError::Signature {
                    wanted,
                    key: self.key_algorithm.name(),
                });
            }
        }
        Ok(self)
    }

    /// How the key signs, if it is an RSA key. The signer has to be opened to sign so.
    #[must_use]
    pub fn rsa_signature(&self) -> Option<RsaSignature> {
        self.form.rsa
    }

    /// Whether the certificate is valid at `unix_s`, seconds since 1970.
    ///
    /// # Errors
    /// [`IssuerError::Validity`].
    pub fn check_valid_at(&self, unix_s: u64) -> Result<(), IssuerError> {
        if unix_s < self.validity_s.0 {
            Err(IssuerError::Validity("is not valid yet"))
        } else if unix_s > self.validity_s.1 {
            Err(IssuerError::Validity("has expired"))
        } else {
            Ok(())
        }
    }

    /// Whether the signer holds this certificate's key and signs with it as this issuer does.
    ///
    /// # Errors
    /// [`IssuerError::WrongKey`], [`IssuerError::WrongSignature`].
    pub fn check_signer(&self, signer: &SigningPool) -> Result<(), IssuerError> {
        let key = match signer.public_key() {
            PublicKey::Ec { point, .. } => point.clone(),
            PublicKey::Ed25519(key) => key.to_vec(),
            PublicKey::MlDsa { key, .. } => key.clone(),
            PublicKey::Rsa { modulus, exponent } => {
                let mut key = Vec::new();
                Writer::new(&mut key).nested(tag::SEQUENCE, |key| {
                    key.unsigned(modulus);
                    key.unsigned(exponent);
                });
                key
            }
        };
        if key != self.spki_key {
            Err(IssuerError::WrongKey)
        } else if signer.rsa_signature() != self.form.rsa {
            Err(IssuerError::WrongSignature)
        } else {
            Ok(())
        }
    }

    /// The certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// First 20 octets of SHA-256 over the public key, RFC 7093 §2 (1): how records name the issuer.
    #[must_use]
    pub fn key_identifier(&self) -> &[u8; 20] {
        &self.key_identifier
    }

    /// The key, if it signs with ECDSA on P-256 and SHA-256.
    pub(crate) fn p256_key(&self) -> Option<p256x8::PublicKey> {
        match self.key_algorithm {
            DeviceKeyAlgorithm::EcP256 => p256x8::PublicKey::from_sec1(&self.spki_key),
            _ => None,
        }
    }

    pub(crate) fn subject(&self) -> &[u8] {
        &self.subject
    }

    /// Whether a certificate names this issuer and its key, as all that are made here do. The signature is not
    /// looked at.
    pub(crate) fn issued(&self, certificate: &[u8]) -> bool {
        let Ok(view) = CertificateView::parse(certificate) else {
            return false;
        };
        let mut key_identifier = Vec::with_capacity(KEY_IDENTIFIER_BYTES_MAX + 4);
        Writer::new(&mut key_identifier).nested(tag::SEQUENCE, |aki| {
            aki.primitive(tag::context_primitive(0), &self.subject_key_identifier);
        });
        let extension = view.extension(oid::AUTHORITY_KEY_IDENTIFIER);
        view.issuer == self.subject
            && extension.is_some_and(|extension| extension.value == key_identifier)
    }

    pub(crate) fn subject_key_identifier(&self) -> &[u8] {
        &self.subject_key_identifier
    }

    pub(crate) fn key_fingerprint(&self) -> &[u8; 32] {
        &self.key_fingerprint
    }

    /// AlgorithmIdentifier of the signatures that this issuer makes, DER.
    pub(crate) fn signature_algorithm(&self) -> &[u8] {
        &self.form.algorithm
    }

    /// How this issuer signs.
    pub(crate) fn form(&self) -> &SignatureForm {
        &self.form
    }

    /// The form in which a certificate of this issuer was signed, also before it was set to another.
    pub(crate) fn form_of(&self, algorithm: &[u8]) -> Option<&SignatureForm> {
        [Some(&self.form), self.other_form.as_ref()]
            .into_iter()
            .flatten()
            .find(|form| form.algorithm == algorithm)
    }

    /// How many CAs may stand below this one, RFC 5280 §4.2.1.9; `None` for any number.
    pub(crate) fn path_length(&self) -> Option<u8> {
        self.path_length
    }

    /// notBefore and notAfter, seconds since 1970.
    pub(crate) fn validity_s(&self) -> (u64, u64) {
        self.validity_s
    }
}

/// cA and pathLenConstraint, RFC 5280 §4.2.1.9.
fn basic_constraints(view: &CertificateView<'_>) -> Result<(bool, Option<u8>), DerError> {
    let Some(extension) = view.extension(oid::BASIC_CONSTRAINTS) else {
        return Ok((false, None));
    };
    let mut fields = single(
        extension.value,
        tag::SEQUENCE,
        "malformed basic constraints",
    )?
    .reader();
    let ca = fields.optional(tag::BOOLEAN)?;
    let path_length = match fields.optional(tag::INTEGER)? {
        Some(length) => match unsigned(&length)? {
            [length] => Some(*length),
            _ => None,
        },
        None => None,
    };
    Ok((ca.is_some_and(|ca| ca.content == [0xff]), path_length))
}

fn may_sign_certificates(view: &CertificateView<'_>) -> Result<bool, DerError> {
    let Some(extension) = view.extension(oid::KEY_USAGE) else {
        return Ok(true);
    };
    let bits = single(extension.value, tag::BIT_STRING, "malformed key usage")?;
    Ok(bits
        .content
        .get(1)
        .is_some_and(|first| first & KEY_CERT_SIGN != 0))
}

fn subject_key_identifier(view: &CertificateView<'_>) -> Result<Vec<u8>, IssuerError> {
    let extension = view
        .extension(oid::SUBJECT_KEY_IDENTIFIER)
        .ok_or(IssuerError::NotCa(
            "it has no subject key identifier (RFC 5280 section 4.2.1.2)",
        ))?;
    let identifier = single(
        extension.value,
        tag::OCTET_STRING,
        "malformed key identifier",
    )?
    .content;
    if (1..=KEY_IDENTIFIER_BYTES_MAX).contains(&identifier.len()) {
        Ok(identifier.to_vec())
    } else {
        Err(IssuerError::Malformed(
            "a key identifier that is empty or over 64 octets",
        ))
    }
}

/// How a key signs that knows one form only: ECDSA, EdDSA and ML-DSA, without parameters (RFC 5758 §3.2,
/// RFC 8410 §3, RFC 9881 §2).
fn only_form(spki: &SubjectPublicKeyInfo<'_>) -> Result<SignatureForm, IssuerError> {
    let oid = match spki.algorithm {
        DeviceKeyAlgorithm::EcP256 => oid::ECDSA_SHA256,
        DeviceKeyAlgorithm::EcP384 => oid::ECDSA_SHA384,
        DeviceKeyAlgorithm::EcP521 => oid::ECDSA_SHA512,
        DeviceKeyAlgorithm::Ed25519 => oid::ED25519,
        DeviceKeyAlgorithm::MlDsa44 => oid::ML_DSA_44,
        DeviceKeyAlgorithm::MlDsa65 => oid::ML_DSA_65,
        DeviceKeyAlgorithm::MlDsa87 => oid::ML_DSA_87,
        DeviceKeyAlgorithm::Rsa | DeviceKeyAlgorithm::RsaPss => {
            return Err(IssuerError::KeyUnsupported);
        }
    };
    let mut algorithm = Vec::new();
    Writer::new(&mut algorithm).nested(tag::SEQUENCE, |identifier| {
        identifier.primitive(tag::OID, oid);
    });
    form(spki, oid, algorithm, None)
}

/// One of an RSA key's forms: sha256WithRSAEncryption with NULL (RFC 4055 §5), or id-RSASSA-PSS with its
/// parameters (§3.1).
fn rsa_form(
    spki: &SubjectPublicKeyInfo<'_>,
    rsa: RsaSignature,
) -> Result<SignatureForm, IssuerError> {
    match rsa {
        RsaSignature::Pkcs1v15 => {
            let mut algorithm = Vec::new();
            Writer::new(&mut algorithm).nested(tag::SEQUENCE, |identifier| {
                identifier.primitive(tag::OID, oid::RSA_SHA256);
                identifier.primitive(tag::NULL, &[]);
            });
            form(spki, oid::RSA_SHA256, algorithm, Some(rsa))
        }
        RsaSignature::Pss => {
            let algorithm = pss::SIGNATURE_ALGORITHM.to_vec();
            form(spki, oid::RSA_PSS, algorithm, Some(rsa))
        }
    }
}

fn form(
    spki: &SubjectPublicKeyInfo<'_>,
    signature_oid: &[u8],
    algorithm: Vec<u8>,
    rsa: Option<RsaSignature>,
) -> Result<SignatureForm, IssuerError> {
    let Some(verification) = spki.verification(signature_oid) else {
        return Err(IssuerError::KeyUnsupported);
    };
    let key = ParsedPublicKey::new(verification, spki.key);
    Ok(SignatureForm {
        algorithm,
        signature_bytes_max: spki.signature_bytes_max(),
        key: key.map_err(|_| IssuerError::KeyUnsupported)?,
        rsa,
    })
}
