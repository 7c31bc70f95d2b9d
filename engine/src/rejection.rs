//! Why a request is refused: untrusted input at fault, the engine sound.

use std::fmt;

use crate::lots::LotProblem;
use crate::permit::PermitProblem;

/// What the person at the line does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Send the same request again.
    Retry,
    /// The device needs work before it can ask again, for example a new key.
    Rework,
    /// The device can not get a certificate.
    Scrap,
    /// Stop the line: every request will fare alike.
    Stop,
    /// A PKI officer decides.
    CallOfficer,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Retry => "RETRY",
            Self::Rework => "REWORK",
            Self::Scrap => "SCRAP",
            Self::Stop => "STOP",
            Self::CallOfficer => "CALL-OFFICER",
        })
    }
}

/// A request that is refused, and why. Says nothing of the requests beside it.
///
/// Texts never repeat attribute values that the profile does not take: a challenge password must not
/// reach a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// No bytes at all.
    #[error("the request is empty")]
    Empty,
    /// Over [`crate::CSR_BYTES_MAX`].
    #[error("the request has {bytes} bytes, the limit is {max}")]
    TooLarge {
        /// Bytes offered.
        bytes: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Not the DER of a CertificationRequest.
    #[error("not the DER of a certification request: it has {0}")]
    Malformed(&'static str),
    /// More of something than is read: depth, values, attributes, names, extensions.
    #[error("the request is over a limit: it has {0}")]
    OverLimit(&'static str),
    /// An attribute stands twice, or has not exactly one value.
    #[error("an attribute of the request stands more than once or has not exactly one value")]
    AttributeCount,
    /// The signature algorithm does not belong to the key, or is not accepted.
    #[error("the signature algorithm is not accepted for this kind of key")]
    SignatureAlgorithm,
    /// The request is not signed by the key it asks for.
    #[error("the signature does not verify with the key in the request")]
    ProofOfPossession,
    /// RSASSA-PSS with parameters that are not accepted.
    #[error(
        "the RSASSA-PSS parameters are not accepted: {0}; use SHA-256, MGF1 with SHA-256 and a salt of 32 octets"
    )]
    PssParameters(&'static str),
    /// The signature is over a hash that is broken.
    #[error("the request is signed with {0}, which is broken; sign it with SHA-256 or longer")]
    SignatureHash(&'static str),
    /// A key type, curve or encoding that is not supported.
    #[error("the key is not supported: {0}")]
    KeyUnsupported(&'static str),
    /// The profile does not take this kind of key.
    #[error("profile {profile} does not accept {algorithm} keys")]
    KeyNotAllowed {
        /// Name of the profile.
        profile: String,
        /// The key's kind.
        algorithm: &'static str,
    },
    /// The profile does not let the engine make keys.
    #[error("profile {0} takes a certificate request; it does not say key.generated")]
    KeyNotGenerated(String),
    /// An RSA key outside policy.
    #[error("the RSA key is outside policy: {0}")]
    RsaPolicy(&'static str),
    /// An EC key that is not a point of its curve.
    #[error("the key's point does not do: {0}")]
    EcPoint(&'static str),
    /// An RSA modulus that a small prime divides.
    #[error("the RSA modulus can be divided by {factor}; the device's key generator is faulty")]
    RsaSmallFactor {
        /// The prime.
        factor: u32,
    },
    /// An RSA modulus of two primes that are close to each other.
    #[error(
        "the RSA modulus is the product of two primes so close that anybody can find them; the device's key \
         generator is faulty"
    )]
    RsaClosePrimes,
    /// An RSA modulus as a faulty library makes it.
    #[error(
        "the RSA modulus is one of the library with the ROCA fault (CVE-2017-15361), and can be factored; the \
         chip needs other firmware, or a key of another kind"
    )]
    RsaRoca,
    /// The key is in the configuration's list.
    #[error("the key is in the list of known bad keys: others have its private half")]
    KnownBadKey,
    /// The issuing CA's own key.
    #[error("the request holds the issuing CA's own key")]
    IssuerKey,
    /// No profile has this name.
    #[error("no profile is named {0:?}; ask for one that the configuration lists")]
    UnknownProfile(String),
    /// A value that the profile takes is missing or stands more than once.
    #[error("profile {profile} takes {source_field} exactly once, and it stands {count} times")]
    FieldCount {
        /// Name of the profile.
        profile: String,
        /// For example `csr.subject.serialNumber`.
        source_field: String,
        /// How often it was found.
        count: usize,
    },
    /// A value that the profile takes is not fit for its place.
    #[error("{target}: {problem}")]
    FieldValue {
        /// Where the value was to go.
        target: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The request asks to be a CA.
    #[error("the request asks for a CA certificate")]
    RequestsCa,
    /// An extension that the request asks for, or does not ask for, against its profile.
    #[error("requested extension {extension}: {problem}")]
    RequestedExtension {
        /// Name or identifier of the extension.
        extension: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// All serial numbers of the profile are used.
    #[error("profile {profile} has no serial number left; extend its range or list")]
    SerialsExhausted {
        /// Name of the profile.
        profile: String,
    },
    /// The certificate, or its record in the log, could be longer than a limit.
    #[error(
        "the certificate could have {bytes} bytes with what goes with it, and {limit} allows {max}"
    )]
    CertificateTooLarge {
        /// Octets, at most, of what the limit is about.
        bytes: usize,
        /// What sets the limit.
        limit: &'static str,
        /// Octets allowed.
        max: usize,
    },
    /// Fields the line adds are too many or too large.
    #[error("the line's data is over a limit: {0}")]
    DataLimit(&'static str),
    /// A value that the line adds is not one line of text.
    #[error("the line's data has {0}")]
    DataValue(&'static str),
    /// Another device holds this key.
    #[error("the key is already certified, for another device or profile, in record {index}")]
    KeyInUse {
        /// The earlier record.
        index: u64,
    },
    /// The device holds a certificate for another key.
    #[error("device {identity:?} is already certified with another key, in record {index}")]
    IdentityInUse {
        /// The device identity.
        identity: String,
        /// The earlier record.
        index: u64,
    },
    /// The same device and key, but other content.
    #[error("device {identity:?} is already certified with other content, in record {index}")]
    ChangedRequest {
        /// The device identity.
        identity: String,
        /// The earlier record.
        index: u64,
    },
    /// The request was answered, and that certificate was replaced since.
    #[error("this request was answered in record {index}, which record {by} has replaced")]
    Superseded {
        /// The record that answered it.
        index: u64,
        /// The device's newest record.
        by: u64,
    },
    /// The device had this key before and got another.
    #[error(
        "device {identity:?} gave up the key of record {index} when record {by} replaced it; make a new key"
    )]
    KeyRetired {
        /// The device identity.
        identity: String,
        /// The newest record with the key.
        index: u64,
        /// The device's newest record.
        by: u64,
    },
    /// The device was reissued [`crate::REISSUES_MAX`] times.
    #[error(
        "device {identity:?} was reissued {} times, the last time in record {index}",
        crate::REISSUES_MAX
    )]
    ReissueLimit {
        /// The device identity.
        identity: String,
        /// The device's newest record.
        index: u64,
    },
    /// The profile replaces certificates by permit, and none came.
    #[error(
        "device {identity:?} is already certified, in record {index}; another certificate, for the key \
         {key_fingerprint}, needs an officer's permit that replaces {index}"
    )]
    PermitNeeded {
        /// The device identity.
        identity: String,
        /// The device's newest record: what the permit has to replace.
        index: u64,
        /// Fingerprint of the key in the request, in hexadecimal: what the permit may name. `any` where
        /// the engine makes the key.
        key_fingerprint: String,
    },
    /// A permit came, and it does not allow this.
    #[error(
        "device {identity:?} is already certified, in record {index}, and the permit does not do: {problem}"
    )]
    Permit {
        /// The device identity.
        identity: String,
        /// The device's newest record.
        index: u64,
        /// What is wrong with the permit.
        #[source]
        problem: PermitProblem,
    },
    /// The station issues for lots only, and the request names none.
    #[error("the request names no lot, and this station issues for lots only")]
    LotNeeded,
    /// The lot does not authorize the request.
    #[error("lot {lot:?} {problem}")]
    Lot {
        /// The lot's name.
        lot: String,
        /// Why not.
        #[source]
        problem: LotProblem,
    },
}

impl Rejection {
    /// A stable number: 1xx form, 2xx proof of possession, 3xx key, 4xx profile and content, 5xx duplicates
    /// and reissues, 6xx lots.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.facts().0
    }

    /// The kind in kebab case, for programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.facts().1
    }

    /// Where the rule comes from.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        self.facts().2
    }

    /// What to do at the line.
    #[must_use]
    pub fn action(&self) -> Action {
        self.facts().3
    }

    /// The sentence for a person.
    #[must_use]
    pub fn detail(&self) -> String {
        self.to_string()
    }

    fn facts(&self) -> (u16, &'static str, &'static str, Action) {
        use Action::{CallOfficer, Rework, Scrap, Stop};
        match self {
            Self::Empty => (100, "empty", "RFC 2986 §4", Rework),
            Self::TooLarge { .. } => (101, "too-large", "Birthmark size limit", Rework),
            Self::Malformed(_) => (102, "malformed", "RFC 2986 §4, X.690 §10", Rework),
            Self::AttributeCount => (103, "attribute-count", "RFC 2985 §5.4", Rework),
            Self::OverLimit(_) => (104, "over-limit", "Birthmark size limit", Rework),
            Self::SignatureAlgorithm => (200, "signature-algorithm", "RFC 5758 §3.2", Rework),
            Self::ProofOfPossession => (201, "proof-of-possession", "RFC 2986 §4.2", Rework),
            Self::PssParameters(_) => (202, "pss-parameters", "RFC 4055 §3.1", Rework),
            Self::SignatureHash(_) => (
                203,
                "signature-hash",
                "RFC 6149, RFC 6150, RFC 6151, NIST SP 800-131A §9",
                Rework,
            ),
            Self::KeyUnsupported(_) => (300, "key-unsupported", "RFC 5480 §2.1.1", Rework),
            Self::KeyNotAllowed { .. } => (301, "key-not-allowed", "profile", Stop),
            Self::KeyNotGenerated(_) => (390, "key-not-generated", "profile", Stop),
            Self::RsaPolicy(_) => (302, "rsa-policy", "NIST SP 800-56B §6.2", Rework),
            Self::IssuerKey => (303, "issuer-key", "RFC 5280 §4.2.1.9", CallOfficer),
            Self::EcPoint(_) => (304, "ec-point", "SEC 1 §3.2.2.1", Rework),
            Self::RsaSmallFactor { .. } => (
                305,
                "rsa-small-factor",
                "NIST SP 800-89 §5.3.3",
                CallOfficer,
            ),
            Self::RsaClosePrimes => (
                306,
                "rsa-close-primes",
                "FIPS 186-5 appendix A.1.1, CVE-2022-26320",
                CallOfficer,
            ),
            Self::RsaRoca => (307, "rsa-roca", "CVE-2017-15361", CallOfficer),
            Self::KnownBadKey => (308, "known-bad-key", "configuration", CallOfficer),
            Self::UnknownProfile(_) => (400, "unknown-profile", "configuration", Stop),
            Self::FieldCount { .. } => (401, "field-count", "profile", Rework),
            Self::FieldValue { .. } => (402, "field-value", "RFC 5280 appendix A.1", Rework),
            Self::RequestsCa => (403, "requests-ca", "RFC 5280 §4.2.1.9", CallOfficer),
            Self::DataLimit(_) => (404, "data-limit", "Birthmark size limit", Stop),
            Self::DataValue(_) => (405, "data-value", "Birthmark record format", Stop),
            Self::RequestedExtension { .. } => (410, "requested-extension", "profile", Rework),
            Self::SerialsExhausted { .. } => (411, "serials-exhausted", "profile", Stop),
            Self::CertificateTooLarge { .. } => (412, "certificate-too-large", "profile", Rework),
            Self::KeyInUse { .. } => (500, "key-in-use", "uniqueness of keys", Scrap),
            Self::IdentityInUse { .. } => (
                501,
                "identity-in-use",
                "IEEE 802.1AR-2018 §8.6",
                CallOfficer,
            ),
            Self::ChangedRequest { .. } => (
                502,
                "changed-request",
                "uniqueness of requests",
                CallOfficer,
            ),
            Self::Superseded { .. } => (503, "superseded", "uniqueness of requests", CallOfficer),
            Self::KeyRetired { .. } => (504, "key-retired", "uniqueness of keys", Rework),
            Self::ReissueLimit { .. } => (505, "reissue-limit", "limit of reissues", CallOfficer),
            Self::PermitNeeded { .. } => (510, "permit-needed", "profile", CallOfficer),
            Self::Permit { problem, .. } => {
                let (number, reason) = problem.facts();
                (number, reason, "birthmark/permit@v1", CallOfficer)
            }
            Self::LotNeeded => (600, "lot-needed", "configuration", Stop),
            Self::Lot { problem, .. } => problem.facts(),
        }
    }
}

#[cfg(test)]
mod tests;
