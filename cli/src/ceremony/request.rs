//! The certificate request of an issuing CA that somebody else certifies.

use std::path::PathBuf;

use birthmark_hsm::{RsaSignature, SignerLocation};
use der::asn1::BitString;
use der::pem::LineEnding;
use der::{Decode, Encode, EncodePem};
use serde::Serialize;
use x509_cert::attr::{Attribute, Attributes};
use x509_cert::request::{CertReq, CertReqInfo, ExtensionReq, Version};

use super::certificate::{self, public_key_sha256};
use super::files::write_new;
use super::{CeremonyError, open_issuing_key};
use crate::subject::Subject;

/// What is asked for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RequestPlan {
    /// Where the key is; it exists already.
    pub signer: SignerLocation,
    /// Subject of the issuing CA.
    pub subject: Subject,
    /// How an RSA key signs the request; `None`: PKCS #1 v1.5.
    pub rsa_signature: Option<RsaSignature>,
    /// The new file, PEM.
    pub out: PathBuf,
}

impl RequestPlan {
    /// A request for the key at `signer`.
    pub fn new(signer: SignerLocation, subject: Subject, out: impl Into<PathBuf>) -> RequestPlan {
        RequestPlan {
            signer,
            subject,
            rsa_signature: None,
            out: out.into(),
        }
    }
}

/// The request that was written.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct WrittenRequest {
    /// The file.
    pub request: PathBuf,
    /// Subject of the issuing CA.
    pub subject: String,
    /// Kind of key.
    pub algorithm: String,
    /// SHA-256 of the SubjectPublicKeyInfo, to compare with whoever certifies it.
    pub public_key_sha256: Option<String>,
}

/// Writes a PKCS #10 request (RFC 2986) that the key signs. It asks for a CA certificate with pathLenConstraint 0 and
/// keyCertSign and cRLSign; what the certificate really says is up to who issues it.
///
/// # Errors
/// The key cannot be used, does not sign, or the file exists.
pub fn request(plan: &RequestPlan) -> Result<WrittenRequest, CeremonyError> {
    let pool = open_issuing_key(&plan.signer, plan.rsa_signature)?;
    let algorithm = pool.key_algorithm();
    if plan.rsa_signature.is_some() && !algorithm.is_rsa() {
        return Err(CeremonyError::NotRsa { algorithm });
    }
    let subject = plan.subject.to_name()?;
    let public_key = certificate::public_key_info(pool.public_key())?;
    let mut attributes = Attributes::new();
    let extensions = certificate::requested_extensions(&subject, &public_key)?;
    attributes.insert(Attribute::try_from(ExtensionReq(extensions))?)?;
    let info = CertReqInfo {
        version: Version::V1,
        subject,
        public_key,
        attributes,
    };
    let signature = certificate::signed(&pool, &info.to_der()?)?;
    let request = CertReq {
        info,
        algorithm: certificate::signature_algorithm(&pool)?,
        signature: BitString::from_bytes(signature.as_bytes())?,
    };
    let der = request.to_der()?;
    let pem = CertReq::from_der(&der)?.to_pem(LineEnding::LF)?;
    write_new(&plan.out, pem.as_bytes())?;
    Ok(WrittenRequest {
        request: plan.out.clone(),
        subject: plan.subject.to_string(),
        algorithm: algorithm.to_string(),
        public_key_sha256: public_key_sha256(pool.public_key()),
    })
}
