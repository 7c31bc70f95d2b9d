//! What a caller asks for and what it gets.

use std::collections::BTreeMap;
use std::fmt;

use crate::device_key::KeyDelivery;
use crate::fault::Fault;
use crate::issuance::LoggedCertificate;
use crate::rejection::Rejection;

/// One request for a certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// The device's key: its own, or one that the engine makes.
    pub key: RequestKey,
    /// Name of the profile.
    pub profile: String,
    /// The production order that authorizes it, at most 128 bytes. Recorded, and held against the lots that the
    /// station has ([`crate::Lots`]); a name like any other where it has none.
    pub lot: Option<String>,
    /// Who asks: the line's name, at most 128 bytes. Recorded; a lot may be one line's alone. The engine believes its
    /// caller.
    pub requester: Option<String>,
    /// What the line adds: work order, station. What of it enters the certificate is the profile's
    /// business; all of it is recorded. At most 32 entries and 8,192 bytes. No secrets.
    pub data: BTreeMap<String, String>,
    /// An officer's permit to replace the device's certificate, as [`crate::permit`] defines it, at most
    /// [`crate::permit::PERMIT_BYTES_MAX`] bytes. It counts only where the profile asks for one; a request
    /// that can be answered without it is.
    pub permit: Option<Vec<u8>>,
}

impl Request {
    /// A device's own request, without lot, data and permit.
    #[must_use]
    pub fn new(csr: Vec<u8>, profile: &str) -> Self {
        Self::with_key(RequestKey::Csr(csr), profile)
    }

    /// A request for a device that cannot make its key, with what the profile takes of its data. The answer
    /// has the encrypted key.
    #[must_use]
    pub fn generated(profile: &str, data: BTreeMap<String, String>) -> Self {
        Self {
            data,
            ..Self::with_key(RequestKey::Generated, profile)
        }
    }

    fn with_key(key: RequestKey, profile: &str) -> Self {
        Self {
            key,
            profile: profile.to_owned(),
            lot: None,
            requester: None,
            data: BTreeMap::new(),
            permit: None,
        }
    }
}

/// Where a device's key comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum RequestKey {
    /// The device has it: PKCS #10 CertificationRequest, DER (RFC 2986). At most [`crate::CSR_BYTES_MAX`] bytes.
    Csr(Vec<u8>),
    /// The engine makes it, where the profile's `key.generated` allows that ([`crate::device_key`]).
    Generated,
}

impl RequestKey {
    /// The device's request; empty where there is none.
    pub(crate) fn csr(&self) -> &[u8] {
        match self {
            Self::Csr(csr) => csr,
            Self::Generated => &[],
        }
    }
}

/// Says how much there is and not what: a request may hold a challenge password.
impl fmt::Debug for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Csr(csr) => write!(f, "Csr({} bytes)", csr.len()),
            Self::Generated => f.write_str("Generated"),
        }
    }
}

/// Says how much there is and not what.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("key", &self.key)
            .field("profile", &self.profile)
            .field("lot", &self.lot)
            .field("requester", &self.requester)
            .field("data_entries", &self.data.len())
            .field("permit_bytes", &self.permit.as_ref().map(Vec::len))
            .finish()
    }
}

/// Whether a certificate was made for this request or for an earlier one like it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssueStatus {
    /// Made now.
    Issued,
    /// The same request was answered before; this is that certificate, byte for byte.
    Existing,
}

/// A certificate for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// New or not.
    pub status: IssueStatus,
    /// The certificate, durable in the log.
    pub certificate: LoggedCertificate,
    /// The private key, where the engine made it.
    pub key: Option<KeyDelivery>,
}

/// Why a request got no certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// The request is at fault.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The system is at fault.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// What every request ends in.
pub type IssueResult = Result<Issued, IssueError>;

/// Why a request was not taken. It comes back inside.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// As many requests are in flight as the engine takes. Try again when one has its answer.
    #[error("the engine is full; wait for an answer, then submit again")]
    Full(Request),
    /// The engine takes no more requests.
    #[error("{1}")]
    Closed(Request, Fault),
}
