//! A certificate chain from an issuing CA up to a given root, checked before anything is installed.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use birthmark_hsm::MlDsaParameterSet;
use der::Encode;
use der::asn1::ObjectIdentifier;
use x509_cert::Certificate;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, KeyUsage, KeyUsages, SubjectKeyIdentifier,
};
use x509_cert::spki::AlgorithmIdentifierOwned;

use super::certificate::{PSS_PARAMETERS, RSASSA_PSS, ml_dsa_oid};

/// Most certificates above the issuing CA: public hierarchies have two or three.
pub const CHAIN_MAX: usize = 8;

/// Longest file read, in bytes: eight certificates of ML-DSA-87 have some 80 KiB in PEM.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Extensions that are understood here, or that a CA certificate may carry without a bearing on what is checked:
/// keyUsage, basicConstraints, key identifiers, certificatePolicies (RFC 5280 §4.2.1). Another critical one is refused.
const UNDERSTOOD: [&str; 5] = [
    "2.5.29.15",
    "2.5.29.19",
    "2.5.29.14",
    "2.5.29.35",
    "2.5.29.32",
];

/// A chain that holds.
#[derive(Debug)]
pub(crate) struct Chain {
    /// The issuing CA.
    pub(crate) issuing: Certificate,
    /// Who certified it, who certified that, and so on; the root is the last.
    pub(crate) above: Vec<Certificate>,
}

/// Why a chain does not hold, or cannot be read. Certificates are named by their subject.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// The file cannot be read.
    #[error("{path}: cannot be read; check the path")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not certificates in PEM.
    #[error("{path}: not certificates in PEM; convert DER with `openssl x509 -inform DER`")]
    Pem {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: der::Error,
    },
    /// Not as many as there should be.
    #[error("{path}: has {found} certificates; expected are {expected}")]
    Count {
        /// The file.
        path: String,
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: String,
    },
    /// A certificate is not encoded as DER demands.
    #[error(
        "the certificate of '{subject}' is not DER (X.690 §10, RFC 5280 §4.1); ask for another"
    )]
    NotDer {
        /// Whose.
        subject: String,
    },
    /// The chain ends before a root.
    #[error(
        "the chain has no certificate of '{issuer}', who issued '{subject}'; add it to --chain"
    )]
    NoIssuer {
        /// Whose issuer is missing.
        subject: String,
        /// The issuer.
        issuer: String,
    },
    /// A certificate of the file has no place in the chain.
    #[error("'{subject}' does not belong to this chain; leave it out of --chain")]
    Stray {
        /// Whose.
        subject: String,
    },
    /// A CA's certificate forbids what is done with it.
    #[error("'{subject}' may not certify this issuing CA: {problem}")]
    NotAllowed {
        /// Whose.
        subject: String,
        /// What is wrong, with the rule.
        problem: String,
    },
    /// Outside its validity.
    #[error("the certificate of '{subject}' {problem}; get a valid one, or correct the clock")]
    Validity {
        /// Whose.
        subject: String,
        /// `is not valid yet` or `has expired`.
        problem: &'static str,
    },
    /// The signature is not the issuer's.
    #[error(
        "the signature of '{issuer}' on '{subject}' does not verify: they do not belong together"
    )]
    Signature {
        /// On whose certificate.
        subject: String,
        /// Whose signature.
        issuer: String,
    },
    /// A signature algorithm that is not checked here.
    #[error(
        "'{subject}' is signed with an algorithm ({oid}) that is not checked here: use ECDSA on P-256, P-384 or P-521, \
         Ed25519, ML-DSA, RSA PKCS #1 v1.5 with SHA-256, SHA-384 or SHA-512, or RSASSA-PSS with SHA-256 (MGF1 the same, salt 32)"
    )]
    Algorithm {
        /// Whose.
        subject: String,
        /// The object identifier.
        oid: String,
    },
}

/// Reads the one certificate of a PEM file.
pub(crate) fn read_one(path: &Path) -> Result<Certificate, ChainError> {
    one_in(path, &bytes(path)?)
}

/// The one certificate of a PEM file with this content.
pub(crate) fn one_in(path: &Path, content: &[u8]) -> Result<Certificate, ChainError> {
    let mut found = parse(path, content)?;
    match found.len() {
        1 => Ok(found.remove(0)),
        count => Err(ChainError::Count {
            path: path.display().to_string(),
            found: count,
            expected: "1".to_owned(),
        }),
    }
}

/// Reads the certificates of a PEM file, 1 to [`CHAIN_MAX`].
pub(crate) fn read_chain(path: &Path) -> Result<Vec<Certificate>, ChainError> {
    all_in(path, &bytes(path)?)
}

/// The certificates, 1 to [`CHAIN_MAX`], of a PEM file with this content.
pub(crate) fn all_in(path: &Path, content: &[u8]) -> Result<Vec<Certificate>, ChainError> {
    let found = parse(path, content)?;
    if (1..=CHAIN_MAX).contains(&found.len()) {
        return Ok(found);
    }
    Err(ChainError::Count {
        path: path.display().to_string(),
        found: found.len(),
        expected: format!("1 to {CHAIN_MAX}"),
    })
}

fn bytes(path: &Path) -> Result<Vec<u8>, ChainError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    read.map_err(|source| ChainError::Read {
        path: path.display().to_string(),
        source,
    })?;
    Ok(bytes)
}

fn parse(path: &Path, content: &[u8]) -> Result<Vec<Certificate>, ChainError> {
    Certificate::load_pem_chain(content).map_err(|source| ChainError::Pem {
        path: path.display().to_string(),
        source,
    })
}

impl Chain {
    /// Builds the chain from the issuing CA to the self-issued certificate among `given`, which is trusted because it
    /// was given, and checks every link at `now`, the time since 1970 (RFC 5280 §6.1, without policies and names).
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub(crate) fn verify(
        issuing: Certificate,
        given: Vec<Certificate>,
        now: Duration,
    ) -> Result<Chain, ChainError> {
        let mut left = given;
        let mut above: Vec<Certificate> = Vec::with_capacity(left.len());
        // CAs that are not self-issued, below the one that is looked at: pathLenConstraint counts them.
        let mut below = 0;
        check_ca(&issuing, 0, now)?;
        loop {
            let subject = above.last().unwrap_or(&issuing);
            if self_issued(subject) && !above.is_empty() {
                check_signature(subject, subject)?;
                break;
            }
            below += usize::from(!self_issued(subject));
            let wanted = subject.tbs_certificate().issuer();
            let issuers: Vec<usize> = (0..left.len())
                .filter(|index| left[*index].tbs_certificate().subject() == wanted)
                .collect();
            let Some(index) = issuer_of(subject, &left, &issuers)? else {
                return Err(ChainError::NoIssuer {
                    subject: name(subject),
                    issuer: wanted.to_string(),
                });
            };
            check_ca(&left[index], below, now)?;
            above.push(left.swap_remove(index));
        }
        match left.first() {
            Some(stray) => Err(ChainError::Stray {
                subject: name(stray),
            }),
            None => Ok(Chain { issuing, above }),
        }
    }

    /// The root.
    pub(crate) fn root(&self) -> &Certificate {
        self.above.last().unwrap_or(&self.issuing)
    }
}

/// The subject, for a message.
pub(crate) fn name(certificate: &Certificate) -> String {
    certificate.tbs_certificate().subject().to_string()
}

fn self_issued(certificate: &Certificate) -> bool {
    let tbs = certificate.tbs_certificate();
    tbs.subject() == tbs.issuer()
}

/// Among certificates of the right name, the one whose key signed; the first one's error if none did.
fn issuer_of(
    subject: &Certificate,
    given: &[Certificate],
    candidates: &[usize],
) -> Result<Option<usize>, ChainError> {
    let mut first_error = None;
    for index in candidates {
        match check_signature(subject, &given[*index]) {
            Ok(()) => return Ok(Some(*index)),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    first_error.map_or(Ok(None), Err)
}

/// What has to hold of each CA by itself: RFC 5280 §4.2.1.9, §4.2.1.3, §4.1.2.5. `below`: CAs between it and devices.
fn check_ca(certificate: &Certificate, below: usize, now: Duration) -> Result<(), ChainError> {
    let tbs = certificate.tbs_certificate();
    let subject = || name(certificate);
    let refuse = |problem: String| {
        Err(ChainError::NotAllowed {
            subject: subject(),
            problem,
        })
    };
    let unreadable = |_| ChainError::NotDer { subject: subject() };
    let constraints = tbs
        .get_extension::<BasicConstraints>()
        .map_err(unreadable)?;
    let usage = tbs.get_extension::<KeyUsage>().map_err(unreadable)?;
    match constraints {
        Some((_, constraints)) if constraints.ca => {
            if let Some(most) = constraints.path_len_constraint
                && below > usize::from(most)
            {
                return refuse(format!(
                    "its pathLenConstraint is {most}, and {below} CAs are below it (RFC 5280 §4.2.1.9)"
                ));
            }
        }
        _ => return refuse("its basicConstraints do not say cA (RFC 5280 §4.2.1.9)".to_owned()),
    }
    if !usage.is_some_and(|(_, usage)| usage.0.contains(KeyUsages::KeyCertSign)) {
        return refuse("its keyUsage lacks keyCertSign (RFC 5280 §4.2.1.3)".to_owned());
    }
    for extension in tbs.extensions().into_iter().flatten() {
        let oid = extension.extn_id.to_string();
        if extension.critical && !UNDERSTOOD.contains(&oid.as_str()) {
            return refuse(format!(
                "it has the critical extension {oid}, which is not understood here (RFC 5280 §4.2)"
            ));
        }
    }
    let validity = tbs.validity();
    let problem = if now < validity.not_before.to_unix_duration() {
        "is not valid yet"
    } else if now > validity.not_after.to_unix_duration() {
        "has expired"
    } else {
        return Ok(());
    };
    Err(ChainError::Validity {
        subject: subject(),
        problem,
    })
}

/// That `issuer` signed `subject`, and that the key identifiers fit where both are told (RFC 5280 §4.2.1.1).
pub(crate) fn check_signature(
    subject: &Certificate,
    issuer: &Certificate,
) -> Result<(), ChainError> {
    let (tbs, issuing) = (subject.tbs_certificate(), issuer.tbs_certificate());
    let not_der = |_| ChainError::NotDer {
        subject: name(subject),
    };
    let wrong = || ChainError::Signature {
        subject: name(subject),
        issuer: name(issuer),
    };
    let authority = tbs
        .get_extension::<AuthorityKeyIdentifier>()
        .map_err(not_der)?;
    let authority = authority.and_then(|(_, authority)| authority.key_identifier);
    let own = issuing
        .get_extension::<SubjectKeyIdentifier>()
        .map_err(not_der)?;
    if let (Some(authority), Some((_, own))) = (authority, own)
        && authority != own.0
    {
        return Err(wrong());
    }
    if subject.signature_algorithm() != tbs.signature() {
        return Err(wrong());
    }
    let key = issuing.subject_public_key_info();
    let curve = key.algorithm.parameters.as_ref();
    let curve = curve.and_then(|parameters| parameters.decode_as::<ObjectIdentifier>().ok());
    let oid = subject.signature_algorithm().oid.to_string();
    let curve = curve.map(|curve| curve.to_string());
    let is_pss = oid == RSASSA_PSS && has_pss_parameters(subject.signature_algorithm());
    let algorithm = match algorithm(&oid, curve.as_deref()) {
        None if is_pss => Some(&signature::RSA_PSS_2048_8192_SHA256 as &dyn VerificationAlgorithm),
        other => other,
    };
    let algorithm = algorithm.ok_or_else(|| ChainError::Algorithm {
        subject: name(subject),
        oid: oid.clone(),
    })?;
    // What was parsed is what was signed only if it encodes to the same octets; X.690 §10 sees to that.
    let message = tbs.to_der().map_err(not_der)?;
    let signature = subject.signature().as_bytes().ok_or_else(wrong)?;
    UnparsedPublicKey::new(algorithm, key.subject_public_key.raw_bytes())
        .verify(&message, signature)
        .map_err(|_| wrong())
}

/// Whether the parameters are those of the one form of PSS: SHA-256, MGF1 with SHA-256, a salt of 32 octets.
fn has_pss_parameters(algorithm: &AlgorithmIdentifierOwned) -> bool {
    let parameters = algorithm.parameters.as_ref().map(Encode::to_der);
    matches!(parameters, Some(Ok(parameters)) if parameters == PSS_PARAMETERS)
}

/// The signature algorithm with the curve of the key that should have made it (RFC 5758 §3.2, RFC 8410, RFC 4055,
/// RFC 9881). PSS depends on its parameters.
fn algorithm(oid: &str, curve: Option<&str>) -> Option<&'static dyn VerificationAlgorithm> {
    const P256: Option<&str> = Some("1.2.840.10045.3.1.7");
    const P384: Option<&str> = Some("1.3.132.0.34");
    const P521: Option<&str> = Some("1.3.132.0.35");
    Some(match oid {
        "1.2.840.10045.4.3.2" if curve == P256 => &signature::ECDSA_P256_SHA256_ASN1,
        "1.2.840.10045.4.3.2" if curve == P384 => &signature::ECDSA_P384_SHA256_ASN1,
        "1.2.840.10045.4.3.2" if curve == P521 => &signature::ECDSA_P521_SHA256_ASN1,
        "1.2.840.10045.4.3.3" if curve == P256 => &signature::ECDSA_P256_SHA384_ASN1,
        "1.2.840.10045.4.3.3" if curve == P384 => &signature::ECDSA_P384_SHA384_ASN1,
        "1.2.840.10045.4.3.3" if curve == P521 => &signature::ECDSA_P521_SHA384_ASN1,
        "1.2.840.10045.4.3.4" if curve == P256 => &signature::ECDSA_P256_SHA512_ASN1,
        "1.2.840.10045.4.3.4" if curve == P384 => &signature::ECDSA_P384_SHA512_ASN1,
        "1.2.840.10045.4.3.4" if curve == P521 => &signature::ECDSA_P521_SHA512_ASN1,
        "1.3.101.112" => &signature::ED25519,
        oid if oid == ml_dsa_oid(MlDsaParameterSet::MlDsa44) => &signature::ML_DSA_44,
        oid if oid == ml_dsa_oid(MlDsaParameterSet::MlDsa65) => &signature::ML_DSA_65,
        oid if oid == ml_dsa_oid(MlDsaParameterSet::MlDsa87) => &signature::ML_DSA_87,
        "1.2.840.113549.1.1.11" => &signature::RSA_PKCS1_2048_8192_SHA256,
        "1.2.840.113549.1.1.12" => &signature::RSA_PKCS1_2048_8192_SHA384,
        "1.2.840.113549.1.1.13" => &signature::RSA_PKCS1_2048_8192_SHA512,
        _ => return None,
    })
}
