//! The signing core: certificate requests in, logged certificates out.
//!
//! A request goes through the issuance cycle in this order, and every type hands on to the next:
//!
//! 1. parse the PKCS #10 request, strict DER;
//! 2. verify its proof of possession;
//! 3. validate key, names and content against the profile;
//! 4. claim key and device identity, or find the answer of long ago;
//! 5. prepare the to-be-signed certificate, encoded once, and where the engine makes the device's key,
//!    see that its encrypted form is durable in the spool ([`device_key`]);
//! 6. reserve: serial number and digest durable in the log;
//! 7. sign;
//! 8. check: the signature verifies, the encoding re-reads;
//! 9. append: the record durable in the log. Only then is the certificate released.
//!
//! ```no_run
//! use birthmark_engine::{Configuration, Engine, Request};
//!
//! let configuration = Configuration::load("ca/birthmark.toml".as_ref())?;
//! let engine = Engine::open(configuration.station()?)?;
//! let csr = std::fs::read("device.csr.der")?;
//! let issued = engine.issue(Request::new(csr, "idevid"))?;
//! println!("{}", issued.certificate.to_pem());
//! engine.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `cli/examples/embed.rs` is a whole program: `cargo run --release --package birthmark --example embed`.

#![forbid(unsafe_code)]

mod activation;
mod audit;
mod certificate;
mod checkpoint;
mod claims;
mod configuration;
mod csr;
mod csr_report;
mod cycle;
mod der;
pub mod device_key;
mod engine;
mod fault;
mod general_name;
mod hex;
mod index_keys;
mod issuance;
mod issuer;
mod key;
pub mod lint;
mod lots;
mod metrics;
mod name;
mod number_walk;
mod oid;
pub mod permit;
mod pipeline;
pub mod profile;
mod pss;
pub mod record;
mod reissue;
mod rejection;
mod reply;
mod request;
mod requested_extensions;
mod serial_allocator;
mod serial_domains;
mod serial_offer;
mod slots;
#[doc(hidden)]
pub mod stages;
mod tbs;
mod template;
mod validate;
mod verification;
mod weak_key;
mod workers;

pub use activation::{Activation, ActivationMisfit, UnknownActivation};
pub use audit::{AuditError, certificate_serial, verify_issued};
pub use checkpoint::{LogKey, LogKeyError};
pub use configuration::{Configuration, ConfigurationError, WitnessAddress};
pub use csr::CSR_BYTES_MAX;
pub use csr_report::{CsrAttribute, CsrExtension, CsrKey, CsrPolicy, CsrReport, ExtensionFate};
pub use engine::{
    CloseError, Engine, MAX_IN_FLIGHT_DEFAULT, MAX_IN_FLIGHT_MAX, OpenError, Station,
};
pub use fault::Fault;
pub use index_keys::RecordKeyExtractor;
pub use issuance::LoggedCertificate;
pub use issuer::{Issuer, IssuerError};
pub use key::DeviceKeyAlgorithm;
pub use lots::{
    LOT_BYTES_MAX, LOT_QUANTITY_MAX, LOTS_MAX, Lot, LotProblem, LotSerials, Lots, LotsError,
};
pub use metrics::Metrics;
pub use profile::{Profile, ProfileError};
pub use reissue::{REISSUES_MAX, Reissue};
pub use rejection::{Action, Rejection};
pub use reply::Pending;
pub use request::{IssueError, IssueResult, IssueStatus, Issued, Request, RequestKey, SubmitError};
pub use verification::{EngineEvent, EngineObserver, UnknownVerification, Verification};
pub use weak_key::{KNOWN_BAD_KEYS_MAX, KnownBadKeys, KnownBadKeysError};
