//! NSS's token (softokn) signs: a module that is nobody's of us and no `SoftHSM`.
//!
//! It takes its directory with C_Initialize in a place that the standard reserves, so the test HSM stands in front of
//! it, passes that on, and has its sessions lost. NSS 3.87 knows neither Ed25519 nor ML-DSA.

#![allow(
    clippy::unwrap_used,
    reason = "a failure of the set-up is the test's failure"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use birthmark_hsm::{
    KeyAlgorithm, Pkcs11Options, Pkcs11Uri, RsaSignature, SigningPool, generate_reported_key_pair,
    inspect_uri,
};
use birthmark_test_token::TestHsm;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;

mod own_process;
mod test_token;
use test_token::{messages, sign_all, verifies_as};

/// What NSS calls the token with the keys.
const TOKEN: &str = "NSS Certificate DB";

const PIN: &str = "the user's PIN";

/// A new database, with a PIN.
struct Nss {
    directory: PathBuf,
    hsm: TestHsm,
}

impl Nss {
    /// As [`own_process::enter`]: NSS is initialized once per process, and its libraries are found by the environment.
    fn enter(test: &str) -> Option<Nss> {
        let libraries = |_: &Path| {
            let directory = module().parent().unwrap().to_owned();
            vec![("LD_LIBRARY_PATH", directory.into())]
        };
        own_process::enter(test, libraries).map(Nss::create)
    }

    fn create(directory: PathBuf) -> Nss {
        let settings = format!(
            "mode = 'forward'\nmodule = '{}'\ninit_string = \"configdir='sql:{}' flags=\"",
            module().display(),
            directory.display()
        );
        let hsm = TestHsm::create(&directory, "nss", &settings).unwrap();
        fs::write(directory.join("nss pin"), PIN).unwrap();
        let nss = Nss { directory, hsm };
        nss.set_pin();
        nss
    }

    /// The officer of a new database has an empty PIN.
    fn set_pin(&self) {
        let module = Pkcs11::new(self.hsm.module()).unwrap();
        module
            .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
            .unwrap();
        let slots = module.get_slots_with_token().unwrap();
        let slot = slots
            .into_iter()
            .find(|slot| module.get_token_info(*slot).unwrap().label() == TOKEN)
            .unwrap();
        let session = module.open_rw_session(slot).unwrap();
        let empty = AuthPin::from("");
        session.login(UserType::So, Some(&empty)).unwrap();
        session.init_pin(&AuthPin::from(PIN)).unwrap();
        drop(session);
        module.finalize().unwrap();
    }

    fn uri(&self, object: &str) -> Pkcs11Uri {
        let pin = self.directory.join("nss pin");
        Pkcs11Uri::new(self.hsm.module(), TOKEN, object, Some(&pin))
    }
}

/// The module, brought where it is not installed.
fn module() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tokens/nss.sh");
    let output = Command::new(script).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "there is no NSS: {told}");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

#[test]
fn nss_signs_and_its_sessions_may_get_lost() {
    let Some(nss) = Nss::enter("nss_signs_and_its_sessions_may_get_lost") else {
        return;
    };
    let told = inspect_uri(&nss.uri("k")).unwrap();
    let token = told.slots[0].token.as_ref().unwrap();
    assert!(token.user_pin_initialized && token.login_required);
    let cases = [
        (KeyAlgorithm::EcP256, RsaSignature::Pkcs1v15),
        (KeyAlgorithm::EcP384, RsaSignature::Pkcs1v15),
        (KeyAlgorithm::EcP521, RsaSignature::Pkcs1v15),
        (KeyAlgorithm::Rsa2048, RsaSignature::Pkcs1v15),
        (KeyAlgorithm::Rsa3072, RsaSignature::Pss),
    ];
    for (algorithm, rsa_signature) in cases {
        let uri = nss.uri(algorithm.name());
        let report = generate_reported_key_pair(&uri, algorithm).unwrap();
        assert!(report.not_as_asked().is_empty(), "{report:#?}");
        let options = Pkcs11Options {
            sessions: Some(3),
            rsa_signature,
            ..Pkcs11Options::default()
        };
        let pool = SigningPool::pkcs11(&uri, options).unwrap();
        let messages = messages(50);
        // Without a login NSS calls an RSA key one of the wrong kind (CKR_KEY_TYPE_INCONSISTENT).
        for event in ["clear-faults", "lose-sessions", "lose-login"] {
            nss.hsm.command(event).unwrap();
            for (message, outcome) in messages.iter().zip(sign_all(&pool, &messages)) {
                let signature = outcome.unwrap_or_else(|error| panic!("{event}: {error}"));
                let key = pool.public_key();
                let verified = verifies_as(rsa_signature, key, message, signature.as_bytes());
                assert!(verified, "{algorithm} {rsa_signature} after {event}");
            }
        }
        assert_eq!(pool.metrics().errors_total(), 0);
        pool.close().unwrap();
    }
}
