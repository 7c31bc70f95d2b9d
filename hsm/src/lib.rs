//! Keys that sign: software keys and PKCS#11 tokens behind one signing pool.
//!
//! A [`SigningPool`] holds one key. [`SigningPool::submit`] takes a [`SignJob`] and calls its
//! [`SignCompletion`] with the signature, exactly once. A key on PKCS#11 tokens, one or several
//! with the same key, signs through several sessions, each owned by a thread of its own; a
//! [`SoftwareKey`] signs on the calling thread. What the pool does when a token fails is in
//! [`PoolOptions`] and [`TokenState`]. A caller that verifies what it gets tells the pool so
//! ([`SigningPool::accept`], [`SigningPool::reject`]): a token with wrong signatures is left out.
//!
//! The crate knows keys, PKCS#11 and how to sign bytes. It does not know certificates or the log.
//!
//! ```
//! use birthmark_hsm::{KeyAlgorithm, SigningPool, SignCompletion, SignError, SignJob, Signature, SoftwareKey};
//! use std::sync::{Arc, mpsc};
//!
//! struct Outcome(mpsc::Sender<(u64, Result<Signature, SignError>)>);
//! impl SignCompletion for Outcome {
//!     fn signed(&self, ticket: u64, outcome: Result<Signature, SignError>) {
//!         let _ = self.0.send((ticket, outcome)); // the receiver may be gone
//!     }
//! }
//!
//! let pool = SigningPool::software(SoftwareKey::generate(KeyAlgorithm::EcP256)?);
//! let (sender, receiver) = mpsc::channel();
//! pool.submit(SignJob {
//!     ticket: 7,
//!     input: pool.input_for(b"to be signed"),
//!     completion: Arc::new(Outcome(sender)),
//! });
//! let (ticket, signature) = receiver.recv()?;
//! assert_eq!(ticket, 7);
//! assert_eq!(signature?.as_bytes()[0], 0x30); // Ecdsa-Sig-Value is a SEQUENCE
//! pool.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod algorithm;
mod ckr;
mod der;
mod error;
mod event;
mod location;
mod metrics;
mod options;
mod pkcs11;
mod pkcs8;
mod pool;
mod public_key;
mod signing;
pub mod softhsm;
mod software;
mod verify;

pub use algorithm::{
    Curve, DigestAlgorithm, KeyAlgorithm, MlDsaParameterSet, RsaSignature, UnknownKeyAlgorithm,
    UnknownRsaSignature,
};
pub use ckr::{CallError, ErrorClass, ReturnCode};
pub use error::{
    CloseError, DestroyError, GenerateError, InitializeError, KeyError, LocationError, Mark,
    ModuleError, NotSignedAgain, OpenError, PinError, SignError, SoftwareKeyError, TokenError,
};
pub use event::{PoolEvent, PoolEventKind, PoolObserver, StateChange, TokenState};
pub use location::SignerLocation;
pub use metrics::{LatencyHistogram, PoolMetrics, TokenMetrics};
pub use options::{PoolOptions, TOKENS_MAX};
pub use pkcs11::{
    KeyAttribute, KeyReport, KeyUses, destroy_key_pair, generate_reported_key_pair, report_key,
};
pub use pkcs11::{
    MODULE_DIRECTORIES, PIN_VARIABLE, Pkcs11Options, Pkcs11Uri, SESSIONS_MAX, UriError,
    generate_key_pair, initialize_token,
};
pub use pkcs11::{
    MechanismDescription, ModuleDescription, PinState, SLOTS_MAX, SessionLimit, SlotDescription,
    TokenDescription, inspect_module, inspect_uri,
};
pub use pool::{RawSigner, SigningPool};
pub use public_key::PublicKey;
pub use signing::{SignCompletion, SignInput, SignJob, Signature};
pub use software::SoftwareKey;
pub use verify::TEST_TEXT;
