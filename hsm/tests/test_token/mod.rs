//! A SoftHSM token of a test's own, and what the tests do with it.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]
#![allow(
    clippy::unwrap_used,
    reason = "a failure of the set-up is the test's failure"
)]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use aws_lc_rs::signature::{
    self, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use birthmark_hsm::{
    Curve, MlDsaParameterSet, Pkcs11Uri, PublicKey, RsaSignature, SignCompletion, SignError,
    SignJob, Signature, SigningPool, initialize_token,
};

/// Longest wait for an answer. A test that waits that long has failed; nothing is measured by it.
const ANSWER_DEADLINE: Duration = Duration::from_secs(120);

/// SoftHSM's module. There is no test without it, and no test is skipped.
pub fn module() -> PathBuf {
    let module = std::env::var_os("BIRTHMARK_TEST_MODULE").expect(
        "BIRTHMARK_TEST_MODULE is not set: run softhsm/with-softhsm.sh cargo test -p birthmark-hsm",
    );
    assert!(
        std::env::var_os("SOFTHSM2_CONF").is_some(),
        "SOFTHSM2_CONF is not set: run softhsm/with-softhsm.sh cargo test -p birthmark-hsm"
    );
    PathBuf::from(module)
}

/// A token under a label that no other test has.
pub struct TestToken {
    pub module: PathBuf,
    pub label: String,
    pub pin: String,
    pub directory: tempfile::TempDir,
}

impl TestToken {
    pub fn create() -> TestToken {
        TestToken::create_in(&module())
    }

    pub fn create_in(module: &Path) -> TestToken {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut random = [0; 8];
        aws_lc_rs::rand::fill(&mut random).unwrap();
        let random = u64::from_be_bytes(random);
        let label = format!("t{}-{random:016x}", COUNT.fetch_add(1, Ordering::Relaxed));
        let pin = format!("pin {random:016x}");
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("pin"), format!("{pin}\n")).unwrap();
        fs::write(directory.path().join("wrong pin"), "not the PIN\n").unwrap();
        initialize_token(module, &label, "the officer's PIN", &pin).unwrap();
        TestToken {
            module: module.to_owned(),
            label,
            pin,
            directory,
        }
    }

    pub fn uri(&self, object: &str) -> Pkcs11Uri {
        let pin = self.directory.path().join("pin");
        Pkcs11Uri::new(&self.module, &self.label, object, Some(&pin))
    }

    pub fn wrong_pin_uri(&self, object: &str) -> Pkcs11Uri {
        let pin = self.directory.path().join("wrong pin");
        Pkcs11Uri::new(&self.module, &self.label, object, Some(&pin))
    }
}

/// Collects what comes back, by ticket.
pub struct Answers {
    sender: Mutex<mpsc::Sender<(u64, Result<Signature, SignError>)>>,
}

impl SignCompletion for Answers {
    fn signed(&self, ticket: u64, outcome: Result<Signature, SignError>) {
        let _ = self.sender.lock().unwrap().send((ticket, outcome));
    }
}

/// Submits a job per message and returns the answers by ticket, the message's place. Fails when an
/// answer is missing or comes twice.
pub fn sign_all(pool: &SigningPool, messages: &[Vec<u8>]) -> Vec<Result<Signature, SignError>> {
    let (sender, receiver) = mpsc::channel();
    let completion: Arc<dyn SignCompletion> = Arc::new(Answers {
        sender: Mutex::new(sender),
    });
    for (ticket, message) in messages.iter().enumerate() {
        pool.submit(SignJob {
            ticket: ticket as u64,
            input: pool.input_for(message),
            completion: Arc::clone(&completion),
        });
    }
    drop(completion);
    let mut answers = HashMap::new();
    for _ in messages {
        let (ticket, outcome) = receiver
            .recv_timeout(ANSWER_DEADLINE)
            .expect("an answer per job");
        assert!(
            answers.insert(ticket, outcome).is_none(),
            "ticket {ticket} answered twice"
        );
    }
    // The last job's completion is gone: nothing more can come.
    assert!(
        receiver.recv_timeout(ANSWER_DEADLINE).is_err(),
        "an answer too many"
    );
    (0..messages.len() as u64)
        .map(|ticket| answers.remove(&ticket).expect("a ticket"))
        .collect()
}

/// `count` different messages.
pub fn messages(count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|number| format!("message {number}").into_bytes())
        .collect()
}

/// Whether the signature is the key's for the message. An RSA key signs PKCS #1 v1.5.
pub fn verifies(key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
    verifies_as(RsaSignature::Pkcs1v15, key, message, signature.as_bytes())
}

/// Whether the signature is the key's for the message, where an RSA key signs as said.
pub fn verifies_as(rsa: RsaSignature, key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    match key {
        PublicKey::Ec { curve, point } => {
            let algorithm = match curve {
                Curve::P256 => &signature::ECDSA_P256_SHA256_ASN1,
                Curve::P384 => &signature::ECDSA_P384_SHA384_ASN1,
                Curve::P521 => &signature::ECDSA_P521_SHA512_ASN1,
            };
            UnparsedPublicKey::new(algorithm, point).verify(message, signature)
        }
        PublicKey::Ed25519(point) => {
            UnparsedPublicKey::new(&ED25519, point).verify(message, signature)
        }
        PublicKey::MlDsa { parameter_set, key } => {
            let algorithm = match parameter_set {
                MlDsaParameterSet::MlDsa44 => &signature::ML_DSA_44,
                MlDsaParameterSet::MlDsa65 => &signature::ML_DSA_65,
                MlDsaParameterSet::MlDsa87 => &signature::ML_DSA_87,
            };
            UnparsedPublicKey::new(algorithm, key).verify(message, signature)
        }
        PublicKey::Rsa { modulus, exponent } => RsaPublicKeyComponents {
            n: modulus,
            e: exponent,
        }
        .verify(
            match rsa {
                RsaSignature::Pkcs1v15 => &RSA_PKCS1_2048_8192_SHA256,
                RsaSignature::Pss => &RSA_PSS_2048_8192_SHA256,
            },
            message,
            signature,
        ),
    }
    .is_ok()
}
