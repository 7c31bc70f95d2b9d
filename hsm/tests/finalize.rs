//! One `C_Initialize` per module and process, and one `C_Finalize` when the last user goes. Alone
//! in its process: any other user of the module would keep it initialized.

use birthmark_hsm::{KeyAlgorithm, Pkcs11Options, SigningPool, generate_key_pair};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};

mod test_token;
use test_token::{TestToken, messages, module, sign_all};

#[test]
fn a_module_is_initialized_once_and_finalized_by_the_last_to_go() {
    let module = Pkcs11::new(module()).unwrap();
    let initialize = || module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
    let initialized = || match initialize() {
        Ok(()) => {
            module.clone().finalize().unwrap();
            false
        }
        Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => true,
        Err(error) => panic!("{error}"),
    };
    let open = |token: &TestToken| {
        let options = Pkcs11Options {
            sessions: Some(2),
            key_copy: false,
            ..Pkcs11Options::default()
        };
        SigningPool::pkcs11(&token.uri("k"), options).unwrap()
    };

    let token = TestToken::create();
    assert!(!initialized(), "initializing a token leaves nothing behind");
    generate_key_pair(&token.uri("k"), KeyAlgorithm::EcP256).unwrap();
    assert!(!initialized(), "generating a key leaves nothing behind");

    let (first, second) = (open(&token), open(&token));
    first.close().unwrap();
    assert!(initialized(), "the second pool still uses it");
    assert!(sign_all(&second, &messages(100)).iter().all(Result::is_ok));
    let signer = second.raw_signers(1).unwrap();
    second.close().unwrap();
    assert!(initialized(), "a raw signer still uses it");
    drop(signer);
    assert!(!initialized(), "nobody uses it");

    for _ in 0..3 {
        let pool = open(&token);
        assert!(sign_all(&pool, &messages(20)).iter().all(Result::is_ok));
        pool.close().unwrap();
        assert!(!initialized(), "closed again");
    }
    SigningPool::pkcs11(&token.uri("no such key"), Pkcs11Options::default()).unwrap_err();
    let marks = tempfile::tempdir().unwrap();
    let wrong_pin = token.wrong_pin_uri("k").with_state_directory(marks.path());
    SigningPool::pkcs11(&wrong_pin, Pkcs11Options::default()).unwrap_err();
    drop(marks);
    assert!(!initialized(), "a failed open leaves nothing behind");

    // Initialized by somebody else: used, and left to them to finalize.
    initialize().unwrap();
    let pool = open(&token);
    assert!(sign_all(&pool, &messages(20)).iter().all(Result::is_ok));
    pool.close().unwrap();
    assert!(initialized(), "the other owner's");
    module.clone().finalize().unwrap();
}
